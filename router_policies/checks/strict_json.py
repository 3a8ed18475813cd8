"""Reads JSON as the standard has it (RFC 8259), and says what else a text is. Nothing is repaired.

`json.loads` of the standard library takes NaN and Infinity, and the last of two members of one name; `msgspec` takes
the latter too. A consumer in another language may take neither, or the other one, so all of these are faults.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LONGEST = 1024 * 1024  # characters that are read; some 10 ms
DEEPEST = 200  # objects and lists within each other; what is made of values below calls itself for each


class Fault(StrEnum):
    """Why a text is no JSON. `FENCED`: JSON in a Markdown code block. `AROUND`: a JSON value with more text before or
    after it. `CUT`: JSON as far as it goes."""

    EMPTY = "empty"
    FENCED = "fenced"
    AROUND = "text_around"
    CUT = "cut"
    CONSTANT = "nan_or_infinity"
    DUPLICATE = "duplicate_key"
    MALFORMED = "malformed"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Parsed:
    """`value` if `fault` is None. `UNREAD` is no fault of the text: it is longer or deeper than is read here.
    `place`: of a fault, as `line 3`, or the name of a key."""

    value: Any = None
    fault: Fault | None = None
    place: str = ""


class _DuplicateError(ValueError):
    pass


class _ConstantError(ValueError):
    pass


def parse(text: str) -> Parsed:
    if not text.strip():
        return Parsed(fault=Fault.EMPTY)
    if len(text) > LONGEST:
        return Parsed(fault=Fault.UNREAD)
    try:
        value = _load(text)
        return Parsed(fault=Fault.UNREAD) if _too_deep(text) else Parsed(value)
    except _DuplicateError as error:
        return Parsed(fault=Fault.DUPLICATE, place=str(error))
    except _ConstantError as error:
        return Parsed(fault=Fault.CONSTANT, place=str(error))
    except json.JSONDecodeError as error:
        kind = _kind(text, error)
        return Parsed(fault=kind, place=f"line {error.lineno}" if kind in (Fault.MALFORMED, Fault.CUT) else "")
    except RecursionError:
        return Parsed(fault=Fault.UNREAD)


def _load(text: str) -> Any:
    try:
        return _decode(text)
    except (json.JSONDecodeError, _DuplicateError, _ConstantError):
        raise
    except ValueError:  # an integer of more digits than Python reads
        return json.loads(text, object_pairs_hook=_members, parse_constant=_refuse, parse_int=float)


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]')


def _too_deep(text: str) -> bool:
    """Of a text that is JSON."""
    if text.count("{") + text.count("[") <= DEEPEST:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0][0] != '"':
            depth += 1 if match[1] else -1
            if depth > DEEPEST:
                return True
    return False


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _DuplicateError(name)
            seen.add(name)
    return members


def _refuse(constant: str) -> Any:
    raise _ConstantError(constant)


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse)
_decode: Callable[[str], Any] = _DECODER.decode

_FENCE = re.compile(r"\s*```[^\n`]*\n")
_CLOSING = re.compile(r"\n?\s*```")
_MOST_STARTS = 8


def _kind(text: str, error: json.JSONDecodeError) -> Fault:
    """What kind of no JSON this is: explains, and changes nothing about its being none."""
    if fence := _FENCE.match(text):
        end = _value_end(text, fence.end())
        return Fault.FENCED if end is not None and _CLOSING.match(text, end) else Fault.MALFORMED
    start = len(text) - len(text.lstrip())
    if error.msg == "Extra data":
        return Fault.AROUND
    if text[start] in "{[":
        return Fault.CUT if _breaks_off(text, error) else Fault.MALFORMED
    starts = [match.start() for match in re.finditer(r"[{\[]", text)][:_MOST_STARTS]
    return Fault.AROUND if any(_value_end(text, at) is not None for at in starts) else Fault.MALFORMED


def _value_end(text: str, start: int) -> int | None:
    """Where the JSON value that begins at `start` ends, None if there is none."""
    try:
        return _DECODER.raw_decode(text, start + len(text[start:]) - len(text[start:].lstrip()))[1]
    except (ValueError, RecursionError):
        return None


def _breaks_off(text: str, error: json.JSONDecodeError) -> bool:
    """Whether all is well up to the end of the text: only whitespace, half a word, number or string is left."""
    if error.msg.startswith(("Unterminated string", "Invalid \\uXXXX")):
        return True
    rest = text[error.pos :].strip()
    return not rest or any(word.startswith(rest) for word in ("true", "false", "null", "-"))
