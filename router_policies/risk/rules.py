"""Rules: which facts make a request risky, in a pack that people write and that can say why it said so.

    risk: support_desk
    version: 3
    bands: {medium: 1, high: 3}          # sums of weights from which a request is in a band
    rules:
      - rule: self_harm                  # named in the record of every decision it had a part in
        when: {topics: self_harm}
        band: high                       # at least that, whatever the sum
      - rule: pays_by_tool
        when: {side_effects: true, any: [{topics: money}, {events: payment}], not: {tenant: sandbox}}
        weight: 2
      - rule: trusted_to_be_harmless
        when: {x_risk: low}
        weight: -2

A request's band is the highest of the bands of the rules that fire and of the band that the sum of their weights
reaches. All rules are looked at, so a decision names all that fired, not the first ones; a fact that no rule reads is
never worked out. The same pack and request give the same band anywhere: nothing is random here, nothing remembered.

Thresholds and weights change by a new version of the pack and in no other way: a threshold that moves by itself would
change which requests the evidence is about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import fsum, isfinite
from typing import Annotated, Any

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.options import OptionsError
from router_policies.checks.pack import PackError
from router_policies.risk.conditions import MODEL, Test, read_condition, reads
from router_policies.risk.facts import RiskFacts


class Band(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_RANK = {Band.LOW: 0, Band.MEDIUM: 1, Band.HIGH: 2}
_BANDS = tuple(_RANK)


@dataclass(frozen=True, slots=True)
class Rule:
    """`band`: at least that, if it fires, None for what the weights say. `reads`: the facts in its condition."""

    name: str
    test: Test
    weight: float = 0.0
    band: Band | None = None
    reads: frozenset[str] = frozenset()


class Risk(Struct, frozen=True):
    """How risky a request is. `rules`: those that fired, in the pack's order. `weight`: the sum of theirs. `pack`: name
    and version."""

    band: Band
    rules: tuple[str, ...]
    weight: float
    pack: str


@dataclass(frozen=True)
class RiskPack:
    """`medium`, `high`: sums of weights."""

    name: str
    version: int
    medium: float
    high: float
    rules: tuple[Rule, ...]
    about: str = ""

    @cached_property
    def title(self) -> str:
        return f"{self.name}.{self.version}"

    @cached_property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(rule.reads for rule in self.rules))

    @cached_property
    def _tests(self) -> tuple[tuple[Rule, Test], ...]:
        return tuple((rule, rule.test) for rule in self.rules)

    @cached_property
    def labels(self) -> frozenset[str]:
        """Of the policy model, those that are read by name."""
        return frozenset(name.removeprefix(MODEL) for name in self.reads if name.startswith(MODEL))

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Those that a request may be in, from low upwards: what no rule and no sum of weights can come to is not."""
        most = fsum(rule.weight for rule in self.rules if rule.weight > 0)
        said = {rule.band for rule in self.rules}
        reached = {Band.MEDIUM: most >= self.medium, Band.HIGH: most >= self.high}
        return (Band.LOW, *(band for band, reaches in reached.items() if reaches or band in said))

    def assess(self, facts: RiskFacts) -> Risk:
        fired = [rule for rule, test in self._tests if test(facts)]
        weight = fsum([rule.weight for rule in fired]) if fired else 0.0
        rank = 2 if weight >= self.high else 1 if weight >= self.medium else 0
        for rule in fired:
            if rule.band is not None and _RANK[rule.band] > rank:
                rank = _RANK[rule.band]
        return Risk(_BANDS[rank], tuple([rule.name for rule in fired]), weight, self.title)


# As people write it.

_Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]


class _Bands(Struct):
    medium: float = 1.0
    high: float = 3.0

    def __post_init__(self) -> None:
        if not (0 < self.medium <= self.high and isfinite(self.high)):
            raise ValueError(f"expected 0 < medium <= high, got medium {self.medium} and high {self.high}")


class _Pack(Struct, rename={"name": "risk"}):
    name: _Name
    version: Annotated[int, Meta(ge=1)]
    rules: Annotated[list[Any], Meta(min_length=1)]
    bands: dict[str, Any] = {}
    about: str = ""


class _Rule(Struct, rename={"name": "rule"}):
    name: _Name
    when: dict[str, Any]
    weight: float = 0.0
    band: Band | None = None
    about: str = ""

    def __post_init__(self) -> None:
        if not isfinite(self.weight):
            raise ValueError(f"expected a weight that is a number, got {self.weight}")
        if self.weight == 0 and self.band is None:
            raise ValueError("expected a weight or a band, got neither")


def read_risk_pack(document: object) -> RiskPack:
    """What a document, from YAML, says. Raises `PackError` with every problem in it."""
    problems: list[tuple[str, str]] = []
    given = document if isinstance(document, Mapping) else {}
    pack, bands = None, _Bands()
    try:
        pack = options.read(_Pack, _mapping(document))
        bands = options.read(_Bands, pack.bands)
    except OptionsError as error:
        problems += error.problems if pack is None else _under("bands", error)
    rules: dict[str, Rule] = {}
    listed = given.get("rules")
    for at, item in enumerate(listed if isinstance(listed, list) else ()):
        try:
            rule = _read_rule(_mapping(item))
        except OptionsError as error:
            problems += _under(f"rules.{at}", error)
            continue
        if rule.name in rules:
            problems.append((f"rules.{at}.rule", f"the name {rule.name} is there twice; give one of them another"))
        rules[rule.name] = rule
    if pack is None or problems:
        raise PackError("\n".join(f"{place}: {what}" if place else what for place, what in problems))
    return RiskPack(pack.name, pack.version, bands.medium, bands.high, tuple(rules.values()), pack.about)


def _read_rule(given: Mapping[str, Any]) -> Rule:
    problems: list[tuple[str, str]] = []
    read = test = None
    try:
        read = options.read(_Rule, given)
    except OptionsError as error:
        problems += error.problems
    if isinstance(when := given.get("when"), Mapping):
        try:
            test = read_condition(when)
        except OptionsError as error:
            problems += _under("when", error)
    if read is None or test is None or problems:
        raise OptionsError(problems)
    return Rule(read.name, test, read.weight, read.band, frozenset(reads(read.when)))


def _under(place: str, error: OptionsError) -> list[tuple[str, str]]:
    return [(f"{place}.{inner}".rstrip("."), what) for inner, what in error.problems]


def _mapping(given: object) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise OptionsError([("", f"expected a mapping, got {type(given).__name__}")])
    return given
