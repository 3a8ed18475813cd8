"""Whether a value fits a JSON schema (draft 4 to 2020-12), and if not, where and in what way.

jsonschema-rs, with `format` asserted, patterns in linear time, and nothing ever fetched. Patterns that look around have
no linear-time engine: they get one that gives up after `_BACKTRACKS` steps, and what it gives up on is not checked.

Schemas and answers are strangers', and scoring runs beside the traffic. So what a check may take is bounded as in
`router_policies.schemas`, which serving uses; a schema for which there is no bound (it is invalid, refers to another
document or by an anchor, or doubles with each reference) is not checked. An operator's own schema is trusted: it is
checked without a bound, and by `jsonschema` if jsonschema-rs cannot.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jsonschema_rs
import msgspec

from router_policies import schemas

_FORMAT_BYTE_NS = 25.0  # measured: the slowest is idn-hostname
_BACKTRACKS = 1000
_BACKTRACKS_NS = 20_000.0  # measured for as many
_LONGEST_EXPLAINED = 64 * 1024  # characters; an error holds a copy of the value it is about
_KEPT_BYTES = 1024 * 1024  # of schemas; a compiled one takes 25 times its text, with its explainer twice that


class Kind(StrEnum):
    MISSING_REQUIRED = "missing_required"
    UNEXPECTED_PARAM = "unexpected_param"
    TYPE_ERROR = "type_error"
    VALUE_ERROR = "value_error"


@dataclass(frozen=True, slots=True)
class Misfit:
    """`path`: in the value, `order.items.2`, names that may be a person's as `?`. `keyword`: what is broken."""

    kind: Kind
    path: str
    keyword: str


class UncheckedError(Exception):
    """A schema, or a value under it, that cannot be checked. Says why."""


def misfit(schema: bytes, value: Any, text: str, *, formats: bool = True, trusted: bool = False) -> Misfit | None:
    """The first that is broken of `schema` by `value`, which was read from `text`. Raises `UncheckedError`."""
    compiled = _kept.get(schema, formats, trusted)
    if isinstance(compiled, str):
        raise UncheckedError(compiled)
    if compiled.cost_ns(text) > schemas.BUDGET_NS:
        raise UncheckedError("it could take too long")
    try:
        if compiled.validator.is_valid(value):
            return None
        long = len(text) > _LONGEST_EXPLAINED and not trusted
        error = None if long else next(iter(compiled.explainer().iter_errors(value)), None)
    except (ValueError, RecursionError):  # a number beyond what the library reads, a lone surrogate
        raise UncheckedError("the library cannot read the value") from None
    if error is None:
        return Misfit(Kind.VALUE_ERROR, "", "")
    name = error.kind.name
    if name in ("backtrackLimitExceeded", "regexEngineFailure"):
        raise UncheckedError("a pattern of it could take too long")
    return Misfit(_KINDS.get(name, Kind.VALUE_ERROR), place((*error.instance_path, *_named(error.kind))), name)


_KINDS = {
    **dict.fromkeys(("required", "dependentRequired"), Kind.MISSING_REQUIRED),
    **dict.fromkeys(
        ("additionalProperties", "unevaluatedProperties", "propertyNames", "falseSchema"), Kind.UNEXPECTED_PARAM
    ),
    "type": Kind.TYPE_ERROR,
}
_PLAIN = re.compile(r"[A-Za-z_$][\w$-]{0,39}")


def place(path: tuple[str | int, ...]) -> str:
    """A path as it may be shown: what does not look like the name of a field may be anything."""
    parts = (str(part) if isinstance(part, int) or _PLAIN.fullmatch(part) else "?" for part in path)
    return ".".join(parts)[:120]


def _named(kind: Any) -> tuple[str, ...]:
    """The member that is missing, or the first that is too many."""
    if isinstance(missing := getattr(kind, "property", None), str):
        return (missing,)
    if unexpected := getattr(kind, "unexpected", None):
        return (str(unexpected[0]),)
    return ()


@dataclass(slots=True)
class _Compiled:
    """Mutable state: the explainer, made when first needed. `bound`: what it takes at most, None if trusted."""

    validator: Any
    explain: Callable[[], Any]
    bound: schemas.Validator | None
    pattern_ns: float
    _explainer: Any = None

    def cost_ns(self, text: str) -> float:
        if self.bound is None:
            return 0.0
        values = text.count(",") + text.count("{") + text.count("[") + 1
        return self.bound.cost_ns(text) + len(text) * _FORMAT_BYTE_NS + values * self.pattern_ns

    def explainer(self) -> Any:
        if self._explainer is None:
            self._explainer = self.explain()
        return self._explainer


