"""Shadow mode against real sockets: what is mirrored, how, and that every sample ends as a pair or with a reason."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import msgspec
import pytest

from gateway.after.sample import Record
from gateway.config import parse
from gateway.face.openai import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Endpoint
from gateway.intake import admit
from gateway.relay import Relay
from gateway.state import ANYONE, Gateway
from router_policies.routes import Role
from router_policies.shadow import Arm, Reason
from tests.gateway.test_relay import Client
from tests.support.upstream import CLOSE, Received, ScriptedUpstream, Step, completion, response, well_behaved

ALL = {"sample": {"default": 1.0}, "aa_sample": 0}


@asynccontextmanager
async def gateway_of(
    student: ScriptedUpstream, teacher: ScriptedUpstream, *, percent: float = 100, shadow: Any = ALL, **route: Any
) -> AsyncIterator[Gateway]:
    upstreams = {
        name: {"base_url": server.base_url, "model": f"{name}-model", "price": {"input": 1, "output": 1}}
        for name, server in (("small", student), ("big", teacher))
    }
    chat = {"teacher": "big", "student": "small", "student_percent": percent, "shadow": shadow, **route}
    config = parse({"upstreams": upstreams, "routes": {"chat": {"fallback": {"retries": 0}, **chat}}}, "test", {})
    gateway = Gateway.build(config)
    gateway.apply(config, {}, 1)
    try:
        yield gateway
    finally:
        await gateway.close()


async def ask(gateway: Gateway, endpoint: Endpoint = CHAT, *, headers: Any = None, **fields: Any) -> Client:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], **fields}
    if endpoint is not CHAT:
        body["input" if endpoint in (RESPONSES, EMBEDDINGS) else "prompt"] = body.pop("messages")[0]["content"]
    client = Client()
    request = admit(gateway, "id", endpoint, b"", headers or {}, json.dumps(body).encode(), ANYONE, monotonic())
    Relay(gateway, client, request).start()
    await asyncio.wait_for(client.over.wait(), 10)
    return client


async def records(gateway: Gateway, count: int) -> list[Record]:
    """The first `count` records, in whatever order they come."""
    async with asyncio.timeout(30):
        while len(gateway.shadows.outbox) < count:
            await asyncio.sleep(0.01)
    return waiting(gateway)


def waiting(gateway: Gateway) -> list[Record]:
    return [msgspec.json.decode(filed.record, type=Record) for filed in gateway.shadows.outbox]


def value(gateway: Gateway, name: str, **labels: str) -> float:
    found = gateway.metrics.registry.get_sample_value(name, labels)
    return found if found is not None else 0.0


async def test_the_other_side_is_asked_the_same_and_the_pair_is_scored(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    async with gateway_of(student, teacher) as gateway:
        client = await ask(gateway, temperature=0.7, seed=5, max_tokens=9)
        (record,) = await records(gateway, 1)
        (filed,) = gateway.shadows.outbox
    assert json.loads(client.body)["choices"][0]["message"]["content"] == "I am small"
    assert teacher.requests[0].json == {
        "model": "big-model",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.7,
        "seed": 5,
        "max_tokens": 9,
    }
    assert (record.arm, record.reason, record.probability, record.answered) == (Arm.AB, None, 1.0, Role.STUDENT)
    assert record.student is not None
    assert record.teacher is not None
    assert (record.student.upstream, record.student.served) == ("small", True)
    assert (record.teacher.upstream, record.teacher.served, record.teacher.cost_nano_usd) == ("big", False, 14_000)
    assert {one["check"] for one in record.verdicts} >= {"empty", "finish"}
    assert record.evidence_key.startswith("small/small-model@|big/big-model@|default.")
    assert json.loads(filed.texts or "")["student"]["text"] == "I am small"
    assert value(gateway, "understudy_shadow_cost_nano_usd_total", route="chat", upstream="big") == 14_000


async def test_the_student_is_mirrored_before_it_serves_anyone(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    async with gateway_of(student, teacher, percent=0) as gateway:
        await ask(gateway)
        (record,) = await records(gateway, 1)
    assert record.answered is Role.TEACHER
    assert record.student is not None
    assert (record.student.upstream, record.student.served) == ("small", False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS, RESPONSES])
async def test_every_endpoint_is_mirrored(
    student: ScriptedUpstream, teacher: ScriptedUpstream, endpoint: Endpoint, stream: bool
) -> None:
    for server in (student, teacher):
        server.script = speaking(endpoint)
    async with gateway_of(student, teacher) as gateway:
        await ask(gateway, endpoint, stream=stream)
        (record,) = await records(gateway, 1)
    assert record.reason is None, record.detail
    assert (record.endpoint, record.stream) == (endpoint.path, stream)
    assert teacher.requests[0].target == endpoint.path
    assert bool(teacher.requests[0].json.get("stream")) is stream
    assert record.teacher is not None
    assert record.teacher.ttft_s is not None
    assert record.teacher.ttft_s <= record.teacher.ttlt_s


def speaking(endpoint: Endpoint) -> Callable[[Received], Iterable[Step]]:
    """A server that answers at this endpoint, streaming or not."""
    if endpoint is CHAT:
        return well_behaved()
    whole: dict[str, Any] = {"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]}
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "text": "Hel", "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "lo", "finish_reason": "stop"}]},
    ]
    if endpoint is RESPONSES:
        said = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
        whole = {"object": "response", "status": "completed", "output": [said]}
        events = [
            {"type": "response.output_text.delta", "delta": "Hello"},
            {"type": "response.completed", "response": whole},
        ]

    def script(request: Received) -> Iterable[Step]:
        if not request.json.get("stream"):
            yield response(whole)
            return
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        for one in events:
            yield f"data: {json.dumps(one)}\n\n".encode()
        if endpoint is not RESPONSES:
            yield b"data: [DONE]\n\n"
        yield CLOSE

    return script


async def test_the_teacher_is_asked_twice_to_know_its_noise(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    shadow = {"sample": {"default": 1.0}, "aa_sample": 1.0}
    async with gateway_of(student, teacher, shadow=shadow) as gateway:
        await ask(gateway)
        found = {record.arm: record for record in await records(gateway, 2)}
    assert len(teacher.requests) == 2
    assert len(student.requests) == 1
    assert {arm: record.reason for arm, record in found.items()} == {Arm.AB: None, Arm.AA: None}
    noise = found[Arm.AA]
    assert noise.student is not None
    assert noise.teacher is not None
    assert (noise.student.upstream, noise.teacher.upstream) == ("big", "big")


async def test_one_more_call_is_enough_where_the_teacher_served(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    shadow = {"sample": {"default": 0.0}, "aa_sample": 1.0}
    async with gateway_of(student, teacher, percent=0, shadow=shadow) as gateway:
        await ask(gateway)
        (record,) = await records(gateway, 1)
    assert (record.arm, record.reason) == (Arm.AA, None)
    assert (len(teacher.requests), len(student.requests)) == (2, 0)


async def test_nothing_has_an_effect_and_nobody_is_named(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    for server in (student, teacher):
        server.script = speaking(RESPONSES)
    kept = {"store": True, "metadata": {"a": "b"}, "user": "u-1", "safety_identifier": "s", "prompt_cache_key": "k"}
    headers = {b"authorization": b"Bearer x", b"idempotency-key": b"1", b"traceparent": b"00-1-2-03"}
    async with gateway_of(student, teacher) as gateway:
        await ask(gateway, RESPONSES, headers=headers, **kept)
        await records(gateway, 1)
    (sent,) = teacher.requests
    assert sent.json == {"model": "big-model", "input": "Hi", "store": False}
    assert not {"idempotency-key", "authorization", "traceparent"} & sent.headers.keys()
    assert sent.headers["x-understudy-shadow"]


async def test_a_mirrored_call_is_not_mirrored_again_and_clients_cannot_pass_for_one(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    async with gateway_of(student, teacher) as gateway:
        await ask(gateway)
        await records(gateway, 1)
        mark = teacher.requests[0].headers["x-understudy-shadow"].encode()
        await ask(gateway, headers={b"x-understudy-shadow": mark})
        for forged in (b"1", mark[:-1] + b"?", b"other" + mark, b"", b"\xff.\xff"):
            await ask(gateway, headers={b"x-understudy-shadow": forged})
        await records(gateway, 6)
        await asyncio.sleep(0.1)
    assert value(gateway, "understudy_shadow_samples_total", route="chat", arm="ab") == 6
    assert all("x-understudy-shadow" not in request.headers for request in student.requests)


REASONS: list[tuple[Reason, dict[str, Any], dict[str, Any]]] = [
    (Reason.BODY_TOO_LARGE, {"shadow": {**ALL, "max_body_bytes": 60}}, {}),
    (Reason.BUDGET, {"shadow": {**ALL, "max_usd_per_day": 0}}, {}),
    (Reason.QUEUE_BYTES, {"shadow": {**ALL, "queue_bytes": 60}}, {}),
    (Reason.UNSUPPORTED, {}, {"tools": [{"type": "web_search"}]}),
    (Reason.UNSUPPORTED, {}, {"web_search_options": {}}),
    (Reason.UNSUPPORTED, {}, {"previous_response_id": "resp_1"}),
]


@pytest.mark.parametrize(("reason", "route", "fields"), REASONS)
async def test_what_is_not_mirrored_says_why(
    student: ScriptedUpstream, teacher: ScriptedUpstream, reason: Reason, route: Any, fields: Any
) -> None:
    async with gateway_of(student, teacher, **route) as gateway:
        client = await ask(gateway, **fields)
        (record,) = await records(gateway, 1)
    assert client.status == 200
    assert record.reason is reason
    assert teacher.requests == []


async def test_embeddings_have_no_answer_to_compare(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = lambda request: [response({"object": "list", "data": [{"embedding": [0.1]}]})]
    async with gateway_of(student, teacher) as gateway:
        await ask(gateway, EMBEDDINGS)
        (record,) = await records(gateway, 1)
    assert record.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    ("status", "order"), [("500 Internal Server Error", []), ("500 Internal Server Error", ["teacher"])]
)
async def test_a_student_that_failed_is_not_given_a_second_chance(
    student: ScriptedUpstream, teacher: ScriptedUpstream, status: str, order: list[str]
) -> None:
    student.script = lambda request: [response({"error": {"message": "no"}}, status)]
    async with gateway_of(student, teacher, fallback={"retries": 0, "order": order}) as gateway:
        client = await ask(gateway)
        (record,) = await records(gateway, 1)
    assert client.status == (200 if order else 500)
    assert record.reason is Reason.PRIMARY_FAILED
    assert len(student.requests) == 1
    assert len(teacher.requests) == len(order)


FAILING: list[tuple[str, list[Step], Reason]] = [
    ("status", [response({"error": {"message": "no"}}, "503 Service Unavailable")], Reason.SHADOW_FAILED),
    ("garbage", [b"what is this\r\n\r\n", CLOSE], Reason.SHADOW_FAILED),
    ("cut", [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", CLOSE], Reason.SHADOW_FAILED),
    ("no json", [response(b"nothing")], Reason.SHADOW_FAILED),
    ("no choices", [response({"object": "nothing"})], Reason.SHADOW_FAILED),
    ("slow", [5.0, response(completion())], Reason.TIMEOUT),
    ("endless", [b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n", b"x" * 5000, 5.0], Reason.SHADOW_FAILED),
]


@pytest.mark.parametrize(("name", "steps", "reason"), FAILING)
async def test_a_mirror_that_fails_says_why_and_changes_nothing(
    student: ScriptedUpstream, teacher: ScriptedUpstream, name: str, steps: list[Step], reason: Reason
) -> None:
    teacher.script = lambda request: steps
    shadow = {**ALL, "timeout_s": 0.5, "max_body_bytes": 4000}
    async with gateway_of(student, teacher, shadow=shadow) as gateway:
        client = await ask(gateway)
        (record,) = await records(gateway, 1)
        assert client.status == 200
        assert (record.reason, bool(record.detail)) == (reason, True)
        async with asyncio.timeout(2):
            while teacher.open_connections and reason is not Reason.SHADOW_FAILED:
                await asyncio.sleep(0.01)
    assert len(teacher.requests) == 1


async def test_a_full_queue_and_a_slow_mirror_and_everything_adds_up(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    """The teacher hangs: its workers are held, the queue fills, the rest is let go of, and the end comes over all."""
    teacher.script = lambda request: [30.0]
    shadow = {**ALL, "workers": 2, "queue": 3}
    async with gateway_of(student, teacher, shadow=shadow) as gateway:
        for _ in range(10):
            await ask(gateway)
        await asyncio.sleep(0.05)
        assert Counter(record.reason for record in waiting(gateway)) == {Reason.QUEUE_FULL: 5}
    assert Counter(record.reason for record in waiting(gateway)) == {Reason.QUEUE_FULL: 5, Reason.SHUTDOWN: 5}
    assert value(gateway, "understudy_shadow_samples_total", route="chat", arm="ab") == 10


async def test_a_client_that_left_is_a_reason(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = lambda request: [5.0]
    async with gateway_of(student, teacher) as gateway:
        body = json.dumps({"model": "chat", "messages": []}).encode()
        relay = Relay(gateway, Client(), admit(gateway, "id", CHAT, b"", {}, body, ANYONE, monotonic()))
        relay.start()
        await asyncio.sleep(0.05)
        relay.client_gone()
        (record,) = await records(gateway, 1)
    assert record.reason is Reason.CANCELLED


async def test_an_open_breaker_of_the_primaries_stops_it(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    async with gateway_of(student, teacher) as gateway:
        breaker = gateway.upstreams["big"].replicas[0].breaker
        for _ in range(30):
            breaker.failed(breaker.openings, monotonic())
        await ask(gateway)
        (record,) = await records(gateway, 1)
    assert record.reason is Reason.CIRCUIT_OPEN
    assert teacher.requests == []


async def test_switched_off_means_off_at_once(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    teacher.script = lambda request: [30.0]
    async with gateway_of(student, teacher, shadow={**ALL, "workers": 1}) as gateway:
        for _ in range(3):
            await ask(gateway)
        await asyncio.sleep(0.05)
        content = json.loads(json.dumps(gateway.config.content))
        content["routes"]["chat"]["shadow"] = None
        gateway.apply(parse(content, "test", {}), {}, 2)
        found = await records(gateway, 3)
        await ask(gateway)
    assert Counter(record.reason for record in found) == {Reason.DISABLED: 3}
    assert value(gateway, "understudy_shadow_samples_total", route="chat", arm="ab") == 3


async def test_a_busy_process_stops_mirroring_for_a_while(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    async with gateway_of(student, teacher) as gateway:
        gateway.shadows.tick(0.05)
        await asyncio.sleep(0.3)
        gateway.shadows.tick(0.05)
        await ask(gateway)
        (record,) = await records(gateway, 1)
    assert record.reason is Reason.DISABLED


async def test_what_the_others_spent_counts_too(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    async with gateway_of(student, teacher, shadow={**ALL, "max_usd_per_day": 0.001}) as gateway:
        await ask(gateway)
        await records(gateway, 1)
        mine = gateway.shadows.spent_today()
        assert list(mine.values()) == [14_000]
        gateway.shadows.heard(dict.fromkeys(mine, 990_000))
        await ask(gateway)
        found = await records(gateway, 2)
    assert [record.reason for record in found] == [None, Reason.BUDGET]


RISKY = [{"role": "user", "content": "I want to kill myself."}]
RATES = {"sample": {"default": 0.999999, "high_risk": 1.0}, "aa_sample": 1.0}


async def test_a_record_says_what_it_was_sampled_as(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    async with gateway_of(student, teacher, shadow=RATES, risk={}) as gateway:
        await ask(gateway)
        await ask(gateway, messages=RISKY)
        found = await records(gateway, 4)
    said = {(one.arm, one.stratum, one.probability, one.least) for one in found}
    assert said == {
        (Arm.AB, "low", 0.999999, 0.999999),
        (Arm.AB, "high", 1.0, 0.999999),
        (Arm.AA, "low", 1.0, None),
        (Arm.AA, "high", 1.0, None),
    }


async def test_without_risk_there_is_one_stratum(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    async with gateway_of(student, teacher, shadow={"sample": {"default": 1.0, "high_risk": 0.1}}) as gateway:
        await ask(gateway, messages=RISKY)
        (record, *_) = await records(gateway, 1)
    assert (record.stratum, record.probability, record.least) == ("default", 1.0, 1.0)
