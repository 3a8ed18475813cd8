"""Reads what a pack says into a type, and tells all that is wrong with it at once, by its place."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar, get_args

import msgspec

Options = TypeVar("Options", bound=msgspec.Struct)
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<at>.*)`)?$", re.DOTALL)
_NOT_ONE_OF = "Invalid enum value"


class OptionsError(ValueError):
    """`problems`: of each its place, as `sections.2`, "" for the whole, and what was expected and what came."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{place}: {what}" if place else what for place, what in problems))
        self.problems = problems


def read(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """A `kind` of what is given. Its annotations say what is expected (`msgspec.Meta` for bounds), and its
    `__post_init__` what no annotation can. Raises `OptionsError`."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    problems: list[tuple[str, str]] = []
    found: dict[str, Any] = {}
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            expected = ", ".join(fields) or "nothing"
            problems.append((str(name), f"is not known; expected {expected}"))
            continue
        try:
            found[field.name] = msgspec.convert(value, field.type)
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(_problem(name, field.type, str(error)))
    problems += [(name, "is missing") for name, field in fields.items() if field.required and name not in given]
    if problems:
        raise OptionsError(problems)
    try:
        return kind(**found)
    except OptionsError:
        raise
    except ValueError as error:
        raise OptionsError([("", str(error))]) from None


def _problem(name: str, kind: object, message: str) -> tuple[str, str]:
    """From `msgspec`'s "Expected `int`, got `str` - at `$[0].a`"."""
    match = _AT.match(message)
    assert match is not None  # the pattern fits any text
    at = (match["at"] or "").replace("[...]", "").replace("[", ".").replace("]", "")
    what = match["what"]
    if what.startswith(_NOT_ONE_OF):
        return name + at, f"expected one of {', '.join(_words(kind))}, got{what.removeprefix(_NOT_ONE_OF)}"
    return name + at, what[:1].lower() + what[1:]


def _words(kind: object) -> Iterator[str]:
    """All that an annotation names by word."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield from (str(member.value) for member in kind)
    for inner in get_args(kind):
        if isinstance(inner, str):
            yield inner
        else:
            yield from _words(inner)


def pattern(text: str, flags: re.RegexFlag = re.NOFLAG) -> "re.Pattern[str]":
    """A compiled regular expression. Raises `ValueError` that says where it is wrong."""
    try:
        return re.compile(text, flags)
    except re.error as error:
        raise ValueError(f"expected a regular expression, got {text!r}: {error}") from None
