"""Labelled answers for the checks `empty` and `finish`: is there an answer, and all of it?"""

import pytest

from router_policies.checks import empty, finish
from router_policies.checks.check import UNFINISHED, Outcome, Severity
from tests.router_policies.checks.saying import agreed, asks, calls, judged, outcome, says

EMPTY, FINISH = empty.make({}), finish.make({})


@pytest.mark.parametrize("text", ["a", ".", "0", "🙂", "\u200bx", "null", " \n ok", " " * 20_000 + "ok"])
def test_something(text: str) -> None:
    assert outcome(EMPTY, asks(), says(text)) is Outcome.PASS


@pytest.mark.parametrize("text", [None, "", " ", "\n\t \r\n", "\u200b\u200d\ufeff", "\u00a0\u2003", "\u3164", "\x00"])
def test_nothing(text: str | None) -> None:
    found = judged(EMPTY, asks(), says(text))
    assert (found.outcome, found.severity) == (Outcome.FAIL, Severity.HIGH)
    assert found.evidence.partition(":")[0] == ("unseen" if text else "empty")


def test_nothing_said_may_be_an_answer() -> None:
    assert outcome(EMPTY, asks(), calls(("f", {}))) is Outcome.NA
    assert outcome(EMPTY, asks(), says(None, refusal="I can't help with that.")) is Outcome.NA
    assert outcome(EMPTY, asks(), says("", finish="content_filter")) is Outcome.NA
    assert outcome(EMPTY, asks(), says("", finish="length")) is Outcome.FAIL


def test_whole() -> None:
    for reason in ("stop", "eos", "end_turn"):
        assert outcome(FINISH, asks(), says("a", finish=reason)) is Outcome.PASS
    assert outcome(FINISH, asks(), calls(("f", {}))) is Outcome.PASS
    assert outcome(FINISH, asks(), says("a", finish=None)) is Outcome.NA
    assert outcome(FINISH, asks(), says("a", finish="content_filter")) is Outcome.NA


def test_cut() -> None:
    found = judged(FINISH, asks(), says("a", finish="length"))
    assert (found.outcome, found.severity, found.evidence) == (Outcome.FAIL, Severity.MEDIUM, "length")
    found = judged(FINISH, asks(max_completion_tokens=5), says("a", finish="length"))
    assert (found.severity, found.evidence) == (Severity.LOW, "length: by the client's max_tokens of 5")
    assert judged(FINISH, asks(), says("a", finish=UNFINISHED)).evidence == "unfinished: the answer broke off"
    assert judged(FINISH, asks(), says("a", finish="tool_calls")).evidence.startswith("no_calls")


def test_ends_agree_by_what_they_mean() -> None:
    assert agreed(FINISH, asks(), says("a"), calls(("f", {}))) is True
    assert agreed(FINISH, asks(), says("a"), says("b", finish=None)) is True
    assert agreed(FINISH, asks(), says("a", finish="length"), says("b", finish="length")) is True
    difference = agreed(FINISH, asks(), says("a", finish="content_filter"), says("b"))
    assert not difference
    assert difference.evidence == "finish_reason: content_filter, the teacher's is stop"
    assert not agreed(FINISH, asks(), says("a", finish="length"), says("b"))
    assert agreed(EMPTY, asks(), says(""), says("")) is True
    assert agreed(EMPTY, asks(), says(""), says("a")) is False
