"""Labelled calls, and some thousand mutations of right ones: each is caught, and called by its name."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from router_policies.checks.check import Answer, Outcome
from router_policies.checks.tool_calls import Kind, make
from tests.router_policies.checks.saying import agreed, asks, asks_tools, calls, judged, outcome, says

CHECK = make({})
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "unit": {"enum": ["C", "F"], "default": "C"},
            "days": {"type": "integer", "minimum": 1},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
}
BOOK = {
    "name": "book",
    "parameters": {
        "type": "object",
        "properties": {
            "trip": {
                "type": "object",
                "properties": {"from": {"type": "string"}, "to": {"type": "string"}, "price": {"type": "number"}},
                "required": ["from", "to"],
            },
            "seats": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["trip"],
    },
}
TOOLS = asks_tools(WEATHER, BOOK)
PARIS, ROME = ("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})
TRIP = ("book", {"trip": {"from": "A", "to": "B", "price": 1.5}, "seats": ["1a", "2b"]})


# An answer by itself.


@pytest.mark.parametrize("answer", [calls(PARIS), calls(PARIS, ROME, TRIP), says("I do not need a tool."), says(None)])
def test_right(answer: Answer) -> None:
    assert outcome(CHECK, TOOLS, answer) is Outcome.PASS


@pytest.mark.parametrize(
    ("called", "evidence", "path"),
    [
        ([("whether", {"city": "Paris"})], "undeclared_tool: a tool that is not declared", ""),
        ([(None, {})], "undeclared_tool: a tool that is not declared", ""),
        ([("weather", "{'city': 'Paris'}")], "malformed_arguments: weather", ".arguments"),
        ([("weather", '{"city": "Paris"')], "malformed_arguments: weather", ".arguments"),
        ([("weather", '{"city": "Paris", "city": "Rome"}')], "malformed_arguments: weather", ".arguments"),
        ([("weather", '["Paris"]')], "malformed_arguments: weather", ".arguments"),
        ([("weather", {"days": 1})], "missing_required: weather.city", ".arguments.city"),
        ([("weather", "")], "missing_required: weather.city", ".arguments.city"),
        ([("weather", {"city": "Paris", "mood": "x"})], "unexpected_param: weather.mood", ".arguments.mood"),
        ([("weather", {"city": 75})], "type_error: weather.city", ".arguments.city"),
        ([("weather", {"city": "Paris", "days": "1"})], "type_error: weather.days", ".arguments.days"),
        ([("weather", {"city": "Paris", "days": True})], "type_error: weather.days", ".arguments.days"),
        ([("weather", {"city": "Paris", "unit": "K"})], "value_error: weather.unit", ".arguments.unit"),
        ([("weather", {"city": "Paris", "days": 0})], "value_error: weather.days", ".arguments.days"),
        ([("weather", {"city": "Paris", "day": "soon"})], "value_error: weather.day", ".arguments.day"),
        ([("book", {"trip": {"from": "A"}})], "missing_required: book.trip.to", ".arguments.trip.to"),
        ([("book", {"trip": {"from": 1, "to": "B"}})], "type_error: book.trip.from", ".arguments.trip.from"),
        (
            [("book", {"trip": {"from": "A", "to": "B"}, "seats": ["1", 2]})],
            "type_error: book.seats.1",
            ".arguments.seats.1",
        ),
    ],
)
def test_wrong(called: Any, evidence: str, path: str) -> None:
    found = judged(CHECK, TOOLS, calls(PARIS, *called))
    assert (found.outcome, found.evidence) == (Outcome.FAIL, evidence)
    assert found.path == f"choices.0.message.tool_calls.1{path}"


def test_what_the_request_says_of_calls_is_kept_to() -> None:
    two, none = calls(PARIS, ROME), says("Hello")
    assert judged(CHECK, asks_tools(WEATHER, tool_choice="required"), none).evidence == "wrong_count: 0 calls"
    assert judged(CHECK, asks_tools(WEATHER, parallel_tool_calls=False), two).evidence == "wrong_count: 2 calls"
    assert judged(CHECK, asks_tools(WEATHER, tool_choice="none"), two).evidence == "undeclared_tool: weather"
    only_book = {"type": "function", "function": {"name": "book"}}
    assert judged(CHECK, asks_tools(WEATHER, BOOK, tool_choice=only_book), two).evidence == "undeclared_tool: weather"
    assert outcome(CHECK, asks_tools(WEATHER, tool_choice="required"), says(None, refusal="no")) is Outcome.PASS


def test_what_it_is_not_about() -> None:
    assert outcome(CHECK, asks(), says("Hello")) is Outcome.NA
    assert outcome(CHECK, asks(), calls(PARIS)) is Outcome.FAIL


def test_parameters_that_cannot_be_checked_are_not_held_against_it() -> None:
    strange = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"$ref": "http://x.test/a.json"}}}}
    assert outcome(CHECK, asks_tools(strange), calls(("f", {"a": 1}))) is Outcome.PASS


def test_a_tool_that_takes_text() -> None:
    request = asks(tools=[{"type": "custom", "custom": {"name": "run"}}])
    assert outcome(CHECK, request, calls(("run", "print(1)"))) is Outcome.PASS
    assert agreed(CHECK, request, calls(("run", "print(1)")), calls(("run", "print(1)"))) is True
    assert not agreed(CHECK, request, calls(("run", "print(1)")), calls(("run", "print(2)")))


# Two answers.


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (calls(PARIS, ROME, TRIP), calls(TRIP, ROME, PARIS)),
        (calls(PARIS, PARIS, ROME), calls(ROME, PARIS, PARIS)),
        (calls(("weather", {"city": "Paris", "unit": "C"})), calls(PARIS)),
        (calls(("weather", '{ "city" :"Paris" , "days": 2}')), calls(("weather", {"days": 2.0, "city": "Paris"}))),
        (says("Hello"), says("Good day")),
        (calls(("other", "{")), calls(("other", "{"))),
    ],
)
def test_agree(student: Answer, teacher: Answer) -> None:
    assert agreed(CHECK, TOOLS, student, teacher) is True
    assert agreed(CHECK, TOOLS, teacher, student) is True


@pytest.mark.parametrize(
    ("student", "teacher", "evidence"),
    [
        (says("Hello"), calls(PARIS), "wrong_count: 0 calls"),
        (calls(PARIS, PARIS), calls(PARIS, ROME), "value_error: weather.city"),
        (calls(PARIS, TRIP), calls(PARIS, ROME), "wrong_name: book"),
        (calls(PARIS), calls(("weather", {"city": "Paris", "days": 2})), "missing_param: weather.days"),
        (calls(("weather", "{}")), calls(PARIS), "missing_required: weather.city"),
        (calls(("weather", "{")), calls(PARIS), "malformed_arguments: weather"),
        (calls(("weather", {"city": "paris"})), calls(PARIS), "value_error: weather.city"),
        (calls(("weather", {"city": "1.5"})), calls(("weather", {"city": "15"})), "value_error: weather.city"),
        (calls(("weather", {"city": None})), calls(PARIS), "type_error: weather.city"),
    ],
)
def test_differ(student: Answer, teacher: Answer, evidence: str) -> None:
    difference = agreed(CHECK, TOOLS, student, teacher)
    assert not difference
    assert difference.evidence == evidence


def test_the_best_pairing_is_found_where_the_first_best_is_not() -> None:
    """Greedily the first call would take the teacher's first, and the second be left with one that does not fit."""
    check = make({"fields": {"weather.days": {"tolerance": 1}}})
    student = calls(("weather", {"city": "X", "days": 2}), ("weather", {"city": "X", "days": 1}))
    teacher = calls(("weather", {"city": "X", "days": 2}), ("weather", {"city": "X", "days": 3}))
    assert agreed(check, TOOLS, student, teacher) is True


