"""The incomplete beta function and sums of exponentials, in logarithms: what evidence is made of grows past any float.

Accuracy: about 1e-15 of the largest logarithm involved, so about 1e-9 absolute after a million pairs.
"""

from collections.abc import Sequence
from math import exp, lgamma, log, log1p

_ENOUGH = 1e-16  # a convergent that changes less than a float can show
_MOST_TERMS = 1_000_000  # they number about sqrt(a + b), so this is never met


def log_beta(a: float, b: float) -> float:
    """log B(a, b), for a, b > 0."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_incomplete_beta(x: float, a: float, b: float) -> float:
    """log of the integral of t^(a-1) (1-t)^(b-1) over t from 0 to x, for 0 < x < 1 and a, b > 0. Not normalised.

    The continued fraction converges fast below the mean (DLMF 8.17.22); above it the other tail is subtracted, which
    there is at most about half of the whole, so that nothing cancels.
    """
    if x <= (a + 1) / (a + b + 2):
        return a * log(x) + b * log1p(-x) - log(a) + log(_fraction(x, a, b))
    whole = log_beta(a, b)
    tail = b * log1p(-x) + a * log(x) - log(b) + log(_fraction(1 - x, b, a))
    return whole + log1p(-exp(min(tail - whole, 0.0)))


def log_mean_exp(logs: Sequence[float]) -> float:
    """log of the mean of exp(each)."""
    top = max(logs)
    return top + log(sum([exp(one - top) for one in logs]) / len(logs))


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by the method of Lentz (Thompson and Barnett 1986)."""
    c = 1.0
    d = 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + even * d)
        c = 1 + even / c
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + odd * d)
        c = 1 + odd / c
        change = d * c
        value *= change
        if abs(change - 1) <= _ENOUGH:
            return value
    raise ArithmeticError(f"the incomplete beta function did not converge at x={x}, a={a}, b={b}")
