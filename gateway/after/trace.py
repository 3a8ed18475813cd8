"""A captured request as it is written: what was asked and what was answered, who has consented to what, and with which
probability it was kept. No header of the client's is in it, so no key either."""

from typing import TYPE_CHECKING

import msgspec

from gateway.exchange import Exchange
from gateway.face.openai import RequestView
from router_policies.capture import tags

if TYPE_CHECKING:
    from gateway.intake import Admitted

CONSENT = b"x-understudy-consent"
IN_METADATA = "understudy_consent"
FORMAT = "understudy-trace/1"
_encode = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class Served(msgspec.Struct, frozen=True, gc=False):
    """Who answered."""

    role: str
    upstream: str
    model: str
    revision: str


class Trace(msgspec.Struct, frozen=True, gc=False):
    """A line. `at`: when the request came, seconds since the epoch. `answer`: what was sent, as text: JSON, or events
    if `stream`. `why`, `probability`: see `router_policies.capture`. `outcome`: how the request ended; an answer that
    broke off is there as far as it came."""

    format: str
    id: str
    at: float
    route: str
    route_version: int
    endpoint: str
    stream: bool
    tenant: str
    user: str
    session: str
    consent: tuple[str, ...]
    why: str
    probability: float
    served: Served
    request: msgspec.Raw
    answer: str
    outcome: str


def consented(request: "Admitted") -> frozenset[str]:
    """All tags of consent that a request carries: in its header, in its `metadata`, and those of its key."""
    said = request.headers.get(CONSENT)
    metadata = request.view.metadata
    if said is None and metadata is msgspec.UNSET:
        return request.identity.consent
    return request.identity.consent | tags((said or b"").decode("latin-1"), _in_metadata(request.view))


def _in_metadata(view: RequestView) -> str:
    if view.metadata is msgspec.UNSET:
        return ""
    try:
        value = _decode_metadata(view.metadata).get(IN_METADATA)
        return "" if value is None else _decode_text(value)
    except (msgspec.DecodeError, UnicodeDecodeError):  # what to say of it is the upstream's
        return ""


def session(request: "Admitted") -> str:
    """What the route's `sticky` takes from a header; "" if there is none: `user` and the key's tenant have their own
    place in a trace."""
    for source in request.decision.route.sticky:
        if source.startswith("header:") and (value := request.headers.get(source.removeprefix("header:").encode())):
            return value.decode("latin-1")
    return ""


def line(
    request: "Admitted",
    exchange: Exchange,
    answer: bytes,
    *,
    began_at: float,
    model: tuple[str, str],
    consent: frozenset[str],
    why: str,
    probability: float,
) -> bytes | None:
    """The line, with its end. None for a body that is no text in UTF-8: nobody could read it again. `model`: the model
    and its revision."""
    body = request.body
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    if b"\n" in body or b"\r" in body:  # between values: in a string of JSON they are escaped
        body = body.translate(_ON_ONE_LINE)
    trace = Trace(
        format=FORMAT,
        id=exchange.request_id,
        at=began_at,
        route=exchange.decision.route.name,
        route_version=exchange.decision.route.version,
        endpoint=exchange.endpoint,
        stream=exchange.stream,
        tenant=exchange.tenant,
        user=request.view.end_user or "",
        session=session(request),
        consent=tuple(sorted(consent)),
        why=why,
        probability=probability,
        served=Served(exchange.role.value, exchange.upstream, *model),
        request=msgspec.Raw(body),
        answer=answer.decode("utf-8", "replace"),
        outcome=exchange.outcome.value,
    )
    return _encode(trace) + b"\n"


_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
