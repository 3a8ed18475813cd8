"""The verdict log's rows, and how they get into an order that no answer had a say in.

Pairs are complete when the slower answer is there. Taken as they come, the quick and easy ones would be counted first
and promote a student before the hard ones are in. So a pair gets its place when it is *selected*, before there is an
answer, and is counted in its turn; one that is not complete `late_s` seconds after its selection is lost, whatever
comes later. What is lost counts against the student: queues overflow and deadlines pass on long, hard prompts.

The order need not be that of the clocks of several hosts. All that the statistics need is that it is fixed before the
answers are known: the order in which the leader reads the selections, for one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router_policies.checks.check import CheckVerdict, Outcome

LATE = "late"


@dataclass(frozen=True, slots=True)
class Selection:
    """A request that a pair is to be made of, told before either answer is known. `at`: seconds on the clock of `now`.
    `probability`: with which it was selected; `least`: the least with which any request of the route was, just then.
    `twinned`: the teacher is asked twice; the choice must not depend on the request."""

    id: str
    at: float
    key: str
    stratum: str
    probability: float
    least: float
    twinned: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """`values`: per check, 0 or 1 or a score; a check with nothing to say of the two answers is not in it. `twin`: the
    same for the teacher's two answers; None if there is only one."""

    values: Mapping[str, float]
    twin: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """`reason`: one of the few words that non-pairs are counted under. `twin` as in `Pair`: only the student's answer
    may be missing."""

    reason: str
    twin: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A row of the verdict log. `position`: 1, 2, 3, … without a gap."""

    position: int
    selection: Selection
    outcome: Pair | Lost


class Line:
    """Selections wait in it for their outcome. It holds no more than is selected in `late_s`, and is made anew after a
    restart by telling it again, in their order, the selections that are not in the log."""

    __slots__ = ("_late_s", "_waiting", "position")

    def __init__(self, late_s: float, position: int = 0) -> None:
        self._late_s = late_s
        self._waiting: dict[str, tuple[Selection, Pair | Lost | None]] = {}
        self.position = position

    def __len__(self) -> int:
        return len(self._waiting)

    def select(self, selection: Selection) -> bool:
        """Whether it is new; told twice, it keeps its place."""
        if selection.id in self._waiting:
            return False
        self._waiting[selection.id] = (selection, None)
        return True

    def settle(self, pair_id: str, outcome: Pair | Lost) -> bool:
        """Whether it still mattered: not if it is settled, or given up as late, or never was selected."""
        selection, settled = self._waiting.get(pair_id, (None, None))
        if selection is None or settled is not None:
            return False
        self._waiting[pair_id] = (selection, outcome)
        return True

    def ready(self, now: float) -> list[Record]:
        """The rows that are next, up to the first that may still be waited for. They are given out once."""
        records = []
        while self._waiting:
            selection, outcome = next(iter(self._waiting.values()))
            if outcome is None:
                if now - selection.at < self._late_s:
                    break
                outcome = Lost(LATE)
            del self._waiting[selection.id]
            self.position += 1
            records.append(Record(self.position, selection, outcome))
        return records


def difference(verdicts: Iterable[CheckVerdict], worse_only: bool = False) -> float | None:
    """The value of some checks of a pair taken as one: 1 if any of them differs, 0 if none, None if all have nothing to
    say. `worse_only`: only what the student fails and the teacher does not counts as differing."""
    said = [one for one in verdicts if one.student is not Outcome.NA or one.teacher is not Outcome.NA]
    if not said:
        return None
    return float(any(one.student_worse if worse_only else not one.agree for one in said))