class _Kept:
    """Compiled schemas, or why there is none. Mutable state: the dictionary, the least recently used first, and the
    bytes of schemas in its keys."""

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, bool, bool], _Compiled | str] = {}
        self._bytes = 0

    def get(self, schema: bytes, formats: bool, trusted: bool) -> _Compiled | str:
        key = (schema, formats, trusted)
        if key in self._kept:
            found = self._kept[key] = self._kept.pop(key)
            return found
        found = self._kept[key] = _compiled(schema, formats, trusted)
        self._bytes += len(schema)
        while self._bytes > _KEPT_BYTES:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._bytes -= len(oldest[0])
        return found


_kept = _Kept()


def _compiled(schema: bytes, formats: bool, trusted: bool) -> _Compiled | str:
    if len(schema) > schemas.LONGEST_SCHEMAS and not trusted:
        return f"its schema has more than {schemas.LONGEST_SCHEMAS} bytes"
    try:
        root = msgspec.json.decode(schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "its schema is no JSON"
    bound = None
    if not trusted and (bound := schemas._validator(schema)) is None:
        return "its schema is invalid, or there is no bound of how long it takes"
    for limited in (False, True):
        if (validator := compile_rs(root, formats, limited)) is not None:
            pattern_ns = schema.count(b'"pattern') * _BACKTRACKS_NS if limited else 0.0
            return _Compiled(validator, _explaining(root, validator, formats, limited, bound), bound, pattern_ns)
    fallback = _by_jsonschema(root, formats) if trusted and not _refers_elsewhere(root) else None
    return fallback or "its schema is invalid, or of an unknown draft, or refers to another document"


def _explaining(
    root: Any, validator: Any, formats: bool, limited: bool, bound: schemas.Validator | None
) -> Callable[[], Any]:
    """Makes what tells the first error. Of alternatives the library gathers all that is wrong with each: they are
    denied twice, see `schemas`. Where a schema goes round in circles nothing is told, for it could take long."""
    if bound is None:
        return lambda: validator
    explained = True if bound.recursive else schemas._rewritten(root, schemas._alternatives_negated)
    return lambda: compile_rs(explained, formats, limited) or validator


def compile_rs(root: object, formats: bool, limited: bool = False, retriever: Any = None) -> Any:
    """A validator of jsonschema-rs, None if it takes the schema for invalid. `limited`: patterns may look around.
    `retriever`: gives the document at an address; there is none but in tests."""
    try:
        return jsonschema_rs.validator_for(
            msgspec.json.encode(root).decode(),  # of a text the library bounds the depth
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS, size_limit=128 * 1024)
            if limited
            else jsonschema_rs.RegexOptions(size_limit=128 * 1024),
            validate_formats=formats,
            retriever=retriever,
            offline=retriever is None,
        )
    except ValueError:
        return None


# The fallback, in the shape of jsonschema-rs.


@dataclass(frozen=True, slots=True)
class _ErrorKind:
    name: str


@dataclass(frozen=True, slots=True)
class _Error:
    kind: _ErrorKind
    instance_path: list[str | int]


@dataclass(frozen=True, slots=True)
class _Fallback:
    validator: Any
    unresolvable: type[Exception]

    def is_valid(self, value: Any) -> bool:
        try:
            return bool(self.validator.is_valid(value))
        except (self.unresolvable, re.error):
            raise UncheckedError(
                "its schema refers to another document, or has a pattern that cannot be read"
            ) from None

    def iter_errors(self, value: Any) -> Any:
        for error in self.validator.iter_errors(value):
            yield _Error(_ErrorKind(str(error.validator)), list(error.absolute_path))


def _refers_elsewhere(node: Any) -> bool:
    """Whether some reference names a document: `jsonschema` would find out only when it comes to it."""
    if isinstance(node, list):
        return any(map(_refers_elsewhere, node))
    if not isinstance(node, dict):
        return False
    reference = node.get("$ref", "#")
    named = isinstance(reference, str) and not reference.startswith("#")
    return named or any(map(_refers_elsewhere, node.values()))


def _by_jsonschema(root: Any, formats: bool) -> _Compiled | None:
    """Draft 3, and whatever else jsonschema knows and jsonschema-rs does not. No reference is fetched."""
    import jsonschema  # takes as long to import as all else here, and is hardly ever needed
    import referencing
    import referencing.exceptions

    kind = jsonschema.validators.validator_for(root, default=jsonschema.Draft202012Validator)
    draft = str(root.get("$schema", "")) if isinstance(root, dict) else ""
    if draft and draft.rstrip("#") != str(kind.META_SCHEMA["$schema"]).rstrip("#"):  # an unknown one
        return None
    try:
        kind.check_schema(root)
    except jsonschema.SchemaError:
        return None
    checker = kind.FORMAT_CHECKER if formats else None
    validator = kind(root, registry=referencing.Registry(), format_checker=checker)
    fallback = _Fallback(validator, referencing.exceptions.Unresolvable)
    return _Compiled(fallback, lambda: fallback, None, 0.0)
