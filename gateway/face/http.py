"""The hot face: requests to models are served by uvicorn's own protocol object, below ASGI.

No scope, no task, no timer, no events per request: `docs/decisions/0001` has the reasons. `Face` is a subclass of
uvicorn's httptools protocol. A POST to one of the model endpoints becomes a `HotCycle`, which stands where uvicorn
keeps its `RequestResponseCycle`, so that keep-alive, pipelining and shutdown stay uvicorn's; every other request goes
to the ASGI app, on the same port and even the same connection. uvicorn's minor version is pinned for that, and
`tests/integration/test_face.py` holds the seam.
"""

import logging
import re
import resource
import socket
import struct
from functools import cache
from time import monotonic
from typing import Any

import httptools
from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.face.cycle import HotCycle
from gateway.face.errors import HEAD_TOO_LARGE, INVALID_HTTP, TOO_MANY_CONNECTIONS, TOO_SLOW, ApiError
from gateway.face.headers import check_framing, check_target
from gateway.face.openai import ENDPOINTS
from gateway.state import Gateway

_BODY_BYTES_PER_S = 64 * 1024  # what a body that takes longer than `body_s` must come at, on average
_READ_BYTES = 16 * 1024  # what a client must read within `reader_s` while more than that waits for it
_OTHER_FILES = 64  # descriptors that are not connections: the store, the log, the listening socket
_RESET = struct.pack("ii", 1, 0)  # close without waiting for anything: what waits is dropped
_LAST_REQUEST_S = 0.5  # how long a request may take that was sent before the sender can know that the worker ends
_LINGER_S = 2.0  # how long a refused upload is read and dropped, so that its sender gets to see the answer
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_NOTHING, _HEAD, _BODY = range(3)  # what of a request is being read
_log = logging.getLogger(__name__)


