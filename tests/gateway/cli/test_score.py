"""`understudy score` over a file of recorded answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app

ORDER = {"messages": [{"role": "user", "content": "Order?"}], "response_format": {"type": "json_object"}}
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": '{"a": 1}'}, "finish_reason": "stop"}]}
STREAM = {"sse": 'data: {"choices": [{"index": 0, "delta": {"content": "secret Hel"}}]}\n\n'}
LINES: list[Any] = [
    {"request": ORDER, "student": "```json\n{}\n```", "teacher": WHOLE},
    {"request": ORDER, "student": '{"a": 2}', "teacher": WHOLE, "id": "x-7"},
    {"request": "Hello", "student": STREAM},
    {"request": "Hello", "teacher": "Hi"},
    {"request": {"input": "Hi"}, "student": {"status": "completed", "output": []}, "teacher": "Hello"},
    {"request": {"prompt": "Once"}, "endpoint": "/v1/completions", "student": {"choices": [{"text": " upon"}]}},
]


def run(*arguments: Any) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["score", *map(str, arguments)])


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join([json.dumps(line) for line in LINES] + ["", ""]))
    return file


def test_the_report(recorded: Path) -> None:
    result = run(recorded, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert (report["pairs"], report["alone"], report["unreadable"]) == (3, 3, [])
    assert report["pack"] == "default.1"
    valid = report["checks"]["json_valid"]
    assert valid["student"] == {"passed": 1, "failed": 1, "na": 3}
    assert valid["teacher"] == {"passed": 2, "failed": 0, "na": 2}
    assert (valid["compared"], valid["disagree"], valid["student_worse"]) == (2, 1, 1)
    assert valid["examples"] == [{"line": "1", "path": "", "evidence": "fenced", "severity": "high"}]
    fields = report["checks"]["fields"]
    assert (fields["disagree"], fields["student_worse"]) == (1, 0)
    assert fields["examples"][0]["line"] == "2 (x-7)"
    assert report["checks"]["empty"]["student_worse"] == 1
    assert report["checks"]["finish"]["student"]["failed"] == 1
    assert report["families"]["format"]["student_worse"] == 2


def test_the_report_for_people(recorded: Path) -> None:
    result = run(recorded)
    assert result.exit_code == 0, result.output
    assert "3 pairs, 3 answers alone, pack default.1" in result.output
    assert "1/2 (50.0 %)" in result.output
    assert "json_valid, line 1: fenced (high)" in result.output
    assert "fields, line 2 (x-7) at a: value: differs from the teacher (low)" in result.output
    assert "secret" not in result.output


def test_every_verdict_is_written(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert run(recorded, "--out", out).exit_code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5, 6]
    first = {one["check"]: one for one in lines[0]["verdicts"]}
    assert (first["json_valid"]["student_worse"], first["fields"]["agree"]) == (True, True)
    assert lines[1]["id"] == "x-7"
    assert {one["side"] for one in lines[3]["findings"]} == {"teacher"}
    assert "secret" not in out.read_text()


def test_any_pack(recorded: Path, tmp_path: Path) -> None:
    pack = tmp_path / "mine.yaml"
    pack.write_text("pack: mine\nversion: 2\nchecks: [{check: rules, name: short, options: {max_words: 0}}]\n")
    report = json.loads(run(recorded, "--pack", pack, "--json").output)
    assert list(report["checks"]) == ["short"]
    report = json.loads(run(recorded, "--pack", "default", "--pack", pack, "--json").output)
    assert report["pack"] == "default.1+mine.2"
    assert list(report["checks"])[-1] == "short"
    pack.write_text("pack: mine\nversion: 2\nchecks: [{check: rules, options: {max_word: 0}}]\n")
    result = run(recorded, "--pack", pack)
    assert result.exit_code == 1
    assert "mine.yaml: checks.0.options.max_word: is not known" in result.output


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "line 7: JSON is malformed"),
        ("{}", "line 7: Object missing required field `request`"),
        ('{"request": "a"}', "line 7: expected a student's or a teacher's answer, or both, got none"),
        ('{"request": "a", "student": {"choices": []}}', "line 7: student: expected an answer with a choice"),
        ('{"request": "a", "student": "b", "endpoint": "/v1/embeddings"}', "line 7: expected one of /v1/chat"),
    ],
)
def test_lines_that_cannot_be_read_are_told_and_the_others_scored(recorded: Path, line: str, told: str) -> None:
    with recorded.open("a") as file:
        file.write(line + "\n")
    text = recorded.read_text().replace("\n\n", "\n")
    recorded.write_text(text)
    result = run(recorded)
    assert result.exit_code == 1
    assert told in result.output
    assert "3 pairs" in result.output


def test_files_that_are_not_there(tmp_path: Path, recorded: Path) -> None:
    result = run(tmp_path / "none.jsonl")
    assert result.exit_code == 1
    assert "No such file" in result.output
    assert run(recorded, "--pack", "nothing").exit_code == 1
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert run(empty).exit_code == 1
