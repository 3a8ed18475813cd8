"""Risk and the safety net through a real gateway process: who answers, who does not, and what is left of it."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from router_policies.split import Salt, point
from tests.conftest import StartGateway
from tests.support.configs import NO_FALLBACK, two_upstreams
from tests.support.operating import patch, wait_until
from tests.support.processes import GatewayProcess
from tests.support.upstream import Received, ScriptedUpstream, Step, completion, response

RISKY = "I want to kill myself."
DELICATE = "Please cancel my subscription."
HARMLESS = "Where is my order?"
PAST = {"start": "2020-01-01", "end": "2020-01-02"}  # so that the probability is the floor
ALL = {**PAST, "floor": 1.0, "holdout": 0.0}
QUICK_TO_OPEN = {"min_requests": 2, "failure_ratio": 0.5, "open_s": 60}
CALLER = {"name": "app", "tenant": "shop", "key": "app-key-123", "tags": ["vip"]}


def ask(
    gateway: GatewayProcess, text: str, user: str = "u", headers: dict[str, str] | None = None, **fields: Any
) -> Any:
    body = {"model": "support-chat", "messages": [{"role": "user", "content": text}], "user": user, **fields}
    return httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers or {}, timeout=20)


def told(answer: Any) -> tuple[str, str, str]:
    headers = answer.headers
    return tuple(headers.get(f"x-understudy-{name}", "") for name in ("upstream", "reason", "risk"))  # type: ignore[return-value]


def failing(request: Received) -> Iterable[Step]:
    yield response({"error": {"message": "no"}}, "500 Internal Server Error")


@pytest.fixture
def config(student: ScriptedUpstream, teacher: ScriptedUpstream) -> dict[str, Any]:
    """Everything goes to the student, but for risk."""
    return two_upstreams(student, teacher, student_percent=100, fallback=NO_FALLBACK, risk={})


def with_route(config: dict[str, Any], **route: Any) -> dict[str, Any]:
    return {**config, "routes": {"support-chat": {**config["routes"]["support-chat"], **route}}}


def test_each_band_goes_where_it_belongs(gateway_process: StartGateway, config: dict[str, Any]) -> None:
    gateway = gateway_process(config)
    for stream in (False, True):
        assert told(ask(gateway, RISKY, stream=stream)) == ("big", "risk", "high")
        assert told(ask(gateway, DELICATE, stream=stream)) == ("small", "risk", "medium")
        assert told(ask(gateway, HARMLESS, stream=stream)) == ("small", "split", "low")
    for band in ("low", "medium", "high"):
        assert gateway.metric("understudy_risk_requests_total", band=band) == 2
    wait_until(lambda: gateway.metric("understudy_requests_total", reason="risk", upstream="big") == 2)


def test_the_net_catches_by_the_sessions_point_and_leaves_some_out(
    gateway_process: StartGateway, config: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "exchanges.jsonl"
    net = {**PAST, "floor": 0.5, "holdout": 0.1}
    gateway = gateway_process({**with_route(config, safety_net=net), "exchange_log": str(log)})
    got: Counter[str] = Counter()
    for number in range(120):
        at = point(Salt.NET, "support-chat", f"user={number}")
        expected = ("big", "safety_net") if at < 0.5 else ("small", "risk" if at < 0.9 else "holdout")
        answer = ask(gateway, RISKY, str(number))
        assert told(answer) == (*expected, "high"), number
        got[expected[1]] += 1
    assert set(got) == {"safety_net", "risk", "holdout"}
    assert gateway.metric("understudy_net_probability") == 0.5
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 120)
    for line in map(json.loads, log.read_text().splitlines()):
        decided = line["decided"]
        assert decided["propensity"] == 0.5
        assert decided["risk"]["rules"] == ["self_harm"]
        assert decided["risk"]["pack"] == "default.1"
        assert (decided["risk"]["band"], decided["risk"]["role"]) == ("high", decided["role"])
        assert abs(decided["risk"]["at"] - time.time()) < 60
        assert (decided["risk"]["point"] < 0.5) == (decided["role"] == "teacher")


def test_rules_that_are_always_the_teachers_are_not_drawn_for(
    gateway_process: StartGateway, config: dict[str, Any]
) -> None:
    net = {**PAST, "floor": 0.01, "holdout": 0.5, "always": ["self_harm"]}
    gateway = gateway_process(with_route(config, safety_net=net))
    assert {told(ask(gateway, RISKY, str(number))) for number in range(20)} == {("big", "safety_net", "high")}


@pytest.mark.parametrize("trusted", [False, True])
def test_what_the_caller_says_counts_only_if_the_route_trusts_it(
    gateway_process: StartGateway, config: dict[str, Any], trusted: bool
) -> None:
    gateway = gateway_process(with_route(config, risk={"trust_header": trusted}))
    found = told(ask(gateway, HARMLESS, headers={"x-risk": "HIGH"}))
    assert found == (("big", "risk", "high") if trusted else ("small", "split", "low"))
    assert told(ask(gateway, HARMLESS, headers={"x-risk": "extreme"})) == ("small", "split", "low")


def test_rules_know_whose_key_it_is(gateway_process: StartGateway, config: dict[str, Any], tmp_path: Path) -> None:
    pack = tmp_path / "own.yaml"
    pack.write_text("risk: own\nversion: 1\nrules: [{rule: vip, when: {tags: vip, tenant: shop}, band: high}]\n")
    keys = [CALLER, {**CALLER, "name": "b", "tags": [], "key": "b-key-12345", "role": "admin"}]
    gateway = gateway_process({**with_route(config, risk={"pack": str(pack)}), "keys": keys})
    assert told(ask(gateway, HARMLESS, headers={"authorization": "Bearer app-key-123"}))[0] == "big"
    assert told(ask(gateway, HARMLESS, headers={"authorization": "Bearer b-key-12345"}))[0] == "small"


def open_breaker(gateway: GatewayProcess, teacher: ScriptedUpstream) -> None:
    teacher.script = teacher.health = failing
    for _ in range(10):
        ask(gateway, RISKY)
    wait_until(lambda: gateway.metric("understudy_upstream_replicas", upstream="big", state="open") == 1)


@pytest.mark.parametrize("down", ["student", "refuse"])
@pytest.mark.parametrize("order", [["teacher"], ["teacher", "student"]])
def test_a_teacher_that_is_down_is_stood_in_for_or_waited_for(
    gateway_process: StartGateway, config: dict[str, Any], teacher: ScriptedUpstream, down: str, order: list[str]
) -> None:
    config["upstreams"]["big"]["breaker"] = QUICK_TO_OPEN
    fallback = {"order": order, "retries": 0}
    gateway = gateway_process(with_route(config, safety_net={**ALL, "teacher_down": down}, fallback=fallback))
    teacher.script = teacher.health = failing
    first = ask(gateway, RISKY)  # nobody knows yet that it is down
    assert told(first) == (
        ("small", "fallback:http_5xx", "high") if down == "student" else ("big", "safety_net", "high")
    )
    assert first.status_code == (200 if down == "student" else 500)
    open_breaker(gateway, teacher)
    answer = ask(gateway, RISKY)
    if down == "student":
        assert answer.status_code == 200
        assert told(answer) == ("small", "teacher_down", "high")
    else:
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "teacher_down"
        assert 1 <= int(answer.headers["retry-after"]) <= 61
        assert gateway.metric("understudy_risk_refused_total") >= 1
    assert told(ask(gateway, HARMLESS)) == ("small", "split", "low")
    wait_until(lambda: gateway.metric("understudy_net_in_flight_requests") == 0)


def test_the_net_asks_no_more_of_the_teacher_at_once_than_it_may(
    gateway_process: StartGateway, config: dict[str, Any], teacher: ScriptedUpstream
) -> None:
    teacher.script = lambda request: [1.0, response(completion("big"))]
    gateway = gateway_process(with_route(config, safety_net={**ALL, "max_concurrent": 3}))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: told(ask(gateway, RISKY, str(number))), range(12)))
    assert Counter(answers) == {("big", "safety_net", "high"): 3, ("small", "net_full", "high"): 9}
    assert told(ask(gateway, RISKY))[:2] == ("big", "safety_net")  # those places are free again


def test_a_client_that_leaves_gives_its_place_back(
    gateway_process: StartGateway, config: dict[str, Any], teacher: ScriptedUpstream
) -> None:
    teacher.script = lambda request: [5.0, response(completion("big"))]
    gateway = gateway_process(with_route(config, safety_net={**ALL, "max_concurrent": 1}))
    with pytest.raises(httpx2.TimeoutException):
        body = {"model": "support-chat", "messages": [{"role": "user", "content": RISKY}]}
        httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=0.3)
    teacher.script = lambda request: [response(completion("big"))]
    wait_until(lambda: told(ask(gateway, RISKY))[:2] == ("big", "safety_net"))


def test_the_net_spends_no_more_a_day_than_it_may_on_all_workers(
    gateway_process: StartGateway, config: dict[str, Any]
) -> None:
    """A request costs 11 * 2.5 + 3 * 10 USD per million tokens, 0.0000575."""
    gateway = gateway_process(with_route(config, safety_net={**ALL, "max_usd_per_day": 0.0001}), workers=2)
    reasons = set()

    def spent_everywhere() -> bool:
        reasons.clear()
        reasons.update(told(ask(gateway, RISKY, str(number)))[1] for number in range(12))
        return reasons == {"net_budget"}

    wait_until(spent_everywhere, 15)
    assert told(ask(gateway, HARMLESS)) == ("small", "split", "low")
    wait_until(lambda: gateway.metric("understudy_net_cost_nano_usd_total") >= 115_000)


def test_a_risky_answer_of_the_students_is_checked_though_the_route_checks_none(
    gateway_process: StartGateway, config: dict[str, Any], student: ScriptedUpstream
) -> None:
    off = {"json": False, "schema": False, "tools": False}
    fallback = {"order": ["teacher"], "verify": {**off, "on_fail": "error"}}
    gateway = gateway_process(with_route(config, fallback=fallback))
    student.script = lambda request: [response(completion("no JSON"))]
    asks = {"response_format": {"type": "json_object"}}
    assert told(ask(gateway, DELICATE, **asks))[:2] == ("big", "fallback:verify")
    assert told(ask(gateway, HARMLESS, **asks))[:2] == ("small", "split")


def test_what_is_risky_is_mirrored_every_time(
    gateway_process: StartGateway, config: dict[str, Any], student: ScriptedUpstream
) -> None:
    shadow = {"sample": {"default": 0.0, "high_risk": 1.0}, "aa_sample": 0}
    gateway = gateway_process(with_route(config, shadow=shadow))
    for text in (RISKY, DELICATE, HARMLESS):
        for _ in range(3):
            ask(gateway, text)
    pairs, lost = "understudy_shadow_pairs_total", "understudy_shadow_lost_total"
    wait_until(lambda: gateway.metric(pairs) + gateway.metric(lost) == 6, 10)
    assert gateway.metric("understudy_shadow_samples_total") == 6
    assert gateway.metric(lost) == gateway.metric(lost, reason="disabled")  # a machine that is too busy


def test_it_is_switched_on_and_off_while_serving(gateway_process: StartGateway, config: dict[str, Any]) -> None:
    config["routes"]["support-chat"]["risk"] = None
    gateway = gateway_process(config)
    assert told(ask(gateway, RISKY)) == ("small", "split", "")
    changed = patch(gateway, risk={"trust_header": True})
    assert changed.status_code == 200
    assert any("judged anew" in said for said in changed.json()["consequences"])
    wait_until(lambda: told(ask(gateway, RISKY)) == ("big", "risk", "high"))
    assert patch(gateway, safety_net={**PAST, "floor": 0.0001, "holdout": 0.5}).status_code == 200
    wait_until(lambda: told(ask(gateway, RISKY))[0] == "small")
    refused = patch(gateway, risk={"pack": "nowhere.yaml"})
    assert refused.status_code == 422
    assert "expected default or a file of YAML" in str(refused.json())
    assert patch(gateway, risk=None, safety_net=None).status_code == 200
    wait_until(lambda: told(ask(gateway, RISKY)) == ("small", "split", ""))


def test_the_kill_switch_is_stronger_than_risk(gateway_process: StartGateway, config: dict[str, Any]) -> None:
    gateway = gateway_process(with_route(config, force="student"))
    assert told(ask(gateway, RISKY)) == ("small", "kill_switch", "high")


def test_embeddings_are_not_looked_at(
    gateway_process: StartGateway, config: dict[str, Any], student: ScriptedUpstream
) -> None:
    student.script = lambda request: [response({"object": "list", "data": [], "usage": {"prompt_tokens": 1}})]
    gateway = gateway_process(config)
    body = {"model": "support-chat", "input": RISKY}
    answer = httpx2.post(f"{gateway.url}/v1/embeddings", json=body, timeout=10)
    assert told(answer) == ("small", "split", "")


def test_an_unsure_answer_is_deferred_and_the_log_says_how_sure_it_was(
    gateway_process: StartGateway, config: dict[str, Any], student: ScriptedUpstream, tmp_path: Path
) -> None:
    def unsure(request: Received) -> Iterable[Step]:
        answer = completion("perhaps")
        answer["choices"][0]["logprobs"] = {"content": [{"token": "perhaps", "logprob": -3.0}]}
        yield response(answer)

    student.script = unsure
    log = tmp_path / "exchanges.jsonl"
    deferral = {"threshold": -1.0}
    gateway = gateway_process({**with_route(config, risk=None, deferral=deferral), "exchange_log": str(log)})
    assert told(ask(gateway, HARMLESS)) == ("big", "deferral", "")
    assert patch(gateway, deferral={"threshold": -4.0}).status_code == 200
    wait_until(lambda: told(ask(gateway, HARMLESS)) == ("small", "split", ""))
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 2)
    first, *_, last = map(json.loads, log.read_text().splitlines())
    assert first["deferral"] == {"sure": -3.0, "became": "deferred"}
    assert last["deferral"] == {"sure": -3.0, "became": "sure"}
    assert (first["leg"], first["reason"], first["decided"]["role"], first["role"]) == (
        "deferral",
        "deferral",
        "student",
        "teacher",
    )
