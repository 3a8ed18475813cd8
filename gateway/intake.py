"""From a request's head and body to who asks for what, or to a refusal."""

import re
import secrets
from dataclasses import dataclass
from itertools import count

from gateway.face.errors import MISSING_KEY, TOO_MANY, UNKNOWN_MODEL, UNSUPPORTED_ENCODING, WRONG_KEY, ApiError
from gateway.face.openai import Endpoint, RequestView, read_request
from gateway.state import ANYONE, Gateway, Identity, Keys
from router_policies.decide import Decision, UnknownRoute, decide
from router_policies.facts import Facts

RequestHeaders = dict[bytes, bytes]

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_BEARER = re.compile(rb"bearer +(\S+) *", re.IGNORECASE)
_boot = secrets.token_hex(6)
_number = count()


def request_id(headers: RequestHeaders) -> str:
    """The client's own `x-request-id` if it is printable and at most 128 characters, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"req_{_boot}{next(_number):08x}"


def identify(keys: Keys, authorization: bytes | None) -> Identity:
    """Who this is. Raises `ApiError` without a key, or with a wrong one, where keys are configured."""
    if keys.open:
        return ANYONE
    if not authorization:
        raise ApiError(MISSING_KEY, "You didn't provide an API key: expected the header 'Authorization: Bearer KEY'.")
    match = _BEARER.fullmatch(authorization)
    identity = keys.find(match.group(1).decode("latin-1")) if match else None
    if identity is None:
        raise ApiError(WRONG_KEY, "Incorrect API key provided. Ask whoever runs this gateway for a key.")
    return identity


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that will be served. `received_at` is when its last byte came, monotonic seconds."""

    request_id: str
    endpoint: Endpoint
    query: bytes
    headers: RequestHeaders
    body: bytes
    view: RequestView
    identity: Identity
    decision: Decision
    received_at: float


def admit(
    gateway: Gateway,
    request_id: str,
    endpoint: Endpoint,
    query: bytes,
    headers: RequestHeaders,
    body: bytes,
    received_at: float,
) -> Admitted:
    """Check a whole request and decide where it goes. Raises `ApiError` for every reason to refuse it."""
    identity = identify(gateway.keys, headers.get(b"authorization"))
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        raise ApiError(UNSUPPORTED_ENCODING, f"Expected an uncompressed body, got content-encoding {encoding!r}.")
    view = read_request(body)
    limit = gateway.config.limits.in_flight
    if len(gateway.in_flight) >= limit:
        raise ApiError(TOO_MANY, f"The gateway is serving {limit} requests already. Try again in a moment.")
    routes = gateway.routes
    route = routes.by_name.get(str(view.model))
    key = request_id
    if route is not None:
        for source in route.sticky:
            if value := _sticky_value(source, headers, view, identity):
                key = f"{source}={value}"
                break
    try:
        decision = decide(Facts(str(view.model), key), routes)
    except UnknownRoute:
        raise ApiError(
            UNKNOWN_MODEL, f"The model {view.model!r} does not exist. GET /v1/models lists those that do.", "model"
        ) from None
    return Admitted(request_id, endpoint, query, headers, body, view, identity, decision, received_at)


def _sticky_value(source: str, headers: RequestHeaders, view: RequestView, identity: Identity) -> str | None:
    if source == "user":
        return view.end_user
    if source == "key":
        return identity.name or None
    value = headers.get(source.removeprefix("header:").encode())
    return value.decode("latin-1") if value else None
