"""A rate of disagreement, from two whole numbers: of so many pairs, so many differ.

Nothing but the two counts is kept, and everything said of them may be looked at after every pair: under its hypothesis
each process below is a non-negative supermartingale that starts at 1, so it ever reaches 1/alpha with probability at
most alpha (Ville 1939). A p-value, or an interval of Wilson or of Clopper and Pearson, loses that at the second look.

- `log_better`: against "the rate is the tolerance or more". A mixture over rates p' below the tolerance t of the
  likelihood ratios of p' to t, with a Beta prior cut off at t (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon,
  Annals of Statistics 49, 2021). If the next pair differs with probability p given all before, then a component grows
  by p p'/t + (1-p)(1-p')/(1-t) on average; that is 1 at p = t and falls in p. So neither independence nor a fixed rate
  is needed: it holds as long as each next pair would differ with probability t or more.
- `log_worse`: its mirror image, against "the rate is the tolerance or less".
- `interval`: all rates p that the two-sided mixture around p does not rule out. For people to look at.
"""

from collections.abc import Callable
from math import log, log1p

from router_policies.evidence.special import log_beta, log_incomplete_beta

TUNED_AT = 0.05  # the level at which the display interval is the narrowest; a choice of width, not of validity
_HALVINGS = 45  # of an interval that is at most 1 wide; more, and its end would be rounded to 1
_FOREVER = 10**9  # pairs; more than this is no promise to anyone


def log_better(differ: float, pairs: float, tolerance: float, prior: tuple[float, float] = (1.0, 1.0)) -> float:
    """log of the evidence that the rate is below `tolerance`. Counts may be fractions, to look ahead."""
    a, b = prior
    agree = pairs - differ
    mixture = log_incomplete_beta(tolerance, a + differ, b + agree) - log_incomplete_beta(tolerance, a, b)
    return mixture - differ * log(tolerance) - agree * log1p(-tolerance)


def log_worse(differ: float, pairs: float, tolerance: float, prior: tuple[float, float] = (1.0, 1.0)) -> float:
    """log of the evidence that the rate is above `tolerance`: the same, of agreements below 1 - tolerance."""
    return log_better(pairs - differ, pairs, 1 - tolerance, (prior[1], prior[0]))


def best_rho(variance: float, alpha: float) -> float:
    """The normal mixture's parameter that makes a two-sided bound the narrowest at this intrinsic variance."""
    return variance / (2 * log(1 / alpha) + log1p(2 * log(1 / alpha)))


def prior_around(rate: float, aim: float, alpha: float = TUNED_AT) -> tuple[float, float]:
    """A Beta prior with mean `rate` that makes the mixture strongest about `aim` pairs from the start."""
    variance = rate * (1 - rate)
    r = max(best_rho(aim * variance, alpha) - variance, 1e-3 * variance)
    return r / (1 - rate), r / rate


def log_mixture(differ: int, pairs: int, rate: float, prior: tuple[float, float]) -> float:
    """log of the evidence, on both sides, that the rate is not `rate`."""
    a, b = prior
    agree = pairs - differ
    mixture = log_beta(a + differ, b + agree) - log_beta(a, b)
    return mixture - differ * log(rate) - agree * log1p(-rate)


def interval(differ: int, pairs: int, alpha: float, aim: float) -> tuple[float, float]:
    """A confidence sequence: with probability 1 - alpha the rate is in it at every look at once, the last included."""
    if pairs == 0:
        return 0.0, 1.0
    seen, enough = differ / pairs, log(1 / alpha)

    def ruled_out(rate: float) -> bool:
        return log_mixture(differ, pairs, rate, prior_around(rate, aim)) >= enough

    def edge(out: float, inside: float) -> float:
        """Between a rate at an end of the scale and the one seen. The end is out, or nothing between is."""
        for _ in range(_HALVINGS):
            middle = (out + inside) / 2
            if ruled_out(middle):
                out = middle
            else:
                inside = middle
        return out

    return (edge(0.0, seen) if differ else 0.0), (edge(1.0, seen) if differ < pairs else 1.0)


def pairs_needed(differ: int, pairs: int, tolerance: float, enough: float) -> int | None:
    """How many more until `log_better` is `enough`, if they differ as often as those so far. None: not at that rate."""
    if pairs and differ >= tolerance * pairs:
        return None
    share = differ / pairs if pairs else 0.0
    return smallest(pairs, lambda n: log_better(share * n, n, tolerance) >= enough)


def smallest(now: int, holds: Callable[[int], bool]) -> int | None:
    """How many more than `now` until something holds that goes on holding from there. None: not in a billion."""
    if holds(now):
        return 0
    low, high = now, max(2 * now, 16)
    while not holds(high):
        low, high = high, 2 * high
        if high > _FOREVER:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high - now
