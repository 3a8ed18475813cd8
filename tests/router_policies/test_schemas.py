"""Schemas of strangers: what can be checked is, what takes long is not, and nothing is fetched."""

import json
import socket
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

import pytest

from router_policies import schemas
from router_policies.schemas import BUDGET_NS, LONGEST_SCHEMAS, Budget, misfit

FITS = None


def check(schema: Any, value: Any, budget: Budget | None = None) -> str | None:
    return misfit(json.dumps(schema).encode(), value, json.dumps(value), budget or Budget())


def nested(depth: int, innermost: Any, key: str = "a", **more: Any) -> Any:
    for _ in range(depth):
        innermost = {key: innermost, **more}
    return innermost


@pytest.mark.parametrize(
    ("schema", "value", "broken"),
    [
        (True, 1, FITS),
        ({}, 1, FITS),
        (False, 1, ""),
        ({"type": "integer"}, "1", "type"),
        ({"properties": {"a": {"items": {"enum": [1, 2]}}}}, {"a": [1, 3]}, "properties/a/items/enum"),
        (
            {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "null"}}},
            {"a": 1},
            "properties/a/$ref/type",
        ),
        ({"definitions": {"a~/b": {"type": "null"}}, "$ref": "#/definitions/a~0~1b"}, 1, "$ref/type"),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}, {"a": 1}, "properties/a"),
        ({"oneOf": [{"type": "null"}], "allOf": [{"type": "integer"}]}, "x", "allOf/0/type"),
        ({"allOf": [{"type": "integer"}], "oneOf": [{"minimum": 3}]}, 1, ""),
        ({"not": {"type": "integer"}}, 1, ""),
        (
            {"$id": "https://a.example/b", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": False}},
            {"a": 1},
            "",
        ),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, [1], "items/0/type"),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True},
            3,
            "exclusiveMaximum",
        ),
        ({"multipleOf": 0.01}, 19.99, FITS),
        ({"multipleOf": 0.01}, 19.999, "multipleOf"),
        ({"type": "integer"}, 1.0, FITS),
        ({"type": "integer"}, 10**40, FITS),
        ({"properties": {"pattern": {"type": "null"}}}, {"pattern": 1}, "properties/pattern/type"),
        ({"properties": {"a\nb": {"type": "null"}}}, {"a\nb": 1}, "properties/a?b/type"),
        ({"properties": {"k" * 300: {"type": "null"}}}, {"k" * 300: 1}, "properties/" + "k" * 108 + "…"),
        (
            {"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["v"]}}},
            {},
            "",
        ),
    ],
)
def test_what_is_broken(schema: Any, value: Any, broken: str | None) -> None:
    found = check(schema, value)
    assert (found is None) == (broken is None)
    if broken:
        assert found == broken


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integr"},
        {"type": "STRING"},
        {"required": True},
        {"$schema": "http://json-schema.org/draft-03/schema#", "type": "null"},
        {"$schema": "https://a.example/mine", "type": "null"},
        {"type": "null", "allOf": [{"$ref": "#/$defs/missing"}]},
        {"type": "null", "allOf": [{"$ref": "#there"}]},
        {"type": "null", "allOf": [{"$dynamicRef": "#there"}], "$dynamicAnchor": "there"},
        {"allOf": [{"$id": "https://a.example/b", "type": "null"}]},
        {"type": "null", "nullable": True},
        {"format": "email"},
        {"pattern": "(?=b)"},
        {"pattern": r"^1\p{L}{1,40}$"},
        {"type": "null", "multipleOf": 1e-300},
        nested(200, {"type": "null"}, "allOf"),
        [],
        None,
        "x",
    ],
)
def test_what_cannot_be_checked_is_not_found_fault_with(schema: Any) -> None:
    assert check(schema, "x") is None


@pytest.mark.parametrize("schema", [b"", b"{", b'{"type": "null"', b"\xff", b"[" * 5000, b'{"a": NaN}'])
def test_what_is_no_schema(schema: bytes) -> None:
    assert misfit(schema, 1, "1", Budget()) is None


def test_patterns_that_look_around_are_left_out() -> None:
    """As pydantic writes them for `Decimal`; the rest of the schema counts."""
    amount = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}]}
    schema = {"properties": {"amount": amount, "n": {"type": "integer"}}}
    assert check(schema, {"amount": "1.5"}) is None
    assert check(schema, {"amount": "x"}) is None
    assert check(schema, {"amount": None}) == "properties/amount"
    assert check(schema, {"n": "x"}) == "properties/n/type"
    assert check({"const": {"pattern": "x"}, "propertyNames": {"pattern": "(?=b)"}}, {"pattern": "x"}) is None


def test_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "null"}')
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/s.json"
        for elsewhere in (url, (tmp_path / "s.json").as_uri()):
            for schema in ({"$ref": elsewhere}, {"$schema": elsewhere}, {"$id": elsewhere, "$ref": "t.json"}):
                assert check(schema, 1) is None
        with pytest.raises(TimeoutError):
            server.accept()


