"""The records that shadow mode files, one for each arm of a sample, put into the order of their requests and joined.

They are filed when they are complete: the quick and easy ones first. Counted like that, a student would be judged by
them before the hard ones are in. So they are sorted by the time of their request, behind a watermark: a record waits
until one has been filed whose request began `late_s` later. What is filed after its place has passed is late, and
counts as lost. The hosts' clocks may differ, by much less than `late_s`.

Nothing but the records and their numbers goes in, no clock: so after the same records the order is the same, whether
they came one at a time over a week with restarts between, or all at once.

What counts against the student: a pair that differs, and one that is lost. Left out are samples that could never make a
pair (`UNSUPPORTED`), those whose client left (`CANCELLED`: `cancel_rate` is there to watch them), and what hits all
requests of a time alike, whatever is in them: the budget is spent, shadowing is off, the process ends. Then there is no
data, and the rollout holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Any

import msgspec

from router_policies.checks.check import CheckVerdict
from router_policies.evidence.records import LATE
from router_policies.evidence.rules import Key
from router_policies.routes import Role
from router_policies.shadow import Arm, Reason

LEFT_OUT = frozenset({Reason.UNSUPPORTED, Reason.CANCELLED, Reason.BUDGET, Reason.DISABLED, Reason.SHUTDOWN})


class Side(msgspec.Struct, frozen=True):
    """An answer. `ttft_s`: seconds. `sure`: a student's confidence, the `quantile` of its log-probabilities."""

    ttft_s: float | None = None
    cost_nano_usd: int = 0
    sure: float | None = None
    quantile: float | None = None


class Filed(msgspec.Struct, frozen=True):
    """What is read of a record (`gateway.after.sample.Record`). `at`: when the request began, UNIX seconds.

    Fields that older records do not have: `decided`, who was meant to answer, None if that is not known; `by_split`:
    the split alone decided that; `stratum`, `least`, `twinned` as in `evidence.records.Selection`.
    """

    pair_id: str
    arm: Arm
    at: float
    revision: int
    answered: Role
    point: float
    probability: float
    request_id: str = ""
    route: str = ""
    reason: Reason | None = None
    student: Side | None = None
    teacher: Side | None = None
    evidence_key: str = ""
    verdicts: tuple[CheckVerdict, ...] = ()
    decided: Role | None = None
    by_split: bool = True
    stratum: str = "default"
    least: float | None = None
    twinned: bool | None = None


read_record = msgspec.json.Decoder(Filed).decode
"""A `Filed` of JSON. Raises `msgspec.ValidationError`, a ValueError."""


def key_of(evidence_key: str) -> Key:
    """What a record's `evidence_key` says: student, teacher, and the pack with its checks and their versions."""
    student, _, rest = evidence_key.partition("|")
    teacher, _, pack = rest.partition("|")
    return Key(student, teacher, policy_pack=pack)


@dataclass(frozen=True, slots=True)
class Sampled:
    """All that was filed of a sample. `late`: it came when its place had passed."""

    arms: Mapping[Arm, Filed]
    late: bool = False

    @property
    def pair(self) -> Filed | None:
        return self.arms.get(Arm.AB)

    @property
    def twin(self) -> Filed | None:
        return self.arms.get(Arm.AA)

    @property
    def lost(self) -> str | None:
        """Why there is no pair to compare, None if there is one."""
        if self.late:
            return LATE
        return self.pair.reason if self.pair is not None else None


class Order:
    """Mutable state: the samples that wait for their turn, by id, with the number of the first record of each; the
    latest request seen; the last place given out."""

    __slots__ = ("_heap", "_latest", "_numbers", "_passed", "_waiting", "late_s")

    def __init__(self, late_s: float) -> None:
        self.late_s = late_s
        self._waiting: dict[str, dict[Arm, Filed]] = {}
        self._numbers: dict[str, int] = {}
        self._heap: list[tuple[float, str]] = []
        self._latest = 0.0
        self._passed = (0.0, "")

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> int | None:
        """The number of the first record that waits; None if none does."""
        return min(self._numbers.values(), default=None)

    def add(self, filed: Filed, number: int) -> list[Sampled]:
        """Take in the record that was filed next; returns the samples whose turn has come, in order."""
        if filed.pair_id not in self._waiting and (filed.at, filed.pair_id) <= self._passed:
            return [Sampled({filed.arm: filed}, late=True)]
        self._wait(filed, number)
        self._latest = max(self._latest, filed.at)
        return self._until(self._latest - self.late_s)

    def again(self, filed: Filed, number: int) -> None:
        """After a restart, a record that had been added before: it waits again if it did."""
        if (filed.at, filed.pair_id) > self._passed:
            self._wait(filed, number)

    def rest(self) -> list[Sampled]:
        """Those that still wait, in order; for a log that has come to its end."""
        return self._until(inf)

    def _wait(self, filed: Filed, number: int) -> None:
        if filed.pair_id not in self._waiting:
            self._waiting[filed.pair_id] = {}
            self._numbers[filed.pair_id] = number
            heappush(self._heap, (filed.at, filed.pair_id))
        self._waiting[filed.pair_id][filed.arm] = filed

    def _until(self, at: float) -> list[Sampled]:
        due = []
        while self._heap and self._heap[0][0] <= at:
            self._passed = heappop(self._heap)
            del self._numbers[self._passed[1]]
            due.append(Sampled(self._waiting.pop(self._passed[1])))
        return due

    def plain(self) -> dict[str, Any]:
        """Without what waits: that is added `again`."""
        return {"latest": self._latest, "passed": list(self._passed)}

    def restore(self, plain: Mapping[str, Any]) -> None:
        self._latest, self._passed = plain["latest"], tuple(plain["passed"])
