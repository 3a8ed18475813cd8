"""A client for `control.py` that costs little: HTTP/1.1 on asyncio, many calls at once, connections used again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast

import httptools


class Broken(Exception):
    """No whole answer came. Whether the request arrived is not known."""


@dataclass
class Answer:
    """`began` and `ended`: when the request was sent and its answer was whole, monotonic seconds."""

    began: float
    ended: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def etag(self) -> int:
        """The version that it names."""
        return int(self.headers["etag"].strip('"'))

    @property
    def code(self) -> str:
        """Of an error, as OpenAI's clients know it."""
        try:
            return str(self.json["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return f"status {self.status}"


class _Connection(asyncio.Protocol):
    """One call at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)  # type: ignore[no-untyped-call]
        self._answer = Answer(0.0)
        self._whole: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None

    async def ask(self, request: bytes) -> Answer:
        assert self.transport is not None
        answer = self._answer = Answer(monotonic())
        self._whole = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._whole
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self._break("the connection ended")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._answer.body += data

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._answer.ended = monotonic()
        if self._whole is not None and not self._whole.done():
            self._whole.set_result(None)

    def _break(self, why: str) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(Broken(why))
        if self.transport is not None:
            self.transport.abort()


class Caller:
    """Calls one server at 127.0.0.1. Mutable state: the connections that no call uses now."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: list[_Connection] = []

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Answer:
        """The whole answer, whatever its status. Raises `Broken`."""
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(data)}"]
        if data:
            lines.append("content-type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join([*lines, "", ""]).encode() + data
        connection = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connection()
                answer = await connection.ask(request)
        except (TimeoutError, OSError) as error:
            raise Broken(
                f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            ) from None
        finally:
            if connection is not None and connection.transport is not None:
                self._put_back(connection)
        return answer

    def close(self) -> None:
        for connection in self._idle:
            assert connection.transport is not None
            connection.transport.abort()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        _, made = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self.port)
        return made

    def _put_back(self, connection: _Connection) -> None:
        """One whose call was broken off is of no use: an answer may still come."""
        assert connection.transport is not None
        if connection._whole is not None and connection._whole.done() and not connection._whole.cancelled():
            self._idle.append(connection)
        else:
            connection.transport.abort()


def events(answer: Answer) -> list[Any]:
    """The JSON of each event of a stream, the end mark as "[DONE]"."""
    texts = [part[6:] for part in bytes(answer.body).split(b"\n\n") if part.startswith(b"data: ")]
    return ["[DONE]" if text == b"[DONE]" else json.loads(text) for text in texts]
