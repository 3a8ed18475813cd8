"""TTFT and TTLT against scripted delays: the golden test."""

import json
import statistics
import time
from collections.abc import Iterable

import pytest

from tests.conftest import StartGateway
from tests.support.configs import NO_FALLBACK, two_upstreams
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import (
    DONE,
    STREAM_END,
    STREAM_HEAD,
    Received,
    ScriptedUpstream,
    Step,
    chunk,
    chunked,
    completion,
    response,
)

TOLERANCE_S = 0.005
ROUNDS = 7
FIRST_S = 0.12
LAST_S = 0.08


wrote_at: dict[str, float] = {}  # when the server wrote what: its sleeps are no more exact than a loop's timers are


def scripted(request: Received) -> Iterable[Step]:
    """Everything that is no first token comes early: headers, a comment, a role, an empty delta."""
    if not request.json.get("stream"):
        yield FIRST_S + LAST_S
        yield response(completion("x"))
        return
    yield STREAM_HEAD + chunked(b": comment\n\n")
    yield FIRST_S / 2
    yield chunked(chunk({"role": "assistant", "content": ""}))
    yield FIRST_S / 2
    wrote_at["first"] = time.monotonic()
    yield chunked(chunk({"content": "first"}))
    yield LAST_S
    wrote_at["last"] = time.monotonic()
    yield chunked(chunk({"content": "last"}) + chunk({}, "stop") + DONE) + STREAM_END


def ask(port: int, stream: bool) -> float:
    """Ask, and when the request was sent (monotonic)."""
    body = {"model": "support-chat", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    with RawClient(port) as raw:
        sent_at = time.monotonic()
        raw.send(post(json.dumps(body).encode()))
        if stream:
            raw.until(b"0\r\n\r\n")
        else:
            raw.response()
    return sent_at


def mean_s(gateway: GatewayProcess, name: str, **labels: str) -> float:
    return gateway.metric(f"{name}_sum", **labels) / gateway.metric(f"{name}_count", **labels)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_ttft_and_ttlt_are_what_the_script_says(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, role: str
) -> None:
    student.script = teacher.script = scripted
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100 if role == "student" else 0))
    before = {"ttft": 0.0, "ttlt": 0.0}
    errors: dict[str, list[float]] = {"ttft": [], "ttlt": []}
    for _ in range(ROUNDS):  # medians: a noisy machine delays single rounds
        sent_at = ask(gateway.port, stream=True)
        for name, full, mark in (
            ("ttft", "understudy_time_to_first_token_seconds", "first"),
            ("ttlt", "understudy_time_to_last_token_seconds", "last"),
        ):
            expected = wrote_at[mark] - sent_at
            total = gateway.metric(f"{full}_sum", role=role, stream="true", outcome="ok")
            errors[name].append(total - before[name] - expected)
            before[name] = total
    for name, values in errors.items():
        assert abs(statistics.median(values)) < TOLERANCE_S, f"{name}: {values}"


def test_without_streaming_the_first_token_is_the_last(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = scripted
    ask(to_student.port, stream=False)
    labels = {"role": "student", "stream": "false", "outcome": "ok"}
    ttft = mean_s(to_student, "understudy_time_to_first_token_seconds", **labels)
    ttlt = mean_s(to_student, "understudy_time_to_last_token_seconds", **labels)
    assert ttft == pytest.approx(ttlt, abs=0.001)
    assert ttlt == pytest.approx(FIRST_S + LAST_S, abs=0.02)


def test_the_clock_starts_at_the_last_byte_in(to_student: GatewayProcess) -> None:
    data = post(json.dumps({"model": "support-chat", "messages": []}).encode())
    with RawClient(to_student.port) as raw:
        raw.send(data[:-5])
        time.sleep(0.3)
        raw.send(data[-5:])
        raw.response()
    assert mean_s(to_student, "understudy_time_to_last_token_seconds") < 0.1
    assert mean_s(to_student, "understudy_gateway_overhead_seconds") < 0.05


def test_deadlines(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    deadlines = {"connect_s": 1, "ttft_s": 0.3, "stall_s": 0.3, "total_s": 1.2}
    route = {"student_percent": 100, "deadlines": deadlines, "fallback": NO_FALLBACK}
    gateway = gateway_process(two_upstreams(student, teacher, **route))
    token, end = chunked(chunk({"content": "a"})), chunked(chunk({}, "stop") + DONE) + STREAM_END

    def keep_alives(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for _ in range(50):
            yield chunked(b": keep-alive\n\n")
            yield 0.05

    def slow_but_steady(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for _ in range(50):
            yield token
            yield 0.1

    def late_token(request: Received) -> Iterable[Step]:
        yield from (STREAM_HEAD, 0.2, token, 0.2, token, 0.2, token, end)

    body = json.dumps({"model": "support-chat", "stream": True, "messages": []}).encode()
    cases = [
        (lambda request: [10.0], b"HTTP/1.1 504", b"no first token within 0.3 s", 0.3),
        (keep_alives, b"HTTP/1.1 504", b"no first token within 0.3 s", 0.3),
        (lambda request: [STREAM_HEAD, token, 10.0], b"HTTP/1.1 200", b"nothing came for 0.3 s", 0.3),
        (slow_but_steady, b"HTTP/1.1 200", b"no whole answer within 1.2 s", 1.2),
        (late_token, b"HTTP/1.1 200", b"[DONE]", 0.6),
    ]
    for script, status, said, after_s in cases:
        student.script = script
        with RawClient(gateway.port) as raw:
            started = time.perf_counter()
            raw.send(post(body))
            assert raw.until(b"\r\n").startswith(status)
            raw.until(said)
            assert time.perf_counter() - started == pytest.approx(after_s, abs=0.15)
    whole = json.dumps({"model": "support-chat", "messages": []}).encode()
    student.script = lambda request: [10.0]
    with RawClient(gateway.port) as raw:
        started = time.perf_counter()
        raw.send(post(whole))
        status_code, _, answer = raw.response()
        assert status_code == 504
        assert b"no whole answer within 1.2 s" in answer
        assert time.perf_counter() - started == pytest.approx(1.2, abs=0.15)
    assert gateway.metric("understudy_requests_total", outcome="timeout") == 5
    assert gateway.metric("understudy_requests_total", outcome="ok") == 1
