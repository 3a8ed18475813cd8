"""What a rollout is doing and why, for people: the ladder, what it waits for, and what is known of each check."""

from collections.abc import Iterator
from math import exp

import msgspec

from router_policies.evidence.readings import Reading
from router_policies.evidence.rules import alpha_of
from router_policies.rollout.book import Book
from router_policies.rollout.plan import TTFT, Check, Gate, Plan
from router_policies.rollout.state import Forced, Phase, State
from router_policies.rollout.step import holds

_LARGEST = 700.0  # e to this is still a float


class Rung(msgspec.Struct, frozen=True):
    """A step of the ladder. `place`: done, here or ahead."""

    weight: float
    min_bake_s: float
    min_pairs: int
    gate: Gate
    place: str


class CheckLine(msgspec.Struct, frozen=True):
    """A check in one stratum, "" if it has none. `low`, `high`: of the interval that holds the truth at every look at
    once, at the level alpha; None where nothing is estimated. It passes when `e_value` reaches `enough`; `needed`: more
    pairs until then if they go on like this, None if it will not. `effect`: what its failure would do."""

    name: str
    stratum: str
    verdict: str
    why: str
    effect: str
    tolerance: float
    pairs: int
    estimate: float | None
    low: float | None
    high: float | None
    e_value: float | None
    enough: float | None
    needed: int | None


class Summary(msgspec.Struct, frozen=True):
    """`weight`: percent, as it is live; `wanted`: as the rollout would have it. `why`: the reason of the last
    transition, `since` when, UNIX seconds. `waits_for`: all that keeps it where it is. `pairs`: that count, of which
    `lost` by reason; `left_out`: samples that say nothing; `waiting`: for their turn. `attempt`: how many students this
    route has tried, which leaves `spends` of alpha for this one."""

    route: str
    phase: Phase
    weight: float
    wanted: float
    why: str
    since: float
    waits_for: list[str]
    at_gate: bool
    forced: Forced | None
    cooldown_until: float | None
    acknowledged: bool | None
    ladder: list[Rung]
    checks: list[CheckLine]
    pairs: int
    lost: dict[str, int]
    left_out: dict[str, int]
    waiting: int
    attempt: int
    spends: float
    student: str
    teacher: str


def summarize(route: str, state: State, book: Book, plan: Plan, weight: float, now: float) -> Summary:
    """`weight`: percent, as it is live; `now`: UNIX seconds."""
    back = state.phase is Phase.ROLLED_BACK
    evidence = book.evidence
    return Summary(
        route=route,
        phase=state.phase,
        weight=weight,
        wanted=weight if state.phase is Phase.IDLE else state.wanted,
        why=state.why,
        since=state.since,
        waits_for=_waits_for(state, book, plan, weight, now),
        at_gate=state.at_gate,
        forced=state.forced,
        cooldown_until=state.until if back else None,
        acknowledged=state.acked if back else None,
        ladder=list(_rungs(state, plan)),
        checks=list(check_lines(book, plan)),
        pairs=book.pairs,
        lost=dict(evidence.lost),
        left_out=dict(book.left_out),
        waiting=book.waiting,
        attempt=evidence.attempt,
        spends=alpha_of(evidence.attempt, plan.alpha),
        student=evidence.key.student,
        teacher=evidence.key.teacher,
    )


def _waits_for(state: State, book: Book, plan: Plan, weight: float, now: float) -> list[str]:
    match state.phase:
        case Phase.IDLE:
            return ["somebody: understudy rollout start"]
        case Phase.PAUSED:
            return ["somebody: understudy rollout resume"]
        case Phase.ROLLED_BACK:
            cooldown = ["the end of the cooldown"] if now < state.until else []
            acknowledged = state.acked or not plan.require_ack
            return cooldown + ([] if acknowledged else ["somebody: understudy rollout ack"])
    held = holds(state, book.seen(weight), plan, now)
    return [*held, "somebody: understudy rollout promote"] if state.at_gate and not state.approved else held


def _rungs(state: State, plan: Plan) -> Iterator[Rung]:
    on = plan.at(state.weight)
    for at, step in enumerate(plan.steps):
        place = "ahead" if on is None or at > on else "here" if at == on else "done"
        yield Rung(step.weight, step.min_bake_s, step.min_pairs, step.gate, place)


def check_lines(book: Book, plan: Plan) -> Iterator[CheckLine]:
    """What is known of each check, in the order of the plan."""
    live = {name: (reading, why) for name, reading, why in book.live.readings()}
    read = book.evidence.read()
    for check in plan.checks:
        if check.name in live:
            reading, why = live[check.name]
            yield _line(check, reading, why)
        elif check.name in read:
            for reading in read[check.name].cells:
                yield _line(check, reading, reading.why)


def _line(check: Check, reading: Reading, why: str) -> CheckLine:
    tested = reading.log_enough > 0
    estimated = (
        tested and reading.pairs > 0 and check.name != TTFT
    )  # whose estimate is a ratio, and the interval of a share
    return CheckLine(
        name=check.name,
        stratum=reading.stratum,
        verdict=reading.verdict.value,
        why=why,
        effect="none (dry run)" if check.dry_run else "rolls back" if check.critical else "pauses",
        tolerance=check.tolerance,
        pairs=reading.pairs,
        estimate=reading.estimate,
        low=reading.low if estimated else None,
        high=reading.high if estimated else None,
        e_value=exp(min(reading.log_e, _LARGEST)) if tested else None,
        enough=exp(min(reading.log_enough, _LARGEST)) if tested else None,
        needed=reading.needed,
    )
