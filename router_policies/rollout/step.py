"""The rollout controller: one pure step from where a rollout stands and what is seen to where it stands next.

    shadow -> ready -> ramping(k) -> promoted | paused | rolled_back

- **It climbs a step at a time**, and only when every check that must have data passes, the weight has been live for the
  step's bake time, the step's pairs have come in, and, at a manual gate, somebody has said so. No data holds.
- **It retreats at once.** A critical check that fails at any time, paused and forced included, leads to the rollback
  weight in the same step. It stays there until the cooldown is over and somebody has acknowledged it, and then begins
  anew with fresh evidence, from shadow. A rollback never raises a weight.
- **What is not clear is for people.** A check that fails without being critical, or stays undecided beyond patience,
  pauses; nothing is undone.
- **People win.** A weight that somebody else has set is left alone. The ladder holds, and its bake time begins anew
  when the weight is the ladder's again, or on `resume`, which puts it back. A critical failure still rolls back.
- **A change of student, teacher, packs, scorers or rules** (`changed`) is another student: weight 0, evidence anew.

Save the state before its commands are carried out. Then a leader that dies between the two, or before, or after, makes
no difference: a weight that is wanted and was never seen live is asked for in every step, with the same number. Carry
them out only if the route is still as it was when `Seen.weight` was read, so that a leader of old cannot come late.
`now` is UNIX seconds. A clock that is set back lengthens bake times; one that is set forward shortens them by as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from router_policies.evidence.readings import Verdict
from router_policies.rollout.plan import SERVED, Check, Gate, Plan, Step
from router_policies.rollout.state import Announce, Command, Pause, Phase, SetSample, SetWeight, State

_AGREE = 1e-9  # percent


@dataclass(frozen=True, slots=True)
class Found:
    """What there is on a check, from `pairs` observations. `why`: the verdict in words."""

    verdict: Verdict
    why: str = ""
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step looks at. `round`: whose evidence it is; `pairs`: in it so far. `weight`: percent, as it is live.
    `sample`: the probability of being mirrored that a rollout has set, None if none has. `announced`: the number of the
    last transition that is known to be in the trail. `problem`: why the evidence cannot be trusted, "" if it can."""

    round: int
    pairs: int
    checks: Mapping[str, Found]
    weight: float
    sample: float | None = None
    announced: int = 0
    problem: str = ""


def step(state: State, seen: Seen, plan: Plan, now: float) -> tuple[State, tuple[Command, ...]]:
    """The next state, and what is to be done. The same arguments give the same, however often."""
    if state.phase is Phase.IDLE:
        return state, ()
    state = _moved(_heard(state, seen, now), seen, plan, now)
    return state, tuple(commands(state, seen, plan))


def changed(state: State, why: str, now: float) -> State:
    """After a change of what evidence is of: from the beginning. Not after a rollback, which stays, with its round."""
    if state.phase is Phase.ROLLED_BACK:
        return state
    state = replace(state, round=state.round + 1, forced=None)
    if state.phase is Phase.IDLE:
        return state
    return replace(state.to(Phase.SHADOW, f"evidence begins anew: {why}", now), weight=0.0, live=False)


def holds(state: State, seen: Seen, plan: Plan, now: float) -> list[str]:
    """All that keeps it from going on by itself, in words; a gate apart."""
    if state.phase in (Phase.IDLE, Phase.PAUSED, Phase.ROLLED_BACK):
        return [state.why or "not started"]
    held = []
    if state.forced is not None:
        held.append(f"{state.forced.weight:g} % is forced for another {duration(state.forced.until - now)}")
    if _taken_over(state, seen):
        held.append(f"student_percent is {seen.weight:g}, set by somebody else; `resume` puts it to {state.wanted:g}")
    elif not state.live:
        held.append(f"{state.wanted:g} % is not live yet")
    if seen.problem:
        held.append(seen.problem)
    held += undecided(state, seen, plan)
    on = plan.at(state.weight)
    if on is not None and state.phase is Phase.RAMPING:
        held += _unbaked(state, seen, plan.steps[on], now)
    return held


def undecided(state: State, seen: Seen, plan: Plan) -> list[str]:
    """The checks that keep it from climbing."""
    if seen.round != state.round:
        return ["the evidence begins anew"]
    told = []
    for check in plan.checks:
        early = check.name in SERVED and state.weight == 0
        if check.dry_run or early:
            continue
        verdict = _verdict(check, seen)
        if verdict is Verdict.FAIL or (check.must_have_data and verdict is not Verdict.PASS):
            found = seen.checks.get(check.name)
            told.append((found.why if found is not None else "") or f"{check.name}: no data")
    return told


def _verdict(check: Check, seen: Seen) -> Verdict:
    """A pass of nothing is none, whoever says so."""
    found = seen.checks.get(check.name)
    if found is None or (found.verdict is Verdict.PASS and not found.pairs):
        return Verdict.UNDECIDED
    return found.verdict


def _failing(state: State, seen: Seen, plan: Plan, critical: bool) -> list[str]:
    if seen.round != state.round:
        return []
    return [
        seen.checks[check.name].why or f"{check.name} fails"
        for check in plan.checks
        if check.critical is critical and not check.dry_run and _verdict(check, seen) is Verdict.FAIL
    ]


