"""The second look: what is left in a set after scrubbing, and whether it may be released.

It is stricter than the first, and would be no use on live answers, for it is wrong more often: runs of digits whose
check digits hold whatever stands between them, anything with an @, tokens that look drawn, words that a session was
known to call somebody by. The scrubber itself is run once more, too: a text that it would change was not clean. What
teachers said and what is taught of it is looked at as well: a model can make up an address, or remember one.

An example leaks if anything is found in it or in what was made of it. The rate is a count, of every example there is;
the bound beside it is for what such traffic would bring. Neither sees what no look here sees: that is what planting
measures (`planted`).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from router_policies.checks import _checksums
from router_policies.risk.deferral import upper_bound
from student_train.teachset.example import Answer, Example, Lesson, Review
from student_train.teachset.handling import Rules
from student_train.teachset.importing import TABLE
from student_train.teachset.placeholders import PLACEHOLDER, Placeholders
from student_train.teachset.scrub import Field, Scrubber, tells
from student_train.teachset.scrub_chat import Chat, changed
from student_train.teachset.store import SetError, TeachingSet
from student_train.teachset.verify import lines

MOST = 0.001
"""The leak rate above which a set is not released, unless said otherwise."""
LOOKED_AT = ("example", "answer", "lesson", "review")


class Leak(Struct, frozen=True):
    """`record`: its kind and id. `what`: the kind of what was found. Not what it was: nobody should copy that."""

    record: str
    what: str
    field: str


class Residual(Struct, frozen=True):
    """`upper`: a one-sided 95 % bound on the rate (Clopper and Pearson). `secrets`: keys and passwords; one is too
    many, whatever the rate."""

    examples: int
    leaking: int
    secrets: int
    found: dict[str, int]
    rate: float
    upper: float
    most: float

    @property
    def passed(self) -> bool:
        return self.rate <= self.most and not self.secrets


def scan(
    teaching: TeachingSet,
    rules: Rules,
    most: float = MOST,
    show: Callable[[int], None] = lambda done: None,
    tell: Callable[[Leak], None] = lambda leak: None,
) -> Residual:
    """Everything in a set that is opened with its holdout. Leaves a note in the ledger, which `permit` reads."""
    if not teaching.holdout:
        raise SetError("expected a set that is opened with its holdout: what is released has been looked at whole")
    seq = teaching.head[0]
    found: Counter[str] = Counter()
    leaking: set[str] = set()
    tenants: dict[str, str] = {}
    sessions: dict[str, str] = {}
    done = 0
    for kind in LOOKED_AT:
        for id_, payload in teaching.payloads(kind):
            example = id_.partition("/")[0]
            if kind == "example":
                record = msgspec.json.decode(payload, type=Example)
                tenants[id_], sessions[id_] = record.source.tenant, record.session
            table = _table(teaching, sessions.get(example, ""))
            for where, text in _texts(kind, payload):
                for what in set(look(text, where, rules, tenants.get(example, ""), table)):
                    found[what] += 1
                    leaking.add(example)
                    tell(Leak(f"{kind} {id_}", what, where))
            done += 1
            show(done)
    count = len(tenants)
    made = Residual(
        examples=count,
        leaking=len(leaking),
        secrets=found["secret"] + found["looks drawn"],
        found=dict(sorted(found.items())),
        rate=len(leaking) / count if count else 0.0,
        upper=upper_bound(len(leaking), count, 0.05) if count else 1.0,
        most=most,
    )
    teaching.note("scan", {"rules": rules.digest, "through": seq, "passed": made.passed, **msgspec.to_builtins(made)})
    return made


def permit(teaching: TeachingSet) -> dict[str, Any]:
    """What the last scan found. Raises `SetError` unless it passed and nothing was added since: nothing is released
    before."""
    last: dict[str, Any] | None = None
    since = 0
    for entry in lines(teaching.path):
        if entry["kind"] == "scan":
            last, since = entry["about"], 0
        elif entry["kind"] in LOOKED_AT:
            since += 1
    again = f"run `understudy teachset scan {teaching.path}`"
    if last is None:
        raise SetError(f"expected a set that was scanned for what scrubbing left, this one was not: {again}")
    if since:
        raise SetError(f"expected nothing new since the last scan, got {since} records: {again}")
    if not last["passed"]:
        raise SetError(
            f"the last scan found {last['leaking']} of {last['examples']} examples leaking ({last['rate']:.2%}; at "
            f"most {last['most']:.2%} may) and {last['secrets']} secrets: `scan --list` says where"
        )
    return last


def look(text: str, where: Field, rules: Rules, tenant: str, table: Placeholders | None) -> Iterator[str]:
    """Kinds of what is left in a text. What the rules keep is no leak."""
    again = Scrubber(Placeholders(lambda value: value, ""), rules.keep, lambda at, kind: rules.action(tenant, at, kind))
    again.learn(text)
    again.mask(where, text)
    yield from again.masked
    bare = PLACEHOLDER.sub("\x00", text)
    if rules.keep is not None:
        bare = rules.keep.sub("\x00", bare)
    for what, kind, finds in (("digits", "card", _digits), ("at", "email", _at), ("looks drawn", "secret", _drawn)):
        if rules.action(tenant, where, kind) != "keep" and finds(bare):
            yield what
    if table is not None and rules.action(tenant, where, "name") != "keep" and _named(bare, table):
        yield "known name"


# What the first look lets pass.

_RUN = re.compile(r"\d(?:[^\w\x00]{0,3}\d){11,33}")
_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[^\w\x00\n]{0,2}[A-Za-z0-9]){11,30}")
_AT = re.compile(r"[\w.+-]@[\w-]|[\w.+-]\s?[\[({]\s?at\s?[\])}]\s?\w", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9+/_=\-]{20,}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LEAST_BITS = 3.8  # a character: of 20 and more that were drawn from 62, nine in ten have more; words have less


def _digits(text: str) -> bool:
    for run in _RUN.finditer(text):
        digits = re.sub(r"\D", "", run[0])
        if len(digits) <= 19 and digits[0] in "3456" and len(digits) >= 13 and _checksums.luhn(digits):
            return True
    return any(_is_iban(re.sub(r"[^A-Za-z0-9]", "", match[0]).upper()) for match in _IBAN.finditer(text))


def _is_iban(text: str) -> bool:
    """At any length that IBANs have: the run may go on into the next word."""
    return any(_checksums.iban(text[:size]) for size in (15, 16, 18, 20, 22, 24, 27, 28) if len(text) == size)


def _at(text: str) -> bool:
    return _AT.search(text) is not None


def _drawn(text: str) -> bool:
    for match in _TOKEN.finditer(text):
        token = match[0].strip("-_/=")
        kinds = (str.isdigit, str.islower, str.isupper)
        if len(token) < 20 or _UUID.fullmatch(token) or not all(any(map(kind, token)) for kind in kinds):
            continue
        if sum(map(str.isdigit, token)) >= 3 and _bits(token) >= _LEAST_BITS:
            return True
    return False


def _bits(token: str) -> float:
    """Shannon's entropy, of a character."""
    counts = Counter(token)
    return -sum(count / len(token) * math.log2(count / len(token)) for count in counts.values())


