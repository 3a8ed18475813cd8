"""Calls of tools: are they such as the request allows, and are they those that the teacher makes?

By itself a call must name a declared tool, with arguments that are JSON and fit its parameters. Two answers agree if
they make the same calls in any order: paired so that they differ least, and compared member by member, with the
defaults that the parameters declare filled in. The kinds of error are named as in BFCL (the Berkeley function calling
leaderboard).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple

import msgspec
from msgspec import Struct

from router_policies.answers import Asked
from router_policies.checks import options, schema
from router_policies.checks.check import NA, PASS, Answer, Difference, Family, Finding, Outcome, Request, Severity
from router_policies.checks.compare import Drift, Rule, Rules, Where, Word, cost, differences
from router_policies.checks.matching import assign
from router_policies.checks.schema import place
from router_policies.checks.strict_json import Fault, Parsed

_MOST_MATCHED = 32  # calls of an answer; more are compared in their order
_OTHER_TOOL = 1e9  # the cost of pairing calls of two tools: above that of any two of one tool


class Kind(StrEnum):
    """What can be wrong with calls. `UNDECLARED`: a tool that there is not, or that `tool_choice` does not allow;
    `WRONG_NAME`: another tool than the teacher's. `MISSING_PARAM`: one that the teacher gives, though not required."""

    WRONG_COUNT = "wrong_count"
    UNDECLARED = "undeclared_tool"
    WRONG_NAME = "wrong_name"
    MALFORMED = "malformed_arguments"
    MISSING_REQUIRED = "missing_required"
    MISSING_PARAM = "missing_param"
    UNEXPECTED_PARAM = "unexpected_param"
    TYPE_ERROR = "type_error"
    VALUE_ERROR = "value_error"


class Mistake(NamedTuple):
    """`call`: which of the answer's calls, -1 for all of them. `path`: in its arguments."""

    kind: Kind
    call: int = -1
    path: str = ""


class ToolCalls(Struct, frozen=True, dict=True):
    """`fields`: what counts as equal, by tool and path, `book_flight.date`, as in the check `fields`; `default`: for
    the others. `formats`: whether `format` in parameters is asserted."""

    id: ClassVar[str] = "tool_calls"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT
    default: Word = "exact"
    fields: dict[str, Rule] = {}
    formats: bool = True

    @cached_property
    def _rules(self) -> Rules:
        return Rules(self.default, self.fields)

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if not request.asked.tools and not answer.calls:
            return NA
        mistake = self.mistake(request.asked, answer)
        if mistake is None:
            return PASS
        return Finding(Outcome.FAIL, Severity.HIGH, _path(answer, mistake), _evidence(request, answer, mistake))

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> bool | Difference:
        mistake = self.difference(request.asked, student, teacher)
        if mistake is None:
            return True
        return Difference(_path(student, mistake), _evidence(request, student, mistake))

    def mistake(self, asked: Asked, answer: Answer) -> Mistake | None:
        """The first thing wrong with the calls of an answer by themselves. What cannot be checked is not wrong."""
        if asked.must and not answer.calls and answer.refusal is None:
            return Mistake(Kind.WRONG_COUNT)
        if asked.one and len(answer.calls) > 1:
            return Mistake(Kind.WRONG_COUNT)
        for at, (call, parsed) in enumerate(zip(answer.calls, answer.arguments, strict=True)):
            if not _declared(asked, call.name):
                return Mistake(Kind.UNDECLARED, at)
            parameters = asked.tools.get(str(call.name), b"{}" if asked.open else None)
            if parameters is not None and (wrong := self._misfit(parameters, call.arguments, parsed)):
                return Mistake(wrong[0], at, wrong[1])
        return None

    def _misfit(self, parameters: bytes, arguments: object, parsed: Parsed) -> tuple[Kind, str] | None:
        if parsed.fault is Fault.UNREAD:
            return None
        if parsed.fault is not None or not isinstance(parsed.value, dict):
            return Kind.MALFORMED, ""
        try:
            wrong = schema.misfit(parameters, parsed.value, str(arguments), formats=self.formats)
        except schema.UncheckedError:
            return None
        return None if wrong is None else (Kind(wrong.kind), wrong.path)

    def difference(self, asked: Asked, student: Answer, teacher: Answer) -> Mistake | None:
        """How the student's calls first differ from the teacher's."""
        if len(student.calls) != len(teacher.calls):
            return Mistake(Kind.WRONG_COUNT)
        ours, theirs = _read(asked, student), _read(asked, teacher)
        if sorted(map(_written, ours)) == sorted(map(_written, theirs)):
            return None
        spare = Counter(call.name for call in theirs)
        for at, call in enumerate(ours):
            spare[call.name] -= 1
            if spare[call.name] < 0:
                return Mistake(Kind.WRONG_NAME, at)
        if 1 < len(ours) <= _MOST_MATCHED:
            costs = [[self._cost(mine, yours) for yours in theirs] for mine in ours]
            theirs = [theirs[column] for column in assign(costs)]
        for at, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
            if (found := self._first(mine, yours)) is not None:
                return Mistake(found[0], at, found[1])
        return None

    def _cost(self, student: "_Read", teacher: "_Read") -> float:
        if student.name != teacher.name:
            return _OTHER_TOOL
        if student.malformed or teacher.malformed:
            return float(student != teacher)
        return min(cost(student.value, teacher.value, self._rules, (str(student.name),)), _OTHER_TOOL / 2)

    def _differences(self, student: "_Read", teacher: "_Read") -> Iterator[Where]:
        return differences(student.value, teacher.value, self._rules, (str(student.name),))

    def _first(self, student: "_Read", teacher: "_Read") -> tuple[Kind, str] | None:
        if student.name != teacher.name:
            return Kind.WRONG_NAME, ""
        if student.malformed or teacher.malformed:
            return (Kind.MALFORMED, "") if student != teacher else None
        where = next(self._differences(student, teacher), None)
        if where is None:
            return None
        return _kind(where.drift, where.path[1:], student.required), place(where.path[1:])


