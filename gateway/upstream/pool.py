"""The connections to one server.

All mutable state is `_idle` (free connections, the most recently used last), `_active` (calls that hold a connection)
and `_connecting` (one task per connection being made). A call takes the most recently used free connection, so that
surplus ones age and close, or makes a new one; there is no queue here (see `upstream.py`).
"""

import asyncio
import math
import ssl
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

from gateway.upstream.connection import Connection, ResponseSink
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers

# vLLM, llama.cpp and uvicorn close a connection that is idle for 5 s. Letting go first avoids most of the races in
# which a request meets a closing connection; the retry below covers the rest.
IDLE_S = 4.0
END_S = 1.0  # how long an upstream may take to end a message that has said all


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens. `base_path` is what stands before the endpoint, "/v1" as a rule."""

    host: str
    port: int
    tls: bool
    base_path: str

    @classmethod
    def parse(cls, base_url: str) -> "Address":
        """From "http(s)://host[:port]/path". Raises ValueError saying what was expected."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:  # what it says may quote a secret in the URL
            raise ValueError("expected a URL like http://host:port/v1 with a port from 1 to 65535") from None
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("expected a URL without credentials, query or fragment; put the key into api_key")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            came = "" if "@" in base_url else f", got {base_url!r}"
            raise ValueError(f"expected a URL like http://host:port/v1{came}")
        if port == 0:
            raise ValueError("expected a URL like http://host:port/v1 with a port from 1 to 65535, got port 0")
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class _Nobody:
    """The sink of a call that is over. A call and its maker refer to each other, and are freed when they stop to."""

    def head(self, status: int, headers: Headers) -> None: ...
    def data(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def fault(self, fault: UpstreamFault) -> None: ...


_NOBODY = _Nobody()


class Host(Protocol):
    """Who has a leg: a queue that it waits in, or a server that it was sent to."""

    def over(self, leg: "Leg") -> None:
        """It ended, however. Called once, before its sink hears of that; may not call any sink."""

    def outcome(self, leg: "Leg", ok: bool) -> None:
        """Its maker says whether it went well, before or after its end."""


class Leg:
    """One call to an upstream: what its maker holds to slow it or end it.

    `sent` says whether the request was written to a connection. The request is let go of as soon as it cannot be needed
    for another try. Where it waits in a queue first, it has no connection and no request yet. `host` and `admitted`
    belong to the host.
    """

    __slots__ = (
        "_connect_s",
        "_connecting",
        "_connection",
        "_pool",
        "_request",
        "_reused",
        "admitted",
        "end_by",
        "host",
        "sent",
        "sink",
    )

    def __init__(self, host: Host, sink: ResponseSink, connect_s: float) -> None:
        self.sink = sink
        self.host = host
        self.sent = False
        self.end_by = math.inf
        self.admitted = 0
        self._pool: Pool | None = None
        self._request = b""
        self._connect_s = connect_s
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reused = False

    def succeeded(self) -> None:
        """It gave what it was asked for, or a good beginning of it. Not both this and `failed`, and at most once."""
        self.host.outcome(self, True)

    def failed(self) -> None:
        """The upstream is to blame for what became of it. A leg that was cancelled, or was at fault itself, is
        neither."""
        self.host.outcome(self, False)

    def cancel(self) -> None:
        """End the call in whatever phase it is; the upstream sees its connection close. The sink hears nothing more."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort()
        self._let_go()

    def expect_end(self) -> None:
        """All that matters has come. The call is ended if its answer's last bytes do not follow within `END_S`."""
        self.end_by = monotonic() + END_S

    def pause(self) -> None:
        """Stop reading the answer: the upstream is slowed by TCP until `resume`."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    # Called by the connection.

    def head(self, status: int, headers: Headers) -> None:
        self._request = b""
        self.sink.head(status, headers)

    def finished(self) -> None:
        self._let_go().end()

    def lost(self, fault: UpstreamFault, *, nothing_received: bool) -> None:
        """The connection died. A reused one that died before any byte was closing already: once more, on a fresh one.

        A server that closes an idle connection has not acted on what was just sent over it, which is what RFC 9110
        section 9.2.2 asks one to know before a POST is sent again. A fresh connection is never `reused`, so this
        happens once at most.
        """
        self._connection = None
        if self._reused and nothing_received and fault.kind is FaultKind.RESET and self._pool is not None:
            self._reused = False
            self._pool._connect(self)
        else:
            self._let_go().fault(fault)

    # Called by the pool, and by the queue.

    def start(self, pool: "Pool", request: bytes) -> None:
        self._pool = pool
        self._request = request

    def send_over(self, connection: Connection, *, reused: bool) -> None:
        self._connecting = None
        self._connection = connection
        self._reused = reused
        self.sent = True
        request = self._request
        if not reused:
            self._request = b""
        connection.send(request, self)

    def not_sent(self, fault: UpstreamFault) -> None:
        self._connecting = None
        self._let_go().fault(fault)

    def _let_go(self) -> ResponseSink:
        sink, self.sink = self.sink, _NOBODY
        self._connection = None
        self._request = b""
        if sink is not _NOBODY:
            self.host.over(self)
        return sink


class Pool:
    """Calls to one server. `close` ends every call and connection and waits until they are gone."""

    def __init__(self, address: Address, ssl_context: ssl.SSLContext | None = None) -> None:
        self.address = address
        self._ssl = (ssl_context or ssl.create_default_context()) if address.tls else None
        self._idle: deque[Connection] = deque()
        self._active: set[Leg] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def active_count(self) -> int:
        return len(self._active)

    def send(self, request: bytes, sink: ResponseSink, connect_s: float) -> Leg:
        """Send a whole HTTP/1.1 request; its answer goes to `sink`, never before this returns."""
        leg = Leg(self, sink, connect_s)
        self.start(leg, request)
        return leg

    def start(self, leg: Leg, request: bytes) -> None:
        """Send the request of a leg that somebody else hosts, and who tells of its end by `over`."""
        leg.start(self, request)
        self._active.add(leg)
        connection = self._take()
        if connection is None:
            self._connect(leg)
        else:
            leg.send_over(connection, reused=True)

    # `Host` of its own legs, and of others' by way of their hosts.

    def over(self, leg: Leg) -> None:
        self._active.discard(leg)

    def outcome(self, leg: Leg, ok: bool) -> None: ...

    def sweep(self) -> None:
        """Close what has been idle too long, end what should have ended. Call it about once a second."""
        now = monotonic()
        for leg in [leg for leg in self._active if leg.end_by < now]:
            leg.cancel()
        oldest_allowed = now - IDLE_S
        while self._idle and self._idle[0].idle_since < oldest_allowed:
            self._idle.popleft().abort()

    async def close(self) -> None:
        for leg in list(self._active):
            leg.cancel()
        while self._idle:
            self._idle.pop().abort()
        if self._connecting:
            await asyncio.wait(self._connecting)
        await asyncio.sleep(0)  # transports close in the loop's next turn

    # Called by connections.

    def freed(self, connection: Connection) -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)

    def gone(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    # Called by legs.

    def _take(self) -> Connection | None:
        oldest_allowed = monotonic() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since >= oldest_allowed:
                return connection
            connection.abort()
        return None

    def _connect(self, leg: Leg) -> None:
        task = asyncio.get_running_loop().create_task(self._open(leg))
        leg._connecting = task
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open(self, leg: Leg) -> None:
        address = self.address
        connection = Connection(self)
        try:
            async with asyncio.timeout(leg._connect_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, address.host, address.port, ssl=self._ssl
                )
        except asyncio.CancelledError:
            connection.abort()
            raise
        except TimeoutError:
            fault = UpstreamFault(FaultKind.CONNECT, f"no connection within {leg._connect_s:g} s")
        except Exception as error:  # refused, unresolvable, TLS, or a defect of ours: the sink must hear of it
            fault = UpstreamFault(FaultKind.CONNECT, getattr(error, "strerror", None) or str(error))
        else:
            leg.send_over(connection, reused=False)
            return
        leg.not_sent(fault)