def _named(text: str, table: Placeholders) -> bool:
    words = _WORDS.findall(text)
    return any(word[0].isupper() and tells(word) and table.known("name", word) for word in words)


# What there is to look at.


def _table(teaching: TeachingSet, session: str) -> Placeholders | None:
    stored = teaching.get(TABLE, session) if session else None
    return None if stored is None else Placeholders(teaching.pseudonym, session, msgspec.json.decode(stored))


def _texts(kind: str, payload: bytes) -> Iterator[tuple[Field, str]]:
    if kind == "example":
        example = msgspec.json.decode(payload, type=Example)
        found: list[tuple[Field, str]] = []

        def see(where: Field, text: str) -> str:
            found.append((where, text))
            return text

        changed(Chat(example.messages, example.tools, example.response_format, example.served, example.gold), see)
        yield from found
    elif kind == "answer":
        answer = msgspec.json.decode(payload, type=Answer)
        yield "assistant", answer.content
        yield from _called(answer.tool_calls)
    elif kind == "lesson":
        for target in msgspec.json.decode(payload, type=Lesson).targets:
            yield "assistant", target.content
            yield from _called(target.tool_calls)
    else:
        yield "metadata", msgspec.json.decode(payload, type=Review).note


def _called(calls: tuple[dict[str, Any], ...]) -> Iterator[tuple[Field, str]]:
    for call in calls:
        function = call.get("function")
        if isinstance(function, dict) and isinstance(arguments := function.get("arguments"), str):
            yield "tool_arguments", arguments
