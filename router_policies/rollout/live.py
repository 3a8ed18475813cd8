"""Checks of speed, failures and money, from the same records and in the same order as the evidence.

Each pair has both answers' times and costs, and each record tells how its request ended, so that no clock or second
store is needed, replicas are counted together, and the same records give the same verdicts. They are a sample of the
traffic, drawn with no regard to the side that answered.

- `ttft_p95`: 5 % of the teacher's answers take longer to their first token than its p95. If more than 5 % of the
  student's take longer than `tolerance` times that, its p95 is above `tolerance` times the teacher's. So it is a rate,
  tested as the others are, against a limit that is set before each answer is looked at.
- `fallback_rate`, `cancel_rate`: of what the student was to answer, how much somebody else had to, and how often the
  client left.
- `cost`: what the student's answers cost over what the teacher's did, to the same requests. What was paid is a fact,
  no estimate; it is read from so many pairs on.
- `sample_ratio`: of the sessions seen since the weight was set, as many are on the student's side as it says. A replica
  that serves an old weight shows here. Counted are sessions, not requests, since a session stays on its side.

Rates pass on the evidence of all their history, and fail on that or on an alarm about the present, as evidence does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, log
from typing import Any

from router_policies.evidence import rates
from router_policies.evidence.cells import Counted
from router_policies.evidence.detector import Detector
from router_policies.evidence.readings import Reading, Verdict
from router_policies.rollout.filed import Filed, Sampled
from router_policies.rollout.plan import CANCELS, COST, FALLBACK, RATIO, TTFT, Plan
from router_policies.routes import Role
from router_policies.shadow import Reason

_SLOW = 0.05  # what is above a p95
_ENOUGH = 100  # observations before a p95, a sum or a ratio says anything
_AGAIN = 20  # observations after which the limit is set anew
_GROWTH = log(1.05)  # from one time to the next that are told apart
_SESSIONS = 512
_SURPRISING = 1000.0  # evidence against the split: once in so many rollouts by chance
_SETTLED_S = 10.0  # until all replicas serve a new weight, and the requests of the old one have ended


class Times:
    """How long things took, to within 5 %. Mutable state: a count per time."""

    __slots__ = ("count", "counts")

    def __init__(self) -> None:
        self.count = 0
        self.counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        place = ceil(log(max(seconds, 1e-4)) / _GROWTH)
        self.counts[place] = self.counts.get(place, 0) + 1
        self.count += 1

    def p95(self) -> float:
        """Seconds; 0 of none."""
        left = 0.95 * self.count
        for place in sorted(self.counts):
            left -= self.counts[place]
            if left <= 0:
                return float(1.05**place)
        return 0.0


@dataclass(slots=True)
class Rate:
    """Mutable state: the evidence and the alarm. Values are 0 and 1."""

    cell: Counted
    alarm: Detector
    alarmed: bool = False

    def add(self, value: bool, tolerance: float) -> None:
        self.cell.add(float(value), 1.0)
        self.alarmed = self.alarm.add(value - tolerance) or self.alarmed

    def verdict(self, enough: float, worse: float) -> Verdict:
        if self.alarmed or self.cell.log_worse() >= worse:
            return Verdict.FAIL
        return Verdict.PASS if self.cell.log_better() >= enough else Verdict.UNDECIDED


class Live:
    """It changes in `observe` and `since`. `costs`: nano-dollars, of student and teacher, and of how many pairs;
    `sessions`: of the 512 with the smallest hashes, whether they are the student's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        named = [name for name in (TTFT, FALLBACK, CANCELS) if name in plan.by_name]
        self._judged = max(1, len(named))
        self._rates = {name: self._rate(name) for name in named}
        self._times = {role: Times() for role in Role}
        self._limit = 0.0
        self.costs = [0, 0, 0]
        self.sessions: dict[int, bool] = {}
        self._since, self._weight = 0.0, 0.0

    def _rate(self, name: str) -> Rate:
        tolerance = self._tolerance(name)
        return Rate(Counted(tolerance, self._plan.alpha), Detector(tolerance, self._plan.run_length * self._judged))

    def _tolerance(self, name: str) -> float:
        return _SLOW if name == TTFT else self._plan.by_name[name].tolerance

    def since(self, at: float, weight: float) -> None:
        """The weight (percent) went live then, UNIX seconds: the split is counted from there."""
        if (at, weight) != (self._since, self._weight):
            self._since, self._weight, self.sessions = at, weight, {}

    def observe(self, sampled: Sampled) -> None:
        filed = sampled.pair
        if filed is None:
            return
        if filed.decided is Role.STUDENT:
            self._tell(FALLBACK, filed.reason is Reason.PRIMARY_FAILED)
            self._tell(CANCELS, filed.reason is Reason.CANCELLED)
        if filed.decided is not None and filed.by_split and filed.at >= self._since + _SETTLED_S:
            self._session(filed.point, filed.decided is Role.STUDENT)
        if filed.reason is Reason.TIMEOUT and filed.answered is Role.TEACHER and self._limit:
            self._tell(TTFT, True)
        if filed.student is not None and filed.teacher is not None:
            self._pair(filed)

    def _pair(self, filed: Filed) -> None:
        student, teacher = filed.student, filed.teacher
        assert student is not None
        assert teacher is not None
        for at, cost in enumerate((student.cost_nano_usd, teacher.cost_nano_usd, 1)):
            self.costs[at] += cost
        if student.ttft_s is None or teacher.ttft_s is None or TTFT not in self._rates:
            return
        if self._limit:
            self._tell(TTFT, student.ttft_s > self._limit)
        times = self._times[Role.TEACHER]
        times.add(teacher.ttft_s)
        self._times[Role.STUDENT].add(student.ttft_s)
        if times.count >= _ENOUGH and times.count % _AGAIN == 0:
            self._limit = times.p95() * self._plan.by_name[TTFT].tolerance

    def _tell(self, name: str, value: bool) -> None:
        if name in self._rates:
            self._rates[name].add(value, self._tolerance(name))

    def _session(self, point: float, student: bool) -> None:
        self.sessions[int.from_bytes(sha256(point.hex().encode()).digest()[:6], "big")] = student
        if len(self.sessions) > _SESSIONS:
            del self.sessions[max(self.sessions)]

    def readings(self) -> Iterator[tuple[str, Reading, str]]:
        """Name, reading and verdict in words, of each check that the plan has. Of `ttft_p95` the estimate is the ratio;
        the interval is of the share that is slower than the tolerance allows 5 % to be."""
        for name in self._rates:
            yield self._read_rate(name)
        if COST in self._plan.by_name:
            yield self._read_cost()
        if RATIO in self._plan.by_name:
            yield self._read_ratio()

    def _read_rate(self, name: str) -> tuple[str, Reading, str]:
        rate, tolerance = self._rates[name], self._plan.by_name[name].tolerance
        cell, enough = rate.cell, -log(self._plan.alpha)
        verdict = rate.verdict(enough, enough + log(self._judged))
        estimate, (low, high) = cell.estimate(), cell.interval()
        shown = f"tolerance {tolerance:.3g}"
        if name == TTFT:
            ours, theirs = (self._times[role].p95() for role in (Role.STUDENT, Role.TEACHER))
            estimate = ours / theirs if theirs else None
            shown = f"p95 {ours:.3g} s against the teacher's {theirs:.3g} s, at most {tolerance:.3g} times"
        log_e, needed = cell.log_better(), cell.needed(enough)
        at = (cell.pairs, estimate, low, high, log_e, enough, needed, verdict)
        reading = Reading("", *at, alarmed_at=None)
        why = "alarm: worse than the tolerance of late" if rate.alarmed else reading.why
        return name, reading, f"{name} ({shown}): {why}"

    def _read_cost(self) -> tuple[str, Reading, str]:
        student, teacher, pairs = self.costs
        tolerance = self._plan.by_name[COST].tolerance
        if not teacher or pairs < _ENOUGH:
            why = f"{pairs} of {_ENOUGH} pairs" if pairs < _ENOUGH else "the teacher's answers have no price"
            needed = max(0, _ENOUGH - pairs)
            return COST, _fact(pairs, None, Verdict.UNDECIDED, needed), f"{COST}: {why}"
        ratio = student / teacher
        verdict = Verdict.PASS if ratio <= tolerance else Verdict.FAIL
        why = f"{COST}: {ratio:.3g} times the teacher's, at most {tolerance:.3g} times"
        return COST, _fact(pairs, ratio, verdict, 0), why

    def _read_ratio(self) -> tuple[str, Reading, str]:
        count, student = len(self.sessions), sum(self.sessions.values())
        share = min(max(self._weight / 100, 0.001), 0.999)
        if count < _ENOUGH:
            why = f"{RATIO}: {count} of {_ENOUGH} sessions"
            return RATIO, _fact(count, None, Verdict.UNDECIDED, _ENOUGH - count), why
        odd = rates.log_mixture(student, count, share, rates.prior_around(share, _SESSIONS)) >= log(_SURPRISING)
        why = f"{RATIO}: {student} of {count} sessions are the student's, at a weight of {self._weight:g} %"
        return RATIO, _fact(count, student / count, Verdict.FAIL if odd else Verdict.PASS, 0), why

    def plain(self) -> dict[str, Any]:
        return {
            "rates": {
                name: {
                    "tolerance": self._plan.by_name[name].tolerance,
                    "cell": rate.cell.plain(),
                    "alarm": list(rate.alarm.capitals),
                    "alarmed": rate.alarmed,
                }
                for name, rate in self._rates.items()
            },
            "times": {
                role.value: [list(one) for one in sorted(times.counts.items())] for role, times in self._times.items()
            },
            "limit": self._limit,
            "costs": list(self.costs),
            "sessions": [list(one) for one in sorted(self.sessions.items())],
            "since": [self._since, self._weight],
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """A check that the plan has meanwhile, or has with another tolerance, begins anew."""
        for name, rate in self._rates.items():
            was = plain["rates"].get(name)
            if was is not None and was["tolerance"] == self._plan.by_name[name].tolerance:
                rate.cell.restore(was["cell"])
                rate.alarm.capitals, rate.alarmed = list(was["alarm"]), was["alarmed"]
        for role, times in self._times.items():
            times.counts = dict(plain["times"][role.value])
            times.count = sum(times.counts.values())
        self._limit = plain["limit"]
        self.costs = list(plain["costs"])
        self.sessions = dict(plain["sessions"])
        self._since, self._weight = plain["since"]


def _fact(count: int, value: float | None, verdict: Verdict, needed: int) -> Reading:
    """What is no estimate: it has neither interval nor evidence."""
    at = value if value is not None else 0.0
    return Reading("", count, value, at, at, 0.0, 0.0, needed, verdict)
