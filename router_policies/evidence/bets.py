"""Bets against a hypothesis, where counting is not enough: weights, scores, differences of two scores.

A gain g is what a bettor who doubts the hypothesis would win, at most so much below 0 (`floor`), and on average no
more than 0 if the hypothesis holds, whatever came before. Then for a constant bet 0 <= l < 1/floor the capital
prod(1 + l g) is a non-negative supermartingale that starts at 1, and so is the mean over several bets. Capital of
1/alpha or more is ever reached with probability at most alpha (Ville 1939).

For "the rate is `tolerance` or more" the gain of a pair is w (tolerance - D). The weight is w = q_min / q, where q is
the probability with which this very request was selected and q_min the least that any request had then. A request that
was not selected gains 0. So over all requests the mean gain is q_min (tolerance - E[D]), whatever q was for whom: the
rate of all the traffic is tested, though hard requests may be selected more often than easy ones. (Xu et al.,
arXiv:2406.10490, and Waudby-Smith et al., arXiv:2210.10768, bet on tolerance - D/q, with 0 in the place of D/q for what
was not selected. Its mean is the same times 1/q_min and its variance nearly so, but it needs a row for every request
that was not selected, and has no room for a check that has nothing to say of some answers.)
"""

from collections.abc import Sequence
from math import inf, log, log1p, sqrt

from router_policies.evidence.special import log_mean_exp

_BOLDEST = 0.5  # of the largest bet allowed, in an interval
_PRIOR_VARIANCE = 0.25  # the most that a score in [0, 1] can have


def even_bets(floor: float, count: int = 10) -> tuple[float, ...]:
    """Evenly spread: for gains of rates and excesses below a tolerance, where the best bet is rarely timid."""
    return tuple(k / (count + 1) / floor for k in range(1, count + 1))


def halving_bets(floor: float, count: int = 6) -> tuple[float, ...]:
    """From half of the largest downwards: for losses, which may be anything from a little worse to always wrong."""
    return tuple(0.5**k / floor for k in range(1, count + 1))


class Bets:
    """The mean capital of several constant bets. `logs`: of each capital; the whole state."""

    __slots__ = ("bets", "logs")

    def __init__(self, bets: Sequence[float]) -> None:
        self.bets = tuple(bets)
        self.logs = [0.0] * len(self.bets)

    def add(self, gain: float) -> None:
        self.logs = [have + log1p(bet * gain) for have, bet in zip(self.logs, self.bets, strict=True)]

    def log_capital(self, times: float = 1.0) -> float:
        """`times`: as it will be if so many times the pairs so far have come and all of them were like those so far."""
        return log_mean_exp([times * have for have in self.logs])


class Spread:
    """An interval for a weighted mean, from five sums, for people to look at.

    For u = w / (high - low) at most 1, a value x in [low, high] and a bet 0 <= l <= 1/2 that is fixed before x is seen,
    exp(l u (x-m) - psi(l) u^2 (x-m)^2) <= 1 + l u (x-m), where psi(l) = -log(1-l) - l (Fan, Grama and Liu 2015; the
    step under the empirical Bernstein bound of Howard et al. 2021 and Waudby-Smith and Ramdas 2024). So the exponents,
    added up, are the log of a process that rules out means up to m; written out they are a quadratic in m, and the ends
    of the interval its roots. The capital falls in m, so that what rules out m rules out all below it.
    """

    __slots__ = ("alpha", "count", "high", "low", "sums", "total", "variance", "weight")

    def __init__(self, low: float, high: float, alpha: float) -> None:
        self.low, self.high, self.alpha = low, high, alpha
        self.count = 0
        self.weight = 0.0  # sum of u
        self.total = 0.0  # sum of u x
        self.variance = _PRIOR_VARIANCE  # and the sum of u^2 (x - mean until then)^2
        self.sums = [0.0] * 5  # of l u x, l u, psi u^2 x^2, psi u^2 x, psi u^2

    def add(self, value: float, weight: float) -> None:
        u = weight / (self.high - self.low)
        turn = self.count + 1
        bet = min(_BOLDEST, sqrt(2 * log(2 / self.alpha) / (self.variance * log1p(turn))))
        psi = (-log1p(-bet) - bet) * u * u
        a, b, c, d, e = self.sums
        self.sums = [a + bet * u * value, b + bet * u, c + psi * value * value, d + psi * value, e + psi]
        guess = ((self.low + self.high) / 2 + self.total) / (1 + self.weight)
        self.count = turn
        self.weight += u
        self.total += u * value
        self.variance += (u * (value - guess)) ** 2

    @property
    def mean(self) -> float | None:
        return self.total / self.weight if self.count else None

    def interval(self) -> tuple[float, float]:
        """Holds the mean with probability 1 - alpha at every look at once."""
        enough = log(2 / self.alpha)
        a, b, c, d, e = self.sums
        below = _roots(-e, 2 * d - b, a - c - enough)  # what rules out means up to m
        above = _roots(-e, 2 * d + b, -a - c - enough)
        return max(self.low, below[1]), min(self.high, above[0])


def _roots(a: float, b: float, c: float) -> tuple[float, float]:
    """Where a x^2 + b x + c, with a <= 0, is 0; the wrong way round and infinite if it is negative throughout."""
    inside = b * b - 4 * a * c
    if a == 0 or inside < 0:
        return inf, -inf
    root = sqrt(inside)
    return (-b + root) / (2 * a), (-b - root) / (2 * a)
