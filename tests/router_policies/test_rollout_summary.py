"""What people are told of a rollout: by `summarize`, on the terminal, and as JSON between the two."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.rollout import rendered
from router_policies.rollout.actions import Act, Action, apply
from router_policies.rollout.plan import COST, FALLBACK, TTFT, Check, Gate, Plan, Step
from router_policies.rollout.state import Phase
from router_policies.rollout.summary import Summary, summarize
from tests.router_policies.test_rollout_book import FORMAT, Route

WIDTH = 200
STEPS = (Step(1, 100, 50), Step(5, 100, 50), Step(100, 100, gate=Gate.MANUAL))
POLICY = Check("policy", 0.05, of=("tone",), must_have_data=False)
PLAN = Plan(STEPS, (FORMAT, POLICY, Check(TTFT, 1.2), Check(COST, 1.0), Check(FALLBACK, 0.02, dry_run=True)), late_s=30)


def summary(route: Route) -> Summary:
    return summarize("support-chat", route.state, route.book, route.plan, route.weight, 1000.0 + route.number)


def told(route: Route) -> str:
    out = StringIO()
    Console(width=WIDTH, file=out).print(rendered(summary(route)))
    return out.getvalue()


def test_json_carries_it() -> None:
    route = Route(PLAN)
    route.run(300, 0.01)
    found = summary(route)
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(found))), Summary) == found


def test_the_ladder_and_the_checks() -> None:
    route = Route(PLAN)
    while route.weight < 5:
        route.run(10, 0.01)
    route.run(20, 0.01)
    text = told(route)
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "support-chat: ramping at 5 %" in text
    assert "waits: another 90 s on this step, of 100 s" in text
    assert [line.split()[0] for line in text.splitlines() if line[:1] in "●◉○" and line[:1]] == ["●", "◉", "○"]
    assert "◉  5 %" in text
    assert {"pass", "rolls"} <= set(lines["format"].split())
    assert "of 32.9" in lines["format"]  # 1 over what a first attempt may spend
    assert "0.1 times" in lines["cost"]
    assert "none (dry run)" in lines["fallback_rate"]
    assert "attempt 1 (alpha 0.0304)" in text


def test_the_page_shows_what_is_shown() -> None:
    route = Route(PLAN)
    while route.weight < 5:
        route.run(10, 0.01)
    route.run(20, 0.01)
    page = (Path(__file__).parents[2] / "docs" / "rollout.md").read_text()
    shown = "\n".join(line.rstrip() for line in told(route).splitlines()).strip()
    assert shown in page, shown


def test_who_is_waited_for() -> None:
    route = Route(PLAN)
    while not route.state.at_gate:
        route.run(10, 0.0)
    assert summary(route).waits_for == ["somebody: understudy rollout promote"]
    route.run(400, 0.6)
    found = summary(route)
    assert (found.phase, found.weight, found.acknowledged) == (Phase.ROLLED_BACK, 0, False)
    assert found.waits_for == ["the end of the cooldown", "somebody: understudy rollout ack"]
    route.state = apply(route.state, Action(Act.ACK, "ana", "seen"), PLAN, 1000.0 + route.number, 0.0)
    assert summary(route).waits_for == ["the end of the cooldown"]
    assert "acknowledged by ana: seen" in told(route)
    assert "format: alarm" in told(route)


def test_pairs_still_needed() -> None:
    route = Route(PLAN)
    route.run(40, 0.0)
    line = next(one for one in summary(route).checks if one.name == "format")
    assert (line.verdict, line.pairs, line.needed) == ("undecided", 10, 90)


class Stub(BaseHTTPRequestHandler):
    """Answers with a summary and remembers what was asked."""

    asked: list[tuple[str, str, Any]] = []  # noqa: RUF012
    answer = b""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        Stub.asked.append((self.command, self.path, json.loads(body) if body else None))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(Stub.answer)

    do_GET = do_POST = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[str]:
    route = Route(PLAN)
    route.run(40, 0.0)
    Stub.answer, Stub.asked = msgspec.json.encode(summary(route)), []
    server = HTTPServer(("127.0.0.1", 0), Stub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": str(WIDTH)}).invoke(app, ["rollout", *arguments])


@pytest.mark.parametrize("act", [act for act in Act if act is not Act.FORCE])
def test_every_act_is_a_command(stub: str, act: Act) -> None:
    result = run(act.value, "team/chat", "--reason", "because", "--url", stub)
    assert result.exit_code == 0, result.output
    assert Stub.asked == [("POST", "/admin/rollouts/team%2Fchat", {"act": act.value, "reason": "because"})]
    assert "support-chat: shadow at 0 %" in result.output


def test_force(stub: str) -> None:
    result = run("force", "chat", "40", "--ttl", "2h", "--reason", "because", "--url", stub)
    assert result.exit_code == 0, result.output
    assert Stub.asked[0][2] == {"act": "force", "reason": "because", "weight": 40.0, "ttl_s": 7200.0}


def test_status(stub: str) -> None:
    assert "90" in run("status", "chat", "--url", stub).output
    assert json.loads(run("status", "chat", "--json", "--url", stub).output)["phase"] == "shadow"
    assert [asked[:2] for asked in Stub.asked] == [("GET", "/admin/rollouts/chat")] * 2
