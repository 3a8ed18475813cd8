"""Second opinions against real sockets: who is asked what, what comes of it, and that no pair is other for it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from gateway.after import opinions as seats
from gateway.after.sample import Record
from gateway.config import ConfigError, parse
from gateway.state import Gateway
from router_policies.opinions import Kind, Opinion, Outcome
from router_policies.shadow import Arm
from tests.gateway.after.test_shadows import ALL, ask, value
from tests.support.upstream import CLOSE, Received, ScriptedUpstream, Step, completion, response

JUDGE = {"upstream": "third", "sample": 1.0}
EMBEDDING = {"upstream": "third", "sample": 1.0}
PRICE = {"input": 1, "output": 1}
USD_PER_CALL = 14e-6  # of a scripted completion: 14 tokens


@pytest.fixture
def third() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(answering("tie")) as server:
        yield server


def voting(choose: Callable[[str, str], str]) -> Callable[[Received], Iterable[Step]]:
    """A judge that reads both answers and says A, B or tie; and embeddings 60 degrees apart."""

    def script(request: Received) -> Iterable[Step]:
        if request.target == "/v1/embeddings":
            data = [{"index": 1, "embedding": [0.5, 0.75**0.5]}, {"index": 0, "embedding": [1.0, 0.0]}]
            yield response({"object": "list", "data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}})
            return
        told = request.json["messages"][1]["content"]
        answers = [told.split(f"answer {letter} begins\n")[1].split("\n")[0] for letter in "AB"]
        yield response(completion(json.dumps({"better": choose(*answers), "why": f"as {answers[0]} comes first"})))

    return script


def answering(letter: str) -> Callable[[Received], Iterable[Step]]:
    return voting(lambda one, other: letter)


@asynccontextmanager
async def gateway_of(
    student: ScriptedUpstream, teacher: ScriptedUpstream, third: ScriptedUpstream, **shadow: Any
) -> AsyncIterator[Gateway]:
    gateway = Gateway.build(config_of(student, teacher, third, **shadow))
    gateway.apply(gateway.config, {}, 1)
    try:
        yield gateway
    finally:
        await gateway.close()


def config_of(student: ScriptedUpstream, teacher: ScriptedUpstream, third: ScriptedUpstream, **shadow: Any) -> Any:
    servers = {"small": student, "big": teacher, "third": third}
    upstreams = {
        name: {"base_url": server.base_url, "model": f"{name}-model", "price": PRICE, "revision": "r1"}
        for name, server in servers.items()
    }
    chat = {"teacher": "big", "student": "small", "student_percent": 100, "shadow": {**ALL, **shadow}}
    return parse({"upstreams": upstreams, "routes": {"chat": chat}}, "test", {})


async def heard(gateway: Gateway, count: int = 1) -> list[Record]:
    """The records of `count` pairs as they are in the end, once all that was drawn has come to an end."""
    async with asyncio.timeout(30):
        while True:
            records = {filed.id: filed.record for filed in gateway.shadows.outbox}
            if len(records) == count and drawn(gateway) == sum(outcomes(gateway).values()):
                return [msgspec.json.decode(record, type=Record) for record in records.values()]
            await asyncio.sleep(0.01)


def drawn(gateway: Gateway) -> float:
    return sum(value(gateway, "understudy_opinion_samples_total", route="chat", kind=kind) for kind in Kind)


def outcomes(gateway: Gateway) -> Counter[Outcome]:
    name = "understudy_opinion_outcomes_total"
    told = {
        outcome: sum(value(gateway, name, route="chat", kind=kind, outcome=outcome) for kind in Kind)
        for outcome in Outcome
    }
    return Counter({outcome: int(count) for outcome, count in told.items() if count})


async def opinion(gateway: Gateway) -> Opinion:
    (record,) = await heard(gateway)
    (found,) = record.opinions
    return found


Servers = tuple[ScriptedUpstream, ScriptedUpstream, ScriptedUpstream]


@pytest.fixture
def servers(student: ScriptedUpstream, teacher: ScriptedUpstream, third: ScriptedUpstream) -> Servers:
    return student, teacher, third


async def test_a_judge_is_asked_in_both_orders_and_a_steady_word_counts(servers: Servers) -> None:
    *_, third = servers
    third.script = voting(lambda one, other: "A" if one == "I am big" else "B")
    async with gateway_of(*servers, judge=JUDGE) as gateway:
        await ask(gateway, messages=[{"role": "user", "content": "Who are you? I am a@example.com"}], temperature=0.9)
        (record,) = await heard(gateway)
        texts = [json.loads(filed.texts or "null") for filed in gateway.shadows.outbox]
    first, second = (request.json for request in third.requests)
    for sent in (first, second):
        assert (sent["model"], sent["temperature"]) == ("third-model", 0)
        assert sent["response_format"]["type"] == "json_schema"
        assert "user: Who are you? I am [email]" in sent["messages"][1]["content"]
        assert "example.com" not in json.dumps(sent)
    assert first["messages"][0] == second["messages"][0]
    assert first["messages"][1] != second["messages"][1]
    (found,) = record.opinions
    assert (found.kind, found.outcome, found.by) == (Kind.JUDGE, Outcome.TEACHER, "third/third-model@r1")
    assert (found.probability, found.cost_nano_usd, found.version) == (1.0, 28_000, "1")
    assert [text.get("why") for text in texts] == [
        None,
        {"student_first": "as I am small comes first", "teacher_first": "as I am big comes first"},
    ]


async def test_calls_are_marked_and_in_nobody_elses_cost(servers: Servers) -> None:
    *_, third = servers
    async with gateway_of(*servers, judge=JUDGE, embedding=EMBEDDING) as gateway:
        await ask(gateway)
        await heard(gateway)
        for request in third.requests:
            assert gateway.shadows.is_mirror(request.headers["x-understudy-shadow"].encode())
            mark = gateway.shadows.opinions.mark(request.headers["x-understudy-shadow"].partition(".")[0])
            assert request.target == "/v1/embeddings" or request.json["messages"][1]["content"].startswith(mark)
            assert mark not in request.headers["x-understudy-shadow"]

        def cost(kind: str) -> float:
            name = "understudy_opinion_cost_nano_usd_total"
            return value(gateway, name, route="chat", kind=kind, upstream="third")

        def tokens(kind: str, which: str) -> float:
            name = "understudy_opinion_tokens_total"
            return value(gateway, name, route="chat", kind=kind, upstream="third", tokens=which)

        assert (cost("judge"), cost("embedding")) == (28_000, 9_000)
        assert tokens("judge", "input") + tokens("judge", "output") == 28
        assert (tokens("embedding", "input"), tokens("embedding", "output")) == (9, 0)
        assert value(gateway, "understudy_shadow_cost_nano_usd_total", route="chat", upstream="third") == 0
        assert gateway.shadows.spent_today_on("chat") == 14_000
        told = gateway.shadows.spent_today()
        assert sorted((name.partition(":")[0], spent) for name, spent in told.items()) == [
            ("embedding", 9_000),
            ("judge", 28_000),
            ("shadow", 14_000),
        ]


@pytest.mark.parametrize("letter", ["A", "B"])
async def test_a_judge_that_goes_by_the_order_says_nothing(servers: Servers, letter: str) -> None:
    servers[2].script = answering(letter)
    async with gateway_of(*servers, judge=JUDGE) as gateway:
        await ask(gateway)
        assert (await opinion(gateway)).outcome is Outcome.INCONSISTENT


async def test_an_embedding_is_asked_for_once_with_both_answers(servers: Servers) -> None:
    async with gateway_of(*servers, embedding=EMBEDDING) as gateway:
        await ask(gateway)
        found = await opinion(gateway)
    (request,) = servers[2].requests
    assert request.target == "/v1/embeddings"
    assert request.json == {"model": "third-model", "input": ["I am small", "I am big"], "encoding_format": "float"}
    assert (found.kind, found.outcome) == (Kind.EMBEDDING, Outcome.MEASURED)
    assert found.similarity == pytest.approx(0.5)


async def test_the_teachers_noise_is_measured_too_and_not_judged(servers: Servers) -> None:
    said = iter(["I am big", "I am very big"])
    servers[1].script = lambda request: [response(completion(next(said)))]
    both: Any = {"judge": JUDGE, "embedding": EMBEDDING}
    async with gateway_of(*servers, sample={"default": 0.0}, aa_sample=1.0, **both) as gateway:
        await ask(gateway)
        (record,) = await heard(gateway)
    assert record.arm is Arm.AA
    assert [(one.kind, one.outcome) for one in record.opinions] == [(Kind.EMBEDDING, Outcome.MEASURED)]
    assert servers[2].requests[0].json["input"] == ["I am big", "I am very big"]


async def test_of_identical_answers_nobody_is_asked(servers: Servers) -> None:
    for server in servers[:2]:
        server.script = lambda request: [response(completion("The same."))]
    async with gateway_of(*servers, judge=JUDGE, embedding=EMBEDDING) as gateway:
        await ask(gateway)
        (record,) = await heard(gateway)
    assert {(one.kind, one.outcome, one.similarity) for one in record.opinions} == {
        (Kind.JUDGE, Outcome.IDENTICAL, None),
        (Kind.EMBEDDING, Outcome.IDENTICAL, 1.0),
    }
    assert servers[2].requests == []


async def test_what_cannot_be_asked_about_says_so(servers: Servers) -> None:
    servers[0].script = lambda request: [response(completion("x" * 40_000))]
    servers[1].script = lambda request: [response(completion(" "))]
    async with gateway_of(*servers, judge=JUDGE, embedding=EMBEDDING) as gateway:
        await ask(gateway)
        (record,) = await heard(gateway)
    assert [one.outcome for one in record.opinions] == [Outcome.UNFIT, Outcome.UNFIT]
    assert servers[2].requests == []


GARBAGE: list[tuple[str, list[Step], Outcome]] = [
    ("status", [response({"error": {"message": "no"}}, "503 Service Unavailable")], Outcome.FAILED),
    ("garbage", [b"what is this\r\n\r\n", CLOSE], Outcome.FAILED),
    ("cut", [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", CLOSE], Outcome.FAILED),
    ("no json", [response(b"nothing")], Outcome.FAILED),
    ("prose", [response(completion("I prefer A."))], Outcome.UNREADABLE),
    ("too much", [response(completion('{"better": "A", "why": "", "more": 1}'))], Outcome.UNREADABLE),
    ("slow", [5.0, response(completion('{"better": "A", "why": ""}'))], Outcome.TIMEOUT),
    ("endless", [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", *[b"x" * 65_536] * 20, 5.0], Outcome.FAILED),
]


@pytest.mark.parametrize(("name", "steps", "outcome"), GARBAGE)
async def test_a_judge_that_fails_changes_nothing_else(
    servers: Servers, name: str, steps: list[Step], outcome: Outcome
) -> None:
    student, teacher, third = servers
    async with gateway_of(student, teacher, third) as gateway:
        plain = await ask(gateway)
        (without,) = await heard(gateway)
    third.script = lambda request: steps
    async with gateway_of(student, teacher, third, judge={**JUDGE, "timeout_s": 0.5}) as gateway:
        client = await ask(gateway)
        (record,) = await heard(gateway)
        filed = [msgspec.json.decode(one.record, type=Record) for one in gateway.shadows.outbox]
        assert value(gateway, "understudy_shadow_pairs_total", route="chat", arm="ab") == 1
    assert (client.status, json.loads(client.body)["choices"]) == (200, json.loads(plain.body)["choices"])
    assert len(third.requests) == 1  # never twice, and not in the other order either
    (found,) = record.opinions
    assert (found.outcome, bool(found.detail)) == (outcome, True)
    assert filed[0].opinions == ()  # the pair did not wait for it
    assert (record.reason, record.verdicts) == (None, without.verdicts)


async def test_a_judge_that_is_gone_is_left_alone_soon(servers: Servers) -> None:
    """Its breaker opens: that of these calls, not the one of requests that are served by that upstream."""
    student, teacher, third = servers
    third.script = lambda request: [response({"error": {"message": "no"}}, "500 Internal Server Error")]
    async with gateway_of(student, teacher, third, judge=JUDGE) as gateway:
        for number in range(40):
            await ask(gateway)
            await heard(gateway, number + 1)
        assert gateway.upstreams["third"].up
        found = outcomes(gateway)
    assert set(found) == {Outcome.FAILED, Outcome.CIRCUIT_OPEN}
    assert found.total() == 40
    assert len(third.requests) == found[Outcome.FAILED] < 40


async def test_an_upstream_that_fails_those_served_is_not_asked(servers: Servers) -> None:
    async with gateway_of(*servers, judge=JUDGE) as gateway:
        breaker = gateway.upstreams["third"].replicas[0].breaker
        for _ in range(30):
            breaker.failed(breaker.openings, 0.0)
        await ask(gateway)
        assert (await opinion(gateway)).outcome is Outcome.CIRCUIT_OPEN
    assert servers[2].requests == []


async def test_a_spent_budget_stops_it_and_only_it(servers: Servers) -> None:
    judge = {**JUDGE, "max_usd_per_day": round(3 * USD_PER_CALL, 6)}
    async with gateway_of(*servers, judge=judge, embedding=EMBEDDING) as gateway:
        for number in range(4):
            await ask(gateway)
            await heard(gateway, number + 1)
        assert outcomes(gateway) == {Outcome.TIE: 2, Outcome.BUDGET: 2, Outcome.MEASURED: 4}
        assert value(gateway, "understudy_shadow_pairs_total", route="chat", arm="ab") == 4


async def test_what_other_replicas_spent_on_it_counts(servers: Servers) -> None:
    async with gateway_of(*servers, judge={**JUDGE, "max_usd_per_day": 0.001}) as gateway:
        await ask(gateway)
        await heard(gateway)
        (name,) = (name for name in gateway.shadows.spent_today() if name.startswith("judge:"))
        gateway.shadows.heard({name: 990_000, name.replace("judge", "shadow"): 10**12, "judge:1:chat": 10**12})
        assert gateway.shadows.opinions.spending[Kind.JUDGE].today("chat") == 28_000 + 990_000
        assert gateway.shadows.spent_today_on("chat") == 14_000 + 10**12
        gateway.shadows.heard({name: 990_000})
        await ask(gateway)
        await heard(gateway, 2)
        assert outcomes(gateway) == {Outcome.TIE: 1, Outcome.BUDGET: 1}


async def test_a_slow_judge_lets_few_wait_and_all_add_up(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair at a time, each within its own time from when it was scored; pairs are filed meanwhile."""
    monkeypatch.setattr(seats, "QUEUE", 3)
    student, teacher, third = servers
    third.script = lambda request: [30.0]
    async with gateway_of(student, teacher, third, judge={**JUDGE, "timeout_s": 2.0}) as gateway:
        for _ in range(5):
            await ask(gateway)
        async with asyncio.timeout(20):
            while len(gateway.shadows.outbox) < 5:
                await asyncio.sleep(0.01)
        assert outcomes(gateway)[Outcome.TIMEOUT] < 3
        found = await heard(gateway, 5)
    assert len(third.requests) == 1
    assert Counter(record.opinions[0].outcome for record in found) == {Outcome.TIMEOUT: 3, Outcome.QUEUE_FULL: 2}
    assert max(record.opinions[0].took_s for record in found) < 3


