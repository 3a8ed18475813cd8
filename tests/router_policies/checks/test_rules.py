"""Labelled answers for each rule of form."""

from typing import Any

import pytest

from router_policies.checks.check import Outcome
from router_policies.checks.options import OptionsError
from router_policies.checks.rules import Rules, make
from tests.router_policies.checks.saying import agreed, asks, calls, judged, outcome, says

LIST = "Intro:\n- one\n* two\n  3. three\n• four\nnot-a bullet\n-neither\n"
SECTIONS = "# Summary\ntext\n\n**Next steps**\ntext\n\nContact:\nme"

KEPT: list[tuple[dict[str, Any], str]] = [
    ({"min_words": 3, "max_words": 3}, "one two three"),
    ({"max_chars": 5}, "12345"),
    ({"min_sentences": 2, "max_sentences": 2}, 'He said "no." Did he?'),
    ({"max_sentences": 1}, "It costs 1.5 at a.example today."),
    ({"min_sentences": 2}, "你好。再见。"),
    ({"min_sentences": 2}, "One. And the rest"),
    ({"max_sentences": 1}, "No end"),
    ({"min_paragraphs": 2, "max_paragraphs": 2}, "a\nb\n \n\nc\n\n"),
    ({"min_bullets": 4, "max_bullets": 4}, LIST),
    ({"max_bullets": 0}, "-5 degrees\nnot - one\n*emphasis*"),
    ({"must_include": ["refund", "30 days"]}, "A REFUND takes 30\ndays."),
    ({"must_not_include": ["art"]}, "Start the party."),
    ({"must_not_include": ["c++"]}, "c + +"),
    ({"sections": ["Summary", "Next steps", "Contact"]}, SECTIONS),
    ({"starts_with": "Hello"}, "\n Hello there"),
    ({"ends_with": "Yours"}, "text\nYours \n"),
    ({"one_of": ["yes", "no"]}, " yes\n"),
    ({"case": "lower"}, "all lower, 12 größe"),
    ({"case": "upper"}, "ALL UPPER 12 GRÖ"),
    ({"markdown": "none"}, "5 * 3 * 2 is 30, a_b_c, 1. e4 e5, #tag, |x| and [1]"),
    ({"markdown": "some"}, "see `this`"),
    ({"markdown": "some"}, "| a | b |\n|---|---|"),
    ({"markdown": "closed"}, "```py\nx\n```\nand\n~~~\ny\n~~~"),
    ({"code": True}, "so:\n```\nx\n```"),
    ({"code": False}, "`x`"),
    ({"quoted": True}, ' "whole" '),
    ({"quoted": False}, 'the "whole"'),
    ({"no_comma": True}, "none here; 1.5"),
    ({"regex": r"(?i)ticket #\d{4}"}, "Your Ticket #1234 is open"),
    ({"not_regex": r"(?m)^As an AI"}, "Hello.\nNot as an AI"),
]
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"min_words": 3}, "one two", "min_words: 2 words, expected 3 or more"),
    ({"max_words": 3}, "one two three four", "max_words: 4 words, expected 3 or fewer"),
    ({"min_chars": 5}, "1234", "min_chars: 4 chars, expected 5 or more"),
    ({"max_chars": 3}, "1234", "max_chars: 4 chars, expected 3 or fewer"),
    ({"max_sentences": 1}, "One! Two.", "max_sentences: 2 sentences, expected 1 or fewer"),
    ({"min_sentences": 3}, "One! Two.", "min_sentences: 2 sentences, expected 3 or more"),
    ({"max_paragraphs": 1}, "a\n\nb", "max_paragraphs: 2 paragraphs, expected 1 or fewer"),
    ({"min_paragraphs": 2}, "a\nb", "min_paragraphs: 1 paragraphs, expected 2 or more"),
    ({"max_bullets": 3}, LIST, "max_bullets: 4 bullets, expected 3 or fewer"),
    ({"min_bullets": 1}, "none", "min_bullets: 0 bullets, expected 1 or more"),
    ({"must_include": ["refund", "Visa"]}, "refund by mastercard", "must_include: lacks 'Visa'"),
    ({"must_not_include": ["Rival Inc"]}, "Ask rival  inc.", "must_not_include: has 'Rival Inc'"),
    ({"sections": ["Summary", "Costs"]}, SECTIONS, "sections: lacks 'Costs' after the one before it"),
    ({"sections": ["Contact", "Summary"]}, SECTIONS, "sections: lacks 'Summary' after the one before it"),
    ({"sections": ["Summary"]}, "In summary: yes", "sections: lacks 'Summary'"),
    ({"starts_with": "Hello"}, "hello", "starts_with: does not start with 'Hello'"),
    ({"ends_with": "Yours"}, "Yours, me", "ends_with: does not end with 'Yours'"),
    ({"one_of": ["yes", "no"]}, "yes.", "one_of: is none of 2 that are allowed"),
    ({"case": "lower"}, "Not lower", "case: is not lower"),
    ({"case": "upper"}, "NOT uPPER", "case: is not upper"),
    ({"markdown": "none"}, "this is **bold**", "markdown: has Markdown"),
    ({"markdown": "none"}, "text\n## Heading", "markdown: has Markdown"),
    ({"markdown": "none"}, "- a\n- b", "markdown: has Markdown"),
    ({"markdown": "none"}, "a [link](https://a.example)", "markdown: has Markdown"),
    ({"markdown": "some"}, "plain", "markdown: has no Markdown"),
    ({"markdown": "closed"}, "```py\nx", "markdown: a code block is not closed"),
    ({"code": True}, "`x`", "code: has no code block"),
    ({"code": False}, "```\nx\n```", "code: has a code block"),
    ({"quoted": True}, '"a" and "b', "quoted: is not in quotation marks"),
    ({"quoted": False}, "“a”", "quoted: is in quotation marks"),
    ({"no_comma": True}, "a, b", "no_comma: has a comma"),
    ({"no_comma": True}, "你好，", "no_comma: has a comma"),
    ({"regex": r"^Hi"}, "Ho", "regex: does not match"),
    ({"not_regex": "(?i)as an ai"}, "As an AI", "not_regex: matches"),
]


