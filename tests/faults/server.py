"""A model server that fails exactly as it is told to: to the byte, to the millisecond, to the TCP flag.

A script is called for each request and yields what to do: `bytes` are written as they are, a number is slept
(seconds), `CLOSE` ends the connection in order (FIN), `RESET` ends it with a TCP reset, `SILENCE` says nothing more
until the other side closes. When a script ends otherwise, the connection is kept for a next request.

It is a protocol without tasks, so that nothing stands between the socket and the record: every call knows when it
came, when and by whom its connection was closed, and how far its script had got. Health checks (GET) are answered apart
from the calls and recorded as `probes`.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import Any, Protocol


class End(Enum):
    """How a script ends a connection, or that it never does."""

    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"


CLOSE, RESET, SILENCE = End.CLOSE, End.RESET, End.SILENCE
Step = bytes | float | End


@dataclass
class Call:
    """One request of a gateway. Times are monotonic seconds: `at` its last byte, `answered_at` the end of its script.

    `closed_at` and `closed_by` (`gateway` or `provider`) say how its connection ended, if it has.
    """

    number: int
    target: str
    headers: dict[str, str]
    body: bytes
    at: float
    answered_at: float | None = None
    closed_at: float | None = None
    closed_by: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def streams(self) -> bool:
        return bool(self.json.get("stream"))

    @property
    def prefill(self) -> str | None:
        """The beginning of an answer that is to be continued, if the request ends in one."""
        messages = self.json.get("messages") or [{}]
        if messages[-1].get("role") != "assistant":
            return None
        content = messages[-1].get("content")
        if isinstance(content, list):
            return "".join(part.get("text", "") for part in content)
        return content if isinstance(content, str) else None


@dataclass
class Probe:
    """A health check: when it came, when it was answered."""

    target: str
    at: float
    answered_at: float | None = None


Script = Callable[[Call], Iterable[Step]]


class Upstream(Protocol):
    """What a gateway is pointed at, working or not."""

    calls: list[Call]
    port: int

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass
class Provider:
    """A server on a port of its own. `script` and `healthy` may be changed at any time.

    `owned_by` is who made it, as its list of models says. `most_at_once` counts calls that were being answered.
    """

    script: Script
    healthy: bool = True
    owned_by: str = "somebody"
    calls: list[Call] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    most_at_once: int = 0
    _live: set["_Connection"] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._live):
            connection.end(CLOSE)

    def count_now(self) -> None:
        busy = sum(connection.busy for connection in self._live)
        self.most_at_once = max(self.most_at_once, busy)


class Refusing:
    """A port that is taken and not listened on: connections are refused."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.port = 0

    async def start(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    async def stop(self) -> None:
        self._socket.close()


class Unreachable:
    """A port whose backlog is full: connecting waits, and nothing comes back."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.port = 0

    async def start(self) -> None:
        self._sockets = [socket.socket()]
        self._sockets[0].bind(("127.0.0.1", 0))
        self._sockets[0].listen(0)
        self.port = self._sockets[0].getsockname()[1]
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._sockets.append(filler)

    async def stop(self) -> None:
        for one in self._sockets:
            one.close()


class _Connection(asyncio.Protocol):
    """One connection: reads requests, plays a script for each."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._steps: Iterator[Step] | None = None
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended_here = False

    @property
    def busy(self) -> bool:
        return self._steps is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._provider.connections += 1
        self._provider._live.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._steps is None:
            self._next_request()

    def eof_received(self) -> bool:
        return False  # half-closed is gone: nobody will read an answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider._live.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._call is not None:
            self._call.closed_at = monotonic()
            self._call.closed_by = "provider" if self._ended_here else "gateway"
        self._steps = None

    def end(self, how: End) -> None:
        self._ended_here = True
        if how is RESET:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def _next_request(self) -> None:
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        if method == "GET":
            self._probed(target)
            return
        calls = self._provider.calls
        self._call = Call(len(calls) + 1, target, headers, rest[:length], monotonic())
        calls.append(self._call)
        self._steps = iter(self._provider.script(self._call))
        self._provider.count_now()
        self._play()

    def _probed(self, target: str) -> None:
        probe = Probe(target, monotonic())
        self._provider.probes.append(probe)
        status = "200 OK" if self._provider.healthy else "503 Service Unavailable"
        models = {"object": "list", "data": [{"id": "a-model", "object": "model", "owned_by": self._provider.owned_by}]}
        body = json.dumps(models if self._provider.healthy else {}).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        probe.answered_at = monotonic()
        self._next_request()

    def _play(self) -> None:
        self._timer = None
        assert self._steps is not None
        for step in self._steps:
            if self._transport.is_closing():
                return
            if isinstance(step, bytes):
                self._transport.write(step)
            elif step is SILENCE:
                return
            elif isinstance(step, End):
                self._answered()
                self.end(step)
                return
            else:
                self._timer = asyncio.get_running_loop().call_later(step, self._play)
                return
        self._answered()
        self._next_request()

    def _answered(self) -> None:
        assert self._call is not None
        self._call.answered_at = monotonic()
        self._steps = None
