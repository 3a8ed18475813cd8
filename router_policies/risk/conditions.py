"""Conditions over facts, as people write them in a pack, made into functions.

A condition is a mapping; all of its keys must hold. A key is `all`, `any` or `not`, with conditions under it, or
`mentions`, with words and phrases of what was said, or a fact's name (`FACTS`):

    true or false            a fact that is one; of a set: whether there is anything in it
    {above: 0.5}             a number, or a set's size: at_least, at_most, above, below
    high                     a text; of a set: that it has it
    [money, law]             one of these
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter
from typing import Any

from router_policies.checks import pii_find
from router_policies.checks.options import OptionsError
from router_policies.risk import jailbreak
from router_policies.risk.facts import RiskFacts
from router_policies.risk.topics import EVENTS, TOPICS
from router_policies.risk.words import Terms, terms

Test = Callable[[RiskFacts], bool]
Problems = list[tuple[str, str]]

_DEEPEST = 16  # conditions within conditions
MODEL = "model."  # then a label: its probability

_PII = frozenset({"email", "phone", "card", "iban", "national_id", "ipv4", "ipv6"})


@dataclass(frozen=True, slots=True)
class Kind:
    """`type`: bool, float (any number), str or frozenset. `words`: those it may have, None for any."""

    type: type
    words: frozenset[str] | None = None


FACTS: Mapping[str, Kind] = {
    **dict.fromkeys(("unread", "json", "vision", "code", "maths", "dissatisfied"), Kind(bool)),
    **dict.fromkeys(
        ("tokens", "context_share", "turns", "schema_depth", "reasked", "questions", "steps"),
        Kind(float),
    ),
    **dict.fromkeys(("tenant", "x_risk", "language"), Kind(str)),
    **dict.fromkeys(("tags", "tools", "side_effects", "labels"), Kind(frozenset)),
    "pii": Kind(frozenset, _PII),
    "secrets": Kind(frozenset, pii_find.SECRETS),
    "jailbreak": Kind(frozenset, jailbreak.KINDS),
    "topics": Kind(frozenset, TOPICS),
    "events": Kind(frozenset, EVENTS),
}

_COMPARES: Mapping[str, Callable[[Callable[[RiskFacts], Any], float], Test]] = {
    "at_least": lambda fact, bound: lambda facts: fact(facts) >= bound,
    "at_most": lambda fact, bound: lambda facts: fact(facts) <= bound,
    "above": lambda fact, bound: lambda facts: fact(facts) > bound,
    "below": lambda fact, bound: lambda facts: fact(facts) < bound,
}


def read_condition(given: object) -> Test:
    """Raises `OptionsError` with all that is wrong with it, by its place."""
    problems: Problems = []
    test = _all_of(given, "", problems, 0)
    if problems:
        raise OptionsError(problems)
    return test


def reads(given: object) -> Iterator[str]:
    """The names of the facts in a condition that can be read; `model.` and a label for one of the policy model."""
    if isinstance(given, list):
        for one in given:
            yield from reads(one)
    elif isinstance(given, Mapping):
        for key, value in given.items():
            if key in ("all", "any", "not"):
                yield from reads(value)
            else:
                yield str(key)


def _never(_: RiskFacts) -> bool:
    return False


def _wrong(problems: Problems, place: str, what: str) -> Test:
    problems.append((place, what))
    return _never


def _at(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def _all_of(given: object, place: str, problems: Problems, depth: int) -> Test:
    if not isinstance(given, Mapping) or not given:
        return _wrong(problems, place, f"expected a mapping of facts, got {_told(given)}")
    if depth > _DEEPEST:
        return _wrong(problems, place, f"expected at most {_DEEPEST} conditions within each other")
    return _every([_one(key, value, _at(place, key), problems, depth) for key, value in given.items()])


def _one(key: object, value: object, place: str, problems: Problems, depth: int) -> Test:
    if key == "not":
        test = _all_of(value, place, problems, depth + 1)
        return lambda facts: not test(facts)
    if key in ("all", "any"):
        if not isinstance(value, list) or not value:
            return _wrong(problems, place, f"expected a list of conditions, got {_told(value)}")
        tests = [_all_of(one, _at(place, number), problems, depth + 1) for number, one in enumerate(value)]
        return _every(tests) if key == "all" else _some(tests)
    if key == "mentions":
        return _mentions(value, place, problems)
    if isinstance(key, str) and key.startswith(MODEL) and key != MODEL:
        return _number(_probability(key.removeprefix(MODEL)), value, place, problems)
    kind = FACTS.get(key) if isinstance(key, str) else None
    if kind is None:
        known = ", ".join(("all", "any", "not", "mentions", *FACTS, f"{MODEL}LABEL"))
        return _wrong(problems, place, f"is not known; expected one of {known}")
    fact = attrgetter(str(key))
    if kind.type is bool:
        if not isinstance(value, bool):
            return _wrong(problems, place, f"expected true or false, got {_told(value)}")
        return fact if value else lambda facts: not fact(facts)
    if kind.type is float:
        return _number(fact, value, place, problems)
    return _words(fact, kind, value, place, problems)


def _every(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        one, other = tests
        return lambda facts: one(facts) and other(facts)

    def test(facts: RiskFacts) -> bool:
        for one in tests:  # noqa: SIM110  `all` of a generator takes twice the time
            if not one(facts):
                return False
        return True

    return test


def _some(tests: list[Test]) -> Test:
    def test(facts: RiskFacts) -> bool:
        for one in tests:  # noqa: SIM110
            if one(facts):
                return True
        return False

    return test


def _number(fact: Callable[[RiskFacts], Any], given: object, place: str, problems: Problems) -> Test:
    expected = f"expected {', '.join(_COMPARES)} with a number"
    if not isinstance(given, Mapping) or not given:
        return _wrong(problems, place, f"{expected}, got {_told(given)}")
    tests: list[Test] = []
    for key, bound in given.items():
        compare = _COMPARES.get(key)
        if compare is None or isinstance(bound, bool) or not isinstance(bound, (int, float)) or not isfinite(bound):
            _wrong(problems, _at(place, key), f"{expected}, got {_told(bound)}")
        else:
            tests.append(compare(fact, bound))
    return _every(tests) if tests else _never


def _probability(label: str) -> Callable[[RiskFacts], float]:
    return lambda facts: facts.probabilities.get(label, 0.0)


def _words(fact: Callable[[RiskFacts], Any], kind: Kind, given: object, place: str, problems: Problems) -> Test:
    """Of a text, or of a set of them."""
    if kind.type is frozenset:
        if isinstance(given, bool):
            return (lambda facts: bool(fact(facts))) if given else (lambda facts: not fact(facts))
        if isinstance(given, Mapping):
            return _number(lambda facts: len(fact(facts)), given, place, problems)
    wanted = given if isinstance(given, list) else [given]
    if not wanted or not all(isinstance(one, str) for one in wanted):
        return _wrong(problems, place, f"expected a text or a list of texts, got {_told(given)}")
    unknown = [one for one in wanted if kind.words is not None and one not in kind.words]
    if unknown:
        return _wrong(problems, place, f"expected one of {', '.join(sorted(kind.words or ()))}, got {unknown[0]!r}")
    some = frozenset(wanted)
    if kind.type is str:
        return lambda facts: fact(facts) in some
    return lambda facts: not some.isdisjoint(fact(facts))


def _mentions(given: object, place: str, problems: Problems) -> Test:
    listed = given if isinstance(given, list) else [given]
    found = [term for one in listed if isinstance(one, str) for term in terms(one.replace(",", " ")) if term]
    if not listed or len(found) != len(listed):
        return _wrong(problems, place, f"expected words and phrases that have letters, got {_told(given)}")
    any_in = Terms.of(found).any_in
    return lambda facts: any_in(facts.words)


def _told(given: object) -> str:
    if given is None or isinstance(given, (bool, int, float)):
        return f"{given!r}".lower() if given is not None else "nothing"
    return f"{given!r}" if isinstance(given, str) and len(given) <= 64 else f"a {type(given).__name__}"
