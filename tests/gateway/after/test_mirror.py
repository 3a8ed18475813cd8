"""A mirror whose config, workers and servers change under it: every sample has one end, and no pair is of others."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable
from time import process_time
from typing import Any

import pytest

from gateway.after import asking
from gateway.after.sample import Record
from gateway.config import parse
from gateway.state import Gateway
from router_policies.routes import Role
from router_policies.shadow import Arm, Reason
from tests.gateway.after.test_shadows import ALL, ask, gateway_of, records, value, waiting
from tests.support.upstream import (
    CLOSE,
    RESET,
    STREAM_HEAD,
    Received,
    ScriptedUpstream,
    Step,
    chunked,
    completion,
    response,
    stream_events,
    well_behaved,
)


def change(gateway: Gateway, revision: int, shadow: Any = ALL, **upstreams: Any) -> None:
    """Apply the gateway's config with another `shadow`, and other settings of upstreams by their names."""
    content = json.loads(json.dumps(gateway.config.content))
    content["routes"]["chat"]["shadow"] = shadow
    for name, settings in upstreams.items():
        content["upstreams"][name] |= settings
    gateway.apply(parse(content, "test", {}), {}, revision)


def sampled(gateway: Gateway) -> float:
    return sum(value(gateway, "understudy_shadow_samples_total", route="chat", arm=arm) for arm in ("ab", "aa"))