def _unbaked(state: State, seen: Seen, on: Step, now: float) -> list[str]:
    held = []
    baked, came = now - state.entered_at, seen.pairs - state.entered_pairs
    if baked < on.min_bake_s:
        held.append(f"another {duration(on.min_bake_s - baked)} on this step, of {duration(on.min_bake_s)}")
    if came < on.min_pairs:
        held.append(f"{on.min_pairs - came:,} more pairs on this step, of {on.min_pairs:,}")
    return held


def _same(one: float, other: float) -> bool:
    return abs(one - other) < _AGREE


def _taken_over(state: State, seen: Seen) -> bool:
    return state.live and not _same(seen.weight, state.wanted)


def _heard(state: State, seen: Seen, now: float) -> State:
    """A wanted weight is live once it is seen to be. Time that is not the ladder's own is no bake time."""
    if not state.live and _same(seen.weight, state.wanted):
        return replace(state, live=True, entered_at=now, entered_pairs=seen.pairs)
    if not state.live or state.forced is not None or _taken_over(state, seen):
        return replace(state, entered_at=now, entered_pairs=seen.pairs)
    return state


def _moved(state: State, seen: Seen, plan: Plan, now: float) -> State:
    """At most one transition."""
    if state.phase is Phase.ROLLED_BACK:
        if now >= state.until and (state.acked or not plan.require_ack):
            state = replace(state, round=state.round + 1)
            why = "acknowledged" if state.acked else "the cooldown is over"
            state = state.to(Phase.SHADOW, f"{why}: it begins anew, with fresh evidence", now)
            return replace(state, weight=0.0, live=False)
        return state
    if failing := _failing(state, seen, plan, critical=True):
        return rolled_back(state, plan, "; ".join(failing), now, live=seen.weight)
    if state.forced is not None:
        if now < state.forced.until:
            return replace(state, at_gate=False)
        why = f"the forced {state.forced.weight:g} % is over; back to {state.weight:g} %"
        return replace(state.to(state.phase, why, now), forced=None, live=False)
    if state.phase in (Phase.RAMPING, Phase.PROMOTED):
        paused = _inconclusive(state, seen, plan, now)
        if paused is not None:
            return paused
    if holds(state, seen, plan, now):
        state = replace(state, at_gate=False)
        if state.phase is Phase.READY and undecided(state, seen, plan):
            return state.to(Phase.SHADOW, "no longer ready: " + "; ".join(undecided(state, seen, plan)), now)
        return state
    return _onward(state, seen, plan, now)


def _onward(state: State, seen: Seen, plan: Plan, now: float) -> State:
    """Nothing holds it but, maybe, a gate."""
    passing = [check.name for check in plan.checks if _verdict(check, seen) is Verdict.PASS]
    why = f"{', '.join(passing)} pass, {seen.pairs:,} pairs"
    if state.phase is Phase.SHADOW:
        return state.to(Phase.READY, why, now)
    following = plan.above(state.weight)
    if following is None:
        if state.phase is Phase.PROMOTED:
            return state
        return state.to(Phase.PROMOTED, f"{state.weight:g} % for {duration(now - state.entered_at)}: {why}", now)
    if following.gate is Gate.MANUAL and not state.approved:
        return replace(state, at_gate=True)
    why = f"{state.weight:g} % -> {following.weight:g} %: {why}"
    if state.weight:
        why += f", {duration(now - state.entered_at)} on the last step"
    if state.approved:
        why += f"; approved by {state.approved}"
    return replace(state.to(Phase.RAMPING, why, now), weight=following.weight, live=False)


def _inconclusive(state: State, seen: Seen, plan: Plan, now: float) -> State | None:
    """The state that it pauses in, if it is for people now."""
    why = "; ".join(_failing(state, seen, plan, critical=False))
    if not why and state.phase is Phase.RAMPING and plan.patience_s is not None:
        open_ = undecided(state, seen, plan)
        if open_ and now - state.entered_at > plan.patience_s:
            why = f"undecided for {duration(plan.patience_s)}: {'; '.join(open_)}"
    if not why:
        return None
    return replace(state.to(Phase.PAUSED, why, now), pause=Pause.INCONCLUSIVE, resume_to=state.phase)


def rolled_back(state: State, plan: Plan, why: str, now: float, live: float) -> State:
    """`live`: the weight that is; a rollback never raises it."""
    weight = min(plan.rollback_to, live, state.wanted)
    state = state.to(Phase.ROLLED_BACK, why, now)
    return replace(state, weight=weight, live=False, forced=None, acked=False, until=now + plan.cooldown_s)


def commands(state: State, seen: Seen, plan: Plan) -> list[Command]:
    """What is still to be done about this state, as `step` asks for it."""
    commands: list[Command] = []
    if not state.live and not _same(seen.weight, state.wanted):
        commands.append(SetWeight(state.wanted, state.why, state.number))
    elif state.number > seen.announced:
        commands.append(Announce(state.phase, state.why, state.number))
    sample = plan.watch_sample if state.phase is Phase.PROMOTED else None
    if sample != seen.sample:
        commands.append(SetSample(sample, state.why, state.number))
    return commands


def duration(seconds: float) -> str:
    """As people say it: "90 s", "30 min", "6 h", "2.5 d"."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{max(0.0, seconds):.3g} s"
