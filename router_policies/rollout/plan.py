"""What a rollout is to do: its ladder, what must hold on it, and what is done when it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite

from router_policies.evidence.rules import LOSS, Kind, Over, Rule, Rules

TTFT = "ttft_p95"
FALLBACK = "fallback_rate"
CANCELS = "cancel_rate"
COST = "cost"
RATIO = "sample_ratio"
LIVE = (TTFT, FALLBACK, CANCELS, COST, RATIO)
"""The checks of speed, failures and money. All other names are checks of the evidence."""

SERVED = (FALLBACK, CANCELS, RATIO)
"""Those that there is nothing to say of as long as the student serves nobody."""


class Gate(StrEnum):
    """What is needed to enter a step besides evidence: nothing, or that somebody says so."""

    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Step:
    """`weight`: percent of the sessions. `min_bake_s`, `min_pairs`: how long it is stayed on at least, and the pairs
    that come in meanwhile, before the next is entered. `gate`: before this one is."""

    weight: float
    min_bake_s: float = 0.0
    min_pairs: int = 0
    gate: Gate = Gate.AUTO

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 100:
            raise ValueError(f"weight: expected a percentage above 0, at most 100, got {self.weight}")
        if not (self.min_bake_s >= 0 and isfinite(self.min_bake_s)) or self.min_pairs < 0:
            raise ValueError(f"step {self.weight:g} %: expected times and numbers of 0 or more")


@dataclass(frozen=True, slots=True)
class Check:
    """`of`: the families or checks of the pack that it is about. `worse_only`: a difference counts only where the
    student fails and the teacher does not. `critical`: rolls back when it fails; others pause. `must_have_data`: holds
    the ladder until it passes; else it holds nothing while it is undecided. `dry_run`: is looked at, and does nothing.

    `tolerance`: of the evidence, see `Rule`. `ttft_p95` and `cost`: the student's over the teacher's, 1.2 is 20 % more.
    `fallback_rate` and `cancel_rate`: the share of what the student was to answer. `sample_ratio` has none.
    """

    name: str
    tolerance: float = 0.05
    of: tuple[str, ...] = ()
    worse_only: bool = False
    kind: Kind = Kind.RATE
    critical: bool = False
    must_have_data: bool = True
    dry_run: bool = False

    def __post_init__(self) -> None:
        ratio = self.name in (TTFT, COST)
        if not 0 < self.tolerance < (100 if ratio else 1):
            wanted = "a factor above 0, below 100" if ratio else "a tolerance above 0 and below 1"
            raise ValueError(f"check {self.name}: expected {wanted}, got {self.tolerance}")
        if (self.name in LIVE or self.name == LOSS) is bool(self.of):
            wanted = "no `of`" if self.of else "`of`: families or names of the pack's checks"
            raise ValueError(f"check {self.name}: expected {wanted}, got {list(self.of)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps`: by rising weight. `checks`: `shadow_loss` is always among them, critical unless it says else.
    `rollback_to`: the weight that a rollback leaves; it never raises one. `cooldown_s`: how long it stays there at
    least; `require_ack`: and until somebody has looked. `patience_s`: how long checks may stay undecided on a step
    until people are asked, None for ever. `watch_sample`: the probability of being mirrored after the last step, None
    to leave it. `late_s`: how long the order of pairs is waited for, see `filed.py`; longer than a mirror may take.
    """

    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    strata: tuple[str, ...] = ("default",)
    over: Over = Over.EACH_STRATUM
    alpha: float = 0.05
    run_length: float = 100_000
    rollback_to: float = 0.0
    cooldown_s: float = 3600.0
    require_ack: bool = True
    patience_s: float | None = 7 * 86_400.0
    watch_sample: float | None = None
    late_s: float = 120.0
    by_name: Mapping[str, Check] = field(init=False, compare=False, repr=False)
    rules: Rules = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        weights = [step.weight for step in self.steps]
        if not weights or weights != sorted(set(weights)):
            raise ValueError(f"steps: expected one or more, each with a higher weight than the last, got {weights}")
        if not 0 <= self.rollback_to < weights[0]:
            raise ValueError(f"rollback: expected a weight from 0 to below the first step's, got {self.rollback_to}")
        checks = self.checks
        if all(check.name != LOSS for check in checks):
            checks = (*checks, Check(LOSS, 0.02, critical=True))
            object.__setattr__(self, "checks", checks)
        names = [check.name for check in checks]
        if len(set(names)) < len(names):
            raise ValueError(f"checks: expected each name once, got {names}")
        told = [check for check in checks if check.of]
        if not any(check.critical and not check.dry_run for check in told):
            raise ValueError("checks: expected at least one of the pack's checks to be critical and no dry run")
        loss = next(check for check in checks if check.name == LOSS)
        rules = Rules(
            tuple(Rule(check.name, check.tolerance, check.kind) for check in told),
            self.strata,
            self.over,
            self.alpha,
            self.run_length,
            loss.tolerance,
        )
        object.__setattr__(self, "by_name", {check.name: check for check in checks})
        object.__setattr__(self, "rules", rules)

    def at(self, weight: float) -> int | None:
        """The index of the step that such a weight is on; None below the first."""
        return max((index for index, step in enumerate(self.steps) if step.weight <= weight), default=None)

    def above(self, weight: float) -> Step | None:
        """The next step up; None at the top."""
        return next((step for step in self.steps if step.weight > weight), None)
