"""The book of a route's rollout: everything that its filed records say, as of the last one taken in.

A fold: `observe` takes the records one by one, by their number. Saved and resumed at any record, it is the same to the
last bit as if it had never stopped. One leader at a time keeps it, and saves it together with the rollout's state.

What is saved is small, whatever the traffic: records that wait for their turn are not in it, but read again. A book
that was resumed has the number before the first of those, and goes on from there like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from router_policies.checks.check import CheckVerdict
from router_policies.evidence.evidence import Evidence
from router_policies.evidence.readings import CheckReading
from router_policies.evidence.records import LATE, Lost, Pair, Record, Selection, difference
from router_policies.evidence.rules import Key
from router_policies.rollout.filed import LEFT_OUT, Filed, Order, Sampled, read_record
from router_policies.rollout.live import Live
from router_policies.rollout.plan import Check, Plan
from router_policies.rollout.state import Command, State
from router_policies.rollout.step import Found, Seen, changed, step

FORMAT = 1


class Book:
    """`number`: of the last record taken in. `round`: of the rollout, which its evidence is for. `revision`: of the
    config since which the evidence's key holds; losses from before are not its. `left_out`: samples that say nothing,
    by reason, and `refused`: that could not be what they say, with the last one's defect in `problem`."""

    def __init__(self, key: Key, plan: Plan, number: int = 0, round: int = 1, revision: int = 0) -> None:
        self.plan = plan
        self.evidence = Evidence(_scored(key, plan), plan.rules)
        self.live = Live(plan)
        self.number, self.round, self.revision = number, round, revision
        self._counted = number  # the records up to here were taken in before a restart
        self.left_out: dict[str, int] = {}
        self.refused = 0
        self.problem = ""
        self._order = Order(plan.late_s)

    @property
    def pairs(self) -> int:
        """Samples that count, lost ones too."""
        return self.evidence.position - self.evidence.since - self.evidence.others

    @property
    def waiting(self) -> int:
        """Samples that wait for their turn."""
        return len(self._order)

    def observe(self, number: int, record: str | bytes) -> bool:
        """Takes in the route's record of this number. False if it was before.

        Raises `ValueError` if those between are missing. If they are no longer kept, what they said is lost: begin
        anew (`step.changed`, and `anew` from there).
        """
        if number <= self.number:
            return False
        if number > self.number + 1:
            raise ValueError(f"expected record {self.number + 1}, got {number}: read from there")
        self.number = number
        try:
            filed = read_record(record)
        except msgspec.ValidationError as error:
            if number > self._counted:
                self._refuse(f"record {number}: {error}")
            return True
        if number <= self._counted:
            self._order.again(filed, number)
        else:
            self.take(filed)
        return True

    def take(self, filed: Filed) -> None:
        """Takes in the record that is next, whatever its number; for a replay."""
        for sampled in self._order.add(filed, self.number):
            self._count(sampled)

    def rest(self) -> None:
        """The log has come to its end: what waits is counted too. For a replay; what comes later would be late."""
        for sampled in self._order.rest():
            self._count(sampled)

    def _count(self, sampled: Sampled) -> None:
        filed = sampled.pair
        if filed is None:
            return  # the teacher alone was asked twice: nothing of the student
        self.live.observe(sampled)
        if filed.reason in LEFT_OUT:
            self.left_out[filed.reason] = self.left_out.get(filed.reason, 0) + 1
            return
        try:
            self.evidence.observe(evidence_of(sampled, self.evidence.position + 1, self))
        except ValueError as error:
            self._refuse(f"pair {filed.pair_id}: {error}")

    def _refuse(self, problem: str) -> None:
        self.refused += 1
        self.problem = problem

    def seen(self, weight: float, sample: float | None = None, announced: int = 0) -> Seen:
        """What the controller looks at; `weight`, `sample`, `announced` as in `Seen`. It takes some milliseconds."""
        checks = {name: _found(reading) for name, reading in self.evidence.read().items()}
        for name, one, why in self.live.readings():
            checks[name] = Found(one.verdict, why, one.pairs)
        many = self.refused > self.plan.rules.loss_tolerance * (self.pairs + self.refused)
        problem = f"{self.refused} records cannot be read, the last: {self.problem}" if many else ""
        return Seen(self.round, self.pairs, checks, weight, sample, announced, problem)

    def changed(self, key: Key, plan: Plan) -> str:
        """What of these its evidence is not of, in words; "" if it still holds. Steps, times and what is critical may
        change without."""
        return self.evidence.changed(_scored(key, plan), plan.rules)

    def anew(self, key: Key, plan: Plan, round: int, revision: int, number: int | None = None) -> "Book":
        """The next attempt, from here on; or from after the record of that `number`, if those before are not kept."""
        book = Book(key, plan, self.number, round, revision)
        book.evidence = self.evidence.anew(_scored(key, plan), plan.rules)
        if number is None:
            return book._going_on_from(self)
        book.number = book._counted = number
        return book

    def under(self, plan: Plan) -> "Book":
        """The same with another plan that changes nothing about the evidence."""
        return self if plan == self.plan else Book.resume(self.plain(), plan)._going_on_from(self)

    def _going_on_from(self, other: "Book") -> "Book":
        self.number, self._counted, self._order = other.number, other._counted, other._order
        self._order.late_s = self.plan.late_s
        return self

    def plain(self) -> dict[str, Any]:
        """Strings, numbers, lists, dicts; JSON carries it to the same bits."""
        return {
            "format": FORMAT,
            "number": self.number if self._order.first is None else min(self.number, self._order.first - 1),
            "counted": max(self.number, self._counted),
            "round": self.round,
            "revision": self.revision,
            "left_out": dict(self.left_out),
            "refused": self.refused,
            "problem": self.problem,
            "evidence": self.evidence.plain(),
            "live": self.live.plain(),
            "order": self._order.plain(),
        }

    @classmethod
    def resume(cls, plain: Mapping[str, Any], plan: Plan) -> "Book":
        """What `plain` was made of, to go on with the record after its `number`."""
        if plain.get("format") != FORMAT:
            raise ValueError(f"rollout: expected a book of format {FORMAT}, got {plain.get('format')}: begin anew")
        evidence = Evidence.resume(plain["evidence"])
        book = cls(evidence.key, plan, plain["number"], plain["round"], plain["revision"])
        book.evidence = evidence
        book.left_out, book.refused, book.problem = dict(plain["left_out"]), plain["refused"], plain["problem"]
        book.live.restore(plain["live"])
        book._counted = plain["counted"]
        book._order.restore(plain["order"])
        return book


