"""Operating it: flips that are live everywhere, scrapes that add up, drains that cut nothing."""

import json
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import BODY, STREAM, patch, served_by, wait_until, workers_of
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import (
    STREAM_END,
    STREAM_HEAD,
    Received,
    ScriptedUpstream,
    Step,
    chunk,
    chunked,
    stream_events,
)


def test_a_flip_is_live_in_every_worker_within_a_second(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=0), workers=2)
    workers = {connection.pid for connection in workers_of(gateway)}
    assert len(workers) >= 2
    assert {served_by(gateway) for _ in range(20)} == {"big"}
    for percent, upstream in ((100, "small"), (0, "big"), (100, "small")):
        assert patch(gateway, student_percent=percent).status_code == 200
        time.sleep(1.0)
        assert {served_by(gateway) for _ in range(30)} == {upstream}


def test_a_flip_outlives_a_restart_and_leaves_requests_under_way_alone(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    def slow(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for one in stream_events(["a", "b", "c"], usage=True):
            yield chunked(one)
            yield 0.1
        yield STREAM_END

    teacher.script = slow
    config = two_upstreams(student, teacher, student_percent=0)
    gateway = gateway_process(config)
    with RawClient(gateway.port) as raw:
        raw.send(post(STREAM))
        raw.until(b'"a"')
        assert patch(gateway, student_percent=100).json()["version"] == 1
        assert raw.until(b"0\r\n\r\n").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert served_by(gateway) == "small"
    store = gateway.config["store"]
    assert gateway.stop() == 0
    again = gateway_process({**config, "store": store})
    assert served_by(again) == "small"
    live = httpx2.get(f"{again.url}/admin/routes/support-chat").json()
    assert (live["version"], live["document"]["student_percent"], live["reason"]) == (1, 100, "a test")
    assert again.metric("understudy_student_percent", route="support-chat") == 100
    assert again.metric("understudy_route_version", route="support-chat") == 1


def test_the_store_dies_and_serving_goes_on(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=0))
    assert patch(gateway, student_percent=100).status_code == 200
    database = Path(str(gateway.config["store"]).removeprefix("sqlite:///"))
    for path in database.parent.glob("understudy.db*"):
        path.write_bytes(b"corrupt" * 2000)
    assert served_by(gateway) == "small"
    refused = patch(gateway, student_percent=0)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    wait_until(lambda: gateway.metric("understudy_store_up") == 0)
    assert served_by(gateway) == "small"
    assert httpx2.get(f"{gateway.url}/readyz").status_code == 200


def test_a_scrape_of_any_worker_is_the_sum_of_all(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100), workers=2)
    for _ in range(60):
        served_by(gateway)
    wait_until(lambda: gateway.metric("understudy_requests_total", outcome="ok") == 60)
    for _ in range(10):  # whoever answers
        assert gateway.metric("understudy_requests_total", outcome="ok", role="student") == 60
        assert gateway.metric("understudy_time_to_first_token_seconds_count", outcome="ok", role="student") == 60
    assert gateway.metric("understudy_cost_nano_usd_total", role="student") == 60 * (11 * 100 + 3 * 400)
    assert gateway.metric("understudy_tokens_total", role="student", kind="output") == 180
    assert len({line for line in gateway.metrics() if line.startswith("understudy_build_info")}) == 1