class Face(HttpToolsProtocol):
    """uvicorn's protocol, with the model endpoints served here. `_active` is the hot cycle being answered, if any.

    Idle and slow connections are found by the worker's housekeeping (`close_idle`, `check_pace`), not by a timer each.
    Since when they are slow is noted at its first look, so that a request that is there at once pays nothing for it.
    """

    def __init__(
        self, config: UvicornConfig, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.gateway: Gateway = app_state["gateway"]
        self._limits = self.gateway.config.limits
        self.waiting_since: float | None = None
        self._active: HotCycle | None = None
        self._hot: HotCycle | None = None  # the hot request being read
        self._upgrading = False  # the request being read asks for another protocol
        self._deaf = False  # the connection's last request has come, or been refused: what still comes is dropped
        self._reading = _NOTHING
        self._reading_since = 0.0  # when that was first looked at; 0.0 for not yet
        self._barren_bytes = 0  # of a head, or between the pieces of a body: neither may grow for ever
        self._maybe_large = False  # whether the head being read may be over `head_bytes`
        self._unread = 0  # bytes that waited for the client when it last was seen to read, at `_unread_since`
        self._unread_since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.waiting_since = monotonic()
        most = _most_connections(self._limits.connections)
        if len(self.gateway.clients) >= most:
            self._deaf = True
            self._refuse_bytes(ApiError(TOO_MANY_CONNECTIONS, f"The gateway has {most} connections already."))
            return
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

    def check_pace(self, now: float) -> None:
        """Give up on who sends or reads too slowly. Call it about once a second."""
        unread = self.transport.get_write_buffer_size()
        if unread:
            self._check_reader(unread, now)
        elif self._unread_since:
            self._unread_since = 0.0
        if self._reading is _NOTHING or self._deaf:
            return
        current: Any = self.cycle
        answering = current is not None and not current.response_complete
        if self.flow.read_paused or (answering and self._reading is _HEAD):
            self._reading_since = 0.0  # it waits for us
        elif not self._reading_since:
            self._reading_since = now
        elif self._reading is _HEAD:
            if now - self._reading_since > self._limits.head_s:
                self._refuse_bytes(ApiError(TOO_SLOW, f"Expected a whole head within {self._limits.head_s:g} s."))
        elif answering:
            came = self._active.body_bytes if self._active is not None else 0
            if now - self._reading_since > self._limits.body_s + came / _BODY_BYTES_PER_S:
                self._refuse_bytes(ApiError(TOO_SLOW, f"Expected a whole body within {self._limits.body_s:g} s."))

    def _check_reader(self, unread: int, now: float) -> None:
        """`unread` bytes of answers wait for the client. That they grow says nothing of it, unless it holds us up."""
        reads = unread <= self._unread - _READ_BYTES or (unread > self._unread and not self.flow.write_paused)
        if reads or not self._unread_since:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self._limits.reader_s:
            client = self.transport.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # or the kernel would go on trying
            self.transport.abort()

    # Reading.

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, ApiError):
                self._refuse_bytes(error.__context__)
                return
            _log.exception("reading a request failed inside the gateway")
            self.transport.close()
        except httptools.HttpParserError:
            if not self._deaf:  # else it was refused in the same piece, and what follows is read by nobody
                self.send_400_response("Invalid HTTP request received.")

    def _feed(self, data: bytes) -> None:
        reading, most = self._reading, self._limits.head_bytes
        self._maybe_large = reading is _HEAD or len(data) > most
        while True:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
        if reading is not _NOTHING and reading is self._reading:
            self._barren_bytes = self._barren_bytes + len(data) if self._barren_bytes >= 0 else 0
            if self._barren_bytes > most:
                self._refuse_bytes(_head_too_large(most))

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
        self._reading = _HEAD
        self._reading_since = 0.0
        self._barren_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._reading_since = 0.0
        self._barren_bytes = 0
        if self._deaf:
            return
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        self.waiting_since = None
        if not self.url.startswith(b"/"):
            self.url = _ABSOLUTE.sub(b"", self.url, count=1) or b"/"
        headers, limits = self.headers, self._limits
        fields = dict(headers)
        if self._maybe_large:
            self._check_size(limits.head_bytes)
        version = self.parser.get_http_version()
        check_framing(version, headers, fields, limits.headers)
        query = b""
        endpoint = ENDPOINTS.get(self.url)
        if endpoint is None:
            check_target(self.url, limits.target_bytes)
            path, mark, query = self.url.partition(b"#")[0].partition(b"?")
            endpoint = ENDPOINTS.get(path)
            query = mark + query
        self._reading = _BODY
        if endpoint is None or self.parser.get_method() != b"POST":
            self._begin_cold()
            super().on_headers_complete()
            if self.gateway.draining:
                self.cycle.keep_alive = False
            self.headers = []  # what still comes are trailers, which nobody reads
            return
        self.headers = []
        cycle = HotCycle(self, endpoint, query, fields, version)
        self._hot = cycle
        current: Any = self.cycle
        self.cycle = cycle  # type: ignore[assignment]
        if current is None or current.response_complete:
            self._active = cycle
            cycle.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, None))  # type: ignore[arg-type]

    def _check_size(self, most: int) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > most:
            raise _head_too_large(most)

    def _begin_cold(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = (b"expect", b"100-continue") in [(name, value.lower()) for name, value in headers]

    def on_body(self, body: bytes) -> None:
        self._barren_bytes = -1
        if self._hot is not None:
            self._hot.body(body)
        elif not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading = _NOTHING
        if self._upgrading or self._deaf:
            return
        if self._hot is not None:
            self._hot.body_complete()
        else:
            super().on_message_complete()
        if not self.cycle.keep_alive:  # RFC 9112 section 9.6: nothing after it is a request
            self._deaf = True

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse_bytes(ApiError(INVALID_HTTP, msg))

    def _refuse_bytes(self, error: ApiError) -> None:
        """Say what is wrong with what came, unless its answer is under way or was given, and close."""
        current: Any = self.cycle
        answered = current is None or current.response_complete
        if (answered and self._reading is not _BODY) or (not answered and self._awaits_cold(current)):
            if current is not None:
                current.disconnected = True  # the app has nothing more to say
            self.gateway.metrics.refused(error.kind.code)
            self.transport.write(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (STATUS_LINE[error.kind.status], len(error.body), error.body)
            )
        elif self._active is not None and self._active is current and self._active.more_body:
            self._active.refuse(error)
            return
        self.transport.close()

    def _awaits_cold(self, current: Any) -> bool:
        """Whether it is the app's turn to answer, which still waits for the request's body."""
        cold = not isinstance(current, HotCycle) and not self.pipeline
        return cold and current.more_body and not current.response_started

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
                self._deaf = True
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
        """uvicorn is draining: what is under way is finished, then the connection closes.

        One that is idle is left open for a moment: a load balancer may have just sent a request on it, which would be
        lost. It is answered, and told to close.
        """
        self.gateway.draining = True
        current: Any = self.cycle
        if current is None or current.response_complete:
            self.loop.call_later(_LAST_REQUEST_S, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        current: Any = self.cycle
        if current is None or current.response_complete:
            self.transport.close()


def _head_too_large(most: int) -> ApiError:
    return ApiError(HEAD_TOO_LARGE, f"Expected a head of at most {most} bytes.")


@cache
def _most_connections(configured: int) -> int:
    """Connections of clients to take: no more than files can be open for, with one to a model server for each. Without
    a descriptor left nothing could be accepted, told or logged."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return configured if files == resource.RLIM_INFINITY else max(1, min(configured, (files - _OTHER_FILES) // 2))
