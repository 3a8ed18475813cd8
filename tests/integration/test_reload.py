"""SIGHUP: the config file and the secrets it refers to are read again, in every worker, or nothing changes."""

import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import APP, BODY, KEYS, SRE, wait_until, workers_of
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import ScriptedUpstream


def hang_up(gateway: GatewayProcess, **changes: Any) -> None:
    """Write another config over the old one, and tell the process that was started."""
    gateway.config = {**gateway.config, **changes}
    gateway.config_file.write_text(yaml.safe_dump(gateway.config))
    gateway.process.send_signal(signal.SIGHUP)


def statuses(gateway: GatewayProcess, key: str, times: int = 12) -> set[int]:
    """Of requests with this key, each on a connection of its own, which any worker may accept."""
    found = set()
    for _ in range(times):
        with RawClient(gateway.port) as raw:
            raw.send(post(BODY, extra=f"authorization: Bearer {key}\r\n"))
            found.add(raw.response()[0])
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_secrets_in_files_are_read_again_in_every_worker(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, workers: int, tmp_path: Path
) -> None:
    app, provider = tmp_path / "app", tmp_path / "provider"
    app.write_text("first-app-key\n")
    provider.write_text("first-provider-key\n")
    config = two_upstreams(student, teacher, student_percent=0)
    config["upstreams"]["big"]["api_key"] = f"${{file:{provider}}}"
    keys = [{"name": "app", "key": f"${{file:{app}}}"}, KEYS["keys"][1]]
    gateway = gateway_process({**config, "keys": keys}, workers=workers)
    assert statuses(gateway, "first-app-key") == {200}
    assert {request.headers["authorization"] for request in teacher.requests} == {"Bearer first-provider-key"}
    app.write_text("other-app-key\n")
    provider.write_text("other-provider-key\n")
    hang_up(gateway)
    wait_until(lambda: statuses(gateway, "other-app-key") == {200} and statuses(gateway, "first-app-key") == {401}, 10)
    teacher.requests.clear()
    assert statuses(gateway, "other-app-key") == {200}
    assert {request.headers["authorization"] for request in teacher.requests} == {"Bearer other-provider-key"}
    if workers > 1:  # one that is started afterwards knows what was read last
        old = workers_of(gateway)
        os.kill(old[0].pid, signal.SIGKILL)
        wait_until(lambda: len(workers_of(gateway)) == workers and old[0] not in workers_of(gateway), 15)
        wait_until(lambda: statuses(gateway, "other-app-key") == {200}, 15)
        assert statuses(gateway, "first-app-key") == {401}


def test_a_file_that_is_wrong_changes_nothing_and_the_log_says_why(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=0), **KEYS})
    hang_up(gateway, routes={"support-chat": {"teacher": "big", "student": "nobody"}})
    wait_until(lambda: "SIGHUP: nothing is changed" in gateway.log)
    assert "routes.support-chat.student: expected one of big, small, got 'nobody'" in gateway.log
    assert httpx2.post(f"{gateway.url}/v1/chat/completions", content=BODY, headers=APP).status_code == 200


def test_live_changes_lie_over_the_file_that_is_read_again(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=0), **KEYS})
    address = f"{gateway.url}/admin/routes/support-chat"
    change = {"student_percent": 40, "reason": "a test"}
    assert httpx2.patch(address, json=change, headers={**SRE, "if-match": "*"}).status_code == 200
    route = {"teacher": "big", "student": "small", "student_percent": 5, "deadlines": {"total_s": 77}}
    hang_up(gateway, routes={"support-chat": route}, listen="127.0.0.1:1")
    wait_until(lambda: httpx2.get(address, headers=SRE).json()["document"]["deadlines"]["total_s"] == 77)
    document = httpx2.get(address, headers=SRE).json()
    assert (document["document"]["student_percent"], document["sources"]["student_percent"]) == (40, "live")
    assert "SIGHUP: another value of listen needs a restart" in gateway.log
