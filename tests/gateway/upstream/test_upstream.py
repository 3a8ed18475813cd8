"""Upstreams against real sockets: limits and their queue, breaker, health checks, several servers."""

import asyncio
import gc
import socket
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from time import monotonic
from typing import Any

import pytest

from gateway.config import parse
from gateway.telemetry.metrics import Metrics
from gateway.upstream import health as health_module
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers
from gateway.upstream.pool import Leg
from gateway.upstream.upstream import Unavailable, Upstream
from router_policies.breaker import State
from router_policies.capabilities import Capabilities, Continues
from router_policies.failures import FailureKind
from tests.support.upstream import CLOSE, RESET, Received, ScriptedUpstream, Step, response, well_behaved

PATH = "/v1/chat/completions"
BODY = b'{"model":"m"}'
REST = (b"x-request-id: one\r\n", b"content-length: 13\r\n\r\n", BODY)
BREAKER = {"min_requests": 4, "open_s": 1}
UNHEALTHY = response({"error": {"message": "loading"}}, "503 Service Unavailable")


def build(*urls: str, **settings: Any) -> Upstream:
    """With one URL it has a `base_url`, with more `base_urls`."""
    where: dict[str, Any] = {"base_url": urls[0]} if len(urls) == 1 else {"base_urls": list(urls)}
    config = {
        "upstreams": {"one": {**where, "model": "m", **settings}},
        "routes": {"r": {"teacher": "one", "student": "one"}},
    }
    return Upstream("one", parse(config, "test", {}))


class Sink:
    """Notes how a call ended: with a status and a body, or with a fault."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.outcome: asyncio.Future[UpstreamFault | int] = asyncio.get_running_loop().create_future()
        self.leg: Leg | None = None

    def head(self, status: int, headers: Headers) -> None:
        self.status = status

    def data(self, data: bytes) -> None:
        self.body += data

    def end(self) -> None:
        self.outcome.set_result(self.status)

    def fault(self, fault: UpstreamFault) -> None:
        self.outcome.set_result(fault)

    async def result(self) -> UpstreamFault | int:
        return await asyncio.wait_for(self.outcome, 5)


def send(upstream: Upstream, affinity: int | None = None) -> Sink:
    sink = Sink()
    sink.leg = upstream.send(PATH, b"", REST, sink, 1.0, affinity=affinity)
    return sink


async def ask(upstream: Upstream, affinity: int | None = None) -> UpstreamFault | int:
    """One call, of which the upstream is told the outcome as the relay tells it."""
    sink = send(upstream, affinity)
    assert sink.leg is not None
    result = await sink.result()
    (sink.leg.succeeded if result == 200 else sink.leg.failed)()
    return result


@asynccontextmanager
async def running(upstream: Upstream, every_s: float = 0.01) -> AsyncIterator[Upstream]:
    """With the worker's ticks; closed at the end, with nothing left open."""

    async def tick() -> None:
        while True:
            upstream.tick(monotonic())
            await asyncio.sleep(every_s)

    ticking = asyncio.create_task(tick())
    try:
        yield upstream
    finally:
        ticking.cancel()
        await upstream.close()
        assert upstream.waiting_count == upstream._in_flight == 0
        for replica in upstream.replicas:
            assert replica.in_flight == replica.pool.active_count == replica.pool.idle_count == 0
            assert replica._checks.active_count == replica._checks.idle_count == 0


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> float:
    """How long it took."""
    began = monotonic()
    while not condition():
        assert monotonic() - began < within_s, "it did not come true"
        await asyncio.sleep(0.005)
    return monotonic() - began


@contextmanager
def scripted(count: int) -> Iterator[list[ScriptedUpstream]]:
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedUpstream(well_behaved())) for _ in range(count)]


def slow(seconds: float) -> Callable[[Received], Iterable[Step]]:
    def script(request: Received) -> Iterable[Step]:
        yield seconds
        yield response({"ok": True})

    return script


def models(owner: str) -> Callable[[Received], Iterable[Step]]:
    return lambda request: [response({"object": "list", "data": [{"id": "m", "owned_by": owner}]})]


