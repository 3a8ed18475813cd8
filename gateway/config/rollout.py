"""How a route's student gets its traffic: the ladder, what must hold on it, and what is done when it does not."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.config.problems import cut
from gateway.config.shadow import Probability
from gateway.config.values import Count, Flag, Model, Percent
from router_policies.checks.check import Family
from router_policies.evidence.rules import LOSS, Kind, Over
from router_policies.rollout.plan import RATIO, Check, Gate, Plan, Step
from router_policies.shadow import DEFAULT

_TIME = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DISAGREEMENT = "_disagreement"


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError(f"expected seconds, or a time like 90s, 30m, 6h or 2d, got {cut(value)!r}")
    return float(match[1]) * _UNITS[match[2]]


Time = Annotated[float, BeforeValidator(_seconds), Field(strict=True, ge=0, le=366 * 86_400, allow_inf_nan=False)]
"""Seconds, or as people say it: 30m, 6h, 2d."""


class StepConfig(Model):
    """A step of the ladder. `weight`: percent of the sessions. `min_bake`, `min_n`: how long it is stayed on at least,
    and the pairs that come in meanwhile, before the next is entered. `gate`: before this one is; with `manual` somebody
    says `understudy rollout promote`."""

    weight: Annotated[Percent, Field(gt=0)]
    min_bake: Time = 3600.0
    min_n: Count = Field(default=0, ge=0)
    gate: Gate = Gate.AUTO

    def step(self) -> Step:
        return Step(self.weight, self.min_bake, self.min_n, self.gate)


class CheckConfig(Model):
    """What must hold. `name`: your own word for it, or one of those that are there: `shadow_loss` (pairs that are
    lost), `ttft_p95`, `cost` (the student's over the teacher's), `fallback_rate`, `cancel_rate` (of what the student
    was to answer), `sample_ratio` (the realised split).

    `tolerance`: the share of pairs that may differ; for `ttft_p95` and `cost` a factor. `of`: the families or checks of
    the pack that it is about; for `format_disagreement` and the like that is in the name. `direction`: `student_worse`
    counts only what the student fails and the teacher does not. `noise_floor`: with `paired` the tolerance is for what
    the student differs more than the teacher does from itself. `critical`: rolls back when it fails, others pause.
    `must_have_data`: holds until it passes; with false it holds nothing while it is undecided, and can only fail.
    `dry_run`: is looked at and does nothing.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    tolerance: Annotated[float, Field(strict=True, gt=0, lt=100)] | None = None
    of: list[str] = Field(default=[])
    direction: Literal["either", "student_worse"] = "either"
    noise_floor: Literal["none", "paired"] = "none"
    critical: Flag = False
    must_have_data: Flag = True
    dry_run: Flag = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.tolerance is None and self.name != RATIO:
            raise ValueError("expected a tolerance")
        self.check()
        return self

    def check(self) -> Check:
        about = tuple(self.of)
        family = self.name.removesuffix(_DISAGREEMENT)
        if not about and self.name.endswith(_DISAGREEMENT) and family in set(Family):
            about = (family,)
        return Check(
            name=self.name,
            tolerance=0.5 if self.tolerance is None else self.tolerance,
            of=about,
            worse_only=self.direction == "student_worse",
            kind=Kind.EXCESS if self.noise_floor == "paired" else Kind.RATE,
            critical=self.critical,
            must_have_data=self.must_have_data,
            dry_run=self.dry_run,
        )


class DecisionConfig(Model):
    """How sure it must be. `alpha_promote`: the probability with which the route ever promotes a student that fails a
    check, over all its students. `rollback_arl`: pairs to the first false alarm, on average. `over`: whether tolerances
    hold in each stratum, or over all traffic."""

    alpha_promote: Annotated[float, Field(strict=True, gt=0, le=0.5)] = 0.05
    rollback_arl: Annotated[float, Field(ge=1, le=1e12)] = 100_000
    over: Over = Over.EACH_STRATUM


class RollbackConfig(Model):
    """`to_weight`: percent that a rollback leaves; it never raises the weight. `cooldown`: how long it stays there at
    least; `require_ack`: and until somebody says `understudy rollout ack`. Then it begins anew, in shadow."""

    to_weight: Percent = 0.0
    cooldown: Time = 3600.0
    require_ack: Flag = True


_CHECKS = [
    CheckConfig(name="format_disagreement", tolerance=0.02, critical=True),
    CheckConfig(name="policy_disagreement", tolerance=0.01, critical=True, direction="student_worse"),
    CheckConfig(name=LOSS, tolerance=0.02, critical=True),
]
_STEPS = [
    StepConfig(weight=1.0, min_bake=1800.0, min_n=200, gate=Gate.MANUAL),
    StepConfig(weight=5.0, min_bake=2 * 3600.0),
    StepConfig(weight=25.0, min_bake=6 * 3600.0),
    StepConfig(weight=100.0, min_bake=24 * 3600.0, gate=Gate.MANUAL),
]


class RolloutConfig(Model):
    """`router_policies.rollout.plan.Plan`, as people write it. Nothing happens until `understudy rollout start`.

    `patience`: how long checks may stay undecided on a step until it pauses and people are asked; null: for ever.
    `watch_sample`: after the last step, which share of requests is still mirrored to notice drift, at least 0.05; null:
    as before. `late`: a pair that is not complete so long after its request counts as lost; more than the shadow's
    `timeout_s`.
    """

    steps: list[StepConfig] = Field(default=_STEPS, min_length=1)
    checks: list[CheckConfig] = Field(default=_CHECKS, min_length=1)
    decision: DecisionConfig = DecisionConfig()
    rollback: RollbackConfig = RollbackConfig()
    patience: Annotated[Time, Field(gt=0)] | None = 7 * 86_400.0
    watch_sample: Annotated[Probability, Field(ge=0.05)] | None = None
    late: Annotated[Time, Field(gt=0)] = 120.0

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.plan()
        return self

    def plan(self, strata: tuple[str, ...] = (DEFAULT,)) -> Plan:
        return Plan(
            steps=tuple(step.step() for step in self.steps),
            checks=tuple(check.check() for check in self.checks),
            strata=strata,
            over=self.decision.over,
            alpha=self.decision.alpha_promote,
            run_length=self.decision.rollback_arl,
            rollback_to=self.rollback.to_weight,
            cooldown_s=self.rollback.cooldown,
            require_ack=self.rollback.require_ack,
            patience_s=self.patience,
            watch_sample=self.watch_sample,
            late_s=self.late,
        )

    def problems(self, pack: Collection[str], sample: Mapping[str, float], timeout_s: float) -> list[str]:
        """What does not fit the rest of the route, by path: `pack` the names of its checks, `sample` the probability of
        being mirrored by stratum, `timeout_s` of a mirrored call."""
        known = {*Family, *pack}
        told = [
            f"checks.{at}.of: expected a family ({', '.join(Family)}) or a check of the route's packs, got {name!r}"
            for at, check in enumerate(self.checks)
            for name in check.of
            if name not in known
        ]
        if self.late <= timeout_s:
            told.append(f"late: expected more than shadow.timeout_s ({timeout_s:g} s), got {self.late:g} s")
        told += [
            f"steps.{at}.min_bake: expected at least late ({self.late:g} s), got {step.min_bake:g} s: "
            "the step would be left before any pair of it counts"
            for at, step in enumerate(self.steps[:-1])
            if step.min_bake < self.late
        ]
        return told + [f"steps: {problem}" for problem in self.plan(tuple(sample)).rules.problems(sample)]