def test_labels_come_from_the_config_never_from_clients(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher))

    def noise(number: int) -> None:
        with RawClient(gateway.port) as raw:
            for model in ("support-chat", f"model-{number}"):
                body = {"model": model, "user": f"user-{number}", "messages": [], "metadata": {"a": f"tag-{number}"}}
                raw.send(
                    post(json.dumps(body).encode(), extra=f"x-session-id: s{number}\r\nuser-agent: ua{number}\r\n")
                )
                raw.response()
            raw.send(post(BODY, path=f"/v1/chat/completions?x={number}"))
            raw.response()
            raw.send(f"GET /v1/path-{number} HTTP/1.1\r\nhost: g{number}\r\n\r\n".encode())
            raw.response()

    for number in range(5):
        noise(number)
    before = set(gateway.metrics())
    for number in range(5, 105):
        noise(number)
    assert set(gateway.metrics()) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_finishes_streams_and_exits_0(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, workers: int
) -> None:
    def slow(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for one in stream_events([str(number) for number in range(15)], usage=True):
            yield chunked(one)
            yield 0.1
        yield STREAM_END

    student.script = slow
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100), workers=workers)
    streams = [RawClient(gateway.port) for _ in range(5)]
    idle = RawClient(gateway.port)
    for raw in streams:
        raw.send(post(STREAM))
    for raw in streams:
        raw.until(b'"2"')
    gateway.terminate()
    assert idle.closed_within(2)
    time.sleep(0.3)
    with pytest.raises(ConnectionError):
        RawClient(gateway.port)
    for raw in streams:
        assert raw.rest().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert gateway.stop() == 0


def test_the_grace_period_is_never_shorter_than_what_was_asked_for(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = lambda request: [
        STREAM_HEAD + chunked(stream_events(["x"], usage=False)[1]),
        1.3,
        chunked(chunk({}, "stop") + b"data: [DONE]\n\n") + STREAM_END,
    ]
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=100), "drain_s": 1.4})
    with RawClient(gateway.port) as raw:
        raw.send(post(STREAM))
        raw.until(b'"x"')
        gateway.terminate()
        assert raw.rest().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert gateway.stop() == 0


def test_after_the_grace_period_streams_are_ended_honestly(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    def endless(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        while True:
            yield chunked(stream_events(["x"], usage=False)[1])
            yield 0.05

    student.script = endless
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=100), "drain_s": 1})
    with RawClient(gateway.port, timeout_s=10) as raw:
        raw.send(post(STREAM))
        raw.until(b'"x"')
        started = time.monotonic()
        gateway.terminate()
        rest = raw.rest()
    assert b"shutting down" in rest
    assert b"[DONE]" not in rest
    assert gateway.stop() == 0
    assert time.monotonic() - started < 4


def test_not_ready_while_draining(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    """Seen on a connection that is still served: the readiness check is pipelined behind a stream."""

    def slow(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        yield chunked(stream_events(["x"], usage=False)[1])
        yield 1.0
        yield chunked(b"".join(stream_events(["y"], usage=False))) + STREAM_END

    student.script = slow
    with RawClient(to_student.port) as raw:
        raw.send(post(STREAM))
        raw.until(b'"x"')
        raw.send(b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n")
        time.sleep(0.2)
        to_student.terminate()
        raw.until(b"0\r\n\r\n")
        status, _, body = raw.response()
        assert (status, body) == (503, b"draining\n")
    assert to_student.stop() == 0


def test_many_clients_at_once_get_their_own_answers(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    from tests.support.upstream import completion, response

    student.script = lambda request: [0.01, response(completion(request.json["messages"][0]["content"]))]
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100))
    wrong: list[str] = []

    def work(worker: int) -> None:
        api = OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0)
        for number in range(10):
            text = f"{worker}-{number}"
            answer = api.chat.completions.create(model="support-chat", messages=[{"role": "user", "content": text}])
            if answer.choices[0].message.content != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert gateway.metric("understudy_requests_total", outcome="ok") == 80


def test_sigint_is_as_graceful_as_sigterm(to_student: GatewayProcess) -> None:
    to_student.process.send_signal(signal.SIGINT)
    assert to_student.process.wait(10) == 0


def test_a_request_that_crosses_the_drain_is_answered(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    """A load balancer sends on an idle connection in the moment in which the worker begins to end."""
    gateway = gateway_process(two_upstreams(student, teacher))
    with RawClient(gateway.port) as idle, RawClient(gateway.port) as waiting:
        for client in (idle, waiting):
            client.send(post(BODY))
            assert client.response()[0] == 200
        gateway.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Shutting down" in gateway.log)
        waiting.send(post(BODY))
        status, headers, _ = waiting.response()
        assert (status, headers["connection"]) == (200, "close")
        assert idle.closed_within(2)
    assert gateway.process.wait(10) == 0
