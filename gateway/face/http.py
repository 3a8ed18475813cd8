"""The hot face: requests to models are served by uvicorn's own protocol object, below ASGI.

No scope, no task, no timer, no events per request: `docs/decisions/0001` has the reasons. `Face` is a subclass of
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

from gateway.face.cycle import HotCycle
from gateway.face.errors import HEAD_TOO_LARGE, INVALID_HTTP, ApiError
from gateway.face.openai import ENDPOINTS
from gateway.state import Gateway

MAX_HEAD_BYTES = 256 * 1024  # more than this in one head is refused; less may pass
_LINGER_S = 2.0  # how long a refused upload is read and dropped, so that its sender gets to see the answer
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Face(HttpToolsProtocol):
    """uvicorn's protocol, with the model endpoints served here. `_active` is the hot cycle being answered, if any.

    Idle connections are closed by the worker's housekeeping and not by a timer each.
    """

    def __init__(
        self, config: UvicornConfig, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.gateway: Gateway = app_state["gateway"]
        self.waiting_since: float | None = None
        self._active: HotCycle | None = None
        self._hot: HotCycle | None = None  # the hot request being read
        self._upgrading = False  # the request being read asks for another protocol
        self._lingering = False  # the last answer has been given; what still comes is dropped
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.waiting_since = monotonic()
        self.gateway.clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        active, self._active = self._active, None
        self.gateway.clients.discard(self)
        super().connection_lost(exc)
        self._hot = None
        if isinstance(self.cycle, HotCycle):  # it refers to this connection
            self.cycle = None
        if active is not None:
            active.gone()

    def close_idle(self) -> None:
        self.transport.close()

    # Reading.

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError:
            _log.exception("reading a request failed inside the gateway")
            self.transport.close()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _feed(self, data: bytes) -> None:
        was_in_head = self._in_head
        while True:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_bytes(ApiError(HEAD_TOO_LARGE, f"Expected a head of at most {MAX_HEAD_BYTES} bytes."))

    def _without_upgrade(self) -> bytes:
        """The head just read as if it had not asked for another protocol, as RFC 9110 section 7.8 allows, for a new
        parser: the old one has stopped, taking the request to have no body. JDK clients ask for HTTP/2 every time."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies")
        head = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(t for t in tokens if t.lower() not in (b"upgrade", b"http2-settings"))
            if value and name not in (b"upgrade", b"http2-settings"):
                head += b"%b: %b\r\n" % (name, value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return head + b"\r\n"

    def on_message_begin(self) -> None:
        """uvicorn builds an ASGI scope here; ours waits until the path is known."""
        self.url = b""
        self.headers = []
        self._hot = None
        self._in_head = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._lingering:
            return
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        self.waiting_since = None
        if not self.url.startswith(b"/"):
            self.url = _ABSOLUTE.sub(b"", self.url, count=1) or b"/"
        query = b""
        endpoint = ENDPOINTS.get(self.url)
        if endpoint is None:
            path, mark, query = self.url.partition(b"#")[0].partition(b"?")
            endpoint = ENDPOINTS.get(path)
            query = mark + query
        if endpoint is None or self.parser.get_method() != b"POST":
            self._begin_cold()
            super().on_headers_complete()
            return
        cycle = HotCycle(self, endpoint, query)
        self._hot = cycle
        current: Any = self.cycle
        self.cycle = cycle  # type: ignore[assignment]
        if current is None or current.response_complete:
            self._active = cycle
            cycle.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, None))  # type: ignore[arg-type]

    def _begin_cold(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = (b"expect", b"100-continue") in [(name, value.lower()) for name, value in headers]

    def on_body(self, body: bytes) -> None:
        if self._hot is not None:
            self._hot.body(body)
        elif not self._lingering:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._hot is not None:
            self._hot.body_complete()
        elif not (self._upgrading or self._lingering):
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse_bytes(ApiError(INVALID_HTTP, msg))

    def _refuse_bytes(self, error: ApiError) -> None:
        """Say what is wrong with what came, unless an answer is under way, and close."""
        current: Any = self.cycle
        if current is None or current.response_complete:
            self.gateway.metrics.refused(error.kind.code)
            self.transport.write(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[error.kind.status], len(error.body), error.body)
            )
        elif self._active is not None and self._active is current and self._active.more_body:
            self._active.refuse(error)
            return
        self.transport.close()

    # Answering.

    def default_lines(self) -> bytes:
        """uvicorn's default headers, the date, as lines. It makes a new list of them every second."""
        gateway, headers = self.gateway, self.server_state.default_headers
        if gateway.default_headers is not headers:
            gateway.default_headers = headers
            gateway.default_lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return gateway.default_lines

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

    def on_response_complete(self) -> None:
        """uvicorn's, without the timer for idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.waiting_since = monotonic()

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