async def test_fewer_workers_finish_what_they_have_begun(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    teacher.script = lambda request: [0.3, response(completion())]
    async with gateway_of(student, teacher, shadow={**ALL, "workers": 4}) as gateway:
        for _ in range(6):
            await ask(gateway)
        await asyncio.sleep(0.1)
        assert len(teacher.requests) == 4
        change(gateway, 2, {**ALL, "workers": 1})
        found = await records(gateway, 6)
        await asyncio.sleep(0.05)
        assert len(gateway.shadows._mirrors["chat"]._workers) == 1
        change(gateway, 3, {**ALL, "workers": 3})
        assert len(gateway.shadows._mirrors["chat"]._workers) == 3
    assert Counter(record.reason for record in found) == {None: 6}


async def test_a_pair_is_never_of_another_model_than_it_says(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    """The student's version changes while its answer waits to be compared."""
    teacher.script = lambda request: [0.2, response(completion())]
    async with gateway_of(student, teacher, shadow={**ALL, "workers": 1}) as gateway:
        for _ in range(3):
            await ask(gateway)
        await asyncio.sleep(0.05)
        change(gateway, 2, {**ALL, "workers": 1}, small={"revision": "v2"})
        await ask(gateway)
        found = await records(gateway, 4)
    by_revision = Counter((record.reason, record.student.revision if record.student else "") for record in found)
    assert by_revision == {(None, ""): 1, (Reason.DISABLED, ""): 2, (None, "v2"): 1}
    assert {record.detail for record in found if record.reason} == {
        "the route's models were changed before it could be compared"
    }


async def test_after_the_end_nothing_begins_and_all_is_told(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    async with gateway_of(student, teacher) as gateway:
        pass
    change(gateway, 2)
    assert gateway.shadows._mirrors["chat"]._workers == {}
    await ask(gateway)
    assert [record.reason for record in waiting(gateway)] in ([Reason.SHUTDOWN], [Reason.PRIMARY_FAILED])


@pytest.mark.parametrize(("status", "opens"), [("400 Bad Request", False), ("503 Service Unavailable", True)])
async def test_a_request_that_is_refused_is_not_the_servers_fault(
    student: ScriptedUpstream, teacher: ScriptedUpstream, status: str, opens: bool
) -> None:
    teacher.script = lambda request: [response({"error": {"message": "too long"}}, status)]
    async with gateway_of(student, teacher) as gateway:
        for _ in range(40):
            await ask(gateway)
        found = await records(gateway, 40)
        usable = gateway.shadows._mirrors["chat"].setting.upstreams[Role.TEACHER].replicas[0].usable  # type: ignore[union-attr]
        assert gateway.shadows.unusable("chat") == (["big"] if opens else [])
    assert usable is not opens
    assert {record.reason for record in found} == {Reason.SHADOW_FAILED, *([Reason.CIRCUIT_OPEN] if opens else [])}


async def test_a_busy_server_is_not_called_broken(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    teacher.script = lambda request: [0.5, response(completion())]
    async with gateway_of(student, teacher) as gateway:
        change(gateway, 2, ALL, big={"limits": {"concurrency": 1, "queue": 1, "queue_s": 0.1}})
        for _ in range(4):
            await ask(gateway)
        found = await records(gateway, 4)
    reasons = Counter(record.reason for record in found)
    assert set(reasons) == {None, Reason.SHADOW_FAILED}
    assert all("calls" in record.detail for record in found if record.reason is not None)


async def test_a_stream_that_has_said_all_need_not_be_closed(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    def script(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for event in stream_events(("Hi",), usage=False)[:-1]:
            yield chunked(event)
        yield 30.0

    teacher.script = script
    async with gateway_of(student, teacher) as gateway:
        await ask(gateway, stream=True)
        (record,) = await records(gateway, 1)
    assert record.reason is None, record.detail


async def test_a_flood_is_read_slowly_and_a_long_burst_to_its_end(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    burst = b"".join(stream_events(["x" * 100] * 400, usage=True))  # 100 kB at once, and nothing is lost of it
    endless = b"".join(stream_events(["x" * 100] * 400, usage=False)[:-2])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    teacher.script = lambda request: [head, burst, CLOSE]
    async with gateway_of(student, teacher, shadow={**ALL, "timeout_s": 2}) as gateway:
        await ask(gateway, stream=True)
        (record,) = await records(gateway, 1)
        (filed,) = gateway.shadows.outbox
        assert record.reason is None, record.detail
        assert json.loads(filed.texts or "")["teacher"]["text"] == "x" * 40_000
        assert record.teacher is not None
        assert record.teacher.ttft_s is not None
        assert record.teacher.ttft_s < 0.2 < record.teacher.ttlt_s
        teacher.script = lambda request: [head, *[endless] * 1000]
        begun = process_time()
        await ask(gateway, stream=True)
        flooded = (await records(gateway, 2))[1]
        took_s = process_time() - begun
    assert (flooded.reason, flooded.detail) == (Reason.TIMEOUT, "no whole answer within 2 s")
    assert took_s < 1.0  # of 2 s


async def test_what_was_cut_off_is_paid_for_all_the_same(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    teacher.script = lambda request: [30.0]
    async with gateway_of(student, teacher) as gateway:
        await ask(gateway, messages=[{"role": "user", "content": "x" * 4000}])
        while not teacher.requests:
            await asyncio.sleep(0.01)
        change(gateway, 2, None)
        await records(gateway, 1)
    assert value(gateway, "understudy_shadow_cost_nano_usd_total", route="chat", upstream="big") >= 1_000_000


async def test_a_large_request_is_mirrored_too_and_as_carefully(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    text = "x" * (asking.INLINE_BYTES + 1)
    async with gateway_of(student, teacher, shadow={**ALL, "aa_sample": 1.0}) as gateway:
        await ask(gateway, messages=[{"role": "user", "content": text}], user="u", stream=True)
        found = await records(gateway, 2)
        await ask(gateway, messages=[{"role": "user", "content": text}], tools=[{"type": "web_search"}])
        refused = (await records(gateway, 4))[2:]
    assert [record.reason for record in found] == [None, None]
    assert {record.reason for record in refused} == {Reason.UNSUPPORTED}
    assert [request.json for request in teacher.requests] == 2 * [
        {
            "model": "big-model",
            "messages": [{"role": "user", "content": text}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def _odd(random_: random.Random) -> Any:
    """A server that answers anything at all, or nothing."""

    def script(request: Received) -> Iterable[Step]:
        kind = random_.randrange(9)
        yield random_.random() * 0.02
        if kind < 3:
            yield from well_behaved()(request)
        elif kind == 3:
            whole = b"".join((STREAM_HEAD, *map(chunked, stream_events(("a", "b"), usage=True))))
            yield whole[: random_.randrange(len(whole))]
            yield CLOSE
        elif kind == 4:
            whole = bytearray(response(completion()))
            for _ in range(3):
                whole[random_.randrange(len(whole))] = random_.randrange(256)
            yield bytes(whole)
            yield CLOSE
        elif kind == 5:
            yield STREAM_HEAD
            yield chunked(b'data: {"choices":[{"delta":{"content":"' + b"[" * 3000 + b'"}}]}\n\n')
            yield chunked(b'data: {"choices":' + b"[" * 3000 + b"\n\n")
            yield CLOSE
        elif kind == 6:
            yield 0.2
        elif kind == 7:
            yield RESET
        else:
            yield response(b'{"choices":' + b"[" * 5000 + b"]" * 5000 + b"}")

    return script


@pytest.mark.parametrize("seed", range(4))
async def test_every_sample_has_one_end_whatever_happens(
    student: ScriptedUpstream, teacher: ScriptedUpstream, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Odd answers, while workers are added and taken away, models change and mirroring is switched off and on; the end
    comes in the middle of it."""
    random_ = random.Random(seed)
    teacher.script = _odd(random_)
    async with gateway_of(student, teacher) as gateway:
        for number in range(120):
            await ask(gateway, stream=random_.random() < 0.5)
            if random_.random() < 0.2:
                shadow = {
                    "sample": {"default": random_.choice([0.5, 1.0])},
                    "aa_sample": random_.choice([0.0, 1.0]),
                    "workers": random_.randint(1, 5),
                    "queue": random_.randint(1, 50),
                    "timeout_s": 0.1,
                }
                revision = random_.choice(["a", "b"])
                change(gateway, number + 2, random_.choice([shadow, shadow, None]), big={"revision": revision})
            await asyncio.sleep(random_.random() * 0.005)
    found: list[Record] = waiting(gateway)
    assert Counter((record.pair_id, record.arm) for record in found).most_common(1)[0][1] == 1
    assert len(found) == sampled(gateway) > 20, "how many are drawn is chance; that few would be a broken draw"
    lost = Counter((record.arm, record.reason) for record in found)
    for arm in Arm:
        assert value(gateway, "understudy_shadow_pairs_total", route="chat", arm=arm.value) == lost[arm, None]
    for (arm, reason), count in lost.items():
        if reason is not None:
            labels = {"route": "chat", "arm": arm.value, "reason": reason.value}
            assert value(gateway, "understudy_shadow_lost_total", **labels) == count
    assert "failed inside the gateway" not in caplog.text
    assert "Traceback" not in caplog.text
