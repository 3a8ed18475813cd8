"""A route that looks at risk, mirrors risky requests more often than others, and has a rollout: each record says
what it was sampled as, and the evidence is of the traffic and not of the sample."""

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import wait_until
from tests.support.processes import GatewayProcess
from tests.support.upstream import Received, ScriptedUpstream, Step, completion, response

PACK = "risk: own\nversion: 1\nrules:\n  - {rule: risky, when: {mentions: risky}, band: high}\n"
LATE_S = 1.5
REQUESTS, EVERY = 240, 10  # of which every tenth is risky, and then the student breaks its JSON
RATES = {"default": 0.25, "high_risk": 1.0}


def ask(gateway: GatewayProcess, number: int) -> int:
    text = "This is risky." if number % EVERY == 0 else "Where is my order?"
    body = {
        "model": "support-chat",
        "messages": [{"role": "user", "content": text}],
        "response_format": {"type": "json_object"},
    }
    session = {"x-session-id": str(number)}
    return httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, headers=session, timeout=20).status_code


def breaks_on_risk(request: Received) -> Iterable[Step]:
    risky = "risky" in json.dumps(request.json["messages"])
    yield response(completion('{"order": "on i' if risky else '{"order": "on its way"}'))


def sound(request: Received) -> Iterable[Step]:
    yield response(completion('{"order": "on its way"}'))


def status(gateway: GatewayProcess) -> Any:
    return httpx2.get(f"{gateway.url}/admin/rollouts/support-chat", timeout=5).json()


@pytest.mark.parametrize("over", ["each_stratum", "all_traffic"])
def test_evidence_is_of_the_traffic_and_not_of_the_sample(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path, over: str
) -> None:
    (tmp_path / "own.yaml").write_text(PACK)
    student.script, teacher.script = breaks_on_risk, sound
    rollout = {
        "steps": [{"weight": 100, "min_bake": 60, "gate": "manual"}],
        "checks": [{"name": "format_disagreement", "tolerance": 0.3, "critical": True}],
        "decision": {"over": over, "rollback_arl": 1000},
        "late": LATE_S,
    }
    shadow = {"sample": RATES, "aa_sample": 0, "timeout_s": 1}
    route = {"student_percent": 0, "risk": {"pack": str(tmp_path / "own.yaml")}, "shadow": shadow, "rollout": rollout}
    gateway = gateway_process(two_upstreams(student, teacher, **route))
    act = {"act": "start", "reason": "a test"}
    wait_until(lambda: status(gateway).get("phase") == "idle")
    assert httpx2.post(f"{gateway.url}/admin/rollouts/support-chat", json=act, timeout=5).status_code == 200
    with ThreadPoolExecutor(4) as clients:
        assert set(clients.map(lambda number: ask(gateway, number), range(REQUESTS))) == {200}

    def found() -> dict[str, Any]:
        return {check["stratum"]: check for check in status(gateway)["checks"] if check["name"] != "shadow_loss"}

    if over == "each_stratum":
        wait_until(lambda: status(gateway)["phase"] == "rolled_back", 20)
        assert set(found()) == {"low", "high"}, "the rules of this pack never say medium"
        assert (found()["low"]["estimate"], found()["high"]["estimate"]) == (0.0, 1.0)
        assert "stratum high" in status(gateway)["why"]
        return
    naive = 1 / (1 + (EVERY - 1) * RATES["default"])  # 31 %: what share of the pairs differs
    number, until = REQUESTS, time.monotonic() + 20
    while status(gateway)["pairs"] < REQUESTS / 3 and time.monotonic() < until:
        number += 1 if number % EVERY else 2
        ask(gateway, number)  # what comes later moves the watermark on
        time.sleep(0.2)
    estimate = found()[""]["estimate"]
    assert estimate == pytest.approx(1 / EVERY, abs=0.05), "weighed by how it was sampled"
    assert naive > 0.3
    assert status(gateway)["phase"] != "rolled_back", "its traffic is within the tolerance, though the sample is not"
