"""The caller's side: the official `openai` client, with a tap on its socket.

Each exchange is seen twice, by what the client made of it and by the bytes themselves, read again here by other code:
the client takes a stream that just ends for a whole answer, the bytes show whether `[DONE]` or an error had come.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpcore2
import httpx2
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

TIMEOUT_S = 30.0
_tapped: ContextVar["Reply | None"] = ContextVar("_tapped", default=None)


@dataclass
class Reply:
    """What a caller got. Times are monotonic seconds.

    From the client: `text` (what it made of the answer), `tool_calls` (name to arguments, joined), `raised`.
    From the bytes: all others. `whole` says that the message ended as its framing says it must.
    """

    started_at: float = 0.0
    first_token_at: float | None = None
    ended_at: float = 0.0
    raw: bytes = b""
    text: str = ""
    tool_calls: dict[str, str] = field(default_factory=dict)
    raised: APIError | None = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def took_s(self) -> float:
        return self.ended_at - self.started_at

    @property
    def events(self) -> list[Any]:
        """The data of each event of a stream: decoded, `[DONE]` as text."""
        blocks = self.body.decode("utf-8", "replace").split("\n\n")
        data = [line[5:].strip() for block in blocks for line in block.split("\n") if line.startswith("data:")]
        return [one if one == "[DONE]" else _decoded(one) for one in data]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [one for one in self.events if isinstance(one, dict) and "choices" in one]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [choice.get("delta") or {} for one in self.chunks for choice in one["choices"]]

    @property
    def finishes(self) -> list[str]:
        return [choice["finish_reason"] for one in self.chunks for choice in one["choices"] if choice["finish_reason"]]

    @property
    def streamed_text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)

    @property
    def error(self) -> dict[str, Any] | None:
        """The error the bytes carry: an error body, or an error event."""
        if self.is_stream:
            told = [one["error"] for one in self.events if isinstance(one, dict) and one.get("error")]
            return told[-1] if told else None
        body = _decoded(self.body.decode("utf-8", "replace"))
        found = body.get("error") if isinstance(body, dict) else None
        return found if isinstance(found, dict) else None

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def code(self) -> object:
        return (self.error or {}).get("code")


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def read_response(reply: Reply) -> None:
    """Fill in what the bytes of `reply` say, strictly: this is the second opinion."""
    head, mark, rest = reply.raw.partition(b"\r\n\r\n")
    if not mark:
        return
    first, *lines = head.decode("latin-1").split("\r\n")
    reply.status = int(first.split(" ")[1])
    reply.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if reply.headers.get("transfer-encoding", "") == "chunked":
        reply.body, reply.whole = _dechunked(rest)
    elif "content-length" in reply.headers:
        reply.body = rest
        reply.whole = len(rest) == int(reply.headers["content-length"])


def _dechunked(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        size_line, mark, rest = data.partition(b"\r\n")
        if not mark:
            return body, False
        size = int(size_line, 16)
        if size == 0:
            return body, rest == b"\r\n"
        if len(rest) < size + 2 or rest[size : size + 2] != b"\r\n":
            return body + rest[:size], False
        body, data = body + rest[:size], rest[size + 2 :]


class _TapStream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore2.AsyncNetworkStream, reply: Reply | None) -> None:
        self._stream = stream
        self._reply = reply

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        data = await self._stream.read(max_bytes, timeout)
        if self._reply is not None:
            self._reply.raw += data
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """The client stops reading at an error event; what the gateway says after it is of interest here."""
        reply = self._reply
        if reply is not None:
            read_response(reply)
            with suppress(httpcore2.ReadError, httpcore2.ReadTimeout):
                while not reply.whole and await self.read(65536, 0.5):
                    read_response(reply)
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Tap(httpcore2.AsyncNetworkBackend):
    """Connects as usual, and keeps what is read for the exchange in whose task the connection was made."""

    def __init__(self) -> None:
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _TapStream(stream, _tapped.get())


class Caller:
    """`async with Caller(base_url) as caller`: asks, each time on a connection of its own."""

    def __init__(self, base_url: str) -> None:
        transport = httpx2.AsyncHTTPTransport(verify=False)
        transport._pool = httpcore2.AsyncConnectionPool(
            max_connections=None, max_keepalive_connections=0, network_backend=_Tap()
        )
        self._http = httpx2.AsyncClient(transport=transport, timeout=TIMEOUT_S)
        self._openai = AsyncOpenAI(base_url=base_url, api_key="a-test", max_retries=0, http_client=self._http)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, body: dict[str, Any]) -> Reply:
        """One request, to the end of its answer, whatever that is."""
        reply = Reply(started_at=monotonic())
        _tapped.set(reply)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if body.get("stream"):
                    await self._stream(body, reply)
                else:
                    await self._whole(body, reply)
        except APIError as error:
            reply.raised = error
        reply.ended_at = monotonic()
        read_response(reply)
        return reply

    async def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        stream = await self._openai.chat.completions.create(**body)
        async for chunk in stream:
            for choice in chunk.choices:
                if reply.first_token_at is None and (choice.delta.content or choice.delta.tool_calls):
                    reply.first_token_at = monotonic()
                reply.text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    names = list(reply.tool_calls)
                    if call.function is None:
                        continue
                    name = call.function.name or names[call.index]
                    reply.tool_calls[name] = reply.tool_calls.get(name, "") + (call.function.arguments or "")

    async def _whole(self, body: dict[str, Any], reply: Reply) -> None:
        answer = await self._openai.chat.completions.create(**body)
        if not getattr(answer, "choices", None):
            return  # the client returns anything that is JSON
        message = answer.choices[0].message
        reply.text = message.content or ""
        for call in message.tool_calls or ():
            if call.type == "function":
                reply.tool_calls[call.function.name] = call.function.arguments


def _content(body: bytes) -> str:
    answer = _decoded(body.decode("utf-8", "replace"))
    choices = answer.get("choices") if isinstance(answer, dict) else None
    return choices[0]["message"]["content"] or "" if choices else ""


def how_raised(error: APIError) -> str:
    """An error as the scorecard names it."""
    if isinstance(error, APIStatusError):
        return f"{error.status_code}"
    return "no connection" if isinstance(error, APIConnectionError) else type(error).__name__


class RawCaller:
    """A connection that sends what it is told, piece by piece, and can leave at any moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> "RawCaller":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, body: dict[str, Any], piece: int | None = None, pause_s: float = 0.0) -> None:
        """Send a chat request; in pieces of `piece` bytes with `pause_s` between them, if given."""
        data = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        whole = f"{head}content-length: {len(data)}\r\n\r\n".encode() + data
        for at in range(0, len(whole), piece or len(whole)):
            self._writer.write(whole[at : at + (piece or len(whole))])
            await self._writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def reply(self) -> Reply:
        """Everything up to the end of one answer; `text` is what its bytes say."""
        reply = Reply(started_at=monotonic())
        async with asyncio.timeout(TIMEOUT_S):
            while not reply.whole:
                data = await self._reader.read(65536)
                reply.raw += data
                read_response(reply)
                if not data:
                    break
        reply.ended_at = monotonic()
        reply.text = reply.streamed_text if reply.is_stream else _content(reply.body)
        return reply

    async def until(self, mark: bytes) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self._reader.readuntil(mark)

    def leave(self, *, reset: bool = False) -> float:
        """Close the connection; when that was (monotonic)."""
        if reset:
            connection: socket.socket = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort() if reset else self._writer.close()
        return monotonic()
