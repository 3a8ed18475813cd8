"""Whether a value fits a JSON schema that a client sent, in bounded time: schema and answer are both strangers'.

jsonschema-rs, for its regexes take linear time, it can be told to fetch nothing, and it is some 200 times faster than
`jsonschema`, whose patterns backtrack in `re` for as long as somebody likes. What is slow in any library remains:
alternatives of alternatives, long enums of fractions, counted repetitions. So a bound of the time is worked out from
the schema once, and a check that could take longer than its `Budget` is left out.

"Not checked" is no finding: a schema that is invalid, of an unknown draft, or that refers to another document checks
nothing. Patterns that the linear engine has no notion of (look-around, back-references) are left out of the schema.
`format` is an annotation, as it is in the newer drafts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import msgspec

BUDGET_NS = 25e6  # what an answer may take, by the bound; nearly all take less than a hundredth of it
LONGEST_SCHEMAS = 64 * 1024  # bytes, of all that must be compiled for an answer; some 10 ms
_KEPT_BYTES = 1024 * 1024  # of schemas that stay compiled; a compiled one takes 25 times its text
_MOST_SUBSCHEMAS = 5000  # with all references followed
_MOST_PATTERNS = 16  # each may take a millisecond to compile
_REGEX_BYTES = 128 * 1024
_LONGEST_EXPLAINED = 64 * 1024  # characters; an error holds a copy of the value it is about
_LONGEST_LOCATION = 120


class Budget:
    """What the checks of one answer may still take. Mutable state: nanoseconds, by the bound, and bytes of schemas to
    compile."""

    __slots__ = ("ns", "schema_bytes")

    def __init__(self) -> None:
        self.ns = BUDGET_NS
        self.schema_bytes = LONGEST_SCHEMAS


@dataclass(frozen=True, slots=True)
class Validator:
    """A compiled schema. `value_ns`, `byte_ns`: how long it takes at most for each value, and for each byte, of an
    answer. `recursive`: it refers to itself."""

    compiled: jsonschema_rs.Validator
    value_ns: float
    byte_ns: float
    recursive: bool

    def cost_ns(self, text: str) -> float:
        """The longest that a value written as `text` can take. Values follow commas and brackets."""
        values = text.count(",") + text.count("{") + text.count("[") + 1
        return values * self.value_ns + len(text) * self.byte_ns


def misfit(schema: bytes, value: object, text: str, budget: Budget) -> str | None:
    """What of `schema` is broken by `value`, which was read from `text`; None if it fits or cannot be checked.

    Tells the place in the schema, as `properties/order/type`, or "" if that would take too long to find out; never
    anything of the value.
    """
    validator = _validators.get(schema, budget)
    if validator is None or (cost_ns := validator.cost_ns(text)) > budget.ns:
        return None
    budget.ns -= cost_ns
    try:
        if validator.compiled.is_valid(value):
            return None
        explains = not validator.recursive and len(text) <= _LONGEST_EXPLAINED
        explainer = _explainer(schema) if explains else None
        if explainer is not None:
            explainer.validate(value)
    except jsonschema_rs.ValidationError as error:
        return _location(error)
    except ValueError:  # a number beyond what the library reads
        return None
    return ""


class _Kept:
    """Validators by the text of their schema, None for one that cannot be checked. Mutable state: the dictionary, the
    least recently used first, and the length of its keys."""

    def __init__(self) -> None:
        self._validators: dict[bytes, Validator | None] = {}
        self._bytes = 0

    def get(self, schema: bytes, budget: Budget) -> Validator | None:
        if schema in self._validators:
            validator = self._validators[schema] = self._validators.pop(schema)
            return validator
        budget.schema_bytes -= len(schema)
        if budget.schema_bytes < 0:
            return None
        validator = self._validators[schema] = _validator(schema)
        self._bytes += len(schema)
        while self._bytes > _KEPT_BYTES:
            oldest = next(iter(self._validators))
            del self._validators[oldest]
            self._bytes -= len(oldest)
        return validator


_validators = _Kept()


def _validator(schema: bytes) -> Validator | None:
    try:
        root = msgspec.json.decode(schema)
        values = _Walk(root, _value_ns)
        value_ns, byte_ns = values.peak(), _Walk(root, _byte_ns).peak()
        compiled = _compile(root) or _compile(_rewritten(root, _pattern_dropped))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _UnboundedError):
        return None
    return Validator(compiled, value_ns, byte_ns, values.recursive) if compiled is not None else None


@lru_cache(maxsize=16)
def _explainer(schema: bytes) -> jsonschema_rs.Validator | None:
    """A validator that says where a value breaks the schema.

    Of alternatives the library would gather all that is wrong with each of them, with copies of the value: seconds. Of
    a double negation it says that it does not hold.
    """
    root = _rewritten(msgspec.json.decode(schema), _alternatives_negated)
    return _compile(root) or _compile(_rewritten(root, _pattern_dropped))


def _compile(root: object) -> jsonschema_rs.Validator | None:
    try:
        return jsonschema_rs.validator_for(
            msgspec.json.encode(root).decode(),  # of a text the library bounds the depth
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES),
            validate_formats=False,
            offline=True,
        )
    except ValueError:  # `ValidationError` is one: the schema is invalid, or refers to what is not there
        return None


def _location(error: jsonschema_rs.ValidationError) -> str:
    path = error.evaluation_path
    if path[-1:] == ["not"]:
        path = path[:-1]
        if path[-2:-1] == ["allOf"]:
            path = path[:-2]
    text = "".join(char if char.isprintable() else "?" for char in "/".join(map(str, path)))
    return text if len(text) <= _LONGEST_LOCATION else text[: _LONGEST_LOCATION - 1] + "…"


# Rewriting: every object of a schema, those that are data aside.

_DATA = frozenset({"const", "enum", "default", "examples", "example"})


def _rewritten(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(node, list):
        return [_rewritten(item, change) for item in node]
    if not isinstance(node, dict):
        return node
    return change({key: value if key in _DATA else _rewritten(value, change) for key, value in node.items()})


def _pattern_dropped(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("pattern"), str):
        return {key: value for key, value in schema.items() if key != "pattern"}
    return schema


def _alternatives_negated(schema: dict[str, Any]) -> dict[str, Any]:
    found = {key: schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)}
    if not found:
        return schema
    rest = {key: value for key, value in schema.items() if key not in found}
    negated = [{"not": {"not": {key: value}}} for key, value in found.items()]
    return {**rest, "allOf": [*rest.get("allOf", []), *negated]}


# The bound. All subschemas that apply to one value add up; of the values within it the one with the most counts. A
# reference that closes a circle costs nothing more: the library remembers what it has found out about that value.

_SAME_VALUE = frozenset(
    {"$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)
_ONE_PER_MEMBER = frozenset({"properties", "prefixItems"})
_ALL_MEMBERS = frozenset(
    {
        *("patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
        *("items", "additionalItems", "unevaluatedItems", "contains"),
    }
)
_OBJECTS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_UNKNOWN = frozenset({"$dynamicRef", "$recursiveRef"})


class _UnboundedError(Exception):
    """No bound can be given of how long this schema takes."""


class _Walk:
    """Follows all that a schema can lead to. `weigh`: what one subschema by itself costs, in nanoseconds."""

    def __init__(self, root: Any, weigh: Callable[[dict[str, Any]], float]) -> None:
        self._root = root
        self._weigh = weigh
        self._following: set[str] = {"#"}
        self._left = _MOST_SUBSCHEMAS
        self._patterns = _MOST_PATTERNS
        self.recursive = False

    def peak(self) -> float:
        return max(self._costs(self._root))

    def _costs(self, schema: Any) -> tuple[float, float]:
        """What it takes for a value itself, and for the value within it that takes most."""
        self._left -= 1
        if self._left < 0:
            raise _UnboundedError
        if not isinstance(schema, dict):
            return self._weigh({}), 0
        self._refuse_strange(schema)
        here, below, one, every = self._weigh(schema), 0.0, 0.0, 0.0
        for key, value in schema.items():
            if key in _SAME_VALUE:
                for its_here, its_below in self._of(key, value):
                    here += its_here
                    below += its_below
            elif key in _ONE_PER_MEMBER:
                one = max(one, max(map(max, self._of(key, value)), default=0.0))
            elif key in _ALL_MEMBERS:
                every += sum(map(max, self._of(key, value)))
        below += one + every
        if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:  # looks at all of it again
            return 3 * here, 3 * below
        return here, below

    def _of(self, key: str, value: Any) -> Iterator[tuple[float, float]]:
        """The costs of each subschema in the value of a keyword."""
        if key == "$ref":
            yield self._referred(value)
        elif isinstance(value, list):
            yield from map(self._costs, value)
        elif key in _OBJECTS_OF_SCHEMAS:
            yield from map(self._costs, value.values() if isinstance(value, dict) else ())
        else:
            yield self._costs(value)

    def _referred(self, reference: Any) -> tuple[float, float]:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _UnboundedError
        if reference in self._following:
            self.recursive = True
            return self._weigh({}), 0
        node = self._root
        for part in unquote(reference).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (KeyError, IndexError, ValueError, TypeError):
                raise _UnboundedError from None
        self._following.add(reference)
        costs = self._costs(node)
        self._following.discard(reference)
        return costs

    def _refuse_strange(self, schema: dict[str, Any]) -> None:
        """`$id` moves what references start from; `nullable` is OpenAPI's, and allows what JSON schema does not."""
        step = schema.get("multipleOf", 1)
        if isinstance(step, float) and not 1e-9 < step < 1e9:  # compared with as many digits as that has places
            raise _UnboundedError
        moved = schema is not self._root and (isinstance(schema.get("$id"), str) or isinstance(schema.get("id"), str))
        if moved or schema.get("nullable") is True or not _UNKNOWN.isdisjoint(schema):
            raise _UnboundedError
        if "pattern" in schema:
            self._patterns -= 1
        if isinstance(named := schema.get("patternProperties"), dict):
            self._patterns -= len(named)
        if self._patterns < 0:
            raise _UnboundedError


