"""The evidence of a route: what its pairs say of its student, for the rollout to act on and people to look at.

The promises, each with a test:

- Look as often as you like. A student that is at or above the tolerance of a check that must pass is ever certified,
  at any look, with probability at most alpha. That is over all its builds together: the k-th attempt spends
  6 alpha / (pi k)^2. Several checks that must all pass need no more than that for each, since a bad student must get
  past the very check that it fails.
- A student that is within all tolerances fails any check, alarms apart, with probability at most what its attempt may
  spend.
- Alarms watch the present, not the average since the beginning, and together are false once in `run_length` pairs or
  more. One that was raised stays until evidence starts anew.
- What is missing is no agreement: a lost pair differs in every check, and losses are a check of their own.
- Pairs count in the order of their selection (`records.py`), weighed by their probability (`bets.py`).
- A change of student, teacher, packs, scorers or rules starts anew, and is another attempt, since a bad student could
  else be tried until it is lucky.
- The state is a fold over the verdict log: of fixed size, plain data that JSON carries to the same bits, and the same
  again from the log. (On one C library: the logarithm of another may differ in the last bit.)
- A tolerance that is proved to be below the teacher's own noise is refused, for a student can only meet it by luck.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import log
from typing import Any

import msgspec

from router_policies.evidence.cells import Cell, Counted, Scored, Weighted
from router_policies.evidence.detector import Detector
from router_policies.evidence.readings import CheckReading, Reading, Verdict
from router_policies.evidence.records import Lost, Pair, Record
from router_policies.evidence.rules import LEAST_PROBABILITY, LOSS, Key, Kind, Over, Rule, Rules, alpha_of

FORMAT = 1
"""Of the plain state; another is not resumed, but folded again from the log."""


@dataclass(slots=True)
class _Watched:
    """A check in a stratum: the evidence, the alarm, and the teacher's own noise."""

    rule: Rule
    cell: Cell
    alarm: Detector
    noise: Cell
    alarmed_at: int | None = None


class Evidence:
    """It changes only in `observe`. `since`: the position in the log after which it began; `position`: of the last
    record that it has taken in; `others`: records since then with another key; `lost`: lost pairs by reason."""

    __slots__ = ("_cells", "_id", "attempt", "key", "lost", "others", "position", "rules", "since")

    def __init__(self, key: Key, rules: Rules, attempt: int = 1, since: int = 0) -> None:
        self.key, self.rules, self.attempt, self.since = key, rules, attempt, since
        self._id = key.id
        self.position = since
        self.others = 0
        self.lost: dict[str, int] = {}
        self._cells = {name: [_watch(rule, rules) for rule in rules.all_checks] for name in rules.cells}

    def observe(self, record: Record) -> bool:
        """Takes in the next record of the log. False if it is no news: taken in before, or of another key.

        Raises `ValueError` for one that cannot be what it says; nothing has changed then.
        """
        if record.position <= self.position:
            return False
        if record.position > self.position + 1:
            raise ValueError(f"expected record {self.position + 1} of the log, got {record.position}: read from there")
        if record.selection.key != self._id:
            self.position = record.position
            self.others += 1
            return False
        _refuse(record, self.rules)
        self.position = record.position
        if isinstance(record.outcome, Lost):
            self.lost[record.outcome.reason] = self.lost.get(record.outcome.reason, 0) + 1
        all_traffic = self.rules.over is Over.ALL_TRAFFIC
        weight = record.selection.least / record.selection.probability if all_traffic else 1.0
        for watched in self._cells["" if all_traffic else record.selection.stratum]:
            value, noise = _values(watched.rule, record)
            if noise is not None:
                watched.noise.add(noise, weight)
            if value is not None:
                watched.cell.add(value, weight)
                if watched.alarm.add(weight * (value - watched.rule.tolerance)) and watched.alarmed_at is None:
                    watched.alarmed_at = record.position
        return True

    def read(self) -> dict[str, CheckReading]:
        """Each check of the rules, and `shadow_loss`. It takes about a millisecond; `alarms` takes nothing."""
        return {
            rule.check: CheckReading(rule, tuple(self._reading(name, row[i]) for name, row in self._cells.items()))
            for i, rule in enumerate(self.rules.all_checks)
        }

    @property
    def alarms(self) -> list[tuple[str, str, int]]:
        """Check, stratum ("" for all traffic) and position of every alarm raised."""
        return [
            (watched.rule.check, name, watched.alarmed_at)
            for name, row in self._cells.items()
            for watched in row
            if watched.alarmed_at is not None
        ]

    def anew(self, key: Key, rules: Rules) -> "Evidence":
        """The next attempt, from here on: after a change, or when people let one that was rolled back try again."""
        return Evidence(key, rules, self.attempt + 1, self.position)

    def changed(self, key: Key, rules: Rules) -> str:
        """What of these is not what this is evidence of, in words; "" if it still holds."""
        changes = [
            (field.name, getattr(mine, field.name), getattr(other, field.name))
            for mine, other in ((self.key, key), (self.rules, rules))
            for field in fields(mine)
        ]
        return "; ".join(
            "checks changed" if name == "checks" else f"{name} was {was!r}, is {now!r}"
            for name, was, now in changes
            if was != now
        )

    def plain(self) -> dict[str, Any]:
        """The whole state, of strings, numbers, lists and dicts with string keys, none of them infinite."""
        return {
            "format": FORMAT,
            "key": msgspec.to_builtins(self.key),
            "rules": msgspec.to_builtins(self.rules),
            "attempt": self.attempt,
            "since": self.since,
            "position": self.position,
            "others": self.others,
            "lost": dict(self.lost),
            "cells": {name: {w.rule.check: _plain(w) for w in row} for name, row in self._cells.items()},
        }

    @classmethod
    def resume(cls, plain: Mapping[str, Any]) -> "Evidence":
        """What `plain` was made of, to go on with the record after its position."""
        if plain["format"] != FORMAT:
            raise ValueError(f"evidence: expected state of format {FORMAT}, got {plain['format']}: fold the log again")
        key, rules = msgspec.convert(plain["key"], Key), msgspec.convert(plain["rules"], Rules)
        evidence = cls(key, rules, plain["attempt"], plain["since"])
        evidence.position, evidence.others, evidence.lost = plain["position"], plain["others"], dict(plain["lost"])
        for name, row in evidence._cells.items():
            for watched in row:
                _restore(watched, plain["cells"][name][watched.rule.check])
        return evidence

    def _reading(self, stratum: str, watched: _Watched) -> Reading:
        cell, rule = watched.cell, watched.rule
        enough = -log(alpha_of(self.attempt, self.rules.alpha))
        log_e = cell.log_better()
        noise = _noise(watched)
        refused = ""
        if noise is not None and rule.kind is not Kind.EXCESS and watched.noise.log_worse() >= enough:
            refused = (
                f"tolerance {rule.tolerance:.3g} is below the teacher's own noise: it differs from itself by "
                f"{noise[0]:.3g}; raise the tolerance, or hold the excess against it (kind: excess)"
            )
        if watched.alarmed_at is not None or cell.log_worse() >= enough + log(self.rules.judged):
            verdict = Verdict.FAIL
        else:
            verdict = Verdict.PASS if log_e >= enough and not refused else Verdict.UNDECIDED
        low, high = cell.interval()
        return Reading(
            stratum,
            cell.pairs,
            cell.estimate(),
            low,
            high,
            log_e,
            enough,
            cell.needed(enough),
            verdict,
            watched.alarmed_at,
            noise,
            refused,
        )


