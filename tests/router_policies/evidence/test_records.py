"""Playbooks for the line: who is selected when, what comes when, and the rows that are due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.checks.check import CheckVerdict, Family, Outcome
from router_policies.evidence.records import LATE, Line, Lost, Pair, Record, Selection, difference

SAME, OTHER = Pair({"format": 0.0}), Pair({"format": 1.0})


def selection(name: str, at: float = 0.0) -> Selection:
    return Selection(name, at, "key", "default", 1.0, 1.0)


def rows(records: list[Record]) -> list[tuple[int, str, Pair | Lost]]:
    return [(record.position, record.selection.id, record.outcome) for record in records]


def test_quick_answers_wait_for_slow_ones_that_were_selected_before() -> None:
    line = Line(late_s=30)
    for at, name in enumerate("abc"):
        line.select(selection(name, at))
    assert line.settle("c", SAME)
    assert line.settle("b", SAME)
    assert line.ready(now=5) == []
    assert line.settle("a", OTHER)
    assert rows(line.ready(now=6)) == [(1, "a", OTHER), (2, "b", SAME), (3, "c", SAME)]
    assert line.ready(now=7) == []


def test_late_is_lost_and_comes_no_more() -> None:
    line = Line(late_s=30)
    line.select(selection("slow", 0))
    line.select(selection("quick", 1))
    line.settle("quick", SAME)
    assert line.ready(now=29.9) == []
    assert rows(line.ready(now=30)) == [(1, "slow", Lost(LATE)), (2, "quick", SAME)]
    assert not line.settle("slow", SAME)
    assert line.ready(now=99) == []


def test_one_that_is_complete_counts_however_late_it_is_asked_for() -> None:
    line = Line(late_s=30)
    line.select(selection("a"))
    line.settle("a", SAME)
    assert rows(line.ready(now=1000)) == [(1, "a", SAME)]


def test_what_is_told_twice_counts_once() -> None:
    line = Line(late_s=30)
    assert line.select(selection("a"))
    assert not line.select(selection("a", 5))
    assert line.settle("a", SAME)
    assert not line.settle("a", OTHER)
    assert not line.settle("never selected", OTHER)
    assert rows(line.ready(now=0)) == [(1, "a", SAME)]


def test_after_a_restart_it_goes_on_from_the_log() -> None:
    line = Line(late_s=30, position=41)
    line.select(selection("a"))
    line.settle("a", SAME)
    assert [record.position for record in line.ready(now=0)] == [42]
    assert (line.position, len(line)) == (42, 0)


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_the_order_is_the_selections_whatever_comes_first(order: list[int], never: set[int]) -> None:
    line, found = Line(late_s=10), []
    for i in range(8):
        line.select(selection(str(i), i))
    for now, i in enumerate(order):
        if i not in never:
            line.settle(str(i), SAME)
        found += line.ready(now / 10)
    found += line.ready(now=100)
    assert rows(found) == [(i + 1, str(i), Lost(LATE) if i in never else SAME) for i in range(8)]


# ---- verdicts as values ----


def verdict(student: str, teacher: str, agree: bool | None = None) -> CheckVerdict:
    one, other = Outcome(student), Outcome(teacher)
    worse = one is Outcome.FAIL and other is not Outcome.FAIL
    agree = one is other if agree is None else agree
    return CheckVerdict("check", 1, Family.FORMAT, one, other, agree, worse, "medium")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "differs", "worse"),
    [
        ([], None, None),
        ([("na", "na")], None, None),
        ([("pass", "pass"), ("na", "na")], 0, 0),
        ([("pass", "pass"), ("fail", "pass")], 1, 1),
        ([("pass", "fail")], 1, 0),
        ([("fail", "fail")], 0, 0),
        ([("fail", "fail", False)], 1, 0),
        ([("na", "pass")], 1, 0),
    ],
)
def test_verdicts_as_one_value(verdicts: list[tuple[str, str]], differs: float | None, worse: float | None) -> None:
    assert difference([verdict(*one) for one in verdicts]) == differs
    assert difference([verdict(*one) for one in verdicts], worse_only=True) == worse