# One request.


async def test_a_request_is_written_as_one(upstream: ScriptedUpstream) -> None:
    one = build(upstream.base_url, api_key="the-secret")
    assert (one.name, one.model, one.needs_affinity) == ("one", "m", False)
    async with running(one):
        sink = Sink()
        one.send(PATH, b"?a=b", REST, sink, 1.0)
        assert await sink.result() == 200
    [request] = upstream.requests
    assert (request.method, request.target, request.body) == ("POST", "/v1/chat/completions?a=b", BODY)
    assert request.headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "accept": "*/*",
        "authorization": "Bearer the-secret",
        "content-type": "application/json",
        "x-request-id": "one",
        "content-length": "13",
    }


# Limits.


async def test_calls_beyond_the_limit_wait_their_turn_in_order(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(0.05)
    one = build(upstream.base_url, limits={"concurrency": 2, "queue": 10})
    order: list[int] = []
    async with running(one):
        sinks = [send(one) for _ in range(6)]
        assert one.waiting_count == 4
        for number, sink in enumerate(sinks):
            assert sink.leg is not None
            assert sink.leg.sent is False
            sink.outcome.add_done_callback(lambda _, number=number: order.append(number))
        assert [await sink.result() for sink in sinks] == [200] * 6
        await asyncio.sleep(0)
        assert [sorted(order[:2]), sorted(order[2:4]), sorted(order[4:])] == [[0, 1], [2, 3], [4, 5]]
        assert all(sink.leg is not None and sink.leg.sent for sink in sinks)
    at = [request.at for request in upstream.requests]
    assert at[3] - at[1] > 0.03, "never three at once"
    assert upstream.connections == 2


async def test_a_full_queue_refuses_at_once(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 2, "queue_s": 3})
    async with running(one):
        sinks = [send(one) for _ in range(3)]
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                send(one)
            assert (caught.value.kind, caught.value.retry_after_s) == (FailureKind.BUSY, 3)
        assert one.refused == {"busy": 2, "queue_timeout": 0, "breaker": 0}
        for sink in sinks:
            assert sink.leg is not None
            sink.leg.cancel()


async def test_without_a_queue_the_limit_refuses(upstream: ScriptedUpstream) -> None:
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 0})
    async with running(one):
        sink = send(one)
        with pytest.raises(Unavailable):
            send(one)
        assert await sink.result() == 200
        assert await ask(one) == 200


async def test_who_waits_too_long_is_told_and_was_never_sent(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 5, "queue_s": 0.2})
    async with running(one):
        first, second = send(one), send(one)
        await asyncio.sleep(0.1)
        third = send(one)
        began = monotonic()
        fault = await second.result()
        assert isinstance(fault, UpstreamFault)
        assert fault.kind is FaultKind.BUSY
        assert 0.05 < monotonic() - began < 0.2
        assert not third.outcome.done(), "it came later"
        assert isinstance(await third.result(), UpstreamFault)
        assert second.leg is not None
        assert second.leg.sent is False
        assert one.refused["queue_timeout"] == 2
        assert one.waiting_count == 0
        assert first.leg is not None
        first.leg.cancel()
    assert len(upstream.requests) == 1


async def test_who_is_told_may_ask_again_there_and_then(upstream: ScriptedUpstream) -> None:
    """As a relay does that tries the same upstream once more from within the fault."""
    upstream.script = slow(30)
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 1, "queue_s": 0.1})

    class Stubborn(Sink):
        told = 0

        def fault(self, fault: UpstreamFault) -> None:
            self.told += 1
            if self.told < 3:
                one.send(PATH, b"", REST, self, 1.0)
            else:
                super().fault(fault)

    async with running(one):
        send(one)
        sink = Stubborn()
        one.send(PATH, b"", REST, sink, 1.0)
        assert isinstance(await sink.result(), UpstreamFault)
        assert sink.told == 3


