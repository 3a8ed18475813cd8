"""The relay against a scripted client and a real pool: what it leaves behind, and what it counts."""

import asyncio
import gc
import json
from time import monotonic
from typing import Any

import pytest

from gateway.attempt import Attempt
from gateway.config import parse
from gateway.exchange import Exchange, Outcome
from gateway.face.openai import CHAT
from gateway.intake import admit
from gateway.relay import Relay
from gateway.state import ANYONE, Gateway
from gateway.upstream.connection import Connection
from gateway.upstream.http1 import ResponseReader
from gateway.upstream.pool import Leg
from router_policies.attempts import Attempts
from tests.support.upstream import CLOSE, ScriptedUpstream, completion, response, well_behaved


class Client:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.over = asyncio.Event()

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        self.status, self.body = status, body
        self.over.set()

    def begin(self, status: int, headers: bytes) -> None:
        self.status = status

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self) -> None:
        self.over.set()

    def abort(self) -> None:
        self.over.set()


def build(upstream: ScriptedUpstream) -> tuple[Gateway, list[Exchange]]:
    model = {"base_url": upstream.base_url, "model": "m", "price": {"input": 1, "output": 2}}
    routes = {"chat": {"teacher": "one", "student": "one", "deadlines": {"connect_s": 0.2}}}
    gateway = Gateway.build(parse({"upstreams": {"one": model}, "routes": routes}, "test", {}))
    exchanges: list[Exchange] = []
    gateway.metrics.record = exchanges.append  # type: ignore[method-assign]
    return gateway, exchanges


def start(gateway: Gateway, client: Client, **fields: Any) -> Relay:
    body = json.dumps({"model": "chat", "messages": [], **fields}).encode()
    relay = Relay(gateway, client, admit(gateway, "id", CHAT, b"", {}, body, ANYONE, monotonic()))
    relay.start()
    return relay


@pytest.mark.parametrize("end", ["whole", "stream", "cancelled", "cut", "refused"])
async def test_a_finished_request_leaves_nothing_for_the_garbage_collector(
    upstream: ScriptedUpstream, end: str
) -> None:
    if end == "cut":
        upstream.script = lambda request: [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", CLOSE]
    elif end == "refused":
        upstream.script = lambda request: [response({"error": {"message": "no"}}, "400 Bad Request")]
    gateway, exchanges = build(upstream)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            client = Client()
            relay = start(gateway, client, stream=end == "stream")
            if end == "cancelled":
                await asyncio.sleep(0.05)
                relay.client_gone()
            else:
                await asyncio.wait_for(client.over.wait(), 5)
            del relay
        await asyncio.sleep(0.05)
        left = [found for found in gc.get_objects() if isinstance(found, Relay | Attempt | Attempts | Leg)]
        assert left == []
        assert len(exchanges) == 3
        await gateway.close()
        await asyncio.sleep(0.05)
        left = [found for found in gc.get_objects() if isinstance(found, Connection | ResponseReader)]
        assert left == []
    finally:
        gc.enable()


async def test_who_leaves_before_the_upstream_was_reached_is_not_billed() -> None:
    gateway, exchanges = build(ScriptedUpstream(well_behaved(), port=9))
    relay = start(gateway, Client())
    relay.client_gone()
    await gateway.close()
    assert (exchanges[0].outcome, exchanges[0].cost_nano_usd, exchanges[0].estimated) == (Outcome.CANCELLED, 0, False)


async def test_an_exchange_tells_everything(upstream: ScriptedUpstream) -> None:
    gateway, exchanges = build(upstream)
    client = Client()
    start(gateway, client)
    await asyncio.wait_for(client.over.wait(), 5)
    await gateway.close()
    exchange = exchanges[0]
    assert json.loads(client.body)["choices"] == completion("Hello there!")["choices"]
    assert (exchange.outcome, exchange.status, exchange.stream) == (Outcome.OK, 200, False)
    assert (exchange.usage.input, exchange.usage.output, exchange.estimated) == (11, 3, False)
    assert exchange.cost_nano_usd == 11 * 1000 + 3 * 2000
    assert exchange.ttft_s is not None
    assert 0 < exchange.overhead_s < exchange.ttft_s <= exchange.ttlt_s
    assert gateway.in_flight == set()
