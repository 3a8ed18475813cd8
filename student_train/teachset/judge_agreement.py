"""Whether two answers to one prompt say the same, and how much of it.

Of what is closed (JSON, calls of tools) there is one right value: two answers are the same if no field differs, by the
rules of the pack's `fields` check. Prose inside JSON, such as a reply to a customer, has many right values: a text
field that is longer than a few words in any of the answers is left out, unless the pack has a rule for it. Of what is
open (text) two answers are compared by their words, as token F1 (SQuAD, arXiv 1606.05250, 4): 1 is the same words.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from router_policies.checks.compare import Rules, Where, differences
from router_policies.checks.fields import Fields
from router_policies.checks.pack import Pack
from router_policies.checks.strict_json import parse

PROSE_WORDS = 6  # a text of more is prose
SAME_WORDS = 0.9  # token F1 from which on two answers are near-identical

Path = tuple[str | int, ...]


class Reading(Struct, frozen=True):
    """An answer as it is compared. `closed`: `value` is its JSON, or its calls; else there is only `text`."""

    text: str
    closed: bool = False
    value: Any = None


def read(content: str, tool_calls: Sequence[dict[str, Any]] = ()) -> Reading:
    if tool_calls:
        return Reading(content, True, [_call(call) for call in tool_calls])
    if content.lstrip()[:1] in ("{", "["):
        parsed = parse(content)
        if parsed.fault is None:
            return Reading(content, True, parsed.value)
    return Reading(content)


class Comparison:
    """How the answers to one prompt are compared: the rules, and which fields are prose in any of `readings`."""

    def __init__(self, readings: Sequence[Reading], pack: Pack) -> None:
        fields = next((entry.check for entry in pack.entries if isinstance(entry.check, Fields)), Fields())
        self._rules = Rules(fields.default, fields.fields)
        named = Rules("ignore", fields.fields)  # a field that no rule names is ignored by these
        self._prose = {
            _shape(path)
            for reading in readings
            if reading.closed
            for path, value in leaves(reading.value)
            if isinstance(value, str) and len(value.split()) > PROSE_WORDS and named.of(path) == "ignore"
        }

    def differs(self, one: Reading, other: Reading) -> str | None:
        """Where, as `order.id`, None if they say the same. Of texts: None if they are near-identical."""
        if one.closed and other.closed:
            first = next(self._differences(one, other), None)
            return None if first is None else ".".join(map(str, first.path)) or "its form"
        if one.closed or other.closed:
            return "its form"
        return None if f1(one.text, other.text) >= SAME_WORDS else "its words"

    def share(self, one: Reading, other: Reading) -> float:
        """How much of them is the same: the share of fields, or the F1 of words."""
        if one.closed and other.closed:
            fields = {path for reading in (one, other) for path, _ in leaves(reading.value) if not self._is_prose(path)}
            apart = sum(1 for _ in self._differences(one, other))
            return max(0.0, 1 - apart / len(fields)) if fields else float(not apart)
        return 0.0 if one.closed or other.closed else f1(one.text, other.text)

    def prose(self, reading: Reading) -> str:
        """What there are many right ones of: all of a text, the prose of what is closed."""
        if not reading.closed:
            return reading.text
        return "\n".join(str(value) for path, value in leaves(reading.value) if self._is_prose(path))

    def _differences(self, one: Reading, other: Reading) -> Iterator[Where]:
        found = differences(one.value, other.value, self._rules)
        return (where for where in found if not self._is_prose(where.path) or where.drift != "value")

    def _is_prose(self, path: Path) -> bool:
        return _shape(path) in self._prose


def clusters(readings: Sequence[Reading], comparison: Comparison) -> list[list[int]]:
    """Those that say the same, by their places; each is compared with the first of a cluster. Largest first, of one
    size the earliest first."""
    found: list[list[int]] = []
    for at, reading in enumerate(readings):
        for cluster in found:
            if comparison.differs(readings[cluster[0]], reading) is None:
                cluster.append(at)
                break
        else:
            found.append([at])
    return sorted(found, key=lambda cluster: (-len(cluster), cluster[0]))


def distinct(texts: Sequence[str], most: int) -> dict[int, int | None]:
    """Of each text, by its place: None if it is kept, else which kept one it is near-identical to, or -1 for one more
    than `most` that differ."""
    kept: list[int] = []
    found: dict[int, int | None] = {}
    for at, text in enumerate(texts):
        twin = next((other for other in kept if f1(texts[other], text) >= SAME_WORDS), None)
        if twin is None and len(kept) < most:
            kept.append(at)
            found[at] = None
        else:
            found[at] = -1 if twin is None else twin
    return found


def f1(one: str, other: str) -> float:
    """Of their words, as multisets, whatever their case."""
    words, others = Counter(one.casefold().split()), Counter(other.casefold().split())
    if not words or not others:
        return float(words == others)
    both = (words & others).total()
    return 2 * both / (words.total() + others.total())


def _call(call: dict[str, Any]) -> Any:
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    parsed = parse(arguments or "{}") if isinstance(arguments, str) else None
    return {
        "name": function.get("name"),
        "arguments": parsed.value if parsed is not None and parsed.fault is None else arguments,
    }


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value:
        for at, inner in enumerate(value):
            yield from leaves(inner, (*path, at))
    else:
        yield path, value


def _shape(path: Path) -> Path:
    """The same for all items of a list."""
    return tuple("*" if isinstance(step, int) else step for step in path)