async def test_what_is_under_way_at_the_end_says_so(servers: Servers) -> None:
    student, teacher, third = servers
    third.script = lambda request: [30.0]
    async with gateway_of(student, teacher, third, judge=JUDGE) as gateway:
        for _ in range(3):
            await ask(gateway)
        async with asyncio.timeout(20):
            while len(gateway.shadows.outbox) < 3 or not third.requests:
                await asyncio.sleep(0.01)
    assert outcomes(gateway) == {Outcome.SHUTDOWN: 3}
    assert len([one for one in gateway.shadows.outbox if one.amends]) == 3
    assert value(gateway, "understudy_opinion_cost_nano_usd_total", route="chat", kind="judge", upstream="third") > 0


@pytest.mark.parametrize("shadow", [None, {**ALL}, {**ALL, "judge": {**JUDGE, "rubric": "Another one."}}])
async def test_switched_off_or_made_another_it_ends_at_once(servers: Servers, shadow: Any) -> None:
    student, teacher, third = servers
    third.script = lambda request: [30.0]
    async with gateway_of(student, teacher, third, judge=JUDGE) as gateway:
        await ask(gateway)
        async with asyncio.timeout(20):
            while not third.requests:
                await asyncio.sleep(0.01)
        change(gateway, shadow)
        assert (await opinion(gateway)).outcome is Outcome.DISABLED


