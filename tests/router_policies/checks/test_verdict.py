"""What becomes of a pair: sides, agreement, who is worse, roll-ups. And that any answer at all has a verdict."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.packs import load_pack
from router_policies.checks.check import Answer, Call, CheckVerdict, Family, Outcome, Severity
from router_policies.checks.pack import read_pack
from router_policies.checks.verdict import families, findings, verdict
from tests.router_policies.checks.saying import asks, asks_json, asks_tools, calls, says

DEFAULT = load_pack("default")
FENCED, GOOD, OTHER = "```json\n{}\n```", '{"a": 1}', '{"a": 2}'


def of(check: str, found: tuple[CheckVerdict, ...]) -> CheckVerdict:
    return next(one for one in found if one.check == check)


def test_the_student_fails_where_the_teacher_does_not() -> None:
    found = of("json_valid", verdict(DEFAULT, asks_json(), says(FENCED), says(GOOD)))
    assert found == CheckVerdict(
        check="json_valid",
        version=1,
        family=Family.FORMAT,
        student=Outcome.FAIL,
        teacher=Outcome.PASS,
        agree=False,
        student_worse=True,
        severity=Severity.HIGH,
        path="",
        evidence="fenced",
    )


def test_the_teacher_fails_where_the_student_does_not() -> None:
    found = of("json_valid", verdict(DEFAULT, asks_json(), says(GOOD), says("{")))
    assert (found.student, found.teacher, found.agree, found.student_worse) == ("pass", "fail", False, False)
    assert found.evidence.startswith("cut")


def test_both_fail() -> None:
    found = of("json_valid", verdict(DEFAULT, asks_json(), says(FENCED), says("{")))
    assert (found.agree, found.student_worse, found.evidence) == (True, False, "fenced")


def test_neither_fails_but_they_differ() -> None:
    found = of("fields", verdict(DEFAULT, asks_json(), says(GOOD), says(OTHER)))
    assert (found.student, found.teacher, found.agree, found.student_worse) == ("pass", "pass", False, False)
    assert (found.severity, found.path, found.evidence) == (Severity.LOW, "a", "value: differs from the teacher")
    strict = read_pack({"pack": "p", "version": 1, "checks": [{"check": "fields", "severity": "high"}]})
    assert verdict(strict, asks_json(), says(GOOD), says(OTHER))[0].severity is Severity.HIGH


def test_a_failure_is_shown_before_a_difference() -> None:
    tools = asks_tools({"name": "f", "parameters": {"type": "object", "required": ["a"]}})
    found = of("tool_calls", verdict(DEFAULT, tools, calls(("f", {})), calls(("f", {"a": 1}))))
    assert (found.student_worse, found.evidence) == (True, "missing_required: f.a")


def test_one_answer_by_itself() -> None:
    found = {entry.name: finding.outcome for entry, finding in findings(DEFAULT, asks_json(), says(FENCED))}
    assert found["json_valid"] is Outcome.FAIL
    assert found["empty"] is Outcome.PASS
    assert found["tool_calls"] is Outcome.NA


def made(family: Family, student: Outcome, teacher: Outcome, severity: Severity = Severity.LOW) -> CheckVerdict:
    worse = student is Outcome.FAIL and teacher is not Outcome.FAIL
    return CheckVerdict("c", 1, family, student, teacher, student is teacher, worse, severity)


P, F, N = Outcome.PASS, Outcome.FAIL, Outcome.NA


@pytest.mark.parametrize(
    ("pairs", "student", "teacher", "agree", "worse", "severity"),
    [
        ([(P, P), (N, N)], P, P, True, False, None),
        ([(N, N)], N, N, True, False, None),
        ([(F, P), (P, P)], F, P, False, True, Severity.LOW),
        ([(P, F), (P, P)], P, F, False, False, None),
        ([(F, F)], F, F, True, False, Severity.LOW),
        ([(F, P), (P, F)], F, F, False, True, Severity.LOW),
        ([(F, N)], F, N, False, True, Severity.LOW),
    ],
)
def test_roll_ups(pairs: Any, student: Any, teacher: Any, agree: bool, worse: bool, severity: Any) -> None:
    rolled = families(made(Family.FORMAT, *pair) for pair in pairs)
    assert set(rolled) == {Family.FORMAT}
    one = rolled[Family.FORMAT]
    assert (one.student, one.teacher, one.agree, one.student_worse, one.severity) == (
        *(student, teacher, agree, worse, severity),
    )


def test_families_are_apart_and_the_highest_severity_counts() -> None:
    rolled = families(
        [
            made(Family.FORMAT, F, P, Severity.MEDIUM),
            made(Family.FORMAT, F, F, Severity.CRITICAL),
            made(Family.FORMAT, P, F, Severity.CRITICAL),
            made(Family.POLICY, P, P),
        ]
    )
    assert rolled[Family.FORMAT].severity is Severity.CRITICAL
    assert rolled[Family.POLICY].severity is None
    assert not rolled[Family.POLICY].student_worse


ANSWERS = st.builds(
    Answer,
    st.text(max_size=80) | st.text(alphabet='{}[]":, `ab1\n', max_size=60),
    st.lists(
        st.builds(
            Call,
            st.just("p"),
            st.none() | st.text(max_size=3) | st.just("f") | st.lists(st.none()),
            st.text() | st.none(),
        ),
        max_size=3,
    ).map(tuple),
    st.none() | st.text(max_size=5),
    st.none() | st.sampled_from(["stop", "length", "tool_calls", "content_filter", "unfinished", "odd"]),
)
REQUESTS = (asks(), asks_json({"type": "object"}), asks_tools({"name": "f"}, tool_choice="required"))


@settings(max_examples=300)
@given(ANSWERS, ANSWERS, st.sampled_from(REQUESTS))
def test_any_pair_has_a_verdict(student: Answer, teacher: Answer, request: Any) -> None:
    """No text brings a check down; an answer agrees with itself; turned around, the sides are turned around."""
    there, back = verdict(DEFAULT, request, student, teacher), verdict(DEFAULT, request, teacher, student)
    for one, other in zip(there, back, strict=True):
        assert (one.student, one.teacher, one.agree) == (other.teacher, other.student, other.agree), one
        assert len(one.evidence) <= 120
    assert all(one.agree and not one.student_worse for one in verdict(DEFAULT, request, student, student))
