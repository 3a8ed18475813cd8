"""What evidence says, at a moment: numbers for a dashboard, a verdict for the rollout, words for people."""

from dataclasses import dataclass
from enum import StrEnum
from math import exp

from router_policies.evidence.rules import Kind, Rule

_LARGEST = 700.0  # e to this is still a float


class Verdict(StrEnum):
    """PASS: certified below the tolerance, as of now. FAIL: certified above it, or an alarm was raised. UNDECIDED: not
    enough is known, which is never a reason to go on."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Reading:
    """A check in one stratum, or over all traffic ("").

    `low`, `high`: an interval that holds the truth at every look at once, at the level of the rules' alpha; for people.
    `log_e`: log of the evidence that the student is below the tolerance; it passes at `log_enough`, the log of 1 over
    what this attempt may spend. `needed`: more pairs until then if they are like those so far; None if never.
    `alarmed_at`: position of the record that raised the alarm. `noise`: how often, or by how much, the teacher differs
    from itself, and the interval of that; None if it was never asked twice. `refused`: why it cannot pass, or "".
    """

    stratum: str
    pairs: int
    estimate: float | None
    low: float
    high: float
    log_e: float
    log_enough: float
    needed: int | None
    verdict: Verdict
    alarmed_at: int | None = None
    noise: tuple[float, float, float] | None = None
    refused: str = ""

    @property
    def e_value(self) -> float:
        return exp(min(self.log_e, _LARGEST))

    @property
    def enough(self) -> float:
        return exp(min(self.log_enough, _LARGEST))

    @property
    def why(self) -> str:
        """The verdict in words."""
        if self.alarmed_at is not None:
            return f"alarm: worse than the tolerance of late, as of pair {self.alarmed_at:,} of the log"
        if self.refused:
            return self.refused
        have = f"evidence {self.e_value:.3g} of {self.enough:.3g}"
        if self.verdict is Verdict.PASS:
            return f"{have}: below the tolerance"
        if self.verdict is Verdict.FAIL:
            return "above the tolerance"
        if not self.pairs:
            return f"no pairs yet; {self.needed:,} if none differs"
        if self.needed is None:
            return f"{have}: will not pass if it goes on like this"
        return f"{have}: {self.needed:,} more pairs if they are like the {self.pairs:,} so far"


@dataclass(frozen=True, slots=True)
class CheckReading:
    """A check on a route. It passes where all of its cells do; one that fails fails it."""

    rule: Rule
    cells: tuple[Reading, ...]

    @property
    def verdict(self) -> Verdict:
        return self.weakest.verdict

    @property
    def weakest(self) -> Reading:
        """The cell that decides: one that fails, else the one with the least evidence."""
        order = (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS)
        return min(self.cells, key=lambda cell: (order.index(cell.verdict), cell.log_e))

    @property
    def alarmed_at(self) -> int | None:
        return min((cell.alarmed_at for cell in self.cells if cell.alarmed_at is not None), default=None)

    @property
    def why(self) -> str:
        kind = "" if self.rule.kind is Kind.RATE else f"{self.rule.kind} "
        where = f" in stratum {self.weakest.stratum}" if self.weakest.stratum else ""
        return f"{self.rule.check} ({kind}tolerance {self.rule.tolerance:.3g}){where}: {self.weakest.why}"
