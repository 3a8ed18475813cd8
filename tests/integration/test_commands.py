"""Commands that teach, and that say why when they cannot go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import KEYS
from tests.support.processes import free_port
from tests.support.upstream import (
    ScriptedUpstream,
)


def cli(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )


def test_the_traffic_command(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=25), **KEYS})
    command = ("traffic", "support-chat", "60", "--reason", "looks good", "--url", gateway.url)
    done = cli(*command, env={"UNDERSTUDY_KEY": "sre-key-secret"})
    assert done.returncode == 0, done.stderr
    assert "25 % -> 60 %" in done.stdout
    assert gateway.metric("understudy_student_percent", route="support-chat") == 60
    refused = cli(*command, "--key", "wrong-key-1")
    assert refused.returncode == 1
    assert "Incorrect API key" in refused.stderr
    unknown = cli("traffic", "nope", "1", "--reason", "x", "--url", gateway.url, "--key", "sre-key-secret")
    assert "no route 'nope'" in unknown.stderr
    assert cli("traffic", "support-chat", "101", "--reason", "x").returncode == 2
    assert cli("traffic", "support-chat", "50").returncode == 2


def test_commands_that_cannot_go_on_say_why(tmp_path: Path) -> None:
    nobody = cli("traffic", "a", "1", "--reason", "x", "--url", "http://127.0.0.1:9")
    assert nobody.returncode == 1
    assert "Is the gateway running?" in nobody.stderr
    for arguments, said in (
        (("--key", "schlüssel"), "--key: expected printable ASCII"),
        (("--url", "http://[::1"), "cannot be asked"),
        (("--url", "nowhere"), "cannot be reached"),
    ):
        refused = cli("traffic", "a", "1", "--reason", "x", *arguments)
        assert refused.returncode == 1
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    bad = tmp_path / "gateway.yaml"
    bad.write_text("listen: nowhere\n")
    for command in ("check", "serve"):
        refused = cli(command, "-c", str(bad))
        assert refused.returncode == 1
        assert "listen: expected HOST:PORT, got 'nowhere'" in refused.stderr
        assert "upstreams: required" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_check_says_what_a_config_means() -> None:
    done = cli("check", "-c", "examples/gateway.yaml")
    assert done.returncode == 0, done.stderr
    for said in (
        "is valid",
        "Open: no keys",
        "25 % to small",
        "75 % to big",
        "first token 20 s",
        "10.0",
        "with consent to train",
    ):
        assert said in done.stdout
    assert cli("version").stdout.strip() == __import__("gateway").__version__


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_cannot_start_says_why_in_one_line(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path, workers: str
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher))
    taken = gateway.config_file
    lost = tmp_path / "lost.yaml"
    lost.write_text(
        taken.read_text()
        .replace(f":{gateway.port}", f":{free_port()}")
        .replace("understudy.db", "nowhere/understudy.db")
    )
    for config, said in ((taken, "address already in use"), (lost, "unable to open database file")):
        done = cli("serve", "-c", str(config), "--workers", workers)
        assert done.returncode == 1
        assert said in done.stderr.lower()
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
