"""A connection to the gateway, and reading its answers as strictly as h11 can, and a little more so: what a client of
any kind may hold us to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import cast

import h11

_EVENT_BYTES = 1 << 20


class Malformed(Exception):
    """The gateway sent something that is no HTTP answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`names` and values as they came, names in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")

    @property
    def is_stream(self) -> bool:
        return self.header(b"content-type").startswith(b"text/event-stream")

    @property
    def code(self) -> str:
        """The error's code, "" if the body has none."""
        try:
            told = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        error = told.get("error") if isinstance(told, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        return code if isinstance(code, str) else ""


class AnswerReader:
    """Answers off one connection, however many. `head`: the first is to a HEAD request, so it has no body."""

    def __init__(self, *, head: bool = False) -> None:
        self._method = b"HEAD" if head else b"POST"
        self._last = False
        self._begin(h11.Connection(h11.CLIENT, max_incomplete_event_size=_EVENT_BYTES))

    def _begin(self, connection: h11.Connection) -> None:
        self._connection = connection
        connection.send(h11.Request(method=self._method, target="/", headers=[("host", "g"), ("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        self._response: h11.Response | None = None
        self._body: list[bytes] = []

    @property
    def inside(self) -> bool:
        """Whether an answer has begun and not ended."""
        return self._response is not None or bool(self._connection.trailing_data[0])

    @property
    def closing(self) -> bool:
        """Whether an answer said that it is the last."""
        return self._last

    def feed(self, data: bytes) -> list[Answer]:
        """The next bytes, b"" for the end of the connection. Raises `Malformed`."""
        if self._last:
            if data:
                raise Malformed(f"bytes after the last answer: {data[:80]!r}")
            return []
        try:
            if not data and not self.inside:
                return []
            self._connection.receive_data(data)
            return self._answers()
        except h11.RemoteProtocolError as error:
            raise Malformed(str(error)) from error

    def _answers(self) -> list[Answer]:
        answers: list[Answer] = []
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return answers
            if isinstance(event, h11.Response):
                _check_head(event, self._method)
                self._response = event
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert self._response is not None
                headers = tuple((bytes(name), bytes(value)) for name, value in self._response.headers)
                answers.append(Answer(self._response.status_code, headers, b"".join(self._body)))
                self._response = None
                if self._connection.their_state is not h11.DONE:
                    self._last = True
                    if self._connection.trailing_data[0]:
                        raise Malformed(f"bytes after the last answer: {self._connection.trailing_data[0][:80]!r}")
                    return answers
                self._connection.start_next_cycle()
                self._method = b"POST"
                self._begin(self._connection)
            elif isinstance(event, h11.ConnectionClosed):
                return answers


def _check_head(response: h11.Response, method: bytes) -> None:
    """What h11 lets pass and RFC 9110 and 9112 do not."""
    names = [bytes(name) for name, _ in response.headers]
    for name in (b"content-length", b"transfer-encoding", b"date", b"connection"):
        if names.count(name) > 1:
            raise Malformed(f"{name.decode()} {names.count(name)} times")
    framed = b"content-length" in names, b"transfer-encoding" in names
    if all(framed):
        raise Malformed("content-length and transfer-encoding in one head")
    if any(framed) and response.status_code in (204, 304):
        raise Malformed(f"a status {response.status_code} with a length (RFC 9110 section 8.6)")


class Link(asyncio.Protocol):
    """A connection. What came before a reset is read, as a browser would; asyncio's own streams drop it.

    `broken`: the connection ended by a reset.
    """

    def __init__(self, *, head: bool = False) -> None:
        self.answers = AnswerReader(head=head)
        self.broken = False
        self._data: list[bytes] = []
        self._over = False
        self._wanted: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, port: int, *, head: bool = False) -> Link:
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(head=head), "127.0.0.1", port)
        return link

    @property
    def usable(self) -> bool:
        return not (self._over or self._transport.is_closing() or self.answers.closing)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data.append(data)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self.broken = exc is not None
        self._wake()

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # else what has come until then is still to be read
            self._transport.write(data)

    async def read(self, timeout_s: float) -> bytes:
        """What has come since the last time, b"" at the end. Raises TimeoutError if nothing does."""
        if not self._data and not self._over:
            self._wanted = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout_s):
                await self._wanted
        data, self._data = b"".join(self._data), []
        return data

    async def read_answers(self, timeout_s: float) -> tuple[list[Answer], bool]:
        """What has come, as answers, and whether the connection has ended."""
        data = await self.read(timeout_s)
        return self.answers.feed(data), not data

    def close(self) -> None:
        self._transport.abort()
