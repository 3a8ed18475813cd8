"""Where two JSON values differ, each by its path, with a rule per field of what counts as equal.

Types are JSON's: true is no 1, "1" is no 1, and 1 is 1.0.
"""

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from math import isclose
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.matching import assign

_MOST_MATCHED = 32  # items of a set; in longer ones only what is the same in both is paired
_APART = 1e6  # the cost of pairing what differs in type


class Drift(StrEnum):
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    TYPE = "type"
    VALUE = "value"
    LENGTH = "length"


class Equal(Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers are equal if they differ by no more than `tolerance`, or by `relative` times the larger one; texts if all
    that `regex` finds in them is."""

    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    relative: Annotated[float, Meta(ge=0)] = 0.0
    regex: str | None = None

    def __post_init__(self) -> None:
        options.pattern(self.regex or "")


Word = Literal["exact", "casefold", "set", "ordered", "ignore"]
Rule = Word | Equal


class Where(NamedTuple):
    """`path`: as `("order", "items", 2)`."""

    path: tuple[str | int, ...]
    drift: Drift


class Rules:
    """What counts as equal, by field: `order.*.price`, where `*` is any one step and `**` any number of them. The first
    that fits counts, else `default`."""

    def __init__(self, default: Word, fields: Mapping[str, Rule]) -> None:
        self._default = default
        self.exact = default in ("exact", "ordered") and not fields
        self._fields = [(_steps(pattern), rule) for pattern, rule in fields.items()]

    def of(self, path: tuple[str | int, ...]) -> Rule:
        if not self._fields:
            return self._default
        joined = ".".join(map(str, path))
        return next((rule for fits, rule in self._fields if fits.fullmatch(joined)), self._default)


@lru_cache(maxsize=256)
def _steps(pattern: str) -> re.Pattern[str]:
    parts = (".*" if step == "**" else "[^.]*" if step == "*" else re.escape(step) for step in pattern.split("."))
    return re.compile(r"\.".join(parts), re.DOTALL)


def differences(
    student: Any, teacher: Any, rules: Rules, path: tuple[str | int, ...] = (), *, matched: bool = True
) -> Iterator[Where]:
    """All places where the student's value is not the teacher's. `MISSING`: only the teacher has it. `matched`: sets
    are paired so that they differ least; else by what is the same in both."""
    rule = rules.of(path)
    if rule == "ignore":
        return
    if isinstance(student, dict) and isinstance(teacher, dict):
        for name in teacher:
            if name in student:
                yield from differences(student[name], teacher[name], rules, (*path, name), matched=matched)
            elif rules.of((*path, name)) != "ignore":
                yield Where((*path, name), Drift.MISSING)
        for name in student:
            if name not in teacher and rules.of((*path, name)) != "ignore":
                yield Where((*path, name), Drift.UNEXPECTED)
    elif isinstance(student, list) and isinstance(teacher, list):
        if len(student) != len(teacher):
            yield Where(path, Drift.LENGTH)
            return
        if rule == "set":
            student = _in_order_of(teacher, student, rules, path, matched)
        for at, (ours, theirs) in enumerate(zip(student, teacher, strict=True)):
            yield from differences(ours, theirs, rules, (*path, at), matched=matched)
    elif _type(student) is not _type(teacher):
        yield Where(path, Drift.TYPE)
    elif not _equal(student, teacher, rule):
        yield Where(path, Drift.VALUE)


def cost(student: Any, teacher: Any, rules: Rules, path: tuple[str | int, ...] = ()) -> float:
    """In how many places they differ; what differs in type is far apart. Sets in them are not matched, for sets in
    sets would take as long as their sizes multiplied."""
    if _type(student) is not _type(teacher):
        return _APART
    if rules.exact:
        return _exact_cost(student, teacher)
    return float(sum(1 for _ in differences(student, teacher, rules, path, matched=False)))


def _exact_cost(student: Any, teacher: Any) -> int:
    """The same without rules, in a third of the time: pairing looks at every pair there is."""
    if isinstance(student, dict) and isinstance(teacher, dict):
        both = sum(_exact_cost(student[name], value) for name, value in teacher.items() if name in student)
        return both + len(student.keys() ^ teacher.keys())
    if isinstance(student, list) and isinstance(teacher, list):
        return sum(map(_exact_cost, student, teacher)) if len(student) == len(teacher) else 1
    return int(student != teacher or _type(student) is not _type(teacher))


def _in_order_of(
    teacher: list[Any], student: list[Any], rules: Rules, path: tuple[str | int, ...], matched: bool
) -> list[Any]:
    if matched and len(student) <= _MOST_MATCHED:
        costs = [[cost(ours, theirs, rules, (*path, at)) for ours in student] for at, theirs in enumerate(teacher)]
        return [student[column] for column in assign(costs)]
    same: dict[str, list[Any]] = {}
    for item in reversed(student):
        same.setdefault(_written(item), []).append(item)
    found = [same[key].pop() if same.get(key := _written(item)) else _UNPAIRED for item in teacher]
    rest = [item for items in same.values() for item in items]
    return [rest.pop() if item is _UNPAIRED else item for item in found]


_UNPAIRED = object()


def _written(value: Any) -> str:
    """The same for what is equal, but for the order of lists."""
    return json.dumps(value, sort_keys=True)


def _type(value: Any) -> type:
    """JSON's: whole numbers and others are one."""
    return float if type(value) is int else type(value)


def _equal(student: Any, teacher: Any, rule: Rule) -> bool:
    if isinstance(rule, Equal) and _type(student) is float:
        return isclose(student, teacher, abs_tol=rule.tolerance, rel_tol=rule.relative)
    if not isinstance(student, str):
        return bool(student == teacher)
    if isinstance(rule, Equal) and rule.regex is not None:
        finds = options.pattern(rule.regex)
        return bool(finds.findall(student) == finds.findall(teacher))
    if rule == "casefold":
        return bool(student.casefold().split() == teacher.casefold().split())
    return bool(student == teacher)