async def test_a_new_limit_leaves_alone_what_is_under_way(servers: Servers) -> None:
    student, teacher, third = servers
    third.script = lambda request: [0.5, *answering("tie")(request)]
    async with gateway_of(student, teacher, third, judge=JUDGE) as gateway:
        await ask(gateway)
        async with asyncio.timeout(20):
            while not third.requests:
                await asyncio.sleep(0.01)
        change(gateway, {**ALL, "judge": {**JUDGE, "sample": 0.0, "max_usd_per_day": 1}})
        assert (await opinion(gateway)).outcome is Outcome.TIE
        await ask(gateway)
        found = await heard(gateway, 2)
    assert [len(record.opinions) for record in found] == [1, 0]


def change(gateway: Gateway, shadow: Any) -> None:
    content = json.loads(json.dumps(gateway.config.content))
    content["routes"]["chat"]["shadow"] = shadow
    gateway.apply(parse(content, "test", {}), {}, 2)


async def test_a_busy_process_asks_nobody(servers: Servers) -> None:
    student, teacher, third = servers
    teacher.script = lambda request: [0.5, response(completion("I am big"))]
    async with gateway_of(student, teacher, third, judge=JUDGE) as gateway:
        gateway.shadows.tick(0.05)
        await ask(gateway)
        await asyncio.sleep(0.3)
        gateway.shadows.tick(0.05)
        assert (await opinion(gateway)).outcome is Outcome.DISABLED
    assert third.requests == []


