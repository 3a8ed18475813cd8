"""The mean of scores in [0, 1], by hedged betting (Waudby-Smith and Ramdas, JRSS-B 2024, arXiv:2010.09686, theorem 3).

For each candidate mean m two bettors play: one wins when scores are above m, one when they are below. What they bet is
fixed before the score is seen, from the mean and variance so far, and never enough to lose more than half. A candidate
is ruled out when the larger of their capitals, each of which began as 1/2, is 1/alpha. The bettor against means of
`tolerance` and more is by himself the evidence of a gate.

State: two numbers per candidate and three sums. 200 candidates are for the display; a gate needs the tolerance alone.
"""

from math import inf, log, log1p, sqrt

_MOST_LOST = 0.5  # c of the paper
_LOG_HALF = log(0.5)  # the hedge: either bettor begins with half


class Capital:
    """`marks`: the candidates, the tolerance first, then the grid from 0 to 1. `above`, `below`: the logs of the two
    bettors' capitals at each; what they began with is left out."""

    __slots__ = ("_most_above", "_most_below", "above", "alpha", "below", "count", "marks", "total", "variance")

    def __init__(self, tolerance: float, alpha: float, steps: int = 200) -> None:
        self.alpha = alpha
        self.marks = (tolerance, *(step / steps for step in range(steps + 1)))
        self._most_above = tuple(_MOST_LOST / m if m else inf for m in self.marks)
        self._most_below = tuple(_MOST_LOST / (1 - m) if m < 1 else inf for m in self.marks)
        self.above = [0.0] * len(self.marks)
        self.below = [0.0] * len(self.marks)
        self.count = 0
        self.total = 0.0
        self.variance = 0.25  # and the sum of (score - mean with it)^2

    @property
    def bet(self) -> float:
        """What will be bet on the next score, before the limits."""
        return sqrt(2 * log(2 / self.alpha) / (self.variance * log1p(self.count + 1)))

    def add(self, score: float) -> None:
        bet = self.bet
        self.above = [
            have + log1p((bet if bet < most else most) * (score - m))
            for have, most, m in zip(self.above, self._most_above, self.marks, strict=True)
        ]
        self.below = [
            have + log1p((bet if bet < most else most) * (m - score))
            for have, most, m in zip(self.below, self._most_below, self.marks, strict=True)
        ]
        self.count += 1
        self.total += score
        self.variance += (score - (0.5 + self.total) / (self.count + 1)) ** 2

    def log_hedged(self) -> list[float]:
        """log of the capital against each of the marks."""
        return [max(one, other) + _LOG_HALF for one, other in zip(self.above, self.below, strict=True)]

    def interval(self) -> tuple[float, float]:
        """Holds the mean with probability 1 - alpha at every look at once; to the outer step of the grid. Where it is
        narrower than a step, it is the two steps around the candidate that is ruled out least."""
        grid = self.log_hedged()[1:]
        enough = log(1 / self.alpha)
        left = [i for i, have in enumerate(grid) if have < enough] or [min(range(len(grid)), key=grid.__getitem__)]
        last = len(grid) - 1
        return max(left[0] - 1, 0) / last, min(left[-1] + 1, last) / last
