"""Length drift, and how far two answers say the same."""

import time

import pytest

from router_policies.checks import content, length
from router_policies.checks.check import Outcome
from router_policies.checks.content import chrf, likeness
from tests.router_policies.checks.saying import agreed, asks, judged, outcome, says


def words(count: int) -> str:
    return "word " * count


def test_length_drift() -> None:
    check = length.make({})
    assert agreed(check, asks(), says(words(40)), says(words(80))) is True
    difference = agreed(check, asks(), says(words(90)), says(words(30)))
    assert not difference
    assert difference.evidence == "length drift: 3 times the teacher's words"
    assert not agreed(check, asks(), says(words(30)), says(words(90)))
    assert agreed(check, asks(), says(words(2)), says(words(19))) is True  # both are short
    assert judged(check, asks(), says(words(90)), says(words(30))).outcome is Outcome.NA


def test_a_pack_says_which_length_is_at_fault() -> None:
    long, short = says(words(90)), says(words(30))
    check = length.make({"fault": "longer"})
    assert judged(check, asks(), long, short).outcome is Outcome.FAIL
    assert judged(check, asks(), short, long).outcome is Outcome.PASS
    assert judged(length.make({"fault": "shorter"}), asks(), short, long).outcome is Outcome.FAIL
    assert outcome(check, asks(), long) is Outcome.NA


def test_chrf_by_hand() -> None:
    """`abcd` and `abce`: of 4, 3, 2 and 1 n-grams 3, 2, 1 and 0 are shared, so precision and recall are both
    (3/4 + 2/3 + 1/2 + 0) / 4."""
    both = (3 / 4 + 2 / 3 + 1 / 2) / 4
    assert chrf("abcd", "abce") == pytest.approx(both)
    # `ab` of `abcd`: precision (1 + 1) / 2, recall (2/4 + 1/3) / 2.
    recall = (2 / 4 + 1 / 3) / 2
    assert chrf("a b", "ab cd") == pytest.approx(2 * recall / (1 + recall))
    assert chrf("ab", "xy") == 0.0
    assert chrf("", "") == 1.0


def test_likeness() -> None:
    like = likeness("The refund takes five days.", "The refund takes five days")
    assert (like.token_f1, like.negated, like.numbers, like.review) == (1.0, False, (0, 0), 0.0)
    assert likeness("a b c d", "a b x y").token_f1 == 0.5
    assert likeness("It costs 1,299.00 or 20%", "It costs 1299 or 20.0 %").numbers == (0, 2)
    assert likeness("It costs 1,299.50 in 2024", "It costs 1299.5 in 2025").numbers == (2, 3)
    assert likeness("1. one\n2. two", "one\ntwo").numbers == (0, 0)
    assert likeness("we met Ada Lovelace in Paris", "we met Ada Lovelace in Rome").entities == (2, 3)
    assert likeness("You can return it within 30 days.", "You can not return it within 30 days.").negated
    assert likeness("Yes, you can.", "No, never do this.").negated
    assert not likeness("It isn't ready", "it isn't ready yet").negated


def test_content_points_at_what_differs() -> None:
    check = content.make({})
    told = agreed(check, asks(), says("It takes 5 days."), says("It takes 7 days."))
    assert told.evidence.startswith("content differs: 2 of 2 numbers; review ")
    told = agreed(check, asks(), says("The cat sat on the mat"), says("Quarterly profits fell sharply"))
    assert told.evidence.startswith("content differs: words, 0.")
    assert agreed(check, asks(), says("It takes five days, at most."), says("It takes five days at most")) is True
    assert outcome(check, asks(), says("x")) is Outcome.NA


@pytest.mark.parametrize("piece", ["1,", "1.", "A a ", "no ", "a", "1. \n", "'", "a A "])
def test_hostile(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    likeness(text, text[1:] + "x")
    assert time.process_time() - start < 1.0