def turn(
    state: State, book: Book, plan: Plan, key: Key, seen: tuple[float, float | None, int], now: float, revision: int
) -> tuple[State, Book, tuple[Command, ...]]:
    """A turn of the controller, after the new records have been taken in: what has changed, begins anew; then a `step`.

    `key`: what the config now names. `seen`: weight, sample and announced, as in `Seen`. `revision`: of the config.
    Save state and book together, then carry out the commands.
    """
    why = book.changed(key, plan)
    if why:
        state = changed(state, why, now)
    if why or book.round != state.round:
        book = book.anew(key, plan, state.round, revision)
    book = book.under(plan)
    state, commands = step(state, book.seen(*seen), plan, now)
    book.live.since(state.entered_at, state.wanted)
    return state, book, commands


def evidence_of(sampled: Sampled, position: int, book: Book) -> Record:
    """The record of the verdict log that a sample with an A/B arm becomes."""
    filed, twin = sampled.pair, sampled.twin
    assert filed is not None
    key = book.evidence.key
    ours, theirs = (f"{side}|{key.teacher}|{key.policy_pack}" for side in (key.student, key.teacher))
    since = filed.revision >= book.revision
    current = filed.evidence_key == ours if filed.evidence_key else since
    if filed.stratum not in book.plan.strata and not since:  # sampled by another policy of risk
        current = False
    noise = values_of(twin.verdicts, book.plan.checks) if twin is not None and twin.evidence_key == theirs else None
    twinned = twin is not None if filed.twinned is None else filed.twinned
    least = filed.probability if filed.least is None else filed.least
    selection = Selection(
        filed.pair_id, filed.at, key.id if current else "", filed.stratum, filed.probability, least, twinned
    )
    lost = LATE if sampled.late else filed.reason
    outcome = Lost(lost, noise) if lost else Pair(values_of(filed.verdicts, book.plan.checks), noise)
    return Record(position, selection, outcome)


def values_of(verdicts: tuple[CheckVerdict, ...], checks: Iterable[Check]) -> dict[str, float]:
    """What a pair comes to in each of the pack's checks that has something to say of it."""
    values = {}
    for check in checks:
        if check.of:
            value = difference((one for one in verdicts if _about(check, one)), check.worse_only)
            if value is not None:
                values[check.name] = value
    return values


def _about(check: Check, one: CheckVerdict) -> bool:
    return one.check in check.of or one.family in check.of


def _scored(key: Key, plan: Plan) -> Key:
    """With what each check looks at: another meaning under the same name is another check."""
    return replace(key, scorers=tuple(_meaning(check) for check in plan.checks if check.of))


def _meaning(check: Check) -> str:
    return f"{check.name}: {'worse' if check.worse_only else 'differs'} in {', '.join(check.of)}"


def _found(reading: CheckReading) -> Found:
    return Found(reading.verdict, reading.why, min(cell.pairs for cell in reading.cells))
