"""Labelled answers under schemas: what fits, where it does not, and what is left unjudged. The official suite has its
own file."""

import json
import socket
from contextlib import suppress
from threading import Thread
from time import process_time
from typing import Any

import pytest

from router_policies.checks import schema
from router_policies.checks.check import Outcome, Severity
from router_policies.checks.json_schema import make
from tests.router_policies.checks.saying import agreed, asks, asks_json, calls, judged, outcome, says

CHECK = make({})
ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^O-[0-9]{4}$"},
        "email": {"type": "string", "format": "email"},
        "status": {"enum": ["open", "closed"]},
        "items": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
                "required": ["sku", "count"],
                "additionalProperties": False,
            },
        },
        "note": {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}]},
    },
    "required": ["id", "items"],
    "additionalProperties": False,
}
GOOD: dict[str, Any] = {"id": "O-1234", "items": [{"sku": "a", "count": 1}]}


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


BROKEN = [
    ({"items": GOOD["items"]}, "id", "missing_required: required"),
    (changed(colour="red"), "colour", "unexpected_param: additionalProperties"),
    (changed(id=1234), "id", "type_error: type"),
    (changed(id="1234"), "id", "value_error: pattern"),
    (changed(email="nobody"), "email", "value_error: format"),
    (changed(status="lost"), "status", "value_error: enum"),
    (changed(items=[]), "items", "value_error: minItems"),
    (changed(items=[{"sku": "a", "count": 0}]), "items.0.count", "value_error: minimum"),
    (changed(items=[GOOD["items"][0], {"sku": "a", "count": "2"}]), "items.1.count", "type_error: type"),
    (changed(items=[{"sku": "a"}]), "items.0.count", "missing_required: required"),
    (
        changed(items=[{"sku": "a", "count": 1, "jane.doe@x.org": 1}]),
        "items.0.?",
        "unexpected_param: additionalProperties",
    ),
    (changed(note="much too long"), "note", "value_error: not"),
    ([], "", "type_error: type"),
]


@pytest.mark.parametrize(
    "value", [GOOD, changed(email="a@b.org"), changed(status="open", note=None), changed(note="short")]
)
def test_fits(value: Any) -> None:
    assert outcome(CHECK, asks_json(ORDER), says(json.dumps(value))) is Outcome.PASS


@pytest.mark.parametrize(("value", "path", "evidence"), BROKEN)
def test_does_not_fit(value: Any, path: str, evidence: str) -> None:
    found = judged(CHECK, asks_json(ORDER), says(json.dumps(value)))
    assert (found.outcome, found.severity, found.path, found.evidence) == (Outcome.FAIL, Severity.HIGH, path, evidence)


def test_what_is_no_json_does_not_fit() -> None:
    assert judged(CHECK, asks_json(ORDER), says("```json\n{}\n```")).evidence == "no_json"


def test_what_it_is_not_about() -> None:
    assert outcome(CHECK, asks(), says("{}")) is Outcome.NA
    assert outcome(CHECK, asks_json(), says("[]")) is Outcome.NA
    assert outcome(CHECK, asks_json(ORDER), calls(("f", {}))) is Outcome.NA
    assert outcome(CHECK, asks_json(ORDER), says(None, refusal="no")) is Outcome.NA


def test_formats_may_be_annotations() -> None:
    text = says(json.dumps(changed(email="nobody")))
    assert outcome(make({"formats": False}), asks_json(ORDER), text) is Outcome.PASS


def test_a_schema_of_the_packs_own() -> None:
    check = make({"schema": {"type": "object", "required": ["a"]}})
    assert outcome(check, asks(), says('{"a": 1}')) is Outcome.PASS
    assert outcome(check, asks(), says("{}")) is Outcome.FAIL
    with pytest.raises(ValueError, match="schema: cannot be checked"):
        make({"schema": {"type": "nothing"}})


def test_two_agree_by_their_outcome() -> None:
    request = asks_json(ORDER)
    assert agreed(CHECK, request, says(json.dumps(GOOD)), says(json.dumps(changed(note=None))))
    assert not agreed(CHECK, request, says("{}"), says(json.dumps(GOOD)))


UNCHECKED: list[Any] = [
    {"$ref": "http://localhost:1/other.json"},
    {"$schema": "https://example.org/mine", "type": "null"},
    {"$schema": "http://json-schema.org/draft-03/schema#", "type": "null"},
    {"type": "nothing"},
    {"properties": {"a": {"$id": "https://example.org/a", "type": "null"}}},
    {"type": "string", "nullable": True},
    {"description": "x" * 70_000, "type": "null"},
]