def test_fields_by_tool() -> None:
    check = make({"fields": {"weather.city": "casefold", "book.seats": "set", "book.trip.price": "ignore"}})
    assert agreed(check, TOOLS, calls(("weather", {"city": "PARIS"})), calls(PARIS)) is True
    other = ("book", {"trip": {"from": "A", "to": "B"}, "seats": ["2b", "1a"]})
    assert agreed(check, TOOLS, calls(other), calls(TRIP)) is True


def test_many_calls_take_little_time() -> None:
    """More than are paired; and as many as are paired, no two the same."""
    many = [("weather", {"city": f"c{number}"}) for number in range(500)]
    assert agreed(CHECK, TOOLS, calls(*many), calls(*many)) is True
    assert agreed(CHECK, TOOLS, calls(*many[:32]), calls(*reversed(many[:32]))) is True


# Mutations.

SEED, ROUNDS = 5, 200
WORDS = ("Paris", "Rome", "blue", "a b", "1.5", "x@y.org", "", "Größe")


def _value(random: Random, kind: str) -> Any:
    match kind:
        case "string":
            return random.choice(WORDS)
        case "integer":
            return random.randint(0, 9)
        case "number":
            return random.randint(0, 99) / 10
        case "boolean":
            return random.random() < 0.5
        case "array":
            return [random.choice(WORDS) for _ in range(random.randint(1, 3))]
    return {"name": random.choice(WORDS), "size": random.randint(0, 9)}


