"""When good turns bad: a detector that forgets the good times.

Evidence over the whole history drowns: after 5,000 good pairs it takes thousands of bad ones until they outweigh them.
So a new bettor begins with every pair, with capital 1, and the detector is what they all have together:
R <- (R + 1) (1 + l g), where g is how much worse than the tolerance a pair was, taken on average over some bets l. As
long as nothing is wrong, which is that the mean gain is at most 0 whatever came before, R is at most the number of
pairs on average; so the alarm at R >= A is raised after A pairs or more on average. That is the run length: it says how
rarely people are called for nothing. It is no probability; every detector alarms some day.

This is the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo ("E-detectors", New England Journal of Statistics in
Data Science). Their e-CUSUM, M <- max(M, 1) (1 + l g), has the same guarantee but is never above it, so it alarms
later; `benchmarks/gate.py` has both.

Of several detectors any may trip; each then gets the threshold A times their number, and all together keep A.
"""

from router_policies.evidence.bets import halving_bets

_MOST = 1e300  # far above any threshold, below infinity


class Detector:
    """`floor`: a gain is never below minus this. `capitals`: for each bet; the whole state."""

    __slots__ = ("_enough", "bets", "capitals")

    def __init__(self, floor: float, run_length: float) -> None:
        self.bets = halving_bets(floor)
        self._enough = run_length * len(self.bets)
        self.capitals = [0.0] * len(self.bets)

    def add(self, gain: float) -> bool:
        """Whether the alarm is on."""
        self.capitals = [
            min((have + 1.0) * (1.0 + bet * gain), _MOST) for have, bet in zip(self.capitals, self.bets, strict=True)
        ]
        return sum(self.capitals) >= self._enough
