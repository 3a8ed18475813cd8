"""Labelled texts: what is JSON, what is none, and of which kind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.checks.check import Outcome
from router_policies.checks.json_valid import make
from router_policies.checks.strict_json import DEEPEST, LONGEST, Fault, parse
from tests.router_policies.checks.saying import agreed, asks, asks_json, calls, judged, outcome, says

CHECK = make({})

VALID = [
    "{}",
    "[]",
    "null",
    "0",
    '"text"',
    "-1.5e-3",
    ' \t\n\r{"a": [1, 2.0, true, false, null]} \n',
    '{"a": {"b": "```json"}, "NaN": "NaN"}',
    '{"\\u0061": "\\ud83d\\ude00"}',
    '{"a": {"x": 1}, "b": {"x": 1}}',
    "1e999",
    "1" * 5000,
    '"\\ud800"',
    "[" * DEEPEST + "]" * DEEPEST,
]
BROKEN = [
    ("", Fault.EMPTY),
    (" \n", Fault.EMPTY),
    ('{"a": NaN}', Fault.CONSTANT),
    ("[Infinity]", Fault.CONSTANT),
    ("-Infinity", Fault.CONSTANT),
    ('{"a": 1, "a": 1}', Fault.DUPLICATE),
    ('[{"b": {"a": 1, "\\u0061": 2}}]', Fault.DUPLICATE),
    ('```json\n{"a": 1}\n```', Fault.FENCED),
    ("```\n[1]\n```\nThat is all.", Fault.FENCED),
    ('Here you are: {"a": 1}', Fault.AROUND),
    ('Sure!\n```json\n{"a": 1}\n```', Fault.AROUND),
    ('{"a": 1} I hope that helps.', Fault.AROUND),
    ('{"a": 1}{"a": 2}', Fault.AROUND),
    ('{"a": 1', Fault.CUT),
    ('{"a": [1, 2,', Fault.CUT),
    ('{"a": "tex', Fault.CUT),
    ('{"a": tru', Fault.CUT),
    ('{"a":', Fault.CUT),
    ("[", Fault.CUT),
    ("{'a': 1}", Fault.MALFORMED),
    ('{"a": 1,}', Fault.MALFORMED),
    ("{a: 1} // a comment", Fault.MALFORMED),
    ('{"a": True}', Fault.MALFORMED),
    ('{"a": 01}', Fault.MALFORMED),
    ('{"a": "line\nbreak"}', Fault.MALFORMED),
    ("I cannot help with that.", Fault.MALFORMED),
    ("\ufeff{}", Fault.AROUND),
    ("```json\n{'a': 1}\n```", Fault.MALFORMED),
]


@pytest.mark.parametrize("text", VALID)
def test_json(text: str) -> None:
    assert outcome(CHECK, asks_json(), says(text)) is Outcome.PASS


@pytest.mark.parametrize(("text", "fault"), BROKEN)
def test_no_json(text: str, fault: Fault) -> None:
    found = judged(CHECK, asks_json(), says(text))
    assert found.outcome is Outcome.FAIL
    assert found.evidence.partition(":")[0] == fault


def test_the_evidence_names_places_and_no_content() -> None:
    assert judged(CHECK, asks_json(), says('{"total": 1, "total": 2}')).evidence == "duplicate_key: total"
    assert judged(CHECK, asks_json(), says('{"a@b.org": 1, "a@b.org": 2}')).evidence == "duplicate_key: ?"
    assert judged(CHECK, asks_json(), says('{\n"secret": x}')).evidence == "malformed: line 2"


def test_what_it_is_not_about() -> None:
    assert outcome(CHECK, asks(), says("no JSON")) is Outcome.NA
    assert outcome(make({"always": True}), asks(), says("no JSON")) is Outcome.FAIL
    assert outcome(CHECK, asks_json(), calls(("f", {}))) is Outcome.NA
    assert outcome(CHECK, asks_json(), says(None, refusal="I can't.")) is Outcome.NA
    assert outcome(CHECK, asks_json(), says("", finish="content_filter")) is Outcome.NA
    assert outcome(CHECK, asks_json(), says('{"a"', finish="length")) is Outcome.FAIL


@pytest.mark.parametrize(
    "text", ["[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "[" * 100_000 + "]" * 100_000, " " * LONGEST + "1"]
)
def test_too_long_or_deep_is_not_judged(text: str) -> None:
    found = judged(CHECK, asks_json(), says(text))
    assert found.outcome is Outcome.NA
    assert found.evidence.startswith("unread")


def test_depth_is_not_what_strings_hold() -> None:
    assert parse(json.dumps(["[[" * 300, '"[' * 300])).fault is None


def test_two_agree_if_both_are_or_both_are_not() -> None:
    assert agreed(CHECK, asks_json(), says("{}"), says("[1]"))
    assert agreed(CHECK, asks_json(), says("x"), says("```"))
    assert not agreed(CHECK, asks_json(), says("{}"), says("{"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_whatever_json_writes_is_read_back(value: object) -> None:
    parsed = parse(json.dumps(value))
    assert parsed.fault is None
    assert parsed.value == value


@given(st.text(alphabet='{}[]":,. \n`0123456789truefalsnNI-e\\', max_size=40))
def test_it_takes_nothing_that_json_does_not(text: str) -> None:
    """Any text at all: what is passed is what the standard library takes too."""
    parsed = parse(text)
    if parsed.fault is None:
        json.loads(text)
    else:
        assert parsed.value is None
