"""Where a rollout stands, as plain data, and what it asks for."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

FORMAT = 1


class Phase(StrEnum):
    """IDLE: nobody has started it, the weight is whatever people set. SHADOW: at 0 %, evidence is gathered. READY: it
    is enough for the first step. RAMPING: on a step. PROMOTED: past the last one; it is still watched. PAUSED: stays
    where it is until people say `resume`. ROLLED_BACK: until they say `ack`, and the cooldown is over."""

    IDLE = "idle"
    SHADOW = "shadow"
    READY = "ready"
    RAMPING = "ramping"
    PROMOTED = "promoted"
    PAUSED = "paused"
    ROLLED_BACK = "rolled_back"


class Pause(StrEnum):
    """INCONCLUSIVE: a check that is not critical fails, or one stays undecided too long. SUSPENDED: someone said so."""

    INCONCLUSIVE = "inconclusive"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Forced:
    """Somebody's weight over the ladder's, until a time (UNIX seconds)."""

    weight: float
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """`weight`: percent, the ladder's; `wanted` is what is to be live. `live`: that was seen to be so since it was
    wanted; whoever differs from then on is a person. `number`: of the last transition, `why` its reason, `since` when.
    `entered_at`, `entered_pairs`: when the weight went live, and the pairs of evidence by then: bake time and pairs
    count from there. `round`: which evidence it stands on; another is not read. `at_gate`: all but somebody's word is
    there for the next step; `approved`: who gave it, and why. Of PAUSED: `pause`, and `resume_to`. Of ROLLED_BACK:
    `until`, the cooldown's end, and `acked`. Times are UNIX seconds: a rollout outlives processes and hosts."""

    phase: Phase = Phase.IDLE
    weight: float = 0.0
    live: bool = False
    number: int = 0
    why: str = ""
    since: float = 0.0
    entered_at: float = 0.0
    entered_pairs: int = 0
    round: int = 1
    at_gate: bool = False
    approved: str = ""
    pause: Pause | None = None
    resume_to: Phase = Phase.SHADOW
    until: float = 0.0
    acked: bool = False
    forced: Forced | None = None

    @property
    def wanted(self) -> float:
        return self.weight if self.forced is None else self.forced.weight

    def to(self, phase: Phase, why: str, now: float) -> "State":
        """A transition. What was said for the last phase is not said for this one."""
        pause = self.pause if phase is self.phase else None
        number = self.number + 1
        return replace(self, phase=phase, why=why, since=now, number=number, at_gate=False, approved="", pause=pause)

    def plain(self) -> dict[str, Any]:
        """Strings, numbers, dicts; JSON carries it to the same bits."""
        plain: dict[str, Any] = {"format": FORMAT, **msgspec.to_builtins(self)}
        return plain

    @classmethod
    def resume(cls, plain: dict[str, Any]) -> "State":
        if plain.get("format") != FORMAT:
            raise ValueError(f"rollout: expected state of format {FORMAT}, got {plain.get('format')!r}: start it again")
        return msgspec.convert({key: value for key, value in plain.items() if key != "format"}, cls)


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Make `student_percent` this. `number`: of the transition that it belongs to; with the same one it is the same."""

    percent: float
    reason: str
    number: int


@dataclass(frozen=True, slots=True)
class SetSample:
    """Mirror with this probability; None: as the config says."""

    sample: float | None
    reason: str
    number: int


@dataclass(frozen=True, slots=True)
class Announce:
    """A transition that changes no weight, for the trail."""

    phase: Phase
    reason: str
    number: int


Command = SetWeight | SetSample | Announce