@pytest.mark.parametrize(("rules", "text"), KEPT)
def test_kept(rules: dict[str, Any], text: str) -> None:
    found = judged(make(rules), asks(), says(text))
    assert (found.outcome, found.evidence) == (Outcome.PASS, "")


@pytest.mark.parametrize(("rules", "text", "evidence"), BROKEN)
def test_broken(rules: dict[str, Any], text: str, evidence: str) -> None:
    found = judged(make(rules), asks(), says(text))
    assert (found.outcome, found.evidence) == (Outcome.FAIL, evidence)


def test_every_rule_has_an_answer_that_keeps_it_and_one_that_breaks_it() -> None:
    rules = set(Rules.__struct_fields__)
    one_sided = {"min_chars", "min_paragraphs", "max_words", "min_bullets"}
    assert {name for given, _ in KEPT for name in given} >= rules - one_sided
    assert {name for given, *_ in BROKEN for name in given} == rules


def test_all_that_is_broken_is_told() -> None:
    found = judged(make({"max_words": 1, "no_comma": True, "code": False}), asks(), says("a, b"))
    assert found.evidence == "max_words: 2 words, expected 1 or fewer, no_comma: has a comma"


def test_what_it_is_not_about() -> None:
    check = make({"min_words": 3})
    for answer in (calls(("f", {})), says(""), says(None, refusal="no"), says("cut", finish="content_filter")):
        assert outcome(check, asks(), answer) is Outcome.NA


def test_two_agree_by_their_outcome() -> None:
    check = make({"max_words": 1})
    assert agreed(check, asks(), says("a"), says("b"))
    assert not agreed(check, asks(), says("a b"), says("b"))


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({}, "expected at least one rule"),
        ({"min_words": 3, "max_words": 2}, "min_words: expected at most max_words, which is 2, got 3"),
        ({"max_words": -1}, "max_words: expected `int` >= 0"),
        ({"regex": "("}, "regex: expected a regular expression, got '('"),
        ({"markdown": "no"}, "markdown: expected one of none, some, closed, got 'no'"),
        ({"must_include": []}, "must_include: "),
        ({"must_include": [""]}, "must_include.0: "),
        ({"words": 1}, "words: is not known"),
    ],
)
def test_options_that_say_nothing(rules: Any, problem: str) -> None:
    with pytest.raises(OptionsError) as raised:
        make(rules)
    assert problem in str(raised.value)
