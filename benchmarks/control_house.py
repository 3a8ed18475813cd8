"""What `control.py` runs its questions on: a Redis, gateways that share it, and a model server that answers for two.

All of it real processes, but for the model server, which costs next to nothing and says in every piece of an answer
which model it was asked as.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httptools
from control_client import Caller
from harness import HERE

from gateway.control.trail import from_document, verify
from gateway.stores.protocols import Change

sys.path.append(str(HERE.parent))  # for tests.support: a Redis, a proxy before it, and gateways as processes

from tests.support.processes import GatewayProcess
from tests.support.redis import RedisServer

MODELS = {"big": "teacher", "small": "student"}  # upstream and role; each is asked under its own name
NO_FALLBACK = {"order": [], "retries": 0}
_PAGE = 1000
_RAISED = re.compile(r"[A-Za-z_.]+(Error|Exception|Exit|Unavailable|Unknown|Interrupt)?(: |$)")


class Models:
    """The model server. `pause_s`: between the `pieces` of a stream."""

    def __init__(self, pieces: int = 12, pause_s: float = 0.03) -> None:
        self.pieces = pieces
        self.pause_s = pause_s
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Model(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()


class _Model(asyncio.Protocol):
    """One request at a time, as the gateway sends them."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._parser = httptools.HttpRequestParser(self)  # type: ignore[no-untyped-call]
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        assert self._transport is not None
        body, self._body = bytes(self._body), bytearray()
        if self._parser.get_method() == b"GET":
            self._transport.write(_whole({"object": "list", "data": [{"id": "big", "object": "model"}]}))
            return
        asked = json.loads(body)
        if asked.get("stream"):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self._transport.write(head)
            self._say(asked["model"], 0)
            return
        message = {"role": "assistant", "content": asked["model"]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._transport.write(_whole(_object("chat.completion", asked["model"], choice)))

    def _say(self, model: str, place: int) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        last = place == self._models.pieces
        delta = {} if last else {"content": model}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
        text = f"data: {json.dumps(_object('chat.completion.chunk', model, choice))}\n\n"
        if last:
            text += "data: [DONE]\n\n"
        data = text.encode()
        self._transport.write(b"%x\r\n%b\r\n%b" % (len(data), data, b"0\r\n\r\n" if last else b""))
        if not last:
            asyncio.get_running_loop().call_later(self._models.pause_s, self._say, model, place + 1)


def _object(kind: str, model: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": "c-1", "object": kind, "created": 1, "model": model, "choices": [choice]}


def _whole(document: Mapping[str, Any]) -> bytes:
    data = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


@dataclass
class House:
    redis: RedisServer
    models: Models
    gateways: list[GatewayProcess]
    callers: list[Caller]
    folder: Path

    async def stop_gateways(self) -> None:
        """In order: what is under way ends, and the exchange log is whole."""
        for caller in self.callers:
            caller.close()
        await asyncio.gather(*(asyncio.to_thread(gateway.stop) for gateway in self.gateways))

    def exchanges(self) -> list[dict[str, Any]]:
        """The lines of all exchange logs."""
        paths = (self.folder / f"exchanges-{number}.jsonl" for number in range(len(self.gateways)))
        return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]

    def tracebacks(self) -> Counter[str]:
        """How many there are in the logs, by what was raised at last."""
        found: Counter[str] = Counter()
        for gateway in self.gateways:
            for text in gateway.log.split("Traceback (most recent call last)")[1:]:
                raised = [line for line in text.splitlines()[1:] if _RAISED.match(line)]
                found[raised[0][:120] if raised else "cut off"] += 1
        return found


def route(**changed: Any) -> dict[str, Any]:
    """Flips of any size, and nobody helps out: who answers is who was decided on."""
    plain = {"teacher": "big", "student": "small", "student_percent": 0, "max_step": 100, "fallback": NO_FALLBACK}
    return {**plain, **changed}


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[RedisServer]:
    """A Redis that keeps what it confirmed."""
    starting = asyncio.ensure_future(asyncio.to_thread(RedisServer, folder))
    try:
        yield await asyncio.shield(starting)
    finally:
        await asyncio.to_thread((await starting).kill)


@asynccontextmanager
async def house(
    folder: Path, routes: Iterable[str], redis_ports: Sequence[int | None], redis: RedisServer
) -> AsyncIterator[House]:
    """A gateway for each of `redis_ports`, by which it goes to the Redis; None: straight."""
    models = Models()
    await models.start()
    upstream = {"base_url": f"http://127.0.0.1:{models.port}/v1"}

    def started(number: int, port: int | None) -> GatewayProcess:
        config = {
            "store": f"redis://127.0.0.1:{port or redis.port}/0",
            "upstreams": {name: {**upstream, "model": name} for name in MODELS},
            "routes": {name: route() for name in routes},
            "exchange_log": str(folder / f"exchanges-{number}.jsonl"),
            "drain_s": 5,
        }
        return GatewayProcess(config, folder / f"gateway-{number}")

    starting = [
        asyncio.ensure_future(asyncio.to_thread(started, number, port)) for number, port in enumerate(redis_ports)
    ]
    try:
        gateways = await asyncio.shield(asyncio.gather(*starting))
        yield House(redis, models, gateways, [Caller(gateway.port) for gateway in gateways], folder)
    finally:
        for result in await asyncio.gather(*starting, return_exceptions=True):  # also those that were still starting
            if isinstance(result, GatewayProcess) and result.process.poll() is None:
                result.kill()
        models.stop()


async def trail(caller: Caller) -> list[Change]:
    """All of it, as the admin API shows it, and verified here. Raises `ValueError` if it is not whole."""
    found: list[Change] = []
    while True:
        answer = await caller.call("GET", f"/admin/audit?after={len(found)}&limit={_PAGE}")
        if answer.status != 200:
            raise RuntimeError(f"the trail cannot be read: {answer.status} {answer.code}")
        page = answer.json
        found += [from_document(entry) for entry in page["entries"]]
        if len(found) >= page["head"]["revision"]:
            break
    head = verify(found)
    if head != (page["head"]["revision"], page["head"]["hash"]):
        raise ValueError(f"the trail ends in {head}, its head is said to be {page['head']}")
    return found


async def standing(caller: Caller, name: str) -> int:
    """The version of a route."""
    return (await caller.call("GET", f"/admin/routes/{name}")).etag


async def flip(caller: Caller, name: str, percent: float, on: int, reason: str = "a flip") -> Any:
    """Sets a route's share to what it should be; the answer."""
    change = {"student_percent": percent, "reason": reason}
    return await caller.call("PATCH", f"/admin/routes/{name}", change, {"if-match": f'"{on}"'})


def asked_of(name: str, *, stream: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": "x"}]}
    return {**body, "stream": True} if stream else body


async def served_by(caller: Caller, name: str) -> tuple[str, float]:
    """Which upstream answers, and when it had."""
    answer = await caller.call("POST", "/v1/chat/completions", asked_of(name))
    if answer.status != 200:
        raise RuntimeError(f"expected an answer, got {answer.status} {answer.code}")
    return answer.headers["x-understudy-upstream"], answer.ended
