"""A client that leaves, in any phase: the upstream sees its connection close, and the exchange is recorded."""

import json
import socket
import time
from collections.abc import Callable, Iterable

import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import STREAM_HEAD, Received, ScriptedUpstream, Step, chunk, chunked

CLOSED_WITHIN_S = 0.1
Leave = Callable[[RawClient], None]


def wait_for(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def silent(request: Received) -> Iterable[Step]:
    yield 30.0


def headers_only(request: Received) -> Iterable[Step]:
    yield STREAM_HEAD
    yield 30.0


def mid_stream(request: Received) -> Iterable[Step]:
    yield STREAM_HEAD + chunked(chunk({"content": "Hel"}))
    yield 30.0


def half_close(raw: RawClient) -> None:
    raw.socket.shutdown(socket.SHUT_WR)


def close(raw: RawClient) -> None:
    raw.socket.close()


def reset(raw: RawClient) -> None:
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    raw.socket.close()


@pytest.mark.parametrize("leave", [close, reset, half_close])
@pytest.mark.parametrize(
    ("script", "stream"), [(silent, False), (silent, True), (headers_only, True), (mid_stream, True)]
)
def test_the_upstream_sees_the_client_leave(
    to_student: GatewayProcess,
    student: ScriptedUpstream,
    script: Callable[[Received], Iterable[Step]],
    stream: bool,
    leave: Leave,
) -> None:
    student.script = script
    body = json.dumps({"model": "support-chat", "stream": stream, "messages": []}).encode()
    raw = RawClient(to_student.port)
    raw.send(post(body))
    wait_for(lambda: len(student.requests) == 1)
    if script is mid_stream:
        raw.until(b"Hel")
    time.sleep(0.05)
    left_at = time.monotonic()
    leave(raw)
    received = student.requests[0]
    wait_for(lambda: received.closed_at is not None)
    assert received.closed_at is not None
    assert received.closed_at - left_at < CLOSED_WITHIN_S
    wait_for(lambda: to_student.metric("understudy_requests_total", outcome="cancelled") == 1)
    assert to_student.metric("understudy_time_to_last_token_seconds_count", outcome="cancelled") == 1
    assert (to_student.metric("understudy_cost_nano_usd_total", source="estimated") > 0) is True
    raw.socket.close()


def test_a_client_that_leaves_while_its_request_comes_in(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(b"x" * 1000)[:500])
    with RawClient(to_student.port) as raw:
        raw.send(post(json.dumps({"model": "support-chat", "messages": []}).encode()))
        assert raw.response()[0] == 200
    assert len(student.requests) == 1


def test_a_client_that_leaves_while_the_upstream_is_being_connected(
    gateway_process: StartGateway, teacher: ScriptedUpstream
) -> None:
    with socket.socket() as listener:  # its backlog is full: connecting waits
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        hole = ScriptedUpstream(silent, port=listener.getsockname()[1])
        gateway = gateway_process(two_upstreams(hole, teacher, student_percent=100, deadlines={"connect_s": 30}))
        with RawClient(gateway.port) as raw:
            raw.send(post(json.dumps({"model": "support-chat", "messages": []}).encode()))
            time.sleep(0.2)
        wait_for(lambda: gateway.metric("understudy_requests_total", outcome="cancelled") == 1)
        wait_for(lambda: gateway.metric("understudy_upstream_connections", upstream="small") == 0)
        for filler in fillers:
            filler.close()