# What takes half a second to hours in one library or another, or in this one without the bound. Processor time.


def doubling(keyword: str, depth: int, last: Any) -> dict[str, Any]:
    """Each definition refers to the next one twice: 2^depth subschemas."""
    links = {f"x{at}": {keyword: [{"$ref": f"#/$defs/x{at + 1}"}] * 2} for at in range(depth)}
    return {"$ref": "#/$defs/x0", "$defs": {**links, f"x{depth}": last}}


MIXED = "".join(Random(1).choices("ab", k=60_000))
AGAIN = {"properties": {"a": {"$ref": "#"}}, "type": "object"}
SAME_KEY = [{"properties": {"a": {"$ref": "#"}, "k": {"const": number}}, "type": "object"} for number in range(10)]
SLOW: dict[str, tuple[Any, Any]] = {
    "nested repetition": ({"pattern": "^(a+)+$"}, "a" * 60_000 + "b"),
    "overlapping alternatives": ({"pattern": "^(a|a|aa)*$"}, "a" * 60_000 + "b"),
    "names": ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 60_000 + "b": 1}),
    "counted repetition": ({"pattern": "[ab]*a[ab]{1000}c"}, MIXED),
    "a pattern that expands": ({"pattern": "(((a{0,50}){0,50}){0,50}){0,50}"}, "a"),
    "letters of all scripts": ({"allOf": [{"pattern": rf"[\p{{L}}\w\d]{{1,999}}{at}$"} for at in range(12)]}, "a"),
    "many patterns": ({"allOf": [{"pattern": f"^{number}[a-z]{{1,900}}$"} for number in range(100)]}, "a" * 60_000),
    "doubling anyOf": (doubling("anyOf", 24, {"type": "null"}), "x"),
    "doubling allOf": (doubling("allOf", 24, True), "x"),
    "doubling oneOf": (doubling("oneOf", 24, {"type": "null"}), "x"),
    "doubling and recursive": (doubling("anyOf", 16, AGAIN), nested(20, "x")),
    "anyOf under one key": ({"anyOf": [{"type": "integer"}, AGAIN, AGAIN]}, nested(40, "x")),
    "oneOf under one key": ({"oneOf": [{"type": "integer"}, AGAIN, AGAIN]}, nested(40, 1)),
    "allOf under one key": ({"allOf": [AGAIN, AGAIN]}, nested(40, {})),
    "alternatives told apart late": ({"anyOf": [{"type": "null"}, *SAME_KEY]}, nested(40, "x", k=9)),
    "endless": ({"allOf": [{"$ref": "#"}], "anyOf": [{"$ref": "#"}], "not": {"$ref": "#"}}, 1),
    "an endless chain": ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, 1),
    "an enum of fractions": ({"items": {"enum": [number + 0.5 for number in range(3000)]}}, [2999.5] * 9000),
    "an enum of objects": ({"items": {"enum": [{"v": number} for number in range(3000)]}}, [{"v": 2999}] * 6000),
    "a mixed enum": ({"items": {"enum": [[1], *(f"v{number}" for number in range(3000))]}}, ["v2999"] * 8000),
    "an enum of texts and none": ({"items": {"enum": [None, *(f"v{at}" for at in range(3000))]}}, ["v2999"] * 8000),
    "fine steps": ({"items": {"multipleOf": 1e-300}}, [1.5] * 6_000),
    "dependents": ({"items": {"dependentRequired": {f"k{at}": ["a"] for at in range(2000)}}}, [{}] * 20_000),
    "unique items": ({"items": {"uniqueItems": True}}, [[{"a": at}] * 2 for at in range(3000)]),
    "many unique items": ({"uniqueItems": True}, list(range(12_000))),
    "alternatives of a long answer": (
        {"anyOf": [{"items": {"required": [f"x{at}"]}} for at in range(20)]},
        [{"a": "text", "n": at} for at in range(2000)],
    ),
    "deep": ({"additionalProperties": {"$ref": "#"}, "unevaluatedProperties": False}, nested(400, 1)),
}


@pytest.mark.parametrize("case", SLOW)
def test_no_schema_takes_long(case: str) -> None:
    schema, value = SLOW[case]
    began = process_time()
    check(schema, value)
    assert process_time() - began < 0.3


def cost(schema: Any) -> float:
    return schemas._Walk(schema, lambda _: 1.0).peak()


