"""The safety net: who answers a risky request, so that a launch can be watched and its price be known.

High risk goes to the teacher with a probability that starts high in the launch week and decays to a floor, medium and
low to the student; medium, and high that is the student's, is mirrored every time and checked before it is served.

- **One number decides.** A session has one fixed point in [0, 1) (`split.point`, a salt of its own), and goes to the
  teacher iff it lies below the probability. So as the net decays a session changes sides at most once, every replica
  agrees, and a replay of the log gives the same again.
- **Some are held out.** The points above 1 - `holdout` never go to the teacher, from the first day: the same kind of
  request on both sides at every moment, drawn at random with known probability, is what tells what the net is worth.
  A net of probability 1 could never be shown to be of any use. Rules in `always` are not played with.
- **The floor is above 0**, so neither side ever runs dry and no propensity is 0.
- **The net cannot overload the teacher.** With no slot or money left, or the teacher down, a request that was drawn for
  it is the student's (or, if the route says so and the teacher is down, refused). What the state decides is no draw:
  its propensity is 1, and the reason says why.

`now` is wall-clock time, UNIX seconds: a launch week is dates. A clock that is off moves the probability by as little.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, log

from msgspec import Struct

from router_policies.risk.rules import Band, Risk
from router_policies.routes import Role

SPLIT = "split"  # the reason: nothing here; the split decides
RISK = "risk"  # its band, without a net over it or past what the net still catches
SAFETY_NET = "safety_net"  # the net caught it: the teacher's
HOLDOUT = "holdout"  # held out of the net, for comparison: the student's
NET_FULL, NET_BUDGET, TEACHER_DOWN = "net_full", "net_budget", "teacher_down"  # drawn for the teacher, in vain


class Decay(StrEnum):
    """How the probability falls from start to end. `STEPS`: as listed, each for as long as the others."""

    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    STEPS = "steps"


class TeacherDown(StrEnum):
    """What becomes of a request that only the teacher was to answer, when it cannot."""

    STUDENT = "student"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class SafetyNet:
    """`start_s`, `end_s`: UNIX seconds. `p_start`: the teacher's probability until then, `floor`: from the end on.
    `holdout`: the share of high-risk sessions that the net leaves out. `always`: rules whose requests are the teacher's
    whatever the schedule says. `max_concurrent`: requests at the teacher at once because of the net, of this process;
    `max_nano_usd_per_day`: what they may cost, a UTC day; None for no limit."""

    start_s: float
    end_s: float
    p_start: float = 1.0
    floor: float = 0.05
    decay: Decay = Decay.LINEAR
    steps: tuple[float, ...] = ()
    holdout: float = 0.02
    always: frozenset[str] = frozenset()
    max_concurrent: int | None = None
    max_nano_usd_per_day: int | None = None
    teacher_down: TeacherDown = TeacherDown.STUDENT

    def __post_init__(self) -> None:
        if not (isfinite(self.start_s) and isfinite(self.end_s) and self.start_s < self.end_s):
            raise ValueError(f"start, end: expected two times, the later one last, got {self.start_s}, {self.end_s}")
        if not 0 < self.floor <= self.p_start <= 1:
            raise ValueError(
                f"floor, p_start: expected 0 < floor <= p_start <= 1, got {self.floor} and {self.p_start}; "
                "a floor of 0 would leave nothing to compare the student with"
            )
        if not 0 <= self.holdout <= 0.5:
            raise ValueError(f"holdout: expected a share from 0 to 0.5, got {self.holdout}")
        falling = all(a >= b for a, b in zip((self.p_start, *self.steps), (*self.steps, self.floor), strict=True))
        if (self.decay is Decay.STEPS) != bool(self.steps) or not falling:
            raise ValueError(
                f"steps: expected, with decay: steps and only then, probabilities that fall from p_start "
                f"{self.p_start} to floor {self.floor}, got {list(self.steps)} with decay: {self.decay}"
            )

    def scheduled(self, now: float) -> float:
        """The teacher's probability by the schedule alone."""
        if now >= self.end_s:
            return self.floor
        if now < self.start_s:
            return self.p_start
        passed = (now - self.start_s) / (self.end_s - self.start_s)
        if self.decay is Decay.STEPS:
            return self.steps[min(int(passed * len(self.steps)), len(self.steps) - 1)]
        if self.decay is Decay.EXPONENTIAL:
            return max(self.floor, self.p_start * exp(passed * log(self.floor / self.p_start)))
        return max(self.floor, self.p_start + (self.floor - self.p_start) * passed)


