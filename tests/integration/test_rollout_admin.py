"""/admin/rollouts and `understudy rollout`: what is answered, and what is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from tests.support.configs import two_upstreams
from tests.support.operating import APP, KEYS, SRE, wait_until
from tests.support.processes import GatewayProcess
from tests.support.upstream import ScriptedUpstream, well_behaved

CHAT = "/admin/rollouts/support-chat"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with ScriptedUpstream(well_behaved()) as student, ScriptedUpstream(well_behaved()) as teacher:
        config = two_upstreams(student, teacher, student_percent=20, shadow={}, rollout={})
        config["routes"]["plain"] = {"teacher": "big", "student": "small"}
        started = GatewayProcess({**config, **KEYS}, tmp_path_factory.mktemp("rollout"), workers=2)
        yield started
        started.kill()


def ask(gateway: GatewayProcess, method: str, path: str, **options: Any) -> httpx2.Response:
    return httpx2.request(method, f"{gateway.url}{path}", **{"headers": SRE, "timeout": 10, **options})


def test_the_answers_are_as_described(gateway: GatewayProcess) -> None:
    document = ask(gateway, "GET", "/openapi.json").json()
    one = ask(gateway, "GET", CHAT)
    every = ask(gateway, "GET", "/admin/rollouts")
    assert every.json()["rollouts"] == [one.json()]
    for path, answer in (("/admin/rollouts/{route}", one), ("/admin/rollouts", every)):
        media = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        validator = Draft202012Validator(media["schema"])
        for each in (answer.json(), media["example"]):
            assert [error.message for error in validator.iter_errors(each)] == []
    # FastAPI leaves nulls out of examples.
    example = document["paths"]["/admin/rollouts/{route}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert {name for name, value in one.json().items() if value is not None} <= set(example["example"])


@pytest.mark.parametrize(
    ("sent", "status", "code", "param"),
    [
        ({"act": "start"}, 422, "invalid_change", "reason"),
        ({"act": "leap", "reason": "x"}, 422, "invalid_change", "act"),
        ({"act": ["start"], "reason": "x"}, 422, "invalid_change", "act"),
        ({"reason": "x"}, 422, "invalid_change", "act"),
        ({"act": "start", "reason": "x", "percent": 1}, 422, "invalid_change", "percent"),
        ({"act": "start", "reason": "x", "weight": 1}, 422, "invalid_change", "weight"),
        ({"act": "start", "reason": "x", "ttl_s": 1}, 422, "invalid_change", "ttl_s"),
        ({"act": "start", "reason": "x", "override": True}, 422, "invalid_change", "override"),
        ({"act": "force", "reason": "x", "weight": 1}, 422, "invalid_change", "ttl_s"),
        ({"act": "force", "reason": "x", "weight": 101, "ttl_s": 1}, 422, "invalid_change", "weight"),
        ({"act": "force", "reason": "x", "weight": True, "ttl_s": 1}, 422, "invalid_change", "weight"),
        ({"act": "promote", "reason": "x"}, 409, "rollout_refused", "act"),
        ({"act": "pause", "reason": "x"}, 409, "rollout_refused", "act"),
    ],
)
def test_what_is_refused(gateway: GatewayProcess, sent: dict[str, Any], status: int, code: str, param: str) -> None:
    refused = ask(gateway, "POST", CHAT, json=sent)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (status, code, param)


@pytest.mark.parametrize(("route", "code"), [("nothing", "route_not_found"), ("plain", "rollout_not_found")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_route_without_one(gateway: GatewayProcess, method: str, route: str, code: str) -> None:
    sent = {"json": {"act": "start", "reason": "x"}} if method == "POST" else {}
    refused = ask(gateway, method, f"/admin/rollouts/{route}", **sent)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, code)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_is_for_admins(gateway: GatewayProcess, method: str) -> None:
    assert ask(gateway, method, CHAT, headers=APP).status_code == 403
    assert ask(gateway, method, CHAT, headers={}).status_code == 401


def test_the_commands_and_what_is_told(gateway: GatewayProcess) -> None:
    def understudy(*words: str) -> str:
        env = {**os.environ, "UNDERSTUDY_URL": gateway.url, "UNDERSTUDY_KEY": "sre-key-secret", "COLUMNS": "200"}
        command = [sys.executable, "-m", "gateway.cli", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, env=env, cwd=Path(__file__).parents[2]
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "support-chat: idle at 20 %" in understudy("rollout", "status", "support-chat")
    assert "support-chat: shadow at 0 %" in understudy("rollout", "start", "support-chat", "--reason", "of November")
    assert "paused" in understudy("rollout", "pause", "support-chat", "--reason", "a look")
    assert "support-chat: shadow at 0 %" in understudy("rollout", "resume", "support-chat", "--reason", "looked")
    newest = ask(gateway, "GET", "/admin/audit?newest=true&limit=1").json()["entries"][0]
    assert (newest["actor"], newest["action"]) == ("rollout:support-chat", "rollout")
    assert newest["reason"] == "resumed by sre: looked (transition 3)"
    wait_until(lambda: gateway.metric("understudy_rollout_phase", route="support-chat", phase="shadow") == 1)
    assert gateway.metric("understudy_rollout_percent", route="support-chat") == 0
    assert gateway.metric("understudy_student_percent", route="support-chat") == 0
