"""The log-probabilities of an answer's tokens, which the gateway asks for where the client did not: read, and taken out
again, so that the client gets what it asked for. Whatever else is in the answer stays as it came."""

import msgspec

from gateway.face.openai import CHAT, COMPLETIONS, Endpoint, RequestView
from gateway.face.sse import chunks
from router_policies.risk.deferral import read_logprobs
from router_policies.routes import MidStream, Route

_NULL = msgspec.Raw(b"null")
_MARK = b'"logprobs"'
_ASK = {CHAT.path: b"true", COMPLETIONS.path: b"1"}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_choices = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def can_be_judged(route: Route, endpoint: Endpoint, view: RequestView) -> bool:
    """Whether an answer may be looked at before any of it is sent, and tells of one answer's tokens."""
    held = not view.stream or route.fallback.mid_stream is MidStream.HOLD
    return held and view.choices == 1 and endpoint.path in _ASK


def to_ask(endpoint: Endpoint, view: RequestView) -> bytes | None:
    """What `logprobs` of the request must be set to, None if nothing: the client has asked for them itself, or the
    endpoint has none."""
    wanted = view.logprobs
    if wanted is not msgspec.UNSET and bytes(wanted) not in (b"null", b"false"):
        return None
    return _ASK.get(endpoint.path)


def without_logprobs(answer: bytes) -> bytes:
    """An answer, or a chunk of one, with `logprobs: null` in each of its choices."""
    if _MARK not in answer:
        return answer
    try:
        members = _members(answer)
        told = _choices(members["choices"])
    except (*_UNREADABLE, KeyError):  # then they are not where a client would look for them either
        return answer
    for choice in told:
        if "logprobs" in choice:
            choice["logprobs"] = _NULL
    members["choices"] = msgspec.Raw(_encode(told))
    return _encode(members)


class Logprobs:
    """Of one answer. `values`: of its tokens so far, as long as they are `wanted`. `strips`: the client has not asked
    for them."""

    __slots__ = ("_path", "strips", "values", "wanted")

    def __init__(self, endpoint: Endpoint, *, strips: bool) -> None:
        self._path = endpoint.path
        self.strips = strips
        self.wanted = True
        self.values: list[float] = []

    def whole(self, body: bytes) -> bytes:
        """A whole answer in, the client's out."""
        self._read(body)
        return without_logprobs(body) if self.strips else body

    def events(self, events: bytes) -> bytes:
        """Whole events of a stream in, the client's out."""
        if _MARK not in events or not (self.strips or self.wanted):
            return events
        kept = []
        for event, chunk in chunks(events):
            self._read(chunk)
            changed = self.strips and _MARK in chunk
            kept.append(b"data: %b\n\n" % without_logprobs(chunk) if changed else event)
        return b"".join(kept)

    def _read(self, text: bytes) -> None:
        if self.wanted and _MARK in text:
            self.values += read_logprobs(self._path, text)