def _tool(random: Random, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    kinds = ("string", "integer", "number", "boolean", "array", "object")
    members = {f"p{at}": random.choice(kinds) for at in range(random.randint(2, 5))}
    schema = {
        "type": "object",
        "properties": {member: {"type": kind} for member, kind in members.items()},
        "required": ["p0"],
        "additionalProperties": random.random() < 0.5,
    }
    return {"name": name, "parameters": schema}, members


def _other_type(value: Any) -> Any:
    return 7 if isinstance(value, str) else "7"


def _other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "!"
    if isinstance(value, list):
        return [*value[:-1], value[-1] + "!"]
    return {**value, "size": value["size"] + 1}


def mutations(random: Random, called: list[tuple[str, Any]], undeclared: str) -> Iterator[tuple[Kind, list[Any]]]:
    """Each changes one thing about one call."""
    at = random.randrange(len(called))
    name, given = called[at]
    member = random.choice(sorted(given))

    def put(arguments: Any, tool: str = name) -> list[Any]:
        return [*called[:at], (tool, arguments), *called[at + 1 :]]

    yield Kind.WRONG_COUNT, called[:at] + called[at + 1 :]
    yield Kind.WRONG_COUNT, [*called, called[at]]
    yield Kind.WRONG_NAME, put(given, undeclared)
    yield Kind.WRONG_NAME, put(given, "t1" if name == "t0" else "t0")
    yield Kind.MALFORMED, put(json.dumps(given)[:-1])
    yield Kind.MALFORMED, put("```json\n" + json.dumps(given) + "\n```")
    yield Kind.MISSING_REQUIRED, put({key: value for key, value in given.items() if key != "p0"})
    if member != "p0":
        yield Kind.MISSING_PARAM, put({key: value for key, value in given.items() if key != member})
    yield Kind.UNEXPECTED_PARAM, put({**given, "invented": 1})
    yield Kind.TYPE_ERROR, put({**given, member: _other_type(given[member])})
    yield Kind.VALUE_ERROR, put({**given, member: _other_value(given[member])})
    for key, value in given.items():
        if isinstance(value, list):
            yield Kind.TYPE_ERROR, put({**given, key: [*value[:-1], 7]})
            yield Kind.VALUE_ERROR, put({**given, key: [*value, "more"]})
        if isinstance(value, dict):
            yield Kind.TYPE_ERROR, put({**given, key: {**value, "name": 7}})
            yield Kind.MISSING_PARAM, put({**given, key: {"name": value["name"]}})
            yield Kind.UNEXPECTED_PARAM, put({**given, key: {**value, "invented": 1}})


def test_mutations_are_caught_and_called_by_their_names() -> None:
    random = Random(SEED)
    counted: dict[Kind, int] = {}
    for _ in range(ROUNDS):
        tools, members = zip(*(_tool(random, f"t{at}") for at in range(2)), strict=True)
        request = asks_tools(*tools)
        called = []
        for _ in range(random.randint(1, 4)):
            tool = random.randrange(2)
            optional = [member for member in members[tool] if member != "p0" and random.random() < 0.7]
            chosen = {member: _value(random, members[tool][member]) for member in ["p0", *optional]}
            called.append((f"t{tool}", chosen))
        teacher = calls(*called)
        assert outcome(CHECK, request, teacher) is Outcome.PASS
        shuffled = random.sample(called, len(called))
        assert agreed(CHECK, request, calls(*shuffled), teacher) is True

        for kind, mutated in mutations(random, called, "t9"):
            difference = agreed(CHECK, request, calls(*mutated), teacher)
            assert not difference, (kind, called, mutated)
            assert difference.evidence.partition(":")[0] == kind, (kind, called, mutated)
            counted[kind] = counted.get(kind, 0) + 1
    assert sum(counted.values()) > 10 * ROUNDS
    assert set(counted) == set(Kind) - {Kind.UNDECLARED}