async def test_only_a_share_of_pairs_is_drawn(servers: Servers) -> None:
    async with gateway_of(*servers, judge={**JUDGE, "sample": 0.5}) as gateway:
        draws = iter([0.49, 0.5, 0.51, 0.0])
        gateway.shadows.opinions._random = lambda: next(draws)
        for number in range(4):
            await ask(gateway)
            found = await heard(gateway, number + 1)
    assert [[one.probability for one in record.opinions] for record in found] == [[0.5], [], [], [0.5]]


async def test_without_the_keys_nothing_is_asked(servers: Servers) -> None:
    async with gateway_of(*servers) as gateway:
        await ask(gateway)
        (record,) = await heard(gateway)
    assert (record.opinions, servers[2].requests) == ((), [])


async def test_a_rubric_may_be_in_a_file(servers: Servers, tmp_path: Any) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Politeness alone counts.\n")
    async with gateway_of(*servers, judge={**JUDGE, "rubric": str(rubric)}) as gateway:
        await ask(gateway)
        found = await opinion(gateway)
    assert "by this rubric" not in servers[2].requests[0].json["messages"][0]["content"]
    assert "\n\nPoliteness alone counts.\n\n" in servers[2].requests[0].json["messages"][0]["content"]
    assert found.version.startswith("1.")