async def test_who_leaves_the_queue_is_gone_at_once(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(0.1)
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 3})
    async with running(one):
        sinks = [send(one) for _ in range(4)]
        leaving = sinks[2].leg
        assert leaving is not None
        leaving.pause()
        leaving.resume()
        leaving.cancel()
        leaving.cancel()
        assert one.waiting_count == 2
        late = send(one)
        for sink in (*sinks[:2], sinks[3], late):
            assert await sink.result() == 200
        assert not sinks[2].outcome.done()
    assert len(upstream.requests) == 4


async def test_a_cancelled_call_makes_room_for_the_next(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 1})
    async with running(one):
        first, second = send(one), send(one)
        await until(lambda: len(upstream.requests) == 1)
        upstream.script = well_behaved()
        assert first.leg is not None
        first.leg.cancel()
        assert await second.result() == 200


async def test_what_waits_at_the_end_is_not_sent(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 9})
    sinks = [send(one) for _ in range(5)]
    await until(lambda: len(upstream.requests) == 1)
    one.stop()
    assert sinks[0].leg is not None
    sinks[0].leg.cancel()
    await one.close()
    await asyncio.sleep(0.05)
    assert len(upstream.requests) == 1
    assert one.waiting_count == 0
    assert not any(sink.outcome.done() for sink in sinks)


@pytest.mark.parametrize("end", ["served", "expired", "cancelled"])
async def test_a_leg_that_waited_leaves_nothing_for_the_garbage_collector(upstream: ScriptedUpstream, end: str) -> None:
    upstream.script = slow(0.15)
    queue_s = 0.05 if end == "expired" else 2
    one = build(upstream.base_url, limits={"concurrency": 1, "queue": 1, "queue_s": queue_s})
    gc.collect()
    gc.disable()
    try:
        async with running(one):
            first, second = send(one), send(one)
            gone = weakref.ref(second)
            assert second.leg is not None
            if end == "cancelled":
                second.leg.cancel()
            await first.result()
            if end != "cancelled":
                await second.result()
            second.leg = None
            del second
            await asyncio.sleep(0.02)
            assert gone() is None
    finally:
        gc.enable()


# The breaker.


def failing(request: Received) -> Iterable[Step]:
    yield response({"error": {"message": "no"}}, "500 Internal Server Error")