# Measured, and doubled. What makes these slow is that the library compares numbers exactly, as decimal fractions.
_FRACTION_NS = 3000.0  # to compare a number with a fraction, or a value with one of several parts
_MIXED_NS = 150.0  # to compare a value with another, where they are not all text or all whole numbers
_DIGIT_NS = 150.0  # to compare a number that has more digits than a machine word, for each of them
_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


def _value_ns(schema: dict[str, Any]) -> float:
    cost = 30.0 + 10 * len(schema)
    if "const" in schema:
        cost += _options_ns([schema["const"]])
    if isinstance(options := schema.get("enum"), list):
        cost += _options_ns(options)
    for key in _LIMITS & schema.keys():
        if isinstance(schema[key], float):
            cost += _FRACTION_NS
    if "uniqueItems" in schema:
        cost += 200
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        if isinstance(schema.get(key), dict):
            cost += 30 * len(schema[key])
    return cost


def _options_ns(options: list[Any]) -> float:
    types = set(map(type, options))
    if types in ({str}, {int}):
        return 50
    if types <= {str, int, bool, type(None)}:
        return _MIXED_NS * len(options)
    return _FRACTION_NS * (msgspec.json.encode(options).count(b",") + 1)


def _byte_ns(schema: dict[str, Any]) -> float:
    cost = _DIGIT_NS * len(_LIMITS & schema.keys())
    if isinstance(pattern := schema.get("pattern"), str):
        cost += _pattern_ns(pattern)
    if isinstance(named := schema.get("patternProperties"), dict):
        cost += sum(map(_pattern_ns, named))
    if "contentMediaType" in schema or "contentEncoding" in schema:
        cost += 20
    return cost


_COUNTED = re.compile(r"\{\s*(\d{1,9})\s*(?:,\s*(\d{0,9})\s*)?\}")
_OF_MANY = re.compile(r"[)}*+?]\s*\{")


def _pattern_ns(pattern: str) -> float:
    """At worst each state of the automaton is looked at for each byte. A counted repetition multiplies the states of a
    group, and adds to those of a letter."""
    grows = _OF_MANY.search(pattern) is not None
    states = len(pattern)
    for first, last in _COUNTED.findall(pattern):
        count = int(last or first)
        states = states * max(count, 1) if grows else states + count
    return 8.0 * states
