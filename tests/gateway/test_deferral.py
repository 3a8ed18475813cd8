"""Deferral through the relay, against real sockets: who is asked for what, what the client gets, and what is noted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import msgspec
import pytest

from gateway.after.sample import Record
from gateway.config import parse
from gateway.exchange import Exchange
from gateway.face.logprobs import Logprobs, without_logprobs
from gateway.face.openai import CHAT, COMPLETIONS, RESPONSES, Endpoint, forwarded_parts, read_request
from gateway.intake import admit
from gateway.relay import Relay
from gateway.state import ANYONE, Gateway
from router_policies.attempts import Kind
from router_policies.risk.deferral import Deferred
from router_policies.routes import Role
from tests.gateway.test_relay import Client
from tests.support.upstream import CLOSE, Received, ScriptedUpstream, Step, completion, event, response

SURE, UNSURE = [-0.01] * 20, [-0.01] * 16 + [-4.0] * 4
POLICY = {"quantile": 0.1, "threshold": -1.0}
HOLD = {"mid_stream": "hold:5", "retries": 0}


def content(logprobs: list[float]) -> dict[str, Any]:
    return {"content": [{"token": "x", "logprob": one, "bytes": None, "top_logprobs": []} for one in logprobs]}


def telling(logprobs: list[float], text: str = "the student's") -> Callable[[Received], Iterable[Step]]:
    """A server that tells log-probabilities if it is asked for them, streaming or not."""

    def script(request: Received) -> Iterable[Step]:
        asked = request.json.get("logprobs")
        if not request.json.get("stream"):
            answer = completion(text)
            answer["choices"][0]["logprobs"] = content(logprobs) if asked else None
            answer["extra"] = {"kept": 1.50}
            yield response(answer)
            return
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        for at, one in enumerate(logprobs):
            choice = {"index": 0, "delta": {"content": f"{text[:1]}{at} "}, "finish_reason": None}
            yield event({"id": "a", "choices": [{**choice, **({"logprobs": content([one])} if asked else {})}]})
        yield event({"id": "a", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}]})
        yield event("[DONE]")
        yield CLOSE

    return script


def broken(request: Received) -> Iterable[Step]:
    yield response({"error": {"message": "no"}}, "500 Internal Server Error")


class Kept(list[Exchange]):
    gateway: Gateway


@asynccontextmanager
async def kept(
    student: ScriptedUpstream, teacher: ScriptedUpstream, *, deferral: Any = POLICY, **route: Any
) -> AsyncIterator[Kept]:
    upstreams: dict[str, dict[str, Any]] = {
        name: {"base_url": server.base_url, "model": f"{name}-model", "price": {"input": 1, "output": 1}}
        for name, server in (("small", student), ("big", teacher))
    }
    chat = {"teacher": "big", "student": "small", "student_percent": 100, "fallback": {"retries": 0}, **route}
    upstreams["big"]["breaker"] = {"min_requests": 2, "failure_ratio": 0.5, "open_s": 60}
    config = parse({"upstreams": upstreams, "routes": {"chat": {"deferral": deferral, **chat}}}, "test", {})
    gateway = Gateway.build(config)
    gateway.apply(config, {}, 1)
    found = Kept()
    found.gateway = gateway
    gateway.metrics.record = found.append  # type: ignore[method-assign]
    try:
        yield found
    finally:
        await gateway.close()


async def ask(gateway: Gateway, endpoint: Endpoint = CHAT, *, within_s: float = 10, **fields: Any) -> Client:
    body: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], **fields}
    if endpoint is not CHAT:
        body["prompt" if endpoint is COMPLETIONS else "input"] = body.pop("messages")[0]["content"]
    client = Client()
    relay = Relay(
        gateway, client, admit(gateway, "id", endpoint, b"", {}, json.dumps(body).encode(), ANYONE, monotonic())
    )
    relay.start()
    until = monotonic() + within_s
    while not client.over.is_set() and monotonic() < until:
        await asyncio.sleep(0.005)
        if relay.due_at <= monotonic() and not client.over.is_set():
            relay.deadline(monotonic())
    assert client.over.is_set()
    return client


def said(client: Client) -> str:
    return str(json.loads(client.body)["choices"][0]["message"]["content"])


def text_of(client: Client) -> str:
    lines = [line[6:] for line in client.body.decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines[:-1])


def counted(gateway: Gateway, became: Deferred) -> float:
    return (
        gateway.metrics.registry.get_sample_value(
            "understudy_deferral_total", {"route": "chat", "became": became.value}
        )
        or 0.0
    )


async def test_an_answer_that_the_student_was_sure_of_is_served_as_the_client_asked_for_it(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = telling(SURE)
    async with kept(student, teacher) as found:
        client = await ask(found.gateway, temperature=0.5)
        assert counted(found.gateway, Deferred.SURE) == 1
    assert student.requests[0].json == {
        "model": "small-model",
        "logprobs": True,
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
    }
    answer = json.loads(client.body)
    assert answer["choices"][0]["logprobs"] is None
    assert answer["choices"][0]["message"]["content"] == "the student's"
    assert answer["extra"] == {"kept": 1.5}
    assert teacher.requests == []
    assert (found[0].role, found[0].reason, found[0].deferral) == (Role.STUDENT, "split", Deferred.SURE)
    assert found[0].sure == pytest.approx(-0.01)


async def test_one_that_it_was_not_sure_of_is_answered_by_the_teacher(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script, teacher.script = telling(UNSURE), telling(SURE, "the teacher's")
    async with kept(student, teacher) as found:
        client = await ask(found.gateway)
        assert counted(found.gateway, Deferred.DEFERRED) == 1
        nets = found.gateway.nets
        assert nets._in_flight == nets._deferred == {"chat": 0}, "its place is given back"
    assert said(client) == "the teacher's"
    assert "logprobs" not in teacher.requests[0].json
    (exchange,) = found
    assert (exchange.role, exchange.kind, exchange.reason) == (Role.TEACHER, Kind.DEFERRAL, "deferral")
    assert (exchange.sure, exchange.deferral) == (-4.0, Deferred.DEFERRED)
    assert [(leg.upstream, leg.outcome) for leg in exchange.lost] == [("small", "ok")]
    assert exchange.lost[0].cost_nano_usd > 0, "it was paid all the same"


async def test_without_the_block_nobody_asks(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = telling(UNSURE)
    async with kept(student, teacher, deferral=None) as found:
        await ask(found.gateway)
    assert "logprobs" not in student.requests[0].json
    assert (found[0].sure, found[0].deferral) == (None, None)


async def test_without_a_threshold_it_is_only_noted(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = telling(UNSURE)
    async with kept(student, teacher, deferral={}) as found:
        client = await ask(found.gateway)
    assert said(client) == "the student's"
    assert (found[0].sure, found[0].deferral) == (-4.0, Deferred.MEASURED)


@pytest.mark.parametrize(("endpoint", "asked"), [(CHAT, True), (COMPLETIONS, 1)])
@pytest.mark.parametrize("given", ["absent", None])
async def test_each_endpoint_is_asked_in_its_way(
    student: ScriptedUpstream, teacher: ScriptedUpstream, endpoint: Endpoint, asked: object, given: object
) -> None:
    fields = {} if given == "absent" else {"logprobs": given}
    async with kept(student, teacher) as found:
        await ask(found.gateway, endpoint, **fields)
    assert student.requests[0].json["logprobs"] == asked
    assert type(student.requests[0].json["logprobs"]) is type(asked)


async def test_what_the_client_has_asked_for_it_gets(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = telling(SURE)
    async with kept(student, teacher) as found:
        client = await ask(found.gateway, logprobs=True, top_logprobs=2)
    assert len(json.loads(client.body)["choices"][0]["logprobs"]["content"]) == len(SURE)
    assert found[0].sure == pytest.approx(-0.01)


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [(RESPONSES, {}), (CHAT, {"n": 2}), (CHAT, {"stream": True})],
    ids=["responses", "n", "stream"],
)
async def test_where_it_cannot_be_nothing_is_asked(
    student: ScriptedUpstream, teacher: ScriptedUpstream, endpoint: Endpoint, fields: dict[str, Any]
) -> None:
    student.script = telling(UNSURE)
    async with kept(student, teacher) as found:
        await ask(found.gateway, endpoint, **fields)
    assert "logprobs" not in student.requests[0].json


async def test_a_student_that_tells_none_is_deferred(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    teacher.script = telling(SURE, "the teacher's")
    async with kept(student, teacher) as found:
        client = await ask(found.gateway)
    assert said(client) == "the teacher's"
    assert (found[0].sure, found[0].deferral) == (None, Deferred.DEFERRED)


async def test_a_short_answer_is_served_without_a_look(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = telling([-4.0, -4.0])
    async with kept(student, teacher, deferral={**POLICY, "min_tokens": 3}) as found:
        client = await ask(found.gateway)
    assert said(client) == "the student's"
    assert (found[0].sure, found[0].deferral) == (None, Deferred.SHORT)


# ---- The teacher cannot ----


@pytest.mark.parametrize("stream", [False, True])
async def test_a_teacher_that_fails_leaves_the_students_answer(
    student: ScriptedUpstream, teacher: ScriptedUpstream, stream: bool
) -> None:
    student.script, teacher.script = telling(UNSURE[::-1]), broken
    async with kept(student, teacher, fallback=HOLD) as found:
        client = await ask(found.gateway, stream=stream)
        assert counted(found.gateway, Deferred.FAILED) == 1
    assert len(teacher.requests) == 1, "it is not asked again"
    assert (text_of(client).count("t") if stream else said(client)) == (20 if stream else "the student's")
    assert b'"logprob"' not in client.body
    (exchange,) = found
    assert (exchange.role, exchange.reason, exchange.deferral) == (Role.STUDENT, "split", Deferred.FAILED)
    assert exchange.outcome == "ok"
    assert [leg.outcome for leg in exchange.lost] == ["upstream_error"]


async def test_a_teacher_that_is_down_is_not_asked(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script, teacher.script = telling(UNSURE), broken
    async with kept(student, teacher) as found:
        for _ in range(3):
            assert said(await ask(found.gateway)) == "the student's"
    assert len(teacher.requests) == 2
    assert [exchange.deferral for exchange in found] == [Deferred.FAILED, Deferred.FAILED, Deferred.DOWN]


async def test_deferred_requests_take_no_more_of_the_teacher_than_they_may(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = telling(UNSURE)

    def slow(request: Received) -> Iterable[Step]:
        yield 0.5
        yield response(completion("the teacher's"))

    teacher.script = slow
    async with kept(student, teacher, deferral={**POLICY, "max_concurrent": 2}) as found:
        clients = await asyncio.gather(*(ask(found.gateway) for _ in range(6)))
    assert len(teacher.requests) == 2
    assert sorted(map(said, clients)) == ["the student's"] * 4 + ["the teacher's"] * 2
    assert (
        sorted(exchange.deferral for exchange in found if exchange.deferral)
        == [Deferred.DEFERRED] * 2 + [Deferred.FULL] * 4
    )


async def test_the_nets_money_is_for_both(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script, teacher.script = telling(UNSURE), telling(SURE, "the teacher's")
    net = {"start": "2020-01-01", "end": "2020-01-02", "max_usd_per_day": 0.000_001}
    async with kept(student, teacher, risk={}, safety_net=net) as found:
        first, second = [await ask(found.gateway) for _ in range(2)]
    assert (said(first), said(second)) == ("the teacher's", "the student's")
    assert [exchange.deferral for exchange in found] == [Deferred.DEFERRED, Deferred.BUDGET]


async def test_a_teacher_that_takes_too_long_leaves_the_students_answer(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = telling(UNSURE)

    def silent(request: Received) -> Iterable[Step]:
        yield 30.0

    teacher.script = silent
    for deadlines in ({"answer_s": 0.3, "total_s": 60}, {"answer_s": 60, "total_s": 0.6}):
        async with kept(student, teacher, deadlines=deadlines) as found:
            client = await ask(found.gateway, within_s=5)
        assert said(client) == "the student's"
        assert found[0].deferral is Deferred.FAILED


async def test_the_kill_switch_is_stronger(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script = telling(UNSURE)
    async with kept(student, teacher, force="student") as found:
        assert said(await ask(found.gateway)) == "the student's"
    assert "logprobs" not in student.requests[0].json


# ---- Streams ----


async def test_a_stream_is_judged_by_what_is_held(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    teacher.script = telling(SURE, "Teacher")
    for logprobs, served in ((UNSURE[::-1], "T"), (UNSURE, "t")):
        student.script = telling(logprobs)
        async with kept(student, teacher, fallback=HOLD) as found:
            client = await ask(found.gateway, stream=True)
        assert text_of(client) == "".join(f"{served}{at} " for at in range(20))
        assert b'"logprob"' not in client.body
    assert (found[0].role, found[0].deferral) == (Role.STUDENT, Deferred.SURE)


async def test_a_stream_that_ends_within_what_is_held(student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    student.script, teacher.script = telling([-4.0] * 3), telling(SURE, "Teacher")
    async with kept(student, teacher, fallback=HOLD) as found:
        assert text_of(await ask(found.gateway, stream=True)).startswith("T0")
        teacher.script = broken
        assert text_of(await ask(found.gateway, stream=True)) == "t0 t1 t2 "
    assert [exchange.deferral for exchange in found] == [Deferred.DEFERRED, Deferred.FAILED]


# ---- What shadow mode makes of it ----

ALL = {"sample": {"default": 1.0}, "aa_sample": 0}


async def records(gateway: Gateway, count: int) -> list[Record]:
    async with asyncio.timeout(30):
        while len(gateway.shadows.outbox) < count:
            await asyncio.sleep(0.01)
    return [msgspec.json.decode(filed.record, type=Record) for filed in gateway.shadows.outbox]


@pytest.mark.parametrize(("percent", "logprobs"), [(100, SURE), (100, UNSURE), (0, UNSURE)])
async def test_a_pair_says_how_sure_the_student_was(
    student: ScriptedUpstream, teacher: ScriptedUpstream, percent: int, logprobs: list[float]
) -> None:
    """Served, taken back, or only mirrored: it is the student's first answer, and never asked for twice."""
    student.script, teacher.script = telling(logprobs), telling(SURE, "the teacher's")
    async with kept(student, teacher, shadow=ALL, student_percent=percent) as found:
        await ask(found.gateway)
        (record,) = await records(found.gateway, 1)
        texts = json.loads(next(iter(found.gateway.shadows.outbox)).texts or "")
    assert record.reason is None, record.detail
    assert record.student is not None
    assert record.teacher is not None
    assert (record.student.sure, record.student.quantile) == (pytest.approx(-4.0 if logprobs is UNSURE else -0.01), 0.1)
    assert (record.teacher.sure, record.teacher.quantile) == (None, None)
    assert (texts["student"]["text"], texts["teacher"]["text"]) == ("the student's", "the teacher's")
    assert len(student.requests) == len(teacher.requests) == 1
    deferred = percent == 100 and logprobs is UNSURE
    assert record.answered is (Role.TEACHER if deferred or not percent else Role.STUDENT)
    assert record.student.served is not record.teacher.served