async def test_who_keeps_failing_is_left_alone_until_its_health_checks_pass(
    upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script = failing
    upstream.health = lambda request: [UNHEALTHY]
    one = build(upstream.base_url, breaker=BREAKER, health={"every_s": None})
    async with running(one):
        for _ in range(4):
            assert await ask(one) == 500
        assert one.replicas[0].state == "open"
        with pytest.raises(Unavailable) as caught:
            send(one)
        assert caught.value.kind is FailureKind.BREAKER
        assert 0.5 < caught.value.retry_after_s <= 0.9
        assert upstream.checks == [], "it is left alone"
        await until(lambda: len(upstream.checks) == 1)
        await asyncio.sleep(0.1)
        assert one.replicas[0].state == "open"
        upstream.script, upstream.health = well_behaved(), None
        assert await until(lambda: one.replicas[0].usable) < 1.1
        assert len(upstream.requests) == 4, "no user's request was spent on it"
        assert one.replicas[0].breaker.state is State.HALF_OPEN
        assert await ask(one) == 200
        assert one.replicas[0].breaker.state is State.CLOSED
        assert one.refused == {"busy": 0, "queue_timeout": 0, "breaker": 1}
    said = [record.getMessage() for record in caplog.records if record.name.startswith("gateway.upstream")]
    where = f"upstream 'one': the server at 127.0.0.1:{upstream.port}"
    assert [text.removeprefix(where).split(":")[0] for text in said] == [
        " keeps failing",
        " passes its health checks",
        " answers again",
    ]


async def test_outcomes_from_before_it_opened_do_not_decide(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(1.5)
    one = build(upstream.base_url, breaker=BREAKER)
    async with running(one):
        old = [send(one) for _ in range(2)]
        await until(lambda: len(upstream.requests) == 2)
        upstream.script = failing
        for _ in range(4):
            await ask(one)
        await until(lambda: one.replicas[0].breaker.state is State.HALF_OPEN)
        for sink in old:
            assert await sink.result() == 200
            assert sink.leg is not None
            sink.leg.failed()
        assert one.replicas[0].breaker.state is State.HALF_OPEN


async def test_who_waits_when_the_last_breaker_opens_is_told_soon(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    one = build(upstream.base_url, breaker=BREAKER, limits={"concurrency": 4, "queue": 9, "queue_s": 30})
    async with running(one):
        failed, waiting = [send(one) for _ in range(4)], [send(one) for _ in range(3)]
        legs = [sink.leg for sink in failed if sink.leg is not None]
        for leg in legs:
            leg.failed()
        for leg in legs:
            leg.cancel()
        for sink in waiting:
            fault = await sink.result()
            assert isinstance(fault, UpstreamFault)
            assert fault.kind is FaultKind.BUSY
        assert one.refused == {"busy": 0, "queue_timeout": 0, "breaker": 3}
    assert len(upstream.requests) <= 4


async def test_a_refused_upstream_is_refused_with_its_queue_full_too(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    one = build(upstream.base_url, breaker=BREAKER, limits={"concurrency": 4, "queue": 0})
    async with running(one):
        for sink in [send(one) for _ in range(4)]:
            assert sink.leg is not None
            sink.leg.failed()
        with pytest.raises(Unavailable) as caught:
            send(one)
        assert caught.value.kind is FailureKind.BREAKER


# Health checks.


async def test_checks_begin_soon_and_go_on_over_connections_of_their_own(upstream: ScriptedUpstream) -> None:
    one = build(upstream.base_url, api_key="the-secret", health={"every_s": 0.1})
    async with running(one):
        assert await until(lambda: len(upstream.checks) == 1) < 0.5
        assert 0.2 < await until(lambda: len(upstream.checks) == 5) < 1
        assert await ask(one) == 200
        [check, *_] = upstream.checks
        assert (check.method, check.target, check.body) == ("GET", "/v1/models", b"")
        assert check.headers["authorization"] == "Bearer the-secret"
        assert check.headers["connection"] == "close"
    seen = len(upstream.checks)
    await asyncio.sleep(0.3)
    assert len(upstream.checks) == seen, "they ended at the close"


async def test_without_every_s_nobody_is_checked(upstream: ScriptedUpstream) -> None:
    async with running(build(upstream.base_url, health={"every_s": None})):
        await asyncio.sleep(0.1)
    assert upstream.checks == []


@pytest.mark.parametrize(
    ("script", "state"),
    [
        (lambda request: [response({}, "404 Not Found")], "well"),
        (lambda request: [response({}, "401 Unauthorized")], "well"),
        (lambda request: [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 30], "well"),
        (lambda request: [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", RESET], "well"),
        (lambda request: [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 99, 30], "well"),
        (lambda request: [UNHEALTHY], "unwell"),
        (lambda request: [CLOSE], "unwell"),
        (lambda request: [RESET], "unwell"),
        (lambda request: [30], "unwell"),
        (lambda request: [b"SSH-2.0-OpenSSH\r\n"], "unwell"),
    ],
)
async def test_what_is_well_and_what_is_not(
    upstream: ScriptedUpstream, script: Any, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_MAX_BODY_BYTES", 50)
    upstream.health = script
    one = build(upstream.base_url, health={"every_s": 0.05, "timeout_s": 0.1})
    async with running(one):
        await until(lambda: len(upstream.checks) >= 3)
        assert one.replicas[0].state == state
        assert await ask(one) == 200, "an unwell server that is the only one is used"
        upstream.health = None
        await until(lambda: one.replicas[0].state == "well")


async def test_two_failures_in_a_row_make_unwell_and_one_success_well() -> None:
    health = health_module.Health()
    told = [(health.checked(passed), health.well) for passed in (False, True, False, False, False, True, True)]
    assert told == [
        (False, True),
        (False, True),
        (False, True),
        (True, False),
        (False, False),
        (True, True),
        (False, True),
    ]


async def test_another_path_is_checked_if_the_config_says_so(upstream: ScriptedUpstream) -> None:
    upstream.health = models("vllm")
    one = build(upstream.base_url, health={"path": "/ping", "every_s": 0.1}, continues="no")
    async with running(one):
        await until(lambda: len(upstream.checks) == 3)
        assert {check.target for check in upstream.checks} == {"/v1/ping"}
        assert one.capabilities.continues is Continues.NO


# What it can do.


@pytest.mark.parametrize(
    ("owner", "continues"), [("vllm", Continues.VLLM), ("llamacpp", Continues.PREFILL), ("openai", Continues.NO)]
)
@pytest.mark.parametrize("path", ["/models", "/ping"])
async def test_how_it_continues_is_found_out(
    upstream: ScriptedUpstream, owner: str, continues: Continues, path: str
) -> None:
    upstream.health = lambda request: models(owner)(request) if request.target == "/v1/models" else [response({})]
    one = build(upstream.base_url, health={"path": path, "every_s": 0.05}, context_tokens=4096, vision=False)
    assert one.capabilities == Capabilities(4096, True, False, Continues.NO)
    async with running(one):
        await until(lambda: one.replicas[0].continues is not None)
        assert one.capabilities == Capabilities(4096, True, False, continues)
        await until(lambda: len(upstream.checks) >= 4)
    asked = [check.target for check in upstream.checks]
    assert path == "/models" or asked.count("/v1/models") == 1, "once is enough"


async def test_servers_that_differ_are_not_asked_to_continue() -> None:
    with scripted(2) as (left, right):
        left.health, right.health = models("vllm"), models("llamacpp")
        one = build(left.base_url, right.base_url, health={"every_s": 0.05})
        async with running(one):
            await until(lambda: all(replica.continues is not None for replica in one.replicas))
            assert one.capabilities.continues is Continues.NO
            right.health = left.health
            await until(lambda: one.capabilities.continues is Continues.VLLM)


@pytest.mark.parametrize("said", ["prefill", "vllm", "no"])
async def test_what_the_config_says_of_it_stands(upstream: ScriptedUpstream, said: str) -> None:
    upstream.health = models("vllm" if said != "vllm" else "llamacpp")
    one = build(upstream.base_url, health={"every_s": 0.05}, continues=said)
    async with running(one):
        await until(lambda: len(upstream.checks) >= 2)
        assert one.capabilities.continues == said


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[]", b"{}", b'{"data":1}', b'{"data":[1,{},{"owned_by":2}]}', b"\xff", b"[" * 100_000]
)
def test_lists_of_models_that_say_nothing(body: bytes) -> None:
    assert health_module.how_it_continues(body) is Continues.NO


# Several servers.


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def test_calls_are_spread_over_servers() -> None:
    with scripted(3) as servers:
        for server in servers:
            server.script = slow(0.1)
        one = build(*(server.base_url for server in servers))
        async with running(one):
            assert await asyncio.gather(*(ask(one) for _ in range(60))) == [200] * 60
            counts = [len(server.requests) for server in servers]
            assert sum(counts) == 60
            assert min(counts) >= 14, counts


async def test_a_retry_after_a_dead_server_meets_another() -> None:
    with scripted(1) as [alive]:
        dead = f"http://127.0.0.1:{closed_port()}/v1"
        one = build(dead, alive.base_url, health={"every_s": None})
        async with running(one):
            while await ask(one) == 200:  # until it is drawn
                assert len(alive.requests) < 100
            assert [await ask(one) for _ in range(10)] == [200] * 10


async def test_an_unwell_server_is_avoided_and_comes_back() -> None:
    with scripted(2) as (left, right):
        left.health = lambda request: [UNHEALTHY]
        one = build(left.base_url, right.base_url, health={"every_s": 0.05})
        async with running(one):
            await until(lambda: one.replicas[0].state == "unwell")
            assert [await ask(one) for _ in range(20)] == [200] * 20
            assert (len(left.requests), len(right.requests)) == (0, 20)
            left.health = None
            await until(lambda: one.replicas[0].state == "well")
            assert one.replicas[0].returned_at > monotonic() - 1, "its weight begins small"
            one.replicas[0].returned_at -= 10
            assert [await ask(one) for _ in range(40)] == [200] * 40
            assert len(left.requests) > 5
            right.health = left.health = lambda request: [UNHEALTHY]
            await until(lambda: {replica.state for replica in one.replicas} == {"unwell"})
            assert await ask(one) == 200, "both are, and are used all the same"


async def test_an_open_breaker_takes_a_server_out_and_all_refuse() -> None:
    with scripted(2) as (left, right):
        left.script = right.script = failing
        left.health = right.health = lambda request: [UNHEALTHY]
        one = build(left.base_url, right.base_url, breaker=BREAKER)
        async with running(one):
            for _ in range(8):
                assert await ask(one) == 500
            assert {replica.state for replica in one.replicas} == {"open"}
            with pytest.raises(Unavailable) as caught:
                send(one)
            assert caught.value.kind is FailureKind.BREAKER
            left.script, left.health = well_behaved(), None
            await until(lambda: one.replicas[0].usable)
            assert [await ask(one) for _ in range(5)] == [200] * 5
            assert len(right.requests) == 4


async def test_conversations_stay_with_their_server() -> None:
    with scripted(3) as servers:
        one = build(*(server.base_url for server in servers), affinity="prefix")
        assert one.needs_affinity
        async with running(one):
            for _ in range(3):
                for conversation in range(12):
                    assert await ask(one, affinity=conversation * 7919) == 200
            assert all(len(server.requests) % 3 == 0 for server in servers)
            assert sum(bool(server.requests) for server in servers) >= 2
            counts = Counter({server.port: len(server.requests) for server in servers})
            reordered = build(*(server.base_url for server in reversed(servers)), affinity="prefix")
            async with running(reordered):
                for conversation in range(12):
                    await ask(reordered, affinity=conversation * 7919)
            assert {server.port: len(server.requests) for server in servers} == {
                port: count // 3 * 4 for port, count in counts.items()
            }


# What is shown.


async def test_the_gauges_and_counters(upstream: ScriptedUpstream) -> None:
    upstream.script = slow(30)
    dead = f"http://127.0.0.1:{closed_port()}/v1"
    one = build(
        *(upstream.base_url, dead),
        breaker={**BREAKER, "min_requests": 1},
        health={"every_s": None},
        limits={"concurrency": 1, "queue": 1},
    )
    metrics = Metrics()

    def shown() -> dict[str, str]:
        metrics.show_load(0, [one])
        lines = metrics.exposition().decode().splitlines()
        return dict(line.removeprefix("understudy_upstream_").rsplit(" ", 1) for line in lines if "_upstream_" in line)

    async with running(one):
        first = shown()
        assert first['refused_total{kind="busy",upstream="one"}'] == "0.0", "there before the first one"
        assert first['replicas{state="well",upstream="one"}'] == "2.0"
        while one.replicas[1].state != "open":
            sink = send(one)
            assert sink.leg is not None
            if one.replicas[1].in_flight:
                assert isinstance(await sink.result(), UpstreamFault)
                sink.leg.failed()
            sink.leg.cancel()
        waiting = [send(one) for _ in range(2)]
        with pytest.raises(Unavailable):
            send(one)
        await until(lambda: one.replicas[0].pool.active_count == 1)
        for _ in range(2):  # what was counted is counted once
            now = shown()
            assert now['refused_total{kind="busy",upstream="one"}'] == "1.0"
            assert now['queue_length{upstream="one"}'] == "1.0"
            assert now['connections{state="active",upstream="one"}'] == "1.0"
            assert [now[f'replicas{{state="{state}",upstream="one"}}'] for state in ("well", "unwell", "open")] == [
                "1.0",
                "0.0",
                "1.0",
            ]
        for sink in waiting:
            assert sink.leg is not None
            sink.leg.cancel()
