"""A pack: which checks judge the answers of a route, with which options. As people write it (docs/checks.md):

    pack: support_desk
    version: 3
    checks:
      - json_valid
      - check: phrases
        name: no_rivals            # in verdicts; the check's id unless it is said
        severity: critical         # instead of what the check says of a failure
        scope: {json: false}       # else the check has nothing to say
        options: {...}             # the check's own

The version is part of the key that evidence is kept by: it must change with any change of what the pack finds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.check import Check, Maker, Request, Severity
from router_policies.checks.options import OptionsError

IDS = (
    *("empty", "finish", "json_valid", "json_schema", "tool_calls", "fields", "rules", "repetition"),
    *("refusal", "pii", "phrases", "tone", "injection", "leak", "language", "length", "content"),
)
"""All checks there are. Each is a file of this package that has `make`."""

_Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
_Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/responses"]


class PackError(ValueError):
    """A pack that is none. The message has a line for each problem: its place, what was expected, what came."""


class Scope(Struct, frozen=True):
    """Which requests a check is about; those that fit all that is said. `json`: whether JSON is asked for; `tools`:
    whether tools are declared; `system`, `user`: regular expressions that are searched for in the system prompt and
    in the last message of the user."""

    endpoints: frozenset[_Endpoint] | None = None
    json: bool | None = None
    tools: bool | None = None
    system: str | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        for text in (self.system, self.user):
            options.pattern(text or "")

    def covers(self, request: Request) -> bool:
        return (
            (self.endpoints is None or request.endpoint in self.endpoints)
            and (self.json is None or self.json is request.asked.json)
            and (self.tools is None or self.tools is bool(request.asked.tools))
            and (self.system is None or options.pattern(self.system).search(request.system) is not None)
            and (self.user is None or options.pattern(self.user).search(request.last_user) is not None)
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One check of a pack. `severity`: of its failures, None for what the check says."""

    name: str
    check: Check
    severity: Severity | None = None
    scope: Scope | None = None

    def covers(self, request: Request) -> bool:
        return self.scope is None or self.scope.covers(request)


@dataclass(frozen=True)
class Pack:
    """`version`: None for one that is joined of several; their versions are in its name then."""

    name: str
    version: int | None
    entries: tuple[Entry, ...]
    about: str = ""

    @cached_property
    def title(self) -> str:
        return self.name if self.version is None else f"{self.name}.{self.version}"

    @cached_property
    def key(self) -> str:
        """What evidence is kept by: a change of the pack or of any of its checks is another key."""
        return f"{self.title}({','.join(f'{entry.name}.{entry.check.version}' for entry in self.entries)})"


class _Pack(Struct, rename={"name": "pack"}):
    name: _Name
    version: Annotated[int, Meta(ge=1)]
    checks: Annotated[list[Any], Meta(min_length=1)]
    about: str = ""


class _Entry(Struct):
    check: str
    name: _Name | None = None
    severity: Severity | None = None
    scope: dict[str, Any] = {}
    options: dict[str, Any] = {}


def read_pack(document: object) -> Pack:
    """What a document, from YAML, says. Raises `PackError` with every problem in it."""
    problems: list[tuple[str, str]] = []
    given = document if isinstance(document, Mapping) else {}
    checks = given.get("checks")
    pack = None
    try:
        pack = options.read(_Pack, _mapping(document))
    except OptionsError as error:
        problems += error.problems
    entries: dict[str, Entry] = {}
    for at, item in enumerate(checks if isinstance(checks, list) else ()):
        try:
            entry = _read_entry({"check": item} if isinstance(item, str) else item)
        except OptionsError as error:
            problems += [(f"checks.{at}.{place}".rstrip("."), what) for place, what in error.problems]
            continue
        if entry.name in entries:
            problems.append((f"checks.{at}", f"the name {entry.name} is there twice; give one of them another `name`"))
        entries[entry.name] = entry
    if pack is None or problems:
        raise PackError(_told(problems))
    return Pack(pack.name, pack.version, tuple(entries.values()), pack.about)


def joined(packs: Sequence[Pack]) -> Pack:
    """All checks of several packs. Of two with one name the later pack's counts, in the earlier one's place."""
    if len(packs) == 1:
        return packs[0]
    entries = {entry.name: entry for pack in packs for entry in pack.entries}
    return Pack("+".join(pack.title for pack in packs), None, tuple(entries.values()))


def _read_entry(given: object) -> Entry:
    entry = options.read(_Entry, _mapping(given))
    problems: list[tuple[str, str]] = []
    scope = check = None
    try:
        scope = options.read(Scope, entry.scope) if entry.scope else None
    except OptionsError as error:
        problems += [(f"scope.{place}".rstrip("."), what) for place, what in error.problems]
    if entry.check not in IDS:
        problems.append(("check", f"expected one of {', '.join(IDS)}, got {entry.check!r}"))
    else:
        try:
            check = maker(entry.check)(entry.options)
        except OptionsError as error:
            problems += [(f"options.{place}".rstrip("."), what) for place, what in error.problems]
        except ValueError as error:
            problems.append(("options", str(error)))
    if check is None or problems:
        raise OptionsError(problems)
    return Entry(entry.name or entry.check, check, entry.severity, scope)


def maker(check_id: str) -> Maker:
    """Of a check that is one of `IDS`."""
    made: Maker = import_module(f"router_policies.checks.{check_id}").make
    return made


def _mapping(given: object) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise OptionsError([("", f"expected a mapping, got {type(given).__name__}")])
    return given


def _told(problems: list[tuple[str, str]]) -> str:
    return "\n".join(f"{place}: {what}" if place else what for place, what in problems)
