"""A scripted model server: raw asyncio in a thread, so that it can delay, split, cut and reset exactly.

Each request is answered by what the test's `script` yields for it: `bytes` are written as they are, a number is slept
(seconds), `CLOSE` ends the connection in order, `RESET` with a TCP reset. What was received and when each connection
ended is recorded. The gateway's health checks, which are the only GETs, are answered apart from all that.
"""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

CLOSE = object()
RESET = object()
Step = bytes | float | int | object


@dataclass
class Received:
    """A request as it came over the wire. `closed_at` is when its connection ended (monotonic), if it has."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float
    closed_at: float | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[[Received], Iterable[Step]]


@dataclass
class ScriptedUpstream:
    """`with ScriptedUpstream(script) as upstream`: listens on `port`; `script` may be replaced at any time.

    Health checks are in `checks`, and answered by `health`, or like a server that has models and is well. The counts of
    connections are of those that carried anything else.
    """

    script: Script
    health: Script | None = None
    requests: list[Received] = field(default_factory=list)
    checks: list[Received] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "ScriptedUpstream":
        started = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._stop.wait()
            server.close()

        def run() -> None:
            self._loop.run_until_complete(serve())
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0  # from the first request on that is no health check
        mine: list[Received] = []
        try:
            while True:
                request = await _read_request(reader)
                mine.append(request)
                if request.method == "GET":
                    self.checks.append(request)
                else:
                    if not number:
                        self.connections += 1
                        self.open_connections += 1
                        number = self.connections
                    request.connection = number
                    self.requests.append(request)
                answering = asyncio.ensure_future(self._answer(request, writer))
                watching = asyncio.ensure_future(_closed(reader))
                await asyncio.wait([answering, watching], return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    answering.cancel()
                    return
                watching.cancel()
                if not answering.result():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= bool(number)
            for request in mine:
                request.closed_at = monotonic()
            writer.close()

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> bool:
        """Play the script. False if it ended the connection."""
        script = self.script if request.method != "GET" else self.health or well
        for step in script(request):
            if step is CLOSE:
                return False
            if step is RESET:
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(float(step))  # type: ignore[arg-type]
        return True


async def _closed(reader: asyncio.StreamReader) -> None:
    """Wait until the peer is gone, without taking any byte of a next request."""
    while not reader.at_eof() and reader.exception() is None and not reader._buffer:  # type: ignore[attr-defined]
        await asyncio.sleep(0.002)
    if reader._buffer:  # type: ignore[attr-defined]
        await asyncio.sleep(3600)


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, target, headers, body, 0, monotonic())


# Answers as OpenAI-style servers give them.

USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def response(body: bytes | dict[str, Any], status: str = "200 OK", extra: str = "") -> bytes:
    """A whole HTTP response with a content-length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


def well(request: Received) -> Iterable[Step]:
    """The answer to a health check that is a `GET /v1/models`, as of a server that is nobody we know."""
    yield response({"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "somebody"}]})


def completion(text: str = "Hello there", model: str = "scripted", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
    }


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: dict[str, Any] | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One chat.completion.chunk event."""
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "scripted",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def usage_event() -> bytes:
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "scripted",
            "choices": [],
            "usage": USAGE,
        }
    )


DONE = event("[DONE]")


def stream_events(words: Iterable[str], *, usage: bool) -> list[bytes]:
    """The events of a whole streamed answer: role, a delta per word, finish, usage if asked for, [DONE]."""
    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": word}) for word in words]
    events.append(chunk({}, "stop"))
    if usage:
        events.append(usage_event())
    return [*events, DONE]


def well_behaved(words: Iterable[str] = ("Hello", " there", "!")) -> Script:
    """A server that answers as asked: streaming or not, with usage where `include_usage` says so."""

    def script(request: Received) -> Iterable[Step]:
        body = request.json
        if not body.get("stream"):
            yield response(completion("".join(words), model=body["model"]))
            return
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        yield STREAM_HEAD
        for one in stream_events(words, usage=usage):
            yield chunked(one)
        yield STREAM_END

    return script
