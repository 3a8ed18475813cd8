"""Teachers are asked: what is sent, what is recorded, and what comes of endpoints that misbehave and runs that end."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from student_train.teachset import ask_endpoint
from student_train.teachset.ask import Outcome, ask, seed_of
from student_train.teachset.ask_endpoint import Budget, Down, OverBudget
from student_train.teachset.ask_teachers import Teacher, TeachersError, parse_teacher, read_teachers
from student_train.teachset.store import TeachingSet
from tests.student_train.teachset.teaching import SYSTEM, answers, error, example, made, put, says, told, well
from tests.support.processes import free_port
from tests.support.upstream import CLOSE, RESET, Received, ScriptedUpstream, Step, response


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_endpoint, "FIRST_PAUSE_S", 0.02)


def _teacher(upstream: ScriptedUpstream, **more: Any) -> Teacher:
    return Teacher(base_url=upstream.base_url, **{"retries": 2, "timeout_s": 5.0} | more)


async def _asked(path: Path, upstream: ScriptedUpstream, options: dict[str, Any] | None = None, **more: Any) -> Outcome:
    with TeachingSet.open(path) as teaching:
        return await ask(teaching, {"big": _teacher(upstream, **more)}, **options or {})


def _content(path: Path) -> dict[str, bytes]:
    with TeachingSet.open(path) as teaching:
        return dict(teaching.payloads("answer"))


async def test_each_prompt_is_asked_so_many_times_and_all_of_it_is_recorded(tmp_path: Path) -> None:
    schema = {"type": "json_object"}
    tools = ({"type": "function", "function": {"name": "f"}},)
    path = made(tmp_path / "set", [example(1), example(2, response_format=schema, tools=tools)])
    with ScriptedUpstream(well) as upstream:
        outcome = await _asked(path, upstream, price={"input": "1", "output": "2"}, temperature=0.7, top_logprobs=2)
    assert len(upstream.requests) == 8
    bodies = [request.json for request in upstream.requests]
    assert {body["temperature"] for body in bodies} == {0.7}
    assert len({body["seed"] for body in bodies}) == 8
    assert next(body for body in bodies if "tools" in body)["response_format"] == schema
    with TeachingSet.open(path) as teaching:
        found = answers(teaching)
    first = example(1).id
    assert sorted(key for key in found if key.startswith(first)) == [f"{first}/big/{at}" for at in range(4)]
    one = found[f"{first}/big/3"]
    assert one.seed == seed_of(0, first, 3)
    assert one.content == f"Answer {one.seed % 7} to Question 1"
    assert (one.finish_reason, one.input_tokens, one.output_tokens) == ("stop", 20, 8)
    assert one.cost_nano_usd == 20 * 1000 + 8 * 2000
    assert [candidate.token for candidate in one.positions[0].top] == ["B"]
    assert outcome.teachers["big"].done == 8
    assert outcome.spent_nano_usd == 8 * one.cost_nano_usd
    assert outcome.stopped == ""


async def test_what_is_in_the_set_is_not_asked_again(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1)])
    with ScriptedUpstream(well) as upstream:
        await _asked(path, upstream, samples=4)
        before = _content(path)
        await _asked(path, upstream, samples=4)
        assert len(upstream.requests) == 4
        await _asked(path, upstream, samples=6)
    assert len(upstream.requests) == 6
    assert before.items() <= _content(path).items()


async def test_what_was_made_unanswerable_is_not_asked(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1), example(2, kind="slot_dropped", gold="Which one?")])
    with ScriptedUpstream(well) as upstream:
        await _asked(path, upstream)
    assert {one.example for one in _answers(path)} == {example(1).id}


async def test_the_holdout_is_never_asked(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1)])
    with ScriptedUpstream(well) as upstream:
        with pytest.raises(ValueError, match="holdout"):
            await _asked(path, upstream, {"splits": ("train", "holdout")})
        assert not upstream.requests


async def test_what_follows_the_system_prompt_goes_to_that_teacher_only(tmp_path: Path) -> None:
    (tmp_path / "policy.md").write_text("The rules.\n")
    path = made(tmp_path / "set", [example(1), example(2, messages=({"role": "user", "content": "Hi"},))])
    with ScriptedUpstream(well) as upstream:
        await _asked(path, upstream, samples=1, system_files=(tmp_path / "policy.md",))
    sent = {request.json["messages"][-1]["content"]: request.json["messages"] for request in upstream.requests}
    assert sent["Question 1"][0] == {"role": "system", "content": f"{SYSTEM['content']}\n\nThe rules."}
    assert sent["Hi"][0] == {"role": "system", "content": "The rules."}


def _failing(first: list[list[Step]]) -> Any:
    """Plays these first, then is well."""
    left = list(first)

    def script(request: Received) -> Iterable[Step]:
        yield from left.pop(0) if left else [told(request)]

    return script


@pytest.mark.parametrize(
    "fault",
    [
        [error("429 Too Many Requests", "slow down")],
        [error("500 Internal Server Error", "oh")],
        [error("503 Service Unavailable", "oh")],
        [RESET],
        [CLOSE],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", CLOSE],
        [response(b"<html>")],
        [response({"choices": []})],
        [30.0],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n", *[b" ", 0.1] * 100],
    ],
    ids=["429", "500", "503", "reset", "closed", "cut", "no JSON", "no choice", "hangs", "trickles"],
)
async def test_what_may_pass_is_tried_again(tmp_path: Path, fault: list[Step]) -> None:
    path = made(tmp_path / "set", [example(1)])
    with ScriptedUpstream(_failing([fault, fault])) as upstream:
        outcome = await _asked(path, upstream, samples=2, timeout_s=0.4)
    assert (outcome.teachers["big"].done, outcome.stopped) == (2, "")
    assert len(upstream.requests) == 4
    assert {answer.rejected for answer in _answers(path)} == {""}


def _answers(path: Path) -> list[Any]:
    with TeachingSet.open(path) as teaching:
        return list(answers(teaching).values())


async def test_retry_after_is_kept_to_by_all(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(3)])
    with ScriptedUpstream(_failing([[error("429 Too Many Requests", "slow", "retry-after: 1\r\n")]])) as upstream:
        await _asked(path, upstream, samples=2, concurrency=1)
    first, *others = [request.at for request in upstream.requests]
    assert len(others) == 6
    assert 1.0 <= others[0] - first < 3
    assert others[-1] - others[0] < 2


async def test_the_rate_is_kept(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(3)])
    with ScriptedUpstream(well) as upstream:
        await _asked(path, upstream, samples=4, requests_per_s=20, concurrency=12)
    times = sorted(request.at for request in upstream.requests)
    assert times[-1] - times[0] >= 11 / 20 - 0.03


async def test_no_more_at_once_than_said(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(6)])
    under_way = most = 0

    def script(request: Received) -> Iterable[Step]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        yield 0.02
        under_way -= 1
        yield told(request)

    with ScriptedUpstream(script) as upstream:
        await _asked(path, upstream, samples=4, concurrency=3)
    assert most == 3


async def test_a_refused_prompt_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(4)])

    def script(request: Received) -> Iterable[Step]:
        bad = request.json["messages"][-1]["content"] == "Question 2"
        yield error("400 Bad Request", "the prompt is\n too long") if bad else told(request)

    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream, samples=2)
        again = await _asked(path, upstream, samples=2)
    refused = [one for one in _answers(path) if one.example == example(2).id]
    assert [one.rejected for one in refused] == ["refused: HTTP 400: the prompt is too long"] * 2
    assert (outcome.teachers["big"].done, outcome.teachers["big"].refused) == (8, 2)
    assert again.teachers["big"].planned == 0


async def test_what_failed_for_now_is_counted_and_asked_at_the_next_run(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(5)])

    def script(request: Received) -> Iterable[Step]:
        bad = request.json["messages"][-1]["content"] == "Question 2"
        yield error("500 Internal Server Error", "oh") if bad else told(request)

    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream, samples=1, concurrency=1)
        assert outcome.teachers["big"].failed == {"HTTP 500": 1}
        assert len(_answers(path)) == 4
        upstream.script = well
        await _asked(path, upstream, samples=1)
    assert len(_answers(path)) == 5


async def test_failures_with_answers_between_them_end_nothing(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(20)])

    def script(request: Received) -> Iterable[Step]:
        yield error("500 Internal Server Error", "oh") if len(upstream.requests) % 2 else told(request)

    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream, samples=1, concurrency=1, retries=0)
    assert (outcome.stopped, outcome.teachers["big"].failed, outcome.teachers["big"].done) == ("", {"HTTP 500": 10}, 10)


async def test_an_endpoint_that_is_down_ends_the_run_with_a_clear_line(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1)])
    gone = Teacher(base_url=f"http://127.0.0.1:{free_port()}/v1")
    with TeachingSet.open(path) as teaching, pytest.raises(Down, match=r"teacher big at http.* does not answer"):
        await ask(teaching, {"big": gone})


async def test_one_that_goes_down_ends_it_and_what_was_said_stays(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(50)])
    count = 0

    def script(request: Received) -> Iterable[Step]:
        nonlocal count
        count += 1
        yield told(request) if count <= 10 else error("502 Bad Gateway", "gone")

    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream, samples=1, concurrency=2)
    assert "failed 3 requests in a row, HTTP 502" in outcome.stopped
    assert len(_answers(path)) == 10
    assert len(upstream.requests) < 40


@pytest.mark.parametrize(
    ("status", "told_"), [("401 Unauthorized", "its key is refused"), ("404 Not Found", "no such")]
)
async def test_an_endpoint_that_is_wrong_ends_it_at_once(tmp_path: Path, status: str, told_: str) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(20)])
    with ScriptedUpstream(lambda _: [error(status, "no")]) as upstream:
        outcome = await _asked(path, upstream, concurrency=1)
    assert told_ in outcome.stopped
    assert len(upstream.requests) == 1


async def test_log_probabilities_that_an_endpoint_does_not_take_are_left_out_and_noted(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(4)])

    def script(request: Received) -> Iterable[Step]:
        yield error("400 Bad Request", "Unsupported: logprobs") if "logprobs" in request.json else told(request)

    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream, samples=2, concurrency=4)
    assert (outcome.teachers["big"].done, outcome.teachers["big"].refused) == (8, 0)
    assert "no log-probabilities: HTTP 400" in outcome.teachers["big"].note
    assert all(not one.positions for one in _answers(path))


async def test_an_endpoint_that_ignores_log_probabilities_is_counted(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1)])

    def script(request: Received) -> Iterable[Step]:
        yield response({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]})

    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream)
    assert (outcome.teachers["big"].done, outcome.teachers["big"].logprobs) == (4, 0)


async def test_the_budget_is_never_exceeded_and_counts_earlier_runs(tmp_path: Path) -> None:
    """An answer costs 28,000 nano-dollars; at most 20 bytes + 64 a message + 512 tokens are reserved for a prompt."""
    path = made(tmp_path / "set", [example(number) for number in range(40)])
    price = {"input": "1", "output": "1"}
    with ScriptedUpstream(well) as upstream:
        first = await _asked(path, upstream, {"budget_nano_usd": 2_000_000}, price=price, max_tokens=8, concurrency=8)
        asked = len(upstream.requests)
        second = await _asked(path, upstream, {"budget_nano_usd": 2_000_000}, price=price, max_tokens=8)
        assert "the budget is spent" in first.stopped
        assert 1_000_000 < first.spent_nano_usd <= 2_000_000
        assert first.spent_nano_usd == asked * 28_000
        assert second.spent_nano_usd <= 2_000_000
        third = await _asked(path, upstream, {"budget_nano_usd": 10_000_000}, price=price, max_tokens=8)
    assert (third.stopped, third.spent_nano_usd) == ("", 160 * 28_000)


async def test_a_try_that_may_have_been_billed_counts_against_the_budget(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1)])
    with ScriptedUpstream(_failing([[30.0]])) as upstream:
        outcome = await _asked(path, upstream, samples=1, timeout_s=0.3, price={"output": "1"}, max_tokens=100)
    assert outcome.spent_nano_usd == 100_000 + 8_000


async def test_reserving_waits_for_what_is_under_way() -> None:
    budget = Budget(100)
    await budget.reserve(80)
    waiting = asyncio.ensure_future(budget.reserve(80))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await budget.settle(80, 10)
    await waiting
    assert budget.spent == 10
    await budget.settle(80, 80)
    with pytest.raises(OverBudget):
        await budget.reserve(11)
    await budget.reserve(10)


async def test_stopping_keeps_what_was_said(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(200)])
    stop = asyncio.Event()

    def script(request: Received) -> Iterable[Step]:
        yield 0.02
        if len(upstream.requests) >= 30:
            loop.call_soon_threadsafe(stop.set)
        yield told(request)

    loop = asyncio.get_running_loop()
    with ScriptedUpstream(script) as upstream:
        outcome = await _asked(path, upstream, {"stop": stop}, concurrency=4)
    assert outcome.stopped == "stopped"
    assert 30 <= len(_answers(path)) == len(upstream.requests) < 60


def _start(path: Path, url: str) -> "subprocess.Popen[bytes]":
    run = "from student_train.cli.teachset import teachset; teachset()"
    teacher = f"big={url},concurrency=4,samples=4"
    return subprocess.Popen([sys.executable, "-c", run, "ask", str(path), "--teacher", teacher])


def _slowly(request: Received) -> Iterable[Step]:
    yield 0.02
    yield told(request)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_run_again_the_set_is_the_same(tmp_path: Path, number: signal.Signals) -> None:
    examples = [example(at) for at in range(60)]
    whole, killed = (made(tmp_path / name, examples) for name in ("whole", "killed"))
    with ScriptedUpstream(_slowly) as upstream:
        assert _start(whole, upstream.base_url).wait(60) == 0
        asked = len(upstream.requests)
        codes = []
        for until in (40, 110, 200):
            process = _start(killed, upstream.base_url)
            deadline = monotonic() + 30
            while len(upstream.requests) - asked < until and process.poll() is None and monotonic() < deadline:
                sleep(0.01)
            process.send_signal(number)
            codes.append(process.wait(30))
        assert _start(killed, upstream.base_url).wait(60) == 0
        again = len(upstream.requests) - asked
    assert codes == [-9 if number is signal.SIGKILL else 130] * 3
    assert _content(killed) == _content(whole)
    assert len(_content(whole)) == 240
    if number is not signal.SIGKILL:
        assert again == 240  # nothing that was answered was asked twice


def test_teachers_are_written_in_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.md").write_text("x")
    file = tmp_path / "teachers.yaml"
    file.write_text(
        "small: {base_url: http://a/v1, price: {input: 0.1, output: 0.4}, api_key_env: A_KEY, samples: 8}\n"
        "big: {base_url: http://b/v1, system_files: [policy.md], limit_field: max_completion_tokens}\n"
    )
    found = read_teachers(file)
    assert list(found) == ["small", "big"]
    assert found["small"].price.priced().output == 400_000
    assert found["big"].addition() == "x"
    with pytest.raises(TeachersError, match="expected the environment to have A_KEY"):
        found["small"].key()
    monkeypatch.setenv("A_KEY", "secret")
    assert found["small"].key() == "secret"
    assert "secret" not in str(found["small"].about())


def test_a_teacher_on_the_command_line() -> None:
    name, teacher = parse_teacher("small=http://a/v1,model=m,samples=8,price_input=0.1,requests_per_s=2.5")
    assert (name, teacher.model, teacher.samples, teacher.requests_per_s) == ("small", "m", 8, 2.5)
    assert teacher.price.priced().input == 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://a/v1", "expected NAME=BASE_URL"),
        ("Big=http://a/v1", "a name is a-z"),
        ("a/b=http://a/v1", "a name is a-z"),
        ("small", "expected NAME=BASE_URL"),
        ("small=ftp://a", "base_url"),
        ("small=http://a/v1,sample=3", "sample: Extra inputs"),
        ("small=http://a/v1,samples=0", "samples: Input should be greater"),
        ("small=http://a/v1,price_input=0.0000001", "at most 6 decimals"),
        ("small=http://a/v1,system_files=no.md", "expected a file"),
    ],
)
def test_what_is_wrong_with_a_teacher_is_told(text: str, message: str) -> None:
    with pytest.raises(TeachersError, match=message):
        parse_teacher(text)


def test_the_key_is_sent_and_stays_out_of_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIG_KEY", "sk-very-secret-key")
    path = made(tmp_path / "set", [example(1)])
    with ScriptedUpstream(well) as upstream:
        asyncio.run(_asked(path, upstream, api_key_env="BIG_KEY"))
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer sk-very-secret-key"}
    for file in path.rglob("*"):
        assert not file.is_file() or b"sk-very-secret-key" not in file.read_bytes()


async def test_several_teachers_are_asked_side_by_side(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(3)])
    with ScriptedUpstream(well) as one, ScriptedUpstream(well) as two, TeachingSet.open(path) as teaching:
        put(teaching, [example(9)], "gold")
        outcome = await ask(teaching, {"big": _teacher(one), "small": _teacher(two, samples=5)})
        assert {name: told_.done for name, told_ in outcome.teachers.items()} == {"big": 16, "small": 20}
        assert {answer.teacher for answer in answers(teaching).values()} == {"big", "small"}
    assert says(one.requests[0]).startswith("Answer")
