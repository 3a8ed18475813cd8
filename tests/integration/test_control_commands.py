"""The commands that go through the door, against a real gateway of two workers."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.support.operating import KEYS, SRE, wait_until
from tests.support.processes import GatewayProcess
from tests.support.upstream import ScriptedUpstream, well_behaved

Run = Callable[..., str]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with ScriptedUpstream(well_behaved()) as upstream:
        models = {"base_url": upstream.base_url, "model": "m"}
        routes = {"support-chat": {"teacher": "big", "student": "small", "student_percent": 5}}
        config = {"upstreams": {"big": models, "small": models}, "routes": routes, **KEYS}
        gateway = GatewayProcess(config, tmp_path_factory.mktemp("commands"), workers=2)
        status = f"{gateway.url}/admin/status"
        wait_until(lambda: len(httpx2.get(status, headers=SRE).json()["replicas"]) == 2, 20)
        yield gateway
        gateway.kill()


@pytest.fixture
def run(gateway: GatewayProcess) -> Run:
    env = {"COLUMNS": "160", "UNDERSTUDY_URL": gateway.url, "UNDERSTUDY_KEY": "sre-key-secret"}

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner(env=env).invoke(app, list(arguments))
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.stdout if code == 0 else done.stderr

    return run


def test_traffic(run: Run, gateway: GatewayProcess) -> None:
    told = run("traffic", "support-chat", "25", "--reason", "dry", "--dry-run")
    assert "5 % -> 25 %" in told
    assert "About 20 % of sessions move from teacher to student; nobody moves back." in told
    assert "nothing is changed" in told
    assert gateway.metric("understudy_student_percent", route="support-chat") == 5
    told = run("traffic", "support-chat", "25", "--reason", "a quarter", "--ttl", "1h")
    assert "This is taken back by itself at" in told
    assert "Live on all 2 replicas." in told
    assert gateway.metric("understudy_student_percent", route="support-chat") == 25
    refused = run("traffic", "support-chat", "100", "--reason", "x", code=1)
    assert "refused (422)" in refused
    assert "override" in refused
    assert "25 % -> 100 %" in run("traffic", "support-chat", "100", "--reason", "x", "--override", "--no-wait")
    assert "--ttl: expected a time such as" in run(
        "traffic", "support-chat", "1", "--reason", "x", "--ttl", "x", code=1
    )


def test_kill(run: Run) -> None:
    assert "expected --to teacher or --to student, or --end" in run("kill", "--reason", "x", code=1)
    assert "--reason: expected a few words" in run("kill", "--to", "teacher", code=1)
    told = run("kill", "support-chat", "--to", "teacher", "--ttl", "10m", "--reason", "[bold]it[/bold] raves")
    assert "Everything that asks for support-chat goes to the teacher" in told
    assert "Live on all 2 replicas." in told
    run("kill", "--to", "student", "--reason", "x")
    told = run("status")
    assert "KILL SWITCH: every route goes to the student." in told
    assert "KILL SWITCH: support-chat goes to the teacher until" in told
    assert "[bold]it[/bold] raves" in run("route", "show", "support-chat")
    assert "kill switch: everything to the teacher" in run("route", "show")
    run("kill", "--end")
    run("kill", "support-chat", "--end")
    assert "KILL SWITCH" not in run("status")


def test_a_route_is_shown_set_reverted_and_deleted(run: Run, tmp_path: Path) -> None:
    told = run("route", "set", "support-chat", "deadlines.ttft_s=5", "fallback.order=[]", "--reason", "impatient")
    assert "deadlines.ttft_s 20 -> 5" in told
    told = run("route", "show", "support-chat")
    assert [line.split() for line in told.splitlines() if line.startswith("deadlines.ttft_s")] == [
        ["deadlines.ttft_s", "5.0", "live"]
    ]
    run("route", "set", "support-chat", "deadlines.ttft_s=null", "--reason", "patient")
    history = run("route", "history", "support-chat", "--limit", "2")
    assert "because: patient" in history
    assert "deadlines.ttft_s 20 -> 5" in history
    for wrong, said in (
        ((), "expected KEY=VALUE, once or more, or --file"),
        (("ttft_s",), "expected KEY=VALUE such as"),
        (("deadlines={",), "deadlines: not YAML"),
        (("deadlines=5", "deadlines.ttft_s=1"), "deadlines is set to a value already"),
        (("nonsense=1",), "nonsense: not a key of its"),
        (("--file", str(tmp_path / "nowhere")), "cannot be read"),
    ):
        assert said in run("route", "set", "support-chat", *wrong, "--reason", "x", code=1)
    document = tmp_path / "route.yaml"
    document.write_text("{teacher: big, student: small}")
    assert "Apps can ask for team/versions" in run(
        "route", "set", "team/versions", "--file", str(document), "--reason", "new"
    )
    document.write_text("{teacher: small, student: big}")
    run("route", "set", "team/versions", "--file", str(document), "--reason", "the other way round")
    run("route", "revert", "team/versions", "1", "--reason", "back")
    assert "override: true" in run("route", "delete", "team/versions", "--reason", "x", code=1)
    run("route", "delete", "team/versions", "--reason", "x", "--override")
    assert "out of service" in run("route", "show", "team/versions", code=1)
    run("route", "revert", "team/versions", "2", "--reason", "again")
    assert "small" in run("route", "show", "team/versions")
    assert "no route 'nope'" in run("route", "show", "nope", code=1)


def test_audit_verifies_and_finds_what_was_done_to_the_trail(run: Run, gateway: GatewayProcess) -> None:
    for number in range(3):
        run("route", "set", "support-chat", f"salt=s{number}", "--reason", "to have some", "--no-wait")
    assert "The trail is whole: " in run("audit", "--verify")
    entries = [json.loads(line) for line in run("audit", "--json").splitlines()]
    noted = entries[-1]["hash"]
    assert noted[:12] in gateway.log  # where a person finds it
    assert "up to there nothing was rewritten" in run("audit", "--verify", "--head", noted[:12])
    assert "no entry has the hash" in run("audit", "--verify", "--head", "0" * 64, code=1)
    assert "12 or more digits" in run("audit", "--verify", "--head", "0", code=1)
    assert "because: to have some" in run("audit", "--limit", "1")
    database = str(gateway.config["store"]).removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        rows = db.execute("SELECT revision, entry FROM trail ORDER BY revision").fetchall()
        last = rows[-1][0]
        for statement, said in (
            (
                "UPDATE trail SET entry = json_set(entry, '$.reason', 'another') WHERE revision = 2",
                "revision 2: the entry",
            ),
            ("DELETE FROM trail WHERE revision = 2", "revision 2: expected it after 1, got 3"),
            (f"DELETE FROM trail WHERE revision = {last}", f"no entry has the hash {noted}"),
        ):
            try:
                db.execute(statement)
                assert said in run("audit", "--verify", "--head", noted, code=1)
            finally:
                db.execute("DELETE FROM trail")
                db.executemany("INSERT INTO trail (revision, entry) VALUES (?, ?)", rows)
    assert "The trail is whole: " in run("audit", "--verify")