@pytest.mark.parametrize("strange", UNCHECKED)
def test_what_cannot_be_checked_is_no_failure(strange: Any) -> None:
    found = judged(CHECK, asks_json(strange), says('{"a": 1}'))
    assert found.outcome is Outcome.NA
    assert found.evidence.startswith("unchecked: ")


def test_the_fallback_knows_draft_3() -> None:
    draft3 = {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}}
    check = make({"schema": draft3})
    assert outcome(check, asks(), says('{"a": 1}')) is Outcome.PASS
    assert judged(check, asks(), says("{}")).evidence == "missing_required: required"


def test_nothing_is_fetched() -> None:
    came: list[object] = []

    def hang_up(server: socket.socket) -> None:
        with suppress(TimeoutError):
            while True:
                came.append(server.accept()[0].close())

    draft3 = {"$schema": "http://json-schema.org/draft-03/schema#"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        thread = Thread(target=hang_up, args=[server])
        thread.start()
        there = f"http://127.0.0.1:{server.getsockname()[1]}/s.json"
        for strange in ({**draft3, "extends": {"$ref": there}}, {"$ref": there}, {"$schema": there, "type": "null"}):
            with pytest.raises(ValueError, match="cannot be checked"):
                make({"schema": strange})
            assert outcome(CHECK, asks_json(strange), says("1")) is Outcome.NA
        thread.join()
    assert not came


def test_patterns_that_look_around() -> None:
    """As pydantic writes them for Decimal."""
    amount = {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}
    request = asks_json({"type": "object", "properties": {"amount": amount}})
    assert outcome(CHECK, request, says('{"amount": "1.5"}')) is Outcome.PASS
    assert judged(CHECK, request, says('{"amount": "x"}')).evidence == "value_error: pattern"


AB = "ab" * 2000
SLOW: dict[str, tuple[Any, Any]] = {
    "backtracking": ({"pattern": "^(a+)+$"}, "a" * 50_000 + "b"),
    "backtracking behind a look": ({"pattern": "^(?=a)(a|b|ab)*?c$"}, AB + "d"),
    "many of them": (
        {"items": {"allOf": [{"pattern": f"^(?=a)(a|b|ab)*?c{number}$"} for number in range(8)]}},
        ["ab" * 20 + "d"] * 20_000,
    ),
    "doubling references": (
        {
            "$ref": "#/$defs/x0",
            "$defs": {
                **{f"x{at}": {"anyOf": [{"$ref": f"#/$defs/x{at + 1}"}] * 2} for at in range(30)},
                "x30": {"type": "null"},
            },
        },
        1,
    ),
    "formats": ({"items": {"format": "idn-hostname"}}, ["ü" * 1000] * 300),
}


@pytest.mark.parametrize("name", SLOW)
def test_no_schema_takes_long(name: str) -> None:
    given, value = SLOW[name]
    text, raw = json.dumps(value), json.dumps(given).encode()
    started = process_time()
    with suppress(schema.UncheckedError):
        schema.misfit(raw, value, text)
    assert process_time() - started < 0.2


@pytest.mark.parametrize(
    ("given", "item"),
    [
        ({"format": "idn-hostname"}, "ü" * 1000),
        ({"pattern": "^(?=a)(a|b|ab)*?c$"}, "ab" * 20 + "d"),
        ({"enum": [0.5]}, 1),
    ],
)
def test_what_could_take_long_is_refused_before_it_does(given: Any, item: Any) -> None:
    raw = json.dumps({"items": given}).encode()
    assert schema.misfit(raw, [item], json.dumps([item])) is not None
    many = [item] * (1_500_000 // len(json.dumps(item)))
    with pytest.raises(schema.UncheckedError, match="too long"):
        schema.misfit(raw, many, json.dumps(many))


def test_compiled_schemas_are_kept_and_forgotten() -> None:
    kept = schema._Kept()
    first = kept.get(b'{"type": "null"}', True, False)
    assert kept.get(b'{"type": "null"}', True, False) is first
    assert kept.get(b'{"type": "null"}', False, False) is not first
    for number in range(40):
        kept.get(json.dumps({"description": "x" * 60_000, "maximum": number}).encode(), True, False)
    assert kept.get(b'{"type": "null"}', True, False) is not first
