"""What a client gets, and what it is told beside the answer: who answered, and why."""

from typing import Protocol

import msgspec

from gateway.attempt import Attempt
from gateway.intake import Admitted
from router_policies.attempts import Kind
from router_policies.risk.rules import Band

JSON = b"content-type: application/json\r\n"
_RISK_LINES = {band: f"x-understudy-risk: {band.value}\r\n".encode() for band in Band}


class Client(Protocol):
    """The client's side of a request. `headers` are whole header lines, each ending in CRLF."""

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""

    def begin(self, status: int, headers: bytes) -> None:
        """The head of an answer whose body comes by `write` and ends with `finish`."""

    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...

    def abort(self) -> None:
        """Close the connection, whatever is still to be written."""


def reason_of(request: Admitted, attempt: Attempt) -> str:
    """Why it is this upstream that answers."""
    ask = attempt.ask
    if ask.kind is Kind.PRIMARY:
        return request.decision.reason
    return ask.kind.value if ask.because is None else f"{ask.kind.value}:{ask.because.value}"


def our_headers(request: Admitted, attempt: Attempt) -> bytes:
    routing = attempt.upstream.routing_headers(reason_of(request, attempt))
    judged = request.decision.judged
    if judged is not None and routing:
        routing += _RISK_LINES[judged.band]
    return b"x-request-id: %b\r\n%b" % (request.request_id.encode(), routing)


def says_no_such_path(body: bytes) -> bool:
    """Whether a 404 is the web server's and not the model API's.

    It is no JSON, FastAPI's (vLLM) {"detail": "Not Found"}, or an error that says no more than llama.cpp's.
    """
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    if not isinstance(decoded, dict):
        return True
    error = decoded.get("error")
    said = error.get("message") if isinstance(error, dict) else decoded.get("detail")
    return said in ("Not Found", "File Not Found", "Method Not Allowed")