def _watch(rule: Rule, rules: Rules) -> _Watched:
    weighted = rules.over is Over.ALL_TRAFFIC
    low = -1.0 if rule.kind is Kind.EXCESS else 0.0
    cell: Cell
    noise: Cell = Weighted(rule.tolerance, rules.alpha)
    if weighted or rule.kind is Kind.EXCESS:
        cell = Weighted(rule.tolerance, rules.alpha, low)
    elif rule.kind is Kind.SCORE:
        cell = Scored(rule.tolerance, rules.alpha)
    else:
        cell = Counted(rule.tolerance, rules.alpha)
        noise = Counted(rule.tolerance, rules.alpha)
    return _Watched(rule, cell, Detector(rule.tolerance - low, rules.run_length * rules.judged), noise)


def _values(rule: Rule, record: Record) -> tuple[float | None, float | None]:
    """The check's value for the pair and for the teacher's two answers; None: nothing to count."""
    outcome = record.outcome
    if rule.check == LOSS:
        return float(isinstance(outcome, Lost)), None
    value = outcome.values.get(rule.check) if isinstance(outcome, Pair) else 1.0
    noise = outcome.twin.get(rule.check) if outcome.twin is not None else None
    if rule.kind is not Kind.EXCESS:
        return value, noise
    if not record.selection.twinned or value is noise is None:
        return None, noise
    return (value or 0.0) - (noise or 0.0), noise  # a second answer of the teacher's that is lost is no excuse


def _refuse(record: Record, rules: Rules) -> None:
    where, selection, outcome = f"record {record.position}", record.selection, record.outcome
    if selection.stratum not in rules.strata:
        raise ValueError(f"{where}: expected a stratum of {list(rules.strata)}, got {selection.stratum!r}")
    if not LEAST_PROBABILITY <= selection.least <= selection.probability <= 1:
        raise ValueError(
            f"{where}: expected {LEAST_PROBABILITY} <= least <= probability <= 1, "
            f"got least {selection.least}, probability {selection.probability}"
        )
    for values in (outcome.values if isinstance(outcome, Pair) else {}, outcome.twin or {}):
        for rule in rules.checks:
            value = values.get(rule.check, 0.0)
            if not 0 <= value <= 1 or (rule.kind is Kind.RATE and value not in (0, 1)):
                wanted = "0 or 1" if rule.kind is Kind.RATE else "0 to 1"
                raise ValueError(f"{where}: check {rule.check}: expected {wanted}, got {value}")


def _noise(watched: _Watched) -> tuple[float, float, float] | None:
    estimate = watched.noise.estimate()
    return None if estimate is None else (estimate, *watched.noise.interval())


def _plain(watched: _Watched) -> dict[str, Any]:
    return {
        "cell": watched.cell.plain(),
        "alarm": list(watched.alarm.capitals),
        "alarmed_at": watched.alarmed_at,
        "noise": watched.noise.plain(),
    }


def _restore(watched: _Watched, plain: Mapping[str, Any]) -> None:
    watched.cell.restore(plain["cell"])
    watched.alarm.capitals = list(plain["alarm"])
    watched.alarmed_at = plain["alarmed_at"]
    watched.noise.restore(plain["noise"])
