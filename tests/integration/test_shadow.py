"""Shadow mode through a real gateway process: the primary never notices, and everything adds up."""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.stores.url import make_pair_store
from tests.conftest import StartGateway
from tests.gateway.after.test_shadows import speaking
from tests.gateway.stores.conftest import redis  # noqa: F401 - a fixture
from tests.support.configs import two_upstreams
from tests.support.operating import patch, wait_until
from tests.support.processes import GatewayProcess
from tests.support.redis import RedisServer
from tests.support.upstream import CLOSE, RESET, Received, ScriptedUpstream, Step, response

ALL = {"sample": {"default": 1.0}, "aa_sample": 0, "timeout_s": 1}
CHAT = {"model": "support-chat", "messages": [{"role": "user", "content": "Where is my order?"}]}
COMPLETIONS = {"model": "support-chat", "prompt": "Where"}
RESPONSES = {"model": "support-chat", "input": "Where"}
ENDPOINTS = {"/v1/chat/completions": CHAT, "/v1/completions": COMPLETIONS, "/v1/responses": RESPONSES}


def ask(gateway: GatewayProcess, path: str = "/v1/chat/completions", **fields: Any) -> httpx2.Response:
    body = {**ENDPOINTS[path], **fields}
    return httpx2.post(f"{gateway.url}{path}", json=body, headers={"x-request-id": "same"}, timeout=20)


def samples(gateway: GatewayProcess) -> float:
    return gateway.metric("understudy_shadow_samples_total", route="support-chat")


def settled(gateway: GatewayProcess) -> bool:
    """Whether every sample has come to its end: `metric` adds up whatever labels are not named."""
    ended = gateway.metric("understudy_shadow_pairs_total", route="support-chat")
    ended += gateway.metric("understudy_shadow_lost_total", route="support-chat")
    return ended == samples(gateway)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", list(ENDPOINTS))
def test_not_a_byte_of_an_answer_changes(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, path: str, stream: bool
) -> None:
    from gateway.face.openai import ENDPOINTS as FACES

    for server in (student, teacher):
        server.script = speaking(FACES[path.encode()])
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100))
    without = ask(gateway, path, stream=stream)
    assert patch(gateway, shadow=ALL).status_code == 200
    wait_until(lambda: gateway.metric("understudy_route_version", route="support-chat") == 1)
    mirrored = [ask(gateway, path, stream=stream) for _ in range(5)]
    assert {(one.status_code, one.content) for one in mirrored} == {(without.status_code, without.content)}
    assert {tuple(one.headers) for one in mirrored} == {tuple(without.headers)}
    wait_until(lambda: settled(gateway) and samples(gateway) == 5)
    assert gateway.metric("understudy_shadow_pairs_total", route="support-chat") == 5
    assert len(teacher.requests) == 5


BROKEN: dict[str, Callable[[Received], Iterable[Step]]] = {
    "hung": lambda request: [30.0],
    "slow": lambda request: [0.8, response({"choices": []})],
    "refusing": lambda request: [RESET],
    "failing": lambda request: [response({"error": {"message": "no"}}, "500 Internal Server Error")],
    "garbage": lambda request: [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {]\n\n" * 5, CLOSE],
    "endless": lambda request: [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        *[b": nothing\n\n" * 100] * 500,
        5.0,
    ],
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_whatever_the_mirror_does_the_primary_is_as_fast_and_all_is_accounted_for(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, kind: str
) -> None:
    teacher.script = BROKEN[kind]
    shadow = {**ALL, "workers": 2, "queue": 5}
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100, shadow=shadow))
    took = []
    for number in range(40):
        begun = time.monotonic()
        answer = ask(gateway, stream=number % 2 == 0)
        took.append(time.monotonic() - begun)
        assert answer.status_code == 200
        assert answer.headers["x-understudy-upstream"] == "small"
    assert statistics.median(took) < 0.5
    wait_until(lambda: settled(gateway), 20)
    assert samples(gateway) == 40
    assert gateway.metric("understudy_shadow_pairs_total", route="support-chat") == 0


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
    for number in range(10):
        ask(gateway, tools=[{"type": "web_search"}] if number >= 7 else None, user=f"user-{number}")
    wait_until(lambda: settled(gateway), 20)
    pairs = make_pair_store(url)
    wait_until(lambda: len(pairs.records("support-chat", 0, 100)) == 10, 10)
    records = [json.loads(kept.record) for kept in pairs.records("support-chat", 0, 100)]
    assert sorted(str(record["reason"]) for record in records) == ["None"] * 7 + ["unsupported"] * 3
    assert len({record["pair_id"] for record in records}) == 10
    texts = [kept.texts for kept in pairs.newest("support-chat") if kept.texts is not None]
    assert len(texts) == 7
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
    assert reasons == ["shutdown"] * 4
    pairs.close()
