"""Shadow mode through a real gateway process: the primary never notices, and everything adds up."""

import contextlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.face.openai import ENDPOINTS
from gateway.stores.url import make_pair_store
from tests.conftest import StartGateway
from tests.gateway.after.test_shadows import speaking
from tests.gateway.stores.conftest import redis  # noqa: F401 - a fixture
from tests.support.configs import two_upstreams
from tests.support.operating import patch, wait_until
from tests.support.processes import GatewayProcess
from tests.support.redis import RedisServer
from tests.support.upstream import CLOSE, RESET, Received, ScriptedUpstream, Step, response, well_behaved

ALL = {"sample": {"default": 1.0}, "aa_sample": 0, "timeout_s": 0.5}
CHAT = {"model": "support-chat", "messages": [{"role": "user", "content": "Where is my order?"}]}
COMPLETIONS = {"model": "support-chat", "prompt": "Where"}
RESPONSES = {"model": "support-chat", "input": "Where"}
BODIES = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETIONS, "/v1/responses": RESPONSES}


def ask(gateway: GatewayProcess, path: str = "/v1/chat/completions", **fields: Any) -> httpx2.Response:
    body = {**BODIES[path], **fields}
    return httpx2.post(f"{gateway.url}{path}", json=body, headers={"x-request-id": "same"}, timeout=20)


def told(gateway: GatewayProcess, what: str, route: str = "support-chat", **labels: str) -> float:
    """`metric` adds up whatever labels are not named."""
    return gateway.metric(f"understudy_shadow_{what}_total", route=route, **labels)


def settled(gateway: GatewayProcess, route: str = "support-chat") -> bool:
    """Whether every sample has come to its end."""
    return told(gateway, "pairs", route) + told(gateway, "lost", route) == told(gateway, "samples", route)


def test_not_a_byte_of_an_answer_changes(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    """At every endpoint, streaming and not."""
    for server in (student, teacher):
        server.script = lambda request: speaking(ENDPOINTS[request.target.encode()])(request)
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100))
    asked = [(path, stream) for path in BODIES for stream in (False, True)]
    without = [ask(gateway, path, stream=stream) for path, stream in asked]
    assert {one.status_code for one in without} == {200}
    assert patch(gateway, shadow=ALL).status_code == 200
    wait_until(lambda: gateway.metric("understudy_route_version", route="support-chat") == 1)
    rounds = 0
    while told(gateway, "pairs") < 18:  # a busy machine stops mirroring for a while
        rounds += 1
        assert rounds < 60
        for (path, stream), before in zip(asked, without, strict=True):
            mirrored = ask(gateway, path, stream=stream)
            assert (mirrored.status_code, mirrored.content) == (before.status_code, before.content)
            assert list(mirrored.headers) == list(before.headers)
        wait_until(lambda: settled(gateway), 20)
    assert told(gateway, "samples") == rounds * len(asked)
    assert told(gateway, "lost") == told(gateway, "lost", reason="disabled")
    assert {request.target for request in teacher.requests} == set(BODIES)


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
BROKEN: dict[str, Callable[[Received], Iterable[Step]]] = {
    "hung": lambda request: [30.0],
    "slow": lambda request: [0.4, response({"choices": []})],
    "refusing": lambda request: [RESET],
    "failing": lambda request: [response({"error": {"message": "no"}}, "500 Internal Server Error")],
    "garbage": lambda request: [STREAM, b"data: {]\n\n" * 5, CLOSE],
    "endless": lambda request: [STREAM, *[b": nothing\n\n" * 100] * 500, 5.0],
    "never-an-event": lambda request: [STREAM, b"data: " + b"x" * 4096, *[b"y" * 65536] * 100, 5.0],
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A route for each kind of teacher, named like it."""
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(ScriptedUpstream(well_behaved()))
        upstreams = {"small": {"base_url": good.base_url, "model": "student"}}
        routes = {}
        for kind, script in BROKEN.items():
            teacher = stack.enter_context(ScriptedUpstream(script))
            upstreams[kind] = {"base_url": teacher.base_url, "model": "teacher"}
            shadow = {**ALL, "workers": 2, "queue": 3}
            routes[kind] = {"teacher": kind, "student": "small", "student_percent": 100, "shadow": shadow}
        gateway = GatewayProcess({"upstreams": upstreams, "routes": routes}, tmp_path_factory.mktemp("broken"))
        yield gateway
        gateway.kill()


@pytest.mark.parametrize("kind", list(BROKEN))
def test_whatever_the_mirror_does_the_primary_is_as_fast_and_all_is_accounted_for(
    broken: GatewayProcess, kind: str
) -> None:
    took = []
    for number in range(30):
        begun = time.monotonic()
        answer = ask(broken, model=kind, stream=number % 2 == 0)
        took.append(time.monotonic() - begun)
        assert answer.status_code == 200
        assert answer.headers["x-understudy-upstream"] == "small"
    assert statistics.median(took) < 0.2
    wait_until(lambda: settled(broken, kind), 20)
    assert told(broken, "samples", kind) == 30
    assert told(broken, "pairs", kind) == 0
    assert "Traceback" not in broken.log


@pytest.mark.parametrize("place", ["sqlite", "redis"])
def test_every_sample_is_in_the_store_with_its_reason(
    gateway_process: StartGateway,
    student: ScriptedUpstream,
    teacher: ScriptedUpstream,
    place: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    if place == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        url = f"{server.url}/0?prefix=shadow-test"
    config = {**two_upstreams(student, teacher, student_percent=100, shadow=ALL), "store": url}
    gateway = gateway_process(config, workers=2)
    asked = 0
    while told(gateway, "pairs") < 7 or told(gateway, "lost", reason="unsupported") < 3:
        ask(gateway, tools=[{"type": "web_search"}] if asked % 3 == 2 else None, user=f"user-{asked}")
        asked += 1
        assert asked < 200
        wait_until(lambda: settled(gateway), 20)
    pairs = make_pair_store(url)
    wait_until(lambda: len(pairs.records("support-chat", 0, 1000)) == asked, 10)
    records = [json.loads(kept.record) for kept in pairs.records("support-chat", 0, 1000)]
    reasons = Counter(record["reason"] for record in records)
    assert reasons == {
        None: told(gateway, "pairs"),
        "unsupported": told(gateway, "lost", reason="unsupported"),
        **({"disabled": reasons["disabled"]} if reasons["disabled"] else {}),  # a busy machine
    }
    assert len({record["pair_id"] for record in records}) == asked
    texts = [kept.texts for kept in pairs.newest("support-chat", limit=1000) if kept.texts is not None]
    assert len(texts) == reasons[None]
    assert json.loads(texts[0])["request"] == [{"role": "user", "text": "Where is my order?"}]
    pairs.close()


def test_what_was_under_way_at_the_end_is_accounted_for_too(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    teacher.script = lambda request: [30.0]
    store = f"sqlite:///{tmp_path / 'own.db'}"
    shadow = {**ALL, "timeout_s": 30, "workers": 1}
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=100, shadow=shadow), "store": store})
    for _ in range(4):
        ask(gateway)
    assert gateway.stop() == 0
    pairs = make_pair_store(store)
    reasons = [json.loads(kept.record)["reason"] for kept in pairs.records("support-chat", 0, 100)]
    assert len(reasons) == 4
    assert {"shutdown"} <= set(reasons) <= {"shutdown", "disabled"}
    pairs.close()