REFUSED = [
    ({"judge": {"upstream": "nobody"}}, "shadow.judge.upstream: expected one of third, got 'nobody'"),
    ({"embedding": {"upstream": "nobody"}}, "shadow.embedding.upstream: expected one of third, got 'nobody'"),
    (
        {"judge": {"upstream": "small"}},
        "shadow.judge.upstream: expected a third model, got 'small', the route's student",
    ),
    ({"judge": {"upstream": "big"}}, "shadow.judge.upstream: expected a third model, got 'big', the route's teacher"),
    ({"judge": {}}, "shadow.judge.upstream: required, and not there"),
    ({"judge": {**JUDGE, "sample": 1.5}}, "shadow.judge.sample: "),
    ({"judge": {**JUDGE, "timeout_s": 301}}, "shadow.judge.timeout_s: "),
    ({"judge": {**JUDGE, "max_usd_per_day": -1}}, "shadow.judge.max_usd_per_day: "),
    ({"judge": {**JUDGE, "rubric": ""}}, "shadow.judge.rubric: "),
    ({"judge": {**JUDGE, "rubric": "/not/there.md"}}, "/not/there.md: No such file or directory"),
    ({"embedding": {**EMBEDDING, "rubric": "x"}}, "shadow.embedding.rubric: "),
]


@pytest.mark.parametrize(("shadow", "said"), REFUSED)
def test_a_config_that_cannot_be_meant_is_refused(servers: Servers, shadow: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(*servers, **shadow)
    (line,) = str(refused.value).splitlines()[1:]
    assert said in line
    assert line.strip().startswith(f"routes.chat.shadow.{next(iter(shadow))}.")


def test_a_judge_is_none_of_the_two_under_another_name_either(
    student: ScriptedUpstream, teacher: ScriptedUpstream, third: ScriptedUpstream
) -> None:
    content = json.loads(json.dumps(config_of(student, teacher, third).content))
    content["routes"]["chat"]["shadow"]["judge"] = JUDGE
    content["upstreams"]["third"] |= {"base_url": f"{teacher.base_url}/", "model": "big-model"}
    with pytest.raises(ConfigError) as refused:
        parse(content, "test", {})
    told = "got 'third', which is 'big-model' on the same server as 'big', the route's teacher"
    assert f"routes.chat.shadow.judge.upstream: expected a third model, {told}" in str(refused.value)
    content["upstreams"]["third"]["model"] = "another-model"  # on the same server
    parse(content, "test", {})
