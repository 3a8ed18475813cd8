"""One request to a model on a client's connection."""

import logging
from time import monotonic
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.face.errors import INTERNAL, TOO_LARGE, ApiError
from gateway.face.openai import Endpoint
from gateway.intake import Admitted, RequestHeaders, admit, check_head, request_id
from gateway.relay import Relay
from gateway.state import ANYONE, Identity

if TYPE_CHECKING:
    from gateway.face.http import Face

_LAST_CHUNK = b"0\r\n\r\n"
_log = logging.getLogger(__name__)


class _NoEvent:
    """uvicorn wakes a cycle's task by an event; a hot cycle has no task."""

    def set(self) -> None: ...


_NO_EVENT = _NoEvent()


class HotCycle:
    """One request to a model on a connection, and the `Client` of its relay.

    The first group of attributes is what uvicorn reads and sets on the current cycle of a connection. `more_body` is
    true while the request is still coming in, and `body_bytes` of its body have come.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_endpoint",
        "_expects_continue",
        "_face",
        "_fields",
        "_identity",
        "_query",
        "_received_at",
        "_refused",
        "_relay",
        "_request_id",
        "_started",
        "body_bytes",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, face: "Face", endpoint: Endpoint, query: bytes, fields: RequestHeaders, version: str) -> None:
        self._chunked = version != "1.0"
        self.disconnected = False
        self.keep_alive = self._chunked and face.parser.should_keep_alive() and not face.gateway.draining
        self.message_event = _NO_EVENT
        self.more_body = True
        self.response_complete = False

        self._face = face
        self._endpoint = endpoint
        self._query = query
        self._fields = fields
        self._request_id = request_id(self._fields)
        self._identity: Identity = ANYONE
        self._body: list[bytes] = []
        self.body_bytes = 0
        self._received_at = 0.0
        self._refused: ApiError | None = None
        self._relay: Relay | None = None
        self._started = False
        self._expects_continue = b"expect" in self._fields and self._fields[b"expect"].lower() == b"100-continue"
        try:
            self._check_head(face)
        except ApiError as error:
            self._refused = error

    def _check_head(self, face: "Face") -> None:
        fields = self._fields
        self._identity = check_head(face.gateway.keys, fields)
        length = fields.get(b"content-length")  # digits, or the parser would have refused it
        if length is not None and int(length) > face.gateway.config.limits.body_bytes:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        limit = self._face.gateway.config.limits.body_bytes
        return ApiError(TOO_LARGE, f"Expected a request body of at most {limit} bytes, got a larger one.")

    # The request.

    def start(self) -> None:
        """It is this request's turn to be answered."""
        if self._face.transport.is_closing():
            return
        self._started = True
        if self._refused is not None:
            self.refuse(self._refused)
        elif not self.more_body:
            self._received_at = monotonic()  # it waited for the answers before its own
            self._serve()
        elif self._expects_continue:
            self._face.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def body(self, data: bytes) -> None:
        if self._refused is not None:
            return
        self.body_bytes += len(data)
        if self.body_bytes <= self._face.gateway.config.limits.body_bytes:
            self._body.append(data)
            return
        self._body.clear()
        self._refused = self._too_large()
        if self._started:
            self.refuse(self._refused)

    def body_complete(self) -> None:
        self.more_body = False
        self._received_at = monotonic()
        if self._started and self._refused is None:
            self._serve()

    def _serve(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        gateway = self._face.gateway
        request = None
        try:
            request = admit(
                gateway,
                self._request_id,
                self._endpoint,
                self._query,
                self._fields,
                body,
                self._identity,
                self._received_at,
            )
            relay = self._relay = Relay(gateway, self, request)
            relay.start()
            if self._face.flow.write_paused and not self.response_complete:  # by the answer before this one
                relay.client_slow()
        except ApiError as error:
            self._release(request)
            self.refuse(error)
        except Exception:
            self._release(request)
            _log.exception("request %s failed inside the gateway", self._request_id)
            self.refuse(ApiError(INTERNAL, "The gateway failed on this request; its log says why."))

    def _release(self, request: Admitted | None) -> None:
        """Give back what a request that is not served after all has reserved."""
        if request is not None and request.reservation is not None:
            request.reservation.settle(0)
        if request is not None and request.caught is not None:
            request.caught.settle(0)

    def refuse(self, error: ApiError) -> None:
        self._face.gateway.metrics.refused(error.kind.code)
        headers = f"content-type: application/json\r\nx-request-id: {self._request_id}\r\n"
        if error.kind.status == 429 or error.retry_after_s is not None:
            headers += f"retry-after: {error.retry_after_s or 1}\r\n"
        if self.more_body:
            self.keep_alive = False
        self.respond(error.kind.status, headers.encode(), error.body)

    # From the connection, while this request is the one being answered.

    def gone(self) -> None:
        if self._relay is not None:
            self._relay.client_gone()
            self._relay = None

    def slow(self) -> None:
        if self._relay is not None:
            self._relay.client_slow()

    def ready(self) -> None:
        if self._relay is not None:
            self._relay.client_ready()

    # `gateway.relay.Client`.

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        self._face.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head(status), headers, len(body), body))
        self._complete()

    def begin(self, status: int, headers: bytes) -> None:
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self._face.transport.write(b"%b%b%b\r\n" % (self._head(status), headers, framing))

    def write(self, data: bytes) -> None:
        self._face.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self) -> None:
        if self._chunked:
            self._face.transport.write(_LAST_CHUNK)
        self._complete()

    def abort(self) -> None:
        self._face.transport.abort()

    def _head(self, status: int) -> bytes:
        head = STATUS_LINE[status] + self._face.default_lines()
        return head if self.keep_alive else head + b"connection: close\r\n"

    def _complete(self) -> None:
        self.response_complete = True
        self._relay = None  # it refers to this cycle: neither would be freed before the garbage collector comes
        self._face.answered(self)
