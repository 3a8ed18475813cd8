"""The hot face: requests to models are served by uvicorn's own protocol object, below ASGI.

Measured, this is 1.7 times a plain ASGI callable: no scope, no task, no events per request. `Face` is a subclass of
uvicorn's httptools protocol. A POST to one of the model endpoints becomes a `HotCycle`, which stands where uvicorn
keeps its `RequestResponseCycle`, so that keep-alive, pipelining and shutdown stay uvicorn's; every other request goes
to the ASGI app, on the same port and even the same connection. uvicorn's minor version is pinned for that, and
`tests/integration/test_face.py` holds the seam.
"""

import logging
import re
from time import monotonic
from typing import Any

import httptools
from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.face.errors import INTERNAL, INVALID_HTTP, TOO_LARGE, ApiError
from gateway.face.openai import ENDPOINTS, Endpoint
from gateway.intake import RequestHeaders, admit, request_id
from gateway.relay import Relay
from gateway.state import Gateway

_log = logging.getLogger(__name__)
_CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")
_LINGER_S = 2.0  # how long a refused upload is read and dropped, so that its sender gets to see the answer
_LAST_CHUNK = b"0\r\n\r\n"


class _NoEvent:
    """uvicorn wakes a cycle's task by an event; a hot cycle has no task."""

    def set(self) -> None: ...


_NO_EVENT = _NoEvent()


