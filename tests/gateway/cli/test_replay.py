"""`understudy replay` over files as the gateway writes them."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.exchange import Exchange, Outcome
from gateway.telemetry.exchange_log import ExchangeLog
from router_policies.attempts import Kind
from router_policies.decide import decide
from router_policies.facts import Facts
from router_policies.prices import Usage
from router_policies.routes import Role, Route, Routes
from tests.router_policies.test_rollout_book import record

CONFIG = """
upstreams:
  small: {base_url: "http://127.0.0.1:9/v1", model: s, price: {input: 0.1, output: 0.4}}
  big: {base_url: "http://127.0.0.1:9/v1", model: t, price: {input: 2.5, output: 10}}
routes:
  support-chat: {student: small, teacher: big, student_percent: 60}
"""
ROUTE = Route("support-chat", "big", "small", 20)


def exchange(number: int) -> Exchange:
    decision = decide(Facts(ROUTE.name, f"session-{number // 2}"), Routes.of(ROUTE))
    failed = random.Random(number).random() < 0.05
    return Exchange(
        request_id=f"r-{number}",
        endpoint="/v1/chat/completions",
        tenant="default",
        key_name="",
        decision=decision,
        upstream=decision.upstream,
        role=decision.role,
        kind=Kind.PRIMARY,
        reason=decision.reason,
        stream=False,
        status=502 if failed else 200,
        outcome=Outcome.UPSTREAM_ERROR if failed else Outcome.OK,
        ttft_s=0.1,
        ttlt_s=0.5,
        overhead_s=0.001,
        usage=Usage(100, 100),
        estimated=False,
        cost_nano_usd=1,
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    log = ExchangeLog(tmp_path / "exchanges.jsonl")
    for number in range(400):
        log.add(exchange(number))
    asyncio.run(log.flush())
    pairs = (
        record(number, number % 10 != 0, route=ROUTE.name, point=exchange(number).decision.point, probability=0.5)
        for number in range(0, 400, 2)
    )
    (tmp_path / "pairs.jsonl").write_bytes(b"\n".join(pairs) + b"\n")
    (tmp_path / "new.yaml").write_text(CONFIG)
    return tmp_path


def run(folder: Path, *more: Any) -> Any:
    files = ["--log", folder / "exchanges.jsonl", "--config", folder / "new.yaml", *more]
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["replay", *map(str, files)])


def test_what_would_have_happened(recorded: Path) -> None:
    changes = recorded / "changes.jsonl"
    result = run(recorded, "--pairs", recorded / "pairs.jsonl", "--json", "--changes", changes)
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.output)
    points = {number: exchange(number).decision.point for number in range(400)}
    moved = [f"r-{number}" for number, point in points.items() if 0.2 <= point < 0.6]
    assert (report["requests"], report["sessions"], report["covered"]) == (400, 200, 400)
    assert report["student_before"] == sum(point < 0.2 for point in points.values())
    assert report["student_after"] == sum(point < 0.6 for point in points.values())
    assert report["changed"] == len(moved)
    written = [json.loads(line) for line in changes.read_text().splitlines()]
    assert [one["request_id"] for one in written] == moved
    assert {(one["before"], one["after"], one["route"]) for one in written} == {("teacher", "student", "support-chat")}
    cost = next(one for one in report["measures"] if one["name"] == "cost")
    truth = 0.6 * 50_000 + 0.4 * 1_250_000  # nano-dollars for 100 tokens in and 100 out, on either side
    assert abs(cost["after"]["dr"]["value"] - truth) < 0.02 * truth
    (served,) = report["served_differing"]  # no check of the family policy had anything to say
    pairs = range(0, 400, 2)
    differ = [number for number in pairs if number % 10 == 0 and points[number] < 0.6]
    assert served["after"]["snips"]["value"] == pytest.approx(len(differ) / len(pairs))


def test_it_is_told_to_people(recorded: Path) -> None:
    result = run(recorded, "--pairs", recorded / "pairs.jsonl")
    assert result.exit_code == 0, result.output
    assert "support-chat: 400 requests of 200 sessions" in result.output
    assert "move to the student: r-" in result.output
    assert "cost per request (USD)" in result.output
    assert "served and differs: format_disagreement" in result.output
    assert run(recorded, "--pairs", recorded / "pairs.jsonl").output == result.output


def test_the_page_shows_what_is_shown(recorded: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "replay.md").read_text()
    output = run(recorded, "--pairs", recorded / "pairs.jsonl").output
    shown = "\n".join(line.rstrip() for line in output.splitlines()).strip()
    assert shown in page, shown


def test_without_pairs_disagreement_is_not_known(recorded: Path) -> None:
    result = run(recorded)
    assert result.exit_code == 0, result.output
    assert "how often answers differ is not known" in result.output
    assert "served and differs" not in result.output


def test_lines_that_cannot_be_read_are_named(recorded: Path) -> None:
    with (recorded / "exchanges.jsonl").open("a") as log:
        log.write('{"request_id": "x"}\n')
    result = run(recorded)
    assert result.exit_code == 1
    assert "exchanges.jsonl, line 401: " in result.output
    assert "400 requests" in result.output


def test_a_log_of_other_routes_says_which(recorded: Path) -> None:
    (recorded / "new.yaml").write_text(CONFIG.replace("support-chat", "other"))
    result = run(recorded)
    assert result.exit_code == 1
    assert "routes in the log: support-chat" in result.output.replace("\n", " ")


@pytest.mark.parametrize(("file", "says"), [("exchanges.jsonl", "No such file"), ("new.yaml", "cannot be read")])
def test_files_that_are_not_there(recorded: Path, file: str, says: str) -> None:
    (recorded / file).unlink()
    result = run(recorded)
    assert result.exit_code == 1
    assert says in result.output


def test_lines_are_read_as_they_are_written(recorded: Path) -> None:
    """A field that the log calls otherwise one day must not be passed over in silence."""
    line = msgspec.json.decode((recorded / "exchanges.jsonl").read_bytes().splitlines()[0])
    assert {"decided", "usage", "lost", "cost_nano_usd", "outcome", "route_version"} <= set(line)
    assert set(line["decided"]) == {"role", "upstream", "reason", "point", "propensity"}
    assert line["decided"]["role"] in set(Role)