def test_the_bound_adds_up() -> None:
    """A subschema costs 1 here: how many of them are applied to one value."""
    two = {"allOf": [{}]}
    assert cost({}) == 1
    assert cost({"anyOf": [{}, two], "not": {}}) == 5
    assert cost({"properties": {"a": two, "b": {"not": two}}}) == 3, "a member has one name"
    assert cost({"patternProperties": {"a": two, "b": two}, "additionalProperties": {}}) == 5, "which many may fit"
    assert cost({"allOf": [{"items": two}, {"items": two}, {"contains": two}]}) == 6, "within as without"
    assert cost({"items": {"items": {"items": two}}}) == 2, "one level at a time"
    assert cost({"unevaluatedItems": two}) == 6
    assert [cost(doubling("anyOf", depth, {})) for depth in range(4)] == [2, 6, 14, 30]
    assert cost({"anyOf": [{"items": {"$ref": "#"}}] * 3}) == 6, "a circle is gone round once"


def test_options_of_several_types_count_each() -> None:
    """For the library looks through them, where texts alone are found at once."""

    def spent(options: list[Any]) -> float:
        budget = Budget()
        check({"enum": options}, "x", budget)
        return BUDGET_NS - budget.ns

    texts = [f"v{at}" for at in range(500)]
    assert spent([None, *texts]) > 100 * spent(texts)
    assert spent([0.5, *texts]) > 10 * spent([None, *texts])


def test_where_a_long_answer_is_wrong_is_not_looked_for() -> None:
    schema = {"items": {"type": "null"}}
    assert check(schema, ["x"]) == "items/type"
    assert check(schema, ["x" * 64 * 1024]) == ""


def test_patterns_are_limited() -> None:
    patterns = [{"pattern": f"^{at}"} for at in range(17)]
    assert check({"allOf": patterns[:16]}, "x") == "allOf/0/pattern"
    assert check({"allOf": patterns}, "x") is None


def test_catastrophic_patterns_are_checked_nonetheless() -> None:
    assert check({"pattern": "^(a+)+$"}, "a" * 20_000 + "b") == "pattern"
    assert check({"pattern": "^(a+)+$"}, "a" * 20_000) is None


def test_circles_are_checked() -> None:
    tree = {"anyOf": [{"type": "integer"}, *SAME_KEY]}
    assert check(tree, nested(40, 1, k=9)) is None
    assert check(tree, nested(40, "x", k=9)) == ""
    node = {
        "properties": {"v": {"type": "integer"}, "in": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["v"],
    }
    assert check(node, nested(10, [], "v")) == ""
    assert check(node, {"v": 1, "in": [{"v": 1}, {"v": 2, "in": [{}]}]}) == ""
    assert check(node, {"v": 1, "in": [{"v": 1}, {"v": 2, "in": [{"v": 3}]}]}) is None


def test_typical_answers_are_within_the_budget() -> None:
    """64 KB: many lines with numbers, alternatives and a pattern."""
    line = {
        "type": "object",
        "properties": {
            "sku": {"type": "string", "pattern": r"^[A-Z]{2}-\d+$"},
            "n": {"type": "integer", "minimum": 1, "maximum": 99},
            "price": {"type": "number", "exclusiveMinimum": 0},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["sku", "n", "price", "note"],
        "additionalProperties": False,
    }
    schema = {"properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}}, "$defs": {"line": line}}
    lines = [{"sku": "AB-12", "n": 2, "price": 1.5, "note": None}] * 1300
    assert len(json.dumps(lines)) > 64 * 1024
    budget = Budget()
    assert check(schema, {"lines": lines}, budget) is None
    assert budget.ns < BUDGET_NS
    assert check(schema, {"lines": [*lines, {**lines[0], "note": 1}]}) is not None


def test_the_budget_is_shared() -> None:
    """By all calls and choices of an answer: each for itself is cheap."""
    fractions = {"items": {"enum": [number + 0.5 for number in range(300)]}}
    budget = Budget()
    found = [check(fractions, ["x"] * 5, budget) for _ in range(20)]
    assert found[0] is not None
    assert found[-1] is None
    assert budget.ns >= 0


def test_schemas_to_compile_are_limited() -> None:
    def schema(number: int, length: int) -> bytes:
        return json.dumps({"type": "null", "title": f"{number}:" + "x" * length}).encode()

    budget = Budget()
    found = [misfit(schema(number, LONGEST_SCHEMAS // 4), 1, "1", budget) for number in range(5)]
    assert found == ["type", "type", "type", None, None]
    assert misfit(schema(0, LONGEST_SCHEMAS // 4), 1, "1", budget) == "type", "those that are compiled cost nothing"
    assert misfit(schema(0, LONGEST_SCHEMAS), 1, "1", Budget()) is None


def test_memory_for_schemas_is_bounded() -> None:
    kept = schemas._Kept()
    texts = [json.dumps({"title": f"{number}" + "x" * 30_000}).encode() for number in range(80)]
    first = kept.get(texts[0], Budget())
    for text in texts:
        assert kept.get(text, Budget()) is not None
        assert kept.get(texts[0], Budget()) is first, "what is used stays"
    assert sum(map(len, kept._validators)) == kept._bytes <= schemas._KEPT_BYTES
    assert texts[1] not in kept._validators
