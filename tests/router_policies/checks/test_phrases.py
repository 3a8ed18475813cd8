"""Banned and required words, in the forms that people and models write them in."""

import pytest

from router_policies.checks import phrases
from router_policies.checks.check import Outcome
from router_policies.checks.options import OptionsError
from tests.router_policies.checks.saying import agreed, asks, judged, outcome, says


@pytest.mark.parametrize(
    ("phrase", "text", "there"),
    [
        ("art", "The ART of it", True),
        ("art", "We start.", False),
        ("we guarantee", "Here  WE\n guarantee it", True),
        ("we guarantee", "we guaranteed it", False),
        ("don't", "You don’t.", True),
        ("straße", "In der STRASSE", True),
        ("café", "the cafe\u0301 is shut", True),
        ("globex", "ｇｌｏｂｅｘ", True),
        ("globex", "glo\u200bb\u00adex", True),
        ("C++", "in C++.", True),
        ("保証", "当社は保証します", True),
        (".com", "see acme.com", True),
    ],
)
def test_banned(phrase: str, text: str, there: bool) -> None:
    assert (outcome(phrases.make({"banned": [phrase]}), asks(), says(text)) is Outcome.FAIL) is there
    assert (outcome(phrases.make({"required": [phrase]}), asks(), says(text)) is Outcome.PASS) is there


def test_disclaimers_and_competitors() -> None:
    check = phrases.make({"one_of": ["no financial advice", "not advice"]})
    assert outcome(check, asks(), says("Buy. This is not advice.")) is Outcome.PASS
    assert judged(check, asks(), says("Buy.")).evidence == "disclaimer missing: no financial advice"
    assert outcome(check, asks(), says("")) is Outcome.NA
    strict, lenient = (phrases.make({"competitors": ["Globex"], "prompted": it}) for it in (False, True))
    asked, said = asks("Are you better than Globex?"), says("Globex is good, too.")
    assert outcome(strict, asked, said) is Outcome.FAIL
    assert outcome(lenient, asked, said) is Outcome.PASS
    assert judged(lenient, asks("Who is good?"), said).evidence == "competitor named: globex"


def test_two_that_break_different_rules_differ() -> None:
    check = phrases.make({"banned": ["never", "always"]})
    assert agreed(check, asks(), says("never"), says("never ever"))
    assert not agreed(check, asks(), says("never"), says("always"))


def test_options() -> None:
    for wrong in ({}, {"banned": [""]}, {"banned": ["\u200b"]}, {"bans": ["x"]}):
        with pytest.raises(OptionsError):
            phrases.make(wrong)