# ---- Bytes ----


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"index":0,"logprobs":{"content":[{"logprob":-1}]},"message":{"content":"\\"logprobs\\":1"}}],"x":1.50}',
        b'{"x":1.50,"choices":[{"logprobs":null,"index":0,"message":{"content":"\\"logprobs\\":1"}}]}',
    ],
)
def test_only_log_probabilities_are_taken_out(body: bytes) -> None:
    out = without_logprobs(body)
    expected = json.loads(body)
    expected["choices"][0]["logprobs"] = None
    assert json.loads(out) == expected
    assert b'"x":1.50' in out, "what is not looked at stays as it came"
    assert list(json.loads(out)) == list(expected)


@pytest.mark.parametrize("body", [b"no JSON logprobs", b'{"logprobs":1}', b'{"choices":{"logprobs":1}}', b"[]"])
def test_what_is_no_answer_stays(body: bytes) -> None:
    assert without_logprobs(body) == body


def test_events_without_them_stay_as_they_came() -> None:
    events = b': ping\n\ndata: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\r\n\r\ndata: [DONE]\n\n'
    watch = Logprobs(CHAT, strips=True)
    assert watch.events(events) == events
    told = b'data: {"choices":[{"logprobs":{"content":[{"logprob":-0.5}]},"delta":{}}]}\n\n'
    assert watch.events(events[:-14] + told) == events[:-14] + b'data: {"choices":[{"logprobs":null,"delta":{}}]}\n\n'
    assert watch.values == [-0.5]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"chat","messages":[]}',
        b'{"model":"chat","logprobs":false,"messages":[{"content":"\\"logprobs\\": false"}]}',
        b'{"logprobs" : null, "model":"chat","metadata":{"logprobs":null}}',
        b'{"mod\\u0065l":"chat","logprobs":false}',
        b'{"metadata":{"model":"chat"},"model":"chat","stream":true,"logprobs":null}',
    ],
)
def test_a_request_is_changed_in_nothing_else(body: bytes) -> None:
    view = read_request(body)
    for usage in (False, True):
        sent = json.loads(b"".join(forwarded_parts(body, view, "m", ask_usage=usage, logprobs=b"true")))
        more = {"stream_options": {"include_usage": True}} if usage else {}
        assert sent == {**json.loads(body), "model": "m", "logprobs": True, **more}
