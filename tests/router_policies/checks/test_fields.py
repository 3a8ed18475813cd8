"""Labelled pairs of JSON answers: which fields differ, under which rule."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.checks.check import Outcome
from router_policies.checks.compare import Drift, Rules, cost, differences
from router_policies.checks.fields import make
from tests.router_policies.checks.saying import agreed, asks, asks_json, calls, outcome, says

EXACT = Rules("exact", {})


def found(student: Any, teacher: Any, **options: Any) -> tuple[str, str] | None:
    """The path and the kind of the first difference."""
    check = make(options)
    difference = agreed(check, asks_json(), says(json.dumps(student)), says(json.dumps(teacher)))
    return None if difference is True else (difference.path, difference.evidence.partition(":")[0])


@pytest.mark.parametrize(
    ("student", "teacher", "difference"),
    [
        ({"a": 1, "b": [1, {"c": None}]}, {"b": [1.0, {"c": None}], "a": 1}, None),
        ({"a": 1}, {"a": 2}, ("a", "value")),
        ({"a": 1}, {"a": "1"}, ("a", "type")),
        ({"a": 1}, {"a": True}, ("a", "type")),
        ({"a": 0}, {"a": False}, ("a", "type")),
        ({"a": None}, {"a": 0}, ("a", "type")),
        ({"a": [0]}, {"a": [False]}, ("a.0", "type")),
        ({"a": {}}, {"a": []}, ("a", "type")),
        ({}, {"a": None}, ("a", "missing")),
        ({"a": None}, {}, ("a", "unexpected")),
        ({"a": [1, 2]}, {"a": [2, 1]}, ("a.0", "value")),
        ({"a": [1]}, {"a": [1, 2]}, ("a", "length")),
        ({"a": {"b": {"c": [{"d": "x"}]}}}, {"a": {"b": {"c": [{"d": "y"}]}}}, ("a.b.c.0.d", "value")),
        ([1, 2], [1, 3], ("1", "value")),
        ({"a": "X"}, {"a": "x"}, ("a", "value")),
    ],
)
def test_exactly(student: Any, teacher: Any, difference: Any) -> None:
    assert found(student, teacher) == difference


@pytest.mark.parametrize(
    ("rule", "student", "teacher", "same"),
    [
        ("casefold", "  Straße\n5", "STRASSE 5", True),
        ("casefold", "a b", "ab", False),
        ("ignore", 1, "x", True),
        ("set", ["a", "b", "b"], ["b", "a", "b"], True),
        ("set", ["a", "b", "b"], ["a", "a", "b"], False),
        ("set", [{"n": 1, "t": [1]}, {"n": 2, "t": []}], [{"n": 2, "t": []}, {"n": 1, "t": [1]}], True),
        ("set", list(range(100)), list(reversed(range(100))), True),
        ("set", list(range(100)), [*reversed(range(99)), 7], False),
        ("ordered", ["a", "b"], ["b", "a"], False),
        ({"tolerance": 0.01}, 1.005, 1.0, True),
        ({"tolerance": 0.01}, 1.02, 1.0, False),
        ({"tolerance": 0.01}, "1.005", "1.0", False),
        ({"tolerance": 0.01}, True, 1, False),
        ({"relative": 0.1}, 95, 100, True),
        ({"relative": 0.1}, 85, 100, False),
        ({"regex": r"\d+"}, "No. 12/7", "12 and 7", True),
        ({"regex": r"\d+"}, "No. 12", "13", False),
    ],
)
def test_by_rule(rule: Any, student: Any, teacher: Any, same: bool) -> None:
    got = found({"x": {"y": student}}, {"x": {"y": teacher}}, fields={"x.y": rule})
    assert (got is None) is same


def test_steps_of_a_path() -> None:
    student = {"items": [{"price": 1.0, "name": "a"}, {"price": 2.0, "name": "b"}], "deep": {"er": {"name": "c"}}}
    teacher = {"items": [{"price": 1.1, "name": "A"}, {"price": 2.1, "name": "B"}], "deep": {"er": {"name": "C"}}}
    assert found(student, teacher) == ("items.0.price", "value")
    assert found(student, teacher, fields={"items.*.price": "ignore"}) == ("items.0.name", "value")
    assert found(student, teacher, fields={"items.*.price": "ignore", "**.name": "casefold"}) is None
    assert found(student, teacher, fields={"items.**": "ignore", "deep": "ignore"}) is None
    assert found({"a": 1}, {"b": 1}, fields={"*": "ignore"}) is None


def test_the_first_rule_that_fits_counts() -> None:
    assert found({"a": "x"}, {"a": "X"}, fields={"a": "exact", "*": "casefold"}) == ("a", "value")


def test_set_items_are_paired_by_their_own_rules() -> None:
    rules = {"*": "set", "*.*.price": {"tolerance": 1}}
    assert found({"i": [{"price": 2}, {"price": 1}]}, {"i": [{"price": 2}, {"price": 3}]}, fields=rules) is None


def test_neither_fails_and_what_has_no_fields_is_not_compared() -> None:
    check = make({})
    assert outcome(check, asks_json(), says('{"a": 1}')) is Outcome.PASS
    for answer in (says("text"), says('"text"'), says('{"a"'), calls(("f", {})), says(None, refusal="no")):
        assert outcome(check, asks(), answer) is Outcome.NA
        assert agreed(check, asks(), answer, says('{"a": 1}')) is True


def test_the_evidence_has_no_values() -> None:
    difference = agreed(make({}), asks(), says('{"a": "secret", "b": 1}'), says('{"a": "other", "b": 2}'))
    assert (difference.path, difference.evidence) == ("a", "value: differs from the teacher, and 1 more")
    counted = [json.dumps({f"k{at}": side for at in range(50)}) for side in (1, 2)]
    difference = agreed(make({}), asks(), *map(says, counted))
    assert difference.evidence == "value: differs from the teacher, and many more"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same_json(one: Any, other: Any) -> bool:
    """JSON's equality, written out another way: by the text, with whole numbers as numbers."""

    def tagged(value: Any) -> Any:
        if isinstance(value, dict):
            return {"o": sorted((key, tagged(inner)) for key, inner in value.items())}
        if isinstance(value, list):
            return {"l": [tagged(inner) for inner in value]}
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return {type(value).__name__: value}
        return {"n": value}

    return repr_of(tagged(one)) == repr_of(tagged(other))


def repr_of(value: Any) -> Any:
    """Hashable and comparable: lists and pairs as tuples."""
    if isinstance(value, dict):
        return tuple((key, repr_of(inner)) for key, inner in value.items())
    return tuple(map(repr_of, value)) if isinstance(value, list | tuple) else value


@given(VALUES, VALUES)
def test_equal_is_what_json_calls_equal(one: Any, other: Any) -> None:
    assert not list(differences(one, json.loads(json.dumps(one)), EXACT))
    assert (not list(differences(one, other, EXACT))) is same_json(one, other)


@given(VALUES, VALUES)
def test_the_cost_without_rules_is_that_with_rules_that_say_the_same(one: Any, other: Any) -> None:
    assert cost(one, other, EXACT) == cost(one, other, Rules("exact", {"no.such.field": "ignore"}))


@given(VALUES, VALUES)
def test_what_one_lacks_the_other_has_too_much(one: Any, other: Any) -> None:
    turned = {Drift.MISSING: Drift.UNEXPECTED, Drift.UNEXPECTED: Drift.MISSING}
    there = {(where.path, where.drift) for where in differences(one, other, EXACT)}
    back = {(where.path, turned.get(where.drift, where.drift)) for where in differences(other, one, EXACT)}
    assert there == back