@dataclass(frozen=True, slots=True)
class Teacher:
    """How the teacher is. `up`: its breaker lets requests through. `in_flight`, `spent_nano_usd`: of the net's own, now
    and since midnight UTC."""

    up: bool = True
    in_flight: int = 0
    spent_nano_usd: int = 0


WELL = Teacher()


class Placed(Struct, frozen=True):
    """Who answers a request that the split would give to the student.

    `role` is None if it is refused. `p_student`, `p_teacher`: the probabilities of the two in this state; less than 1
    together only where the rest is refused. `mirror`: it is shadowed whatever the sample says; `verify`: checked before
    it is served, where nothing was sent yet.
    """

    role: Role | None
    reason: str
    band: Band
    rules: tuple[str, ...]
    p_student: float
    p_teacher: float
    mirror: bool
    verify: bool

    @property
    def propensity(self) -> float:
        """Of what became of it, among the requests that the split gives to the student."""
        if self.role is None:
            return 1 - self.p_student - self.p_teacher
        return self.p_student if self.role is Role.STUDENT else self.p_teacher

    def overall(self, weight: float) -> tuple[float, float]:
        """The probabilities of student and teacher over both draws, if `weight` is the student's share of the split:
        what a request has that the split gave to the teacher, too."""
        return weight * self.p_student, 1 - weight + weight * self.p_teacher


def place(risk: Risk, net: SafetyNet | None, *, at: float, now: float, teacher: Teacher = WELL) -> Placed:
    """Who answers. `at`: the session's point, in [0, 1). Without a net, high risk is the teacher's."""
    if risk.band is not Band.HIGH:
        medium = risk.band is Band.MEDIUM
        reason = RISK if medium else SPLIT
        return Placed(Role.STUDENT, reason, risk.band, risk.rules, 1.0, 0.0, medium, medium)
    fixed = net is None or not net.always.isdisjoint(risk.rules)
    p = 1.0 if net is None or fixed else min(net.scheduled(now), 1 - net.holdout)
    caught = at < p
    lack = lack_of(net, teacher)
    if lack is None:
        if caught:
            return Placed(
                Role.TEACHER, RISK if net is None else SAFETY_NET, risk.band, risk.rules, 1 - p, p, True, False
            )
        return _student(risk, _missed(net, at), 1 - p, p)
    if lack is TEACHER_DOWN and net is not None and net.teacher_down is TeacherDown.REFUSE:
        if caught:
            return Placed(None, lack, risk.band, risk.rules, 1 - p, 0.0, False, False)
        return _student(risk, _missed(net, at), 1 - p, 0.0)
    return _student(risk, lack if caught else _missed(net, at), 1.0, 0.0)


def _student(risk: Risk, reason: str, p_student: float, p_teacher: float) -> Placed:
    return Placed(Role.STUDENT, reason, risk.band, risk.rules, p_student, p_teacher, True, True)


def _missed(net: SafetyNet | None, at: float) -> str:
    return HOLDOUT if net is not None and at >= 1 - net.holdout else RISK


def lack_of(net: SafetyNet | None, teacher: Teacher) -> str | None:
    """Why the teacher cannot be asked for risk's sake, None if it can."""
    if not teacher.up:
        return TEACHER_DOWN
    if net is None:
        return None
    if net.max_concurrent is not None and teacher.in_flight >= net.max_concurrent:
        return NET_FULL
    if net.max_nano_usd_per_day is not None and teacher.spent_nano_usd >= net.max_nano_usd_per_day:
        return NET_BUDGET
    return None
