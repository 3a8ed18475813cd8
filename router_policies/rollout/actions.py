"""What people may do to a rollout. Each gives the next state; what follows from it the next `step` asks for."""

from dataclasses import dataclass, replace
from enum import StrEnum

from router_policies.rollout.plan import Plan
from router_policies.rollout.state import Forced, Pause, Phase, State
from router_policies.rollout.step import duration, rolled_back

_UNDER_WAY = (Phase.SHADOW, Phase.READY, Phase.RAMPING, Phase.PROMOTED, Phase.PAUSED)
LONGEST_FORCE_S = 30 * 86_400.0


class Act(StrEnum):
    """START: from idle to shadow. PAUSE, RESUME. PROMOTE: through the gate that it waits at. ROLLBACK: now. ACK: of a
    rollback, that somebody has looked; it begins anew when the cooldown is over. FORCE: a weight, without evidence, for
    some time; critical checks still roll back. UNFORCE: ends that."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    ACK = "ack"
    FORCE = "force"
    UNFORCE = "unforce"


class Refused(ValueError):
    """It cannot be done in this state; the message says why, and what can."""


@dataclass(frozen=True, slots=True)
class Action:
    """`weight`, `ttl_s`: of FORCE."""

    act: Act
    actor: str
    reason: str
    weight: float | None = None
    ttl_s: float | None = None


def apply(state: State, action: Action, plan: Plan, now: float, live: float) -> State:
    """`live`: the weight that is, percent. Raises `Refused`; nothing has changed then."""
    said = f"{action.actor}: {action.reason}"
    match action.act:
        case Act.START:
            _expect(state, "it has been started", Phase.IDLE)
            return replace(state.to(Phase.SHADOW, f"started by {said}", now), weight=0.0, live=False)
        case Act.PAUSE:
            _expect(state, "there is nothing to pause", Phase.SHADOW, Phase.READY, Phase.RAMPING, Phase.PROMOTED)
            paused = state.to(Phase.PAUSED, f"paused by {said}", now)
            return replace(paused, pause=Pause.SUSPENDED, resume_to=state.phase)
        case Act.RESUME:
            _expect(state, "there is nothing to resume", *_UNDER_WAY)
            return _resumed(state, said, now, live)
        case Act.PROMOTE:
            if not state.at_gate:
                raise Refused(
                    f"promote: it is not waiting at a gate; it is {state.phase}: {state.why or 'not started'}"
                )
            return replace(state, approved=said)
        case Act.ROLLBACK:
            _expect(state, "there is nothing to roll back", *_UNDER_WAY)
            return rolled_back(state, plan, f"rolled back by {said}", now, live)
        case Act.ACK:
            _expect(state, "there is no rollback to acknowledge", Phase.ROLLED_BACK)
            return replace(state, acked=True, why=f"{state.why}; acknowledged by {said}", number=state.number + 1)
        case Act.FORCE:
            _expect(state, "start it, or acknowledge its rollback first", *_UNDER_WAY)
            return _forced(state, action, said, now)
        case Act.UNFORCE:
            if state.forced is None:
                raise Refused("unforce: no weight is forced")
            return replace(state.to(state.phase, f"no longer forced, by {said}", now), forced=None, live=False)


def _forced(state: State, action: Action, said: str, now: float) -> State:
    weight, ttl_s = action.weight, action.ttl_s
    if weight is None or not 0 <= weight <= 100:
        raise Refused(f"force: expected a weight from 0 to 100, got {weight}")
    if ttl_s is None or not 0 < ttl_s <= LONGEST_FORCE_S:
        raise Refused(f"force: expected a ttl of more than 0, at most {duration(LONGEST_FORCE_S)}, got {ttl_s}")
    why = f"{weight:g} % is forced for {duration(ttl_s)} by {said}"
    return replace(state.to(state.phase, why, now), forced=Forced(weight, now + ttl_s, action.reason), live=False)


def _resumed(state: State, said: str, now: float, live: float) -> State:
    if state.phase is Phase.PAUSED:
        return replace(state.to(state.resume_to, f"resumed by {said}", now), live=False)
    if not state.live or live == state.wanted:
        raise Refused(f"resume: it is not paused, it is {state.phase}")
    return replace(state.to(state.phase, f"{state.wanted:g} % is put back by {said}", now), live=False)


def _expect(state: State, otherwise: str, *phases: Phase) -> None:
    if state.phase not in phases:
        raise Refused(f"it is {state.phase}: {otherwise}")