class HotCycle:
    """One request to a model on a connection, and the `Client` of its relay.

    The first group of attributes is what uvicorn reads and sets on the current cycle of a connection.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_chunked",
        "_endpoint",
        "_expects_continue",
        "_face",
        "_headers",
        "_query",
        "_received_at",
        "_refused",
        "_relay",
        "_request_id",
        "_started",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, face: "Face", endpoint: Endpoint, query: bytes, headers: RequestHeaders) -> None:
        self.disconnected = False
        self.keep_alive = face.parser.should_keep_alive() and face.parser.get_http_version() != "1.0"
        self.message_event = _NO_EVENT
        self.more_body = True
        self.response_complete = False

        self._face = face
        self._endpoint = endpoint
        self._query = query
        self._headers = headers
        self._request_id = request_id(headers)
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._received_at = 0.0
        self._refused: ApiError | None = None
        self._relay: Relay | None = None
        self._started = False
        self._chunked = face.parser.get_http_version() != "1.0"
        self._expects_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        length = headers.get(b"content-length", b"")
        if _CONTENT_LENGTH.fullmatch(length) and int(length) > self._limit:
            self._refuse_size()

    # The request.

    def start(self) -> None:
        """It is this request's turn to be answered."""
        if self._face.transport.is_closing():
            return
        self._started = True
        if self._refused is not None:
            self._refuse(self._refused)
        elif not self.more_body:
            self._serve()
        elif self._expects_continue:
            self._face.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def body(self, data: bytes) -> None:
        if self._refused is not None:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._limit:
            self._body.clear()
            self._refuse_size()
            if self._started:
                self._refuse(self._refused)
        else:
            self._body.append(data)

    def body_complete(self) -> None:
        self.more_body = False
        self._received_at = monotonic()
        if self._started and self._refused is None:
            self._serve()

    def _serve(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        gateway = self._face.gateway
        try:
            request = admit(
                gateway, self._request_id, self._endpoint, self._query, self._headers, body, self._received_at
            )
            self._relay = Relay(gateway, self, request)
            if self._face.flow.write_paused:  # by the answer before this one
                self._relay.client_slow()
        except ApiError as error:
            self._refuse(error)
        except Exception:
            _log.exception("request %s failed inside the gateway", self._request_id)
            self._refuse(ApiError(INTERNAL, "The gateway failed on this request; its log says why."))

    @property
    def _limit(self) -> int:
        return self._face.gateway.config.limits.body_bytes

    def _refuse_size(self) -> None:
        self._refused = ApiError(
            TOO_LARGE, f"Expected a request body of at most {self._limit} bytes, got a larger one."
        )

    def _refuse(self, error: ApiError | None) -> None:
        assert error is not None
        self._face.gateway.metrics.refused(error.kind.code)
        headers = f"content-type: application/json\r\nx-request-id: {self._request_id}\r\n"
        if error.kind.status == 429:
            headers += "retry-after: 1\r\n"
        if self.more_body:
            self.keep_alive = False
        self.respond(error.kind.status, headers.encode(), error.body)

    # From the connection, while this request is the one being answered.

    def gone(self) -> None:
        if self._relay is not None and not self.response_complete:
            self._relay.client_gone()

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

    def _head(self, status: int) -> bytes:
        head = [STATUS_LINE[status]]
        for name, value in self._face.server_state.default_headers:
            head += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        return b"".join(head)

    def _complete(self) -> None:
        self.response_complete = True
        self._face.answered(self)


class Face(HttpToolsProtocol):
    """uvicorn's protocol, with the model endpoints served here. `_active` is the hot cycle being answered, if any."""

    def __init__(
        self, config: UvicornConfig, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.gateway: Gateway = app_state["gateway"]
        self._active: HotCycle | None = None
        self._hot = False  # whether the request being read is hot
        self._lingering = False  # the last answer has been given; what still comes is dropped

    # Reading. uvicorn builds an ASGI scope when a message begins; here that waits until the path is known.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._hot = False

    def on_headers_complete(self) -> None:
        path, mark, query = self.url.partition(b"?")
        endpoint = ENDPOINTS.get(path)
        if endpoint is None or self.parser.get_method() != b"POST":
            self._begin_cold()
            super().on_headers_complete()
            return
        self._hot = True
        cycle = HotCycle(self, endpoint, mark + query, dict(self.headers))
        current: Any = self.cycle
        self.cycle = cycle  # type: ignore[assignment]
        if current is None or current.response_complete:
            self._active = cycle
            cycle.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, None))  # type: ignore[arg-type]

    def _begin_cold(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = expects

    def on_body(self, body: bytes) -> None:
        if self._hot:
            self.cycle.body(body)  # type: ignore[operator]
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._hot:
            self.cycle.body_complete()  # type: ignore[attr-defined]
        else:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. That can be said unless an answer is being written or waited for."""
        current: Any = self.cycle
        still_reading = self._active is not None and self._active is current and current.more_body
        if current is None or current.response_complete or still_reading:
            self.gateway.metrics.refused(INVALID_HTTP.code)
            body = ApiError(INVALID_HTTP, msg).body
            self.transport.write(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[INVALID_HTTP.status], len(body), body)
            )
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        try:
            super().data_received(data)
        except httptools.HttpParserCallbackError:  # pragma: no cover - a defect of ours; the connection cannot go on
            _log.exception("the request parser's callback failed")
            self.transport.close()

    # Answering.

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """uvicorn starts the next pipelined request by this."""
        if isinstance(cycle, HotCycle):
            self._active = cycle
            self.loop.call_soon(cycle.start)  # not from here: a long pipeline of refusals would recurse
        else:
            super()._start_asgi_task(cycle, app)

    def answered(self, cycle: HotCycle) -> None:
        self._active = None
        if not cycle.keep_alive:
            if cycle.more_body and self.transport.can_write_eof():
                self._lingering = True
                self.transport.write_eof()
                self.loop.call_later(_LINGER_S, self.transport.close)
                return
            self.transport.close()
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        active = self._active
        self._active = None
        super().connection_lost(exc)
        if active is not None:
            active.gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._active is not None:
            self._active.slow()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._active is not None:
            self._active.ready()

    def shutdown(self) -> None:
        """uvicorn is draining: what is under way is finished, then the connection closes."""
        self.gateway.draining = True
        super().shutdown()
