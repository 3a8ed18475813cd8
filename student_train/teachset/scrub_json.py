"""JSON inside a text: what of it is to be masked, and the same JSON with that replaced.

The names of fields say more than any pattern: `{"first_name": "Rosa"}`. So JSON is read, its values are labelled by the
fields that they are in, and what has changed is put back into the text where it stood: blanks, the order of keys, keys
that are there twice and escapes stay as they were. A number that is masked becomes a string, and what was JSON is JSON.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from student_train.teachset.placeholders import Kind
from student_train.teachset.scrub_words import (
    BESIDE_PERSONS,
    BESIDE_PLACES,
    BESIDE_THINGS,
    PERSONS,
    THINGS,
    field,
    kind_of,
)

_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+\-]*')
_OPENING = re.compile(r'[{\[](?=\s*(?:["{\[\]}]|-?[0-9]))')
_DECODER = json.JSONDecoder()
_MOST_DEEP = 64


class Scalar(Struct, frozen=True):
    """A string or a number of a JSON text, in the order of the text. `key`: of a value the field it is in, of a key
    "". `label`: the kind that the field says the whole value is of; a number is given as it is written."""

    text: str
    label: Kind | None
    key: str
    is_key: bool
    is_number: bool


class _Number(str):
    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object: its fields in order, also those that are there twice."""


_READER = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number)


def parts(text: str) -> Iterator[tuple[int, int]]:
    """Where there are JSON objects and arrays in a text, outermost ones only."""
    at = 0
    while match := _OPENING.search(text, at):
        try:
            _, end = _DECODER.raw_decode(text, match.start())
        except (json.JSONDecodeError, RecursionError):
            at = match.end()
            continue
        yield match.start(), end
        at = end


def scalars(text: str) -> list[Scalar]:
    return list(_walk(_READER.decode(text), "", "", None, 0))


def replaced(text: str, scrub: Callable[[Scalar], str]) -> str:
    """`text` with each string and number as `scrub` gives it back."""
    kept = iter(scalars(text))

    def put(match: re.Match[str]) -> str:
        scalar = next(kept)
        scrubbed = scrub(scalar)
        if scrubbed == scalar.text:
            return match[0]
        return json.dumps(scrubbed, ensure_ascii="\\u" in match[0] or text.isascii())

    return _SCALAR.sub(put, text)


def _walk(value: Any, key: str, parent: str, label: Kind | None, depth: int) -> Iterator[Scalar]:
    """`label`: of what is inside an address all is address."""
    if depth > _MOST_DEEP:
        raise ValueError(f"expected JSON at most {_MOST_DEEP} deep")
    if isinstance(value, _Pairs):
        beside = frozenset(field(name) for name, _ in value)
        for name, inner in value:
            yield Scalar(name, None, "", True, False)
            said = _label(name, inner, key, beside) or (
                label if field(name) not in ("country", "country_code", "type", "id") else None
            )
            yield from _walk(inner, name, key, said, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, key, parent, label, depth + 1)
    elif isinstance(value, str):
        number = isinstance(value, _Number)
        text = str(value)
        fits = label if label is not None and _fits(label, text, number) else None
        yield Scalar(text, fits, key, False, number)


def _label(name: str, value: Any, parent: str, beside: frozenset[str]) -> Kind | None:
    """What the field says that the value is, if what is beside it does not speak against that."""
    kind = kind_of(name)
    words = set(field(parent).split("_"))
    person = bool(PERSONS & words) or bool(BESIDE_PERSONS & (beside - {field(name)}))
    if kind == "place":
        return "address" if BESIDE_PLACES & beside or words & {"address", "shipping", "billing", "location"} else None
    if kind == "maybe_name":
        if isinstance(value, _Pairs):
            return None
        if field(name) in ("name", "names"):
            if THINGS & {field(parent)} or (BESIDE_THINGS & beside and not person):
                return None
            if person:
                return "name"
        from student_train.teachset.scrub_text import looks_like_name  # see `scrub._cues`

        values = value if isinstance(value, list) else [value]
        return "name" if all(isinstance(one, str) and looks_like_name(one) for one in values) and values else None
    if kind == "name" and isinstance(value, _Pairs):
        return None
    return kind


_TRIVIAL = frozenset(
    [
        "true",
        "false",
        "none",
        "null",
        "unknown",
        "yes",
        "no",
        "n/a",
        "na",
        "masked",
        "redacted",
        "hidden",
        "bearer",
        "basic",
    ]
)


def _fits(label: Kind, value: str, number: bool) -> bool:
    """Whether a value can be what its field says: `"token": 42` is a count, `"address": "bill"` a choice."""
    digits = sum(map(str.isdigit, value))
    if not value.strip() or value.strip().lower() in _TRIVIAL:
        return False
    match label:
        case "name":
            return not number and any(map(str.isalpha, value)) and len(value) <= 80 and "\n" not in value
        case "address":
            return digits >= 3 or (not number and len(value) >= 3 and any(map(str.isupper, value)))
        case "phone" | "card" | "national_id":
            return digits >= 5
        case "iban":
            return digits >= 6
        case "birth_date":
            return digits >= 4
        case "secret":
            return (
                len(value) >= 3
                and not (number and digits < 3)
                and " " not in value.strip().removeprefix("Bearer ").removeprefix("Basic ")
            )
        case "user":
            return not number and len(value) >= 3
        case "ip":
            return digits >= 4 or ":" in value
    return True
