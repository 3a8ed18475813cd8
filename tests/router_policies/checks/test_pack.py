"""Packs as people write them: what they mean, and everything that is wrong with one, by its place."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway import document
from gateway.packs import load_pack, shipped
from router_policies.checks.check import Family, Outcome, Severity
from router_policies.checks.pack import IDS, PackError, joined, maker, read_pack
from router_policies.checks.verdict import verdict
from tests.router_policies.checks.saying import asks, asks_json, asks_tools, says


def pack(*checks: Any, **head: Any) -> Any:
    return read_pack({"pack": "p", "version": 1, "checks": list(checks), **head})


def outcomes(checks: Any, request: Any, text: str) -> list[str]:
    return [one.student for one in verdict(pack(*checks), request, says(text), says(text))]


def test_what_a_pack_says() -> None:
    read = read_pack(
        {
            "pack": "desk",
            "version": 3,
            "about": "Why.",
            "checks": [
                "empty",
                {"check": "rules", "name": "short", "severity": "critical", "options": {"max_words": 2}},
                {"check": "rules", "options": {"no_comma": True}},
            ],
        }
    )
    assert (read.name, read.version, read.about) == ("desk", 3, "Why.")
    assert [entry.name for entry in read.entries] == ["empty", "short", "rules"]
    found = verdict(read, asks(), says("a b c"), says("a"))
    assert [one.check for one in found] == ["empty", "short", "rules"]
    assert (found[1].student, found[1].teacher, found[1].severity) == (Outcome.FAIL, Outcome.PASS, Severity.CRITICAL)


def test_evidence_is_kept_by_all_that_may_change_a_verdict() -> None:
    key = pack("empty", "finish").key
    assert key == "p.1(empty.1,finish.1)"
    assert pack("empty").key != key
    assert pack("empty", "finish", version=2).key != key


def test_packs_may_be_joined() -> None:
    one, other = pack("empty"), read_pack({"pack": "q", "version": 2, "checks": ["finish"]})
    both = joined([one, other])
    assert both.key == "p.1+q.2(empty.1,finish.1)"
    assert joined([one]) is one
    ours = read_pack({"pack": "ours", "version": 1, "checks": [{"check": "empty", "severity": "low"}]})
    assert [(entry.name, entry.severity) for entry in joined([one, other, ours]).entries] == [
        ("empty", Severity.LOW),
        ("finish", None),
    ]


@pytest.mark.parametrize(
    ("scope", "request_", "covered"),
    [
        ({"endpoints": ["/v1/chat/completions"]}, asks(), True),
        ({"endpoints": ["/v1/responses", "/v1/completions"]}, asks(), False),
        ({"json": True}, asks_json(), True),
        ({"json": True}, asks(), False),
        ({"json": False}, asks(), True),
        ({"tools": True}, asks_tools({"name": "f"}), True),
        ({"tools": False}, asks_tools({"name": "f"}), False),
        ({"user": r"(?i)refund"}, asks("My REFUND?"), True),
        ({"user": r"(?i)refund"}, asks("Hello"), False),
        ({"system": "support"}, asks(messages=[{"role": "system", "content": "You are the support desk."}]), True),
        ({"system": "support"}, asks("support"), False),
        ({"user": "refund", "json": True}, asks("refund"), False),
        ({}, asks(), True),
    ],
)
def test_scopes(scope: Any, request_: Any, covered: bool) -> None:
    assert outcomes([{"check": "empty", "scope": scope}], request_, "") == ["fail" if covered else "na"]


def test_out_of_scope_is_neither_a_failure_nor_a_disagreement() -> None:
    cut = says("", finish="length")
    for check in ("empty", "finish"):
        found = verdict(pack({"check": check, "scope": {"json": True}}), asks(), cut, says("a"))[0]
        assert (found.student, found.teacher, found.agree, found.student_worse) == ("na", "na", True, False)
    found = verdict(pack("finish"), asks(), cut, says("a"))[0]
    assert (found.student, found.agree) == ("fail", False)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(PackError) as raised:
        read_pack(
            {
                "pack": "No Name",
                "version": "1",
                "colour": 1,
                "checks": [
                    "empty",
                    "empty",
                    "nothing",
                    7,
                    {"check": "rules", "options": {"max_words": "x", "words": 1}},
                    {"check": "finish", "severity": "awful"},
                    {"check": "finish", "scope": {"endpoints": ["chat"], "json": "yes"}},
                    {"check": "finish", "scope": {"user": "("}},
                    {"check": "fields", "options": {"fields": {"a": {"tolerance": -1}}}},
                    {"options": {}},
                ],
            }
        )
    told = str(raised.value).splitlines()
    for place in (
        "pack: expected `str` matching regex",
        "version: expected `int`, got `str`",
        "colour: is not known; expected pack, version, checks, about",
        "checks.1: the name empty is there twice",
        f"checks.2.check: expected one of {', '.join(IDS)}, got 'nothing'",
        "checks.3: expected a mapping, got int",
        "checks.4.options.max_words: expected `int | null`, got `str`",
        "checks.4.options.words: is not known",
        "checks.5.severity: expected one of low, medium, high, critical, got 'awful'",
        "checks.6.scope.endpoints.0: expected one of /v1/chat/completions, ",
        "checks.6.scope.json: expected `bool | null`, got `str`",
        "checks.7.scope: expected a regular expression, got '('",
        "checks.8.options.fields.tolerance: expected `float` >= 0",
        "checks.9.check: is missing",
    ):
        assert any(line.startswith(place) for line in told), (place, told)
    assert len(told) == 14


@pytest.mark.parametrize("document", [None, [], "x", {}, {"pack": "p", "version": 1, "checks": []}])
def test_what_is_no_pack(document: Any) -> None:
    with pytest.raises(PackError):
        read_pack(document)


def test_packs_that_come_along() -> None:
    assert "default" in shipped()
    for name in shipped():
        assert load_pack(name).name == name
    assert {entry.check.family for entry in load_pack("default").entries} == set(Family)


def test_packs_from_files(tmp_path: Any) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("pack: mine\nversion: 1\nchecks: [empty]\n")
    assert load_pack(str(file)).name == "mine"
    file.write_text("pack: mine\nversion: 1\nchecks: [emty]\n")
    with pytest.raises(PackError, match=r"mine\.yaml: checks\.0\.check: expected one of"):
        load_pack(str(file))
    file.write_text("pack: mine\npack: mine\n")
    with pytest.raises(PackError, match=r"mine\.yaml: .*twice"):
        load_pack(str(file))
    with pytest.raises(PackError, match=r"none\.yaml: expected .*default.* or a file of YAML"):
        load_pack(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "check", ["empty", "finish", "json_valid", "json_schema", "tool_calls", "fields", "repetition"]
)
def test_the_id_is_the_name_of_the_file(check: str) -> None:
    assert maker(check)({}).id == check


def test_what_the_docs_show_is_a_pack() -> None:
    text = (Path(__file__).parents[3] / "docs" / "checks.md").read_text()
    shown = [document.read(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert len(shown) >= 2
    for one in shown:
        assert read_pack(one if isinstance(one, dict) else {"pack": "p", "version": 1, "checks": one}).entries
    for check in IDS:
        assert f"`{check}`" in text, f"docs/checks.md says nothing of {check}"