class _Read(NamedTuple):
    """A call as it is compared. `value`: its arguments; the text of them if they are malformed, or no JSON is asked."""

    name: object
    value: Any
    malformed: bool
    required: frozenset[str]


def _read(asked: Asked, answer: Answer) -> list[_Read]:
    found = []
    for call, parsed in zip(answer.calls, answer.arguments, strict=True):
        name = call.name if isinstance(call.name, str) else None
        parameters = asked.tools.get(name or "", b"{}")
        if parameters is None:  # it takes text
            found.append(_Read(name, call.arguments, False, frozenset()))
        elif parsed.fault is not None:
            found.append(_Read(name, call.arguments, True, frozenset()))
        else:
            declared = _decoded(parameters)
            found.append(_Read(name, _filled(parsed.value, declared), False, _required(declared)))
    return found


def _written(call: _Read) -> str:
    """The same only for what is equal; the quick way to find that two answers make the same calls."""
    return json.dumps((str(call.name), call.malformed, call.value), sort_keys=True)


def _declared(asked: Asked, name: object) -> bool:
    if not isinstance(name, str) or (name not in asked.tools and not asked.open):
        return False
    return asked.may is None or name in asked.may


@lru_cache(maxsize=64)
def _decoded(parameters: bytes) -> Any:
    try:
        return msgspec.json.decode(parameters)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _required(declared: Any) -> frozenset[str]:
    required = declared.get("required") if isinstance(declared, dict) else None
    return frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()


def _filled(value: Any, declared: Any) -> Any:
    """The value with the defaults of the members that it leaves out."""
    if not isinstance(value, dict) or not isinstance(declared, dict):
        return value
    properties = declared.get("properties")
    if not isinstance(properties, dict):
        return value
    defaults = {
        name: of["default"]
        for name, of in properties.items()
        if name not in value and isinstance(of, dict) and "default" in of
    }
    given = {name: _filled(inner, properties.get(name)) for name, inner in value.items()}
    return {**given, **defaults}


def _kind(drift: Drift, path: tuple[str | int, ...], required: frozenset[str]) -> Kind:
    if drift is Drift.MISSING:
        return Kind.MISSING_REQUIRED if len(path) == 1 and path[0] in required else Kind.MISSING_PARAM
    if drift is Drift.UNEXPECTED:
        return Kind.UNEXPECTED_PARAM
    return Kind.TYPE_ERROR if drift is Drift.TYPE else Kind.VALUE_ERROR


def _path(answer: Answer, mistake: Mistake) -> str:
    if mistake.call < 0:
        return ""
    call = answer.calls[mistake.call].path
    return f"{call}.arguments.{mistake.path}".rstrip(".") if mistake.path or mistake.kind is Kind.MALFORMED else call


def _evidence(request: Request, answer: Answer, mistake: Mistake) -> str:
    if mistake.call < 0:
        return f"{mistake.kind}: {len(answer.calls)} calls"
    name = answer.calls[mistake.call].name
    tool = name if isinstance(name, str) and name in request.asked.tools else "a tool that is not declared"
    return f"{mistake.kind}: {tool}{'.' if mistake.path else ''}{mistake.path}"


def make(given: Mapping[str, Any]) -> ToolCalls:
    return options.read(ToolCalls, given)
