"""What another policy would have come to, from what was logged under this one and with which probability.

Each case has the weight w = (probability under the new policy) / (logged probability) of what was observed, 0 if
nothing was, and the observed value y. Three estimates of the mean, in the order of how much they lean on a model:

- IPS, inverse propensity scoring: mean(w y). Unbiased if the logged probabilities are right and none is 0 where the new
  one is not (Horvitz and Thompson, JASA 47, 1952). Its own total weight may be far from the number of cases.
- SNIPS, self-normalized: sum(w y) / sum(w). A small bias, and much less noise (Swaminathan and Joachims, NeurIPS 2015).
- DR, doubly robust: mean(b + w (y - f)), with the predictions f of y and b of the value under the new policy. Unbiased
  whatever is predicted, and the better the prediction, the less noise (Dudik, Langford and Li, ICML 2011). A prediction
  is the mean of like cases in the other half of the sessions, so that no case predicts itself.

Intervals are of 95 %, normal, with sessions as clusters: requests of a session are on one side together, and alike.
A share's interval is at least as wide as that of the few sessions in which it was seen at all, as a Poisson count. They
hold for one look at a log that is over, not for looking on. The gate's evidence is another thing.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Case:
    """`cluster`: the session. `weight`, `value`: w and y; `fit`, `base`: the predictions f and b."""

    cluster: float
    weight: float
    value: float
    fit: float
    base: float


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimates:
    """None where there is no weight at all."""

    ips: Estimate | None
    snips: Estimate | None
    dr: Estimate | None


def estimates(cases: Sequence[Case], most: float | None = None) -> Estimates:
    """`most`: the values lie between 0 and this; None for no limit."""
    weight = sum(case.weight for case in cases)
    if not weight:
        return Estimates(None, None, None)
    count = len(cases)
    ratio = sum(case.weight * case.value for case in cases) / weight
    ips = [case.weight * case.value for case in cases]
    doubly = [case.base + case.weight * (case.value - case.fit) for case in cases]
    snips = [ratio + case.weight * (case.value - ratio) * count / weight for case in cases]
    clusters = [case.cluster for case in cases]
    margins = _rare(cases) if most is not None else (0.0, 0.0)
    return Estimates(*(_mean(values, clusters, margins, most) for values in (ips, snips, doubly)))


def _mean(values: list[float], clusters: list[float], margins: tuple[float, float], most: float | None) -> Estimate:
    """With sessions as clusters. `margins`: how far down and up the interval goes at least."""
    mean = sum(values) / len(values)
    sums: dict[float, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    square = sum(one * one for one in sums.values()) * len(sums) / max(1, len(sums) - 1)
    half = _Z * sqrt(square) / len(values)
    low, high = mean - max(half, margins[0]), mean + max(half, margins[1])
    if most is None:
        return Estimate(mean, low, high)
    return Estimate(mean, min(max(0.0, low), most), min(max(0.0, high), most))


def _rare(cases: Sequence[Case]) -> tuple[float, float]:
    """The margins of a share that was seen in few sessions, or in none: its exact ones as a Poisson count, about which
    the normal interval knows nothing (Wilson and Hilferty's approximation of them)."""
    seen = len({case.cluster for case in cases if case.weight * case.value})
    weight = sum(case.weight for case in cases)
    high = (seen + 1) * (1 - 1 / (9 * (seen + 1)) + _Z / (3 * sqrt(seen + 1))) ** 3
    if not seen:
        effective = min(weight**2 / sum(case.weight**2 for case in cases), len({case.cluster for case in cases}))
        return 0.0, min(1.0, high / max(1.0, effective))
    low = seen * max(0.0, 1 - 1 / (9 * seen) - _Z / (3 * sqrt(seen))) ** 3
    share = sum(case.weight * case.value for case in cases) / len(cases)
    return share * (1 - low / seen), share * (high / seen - 1)


class Means:
    """Means by a key, of the half of the sessions that a case is not in; coarser keys where there are no like cases.
    Mutable state: sums and weights by half and key."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[tuple[int, Hashable], list[float]] = {}

    def add(self, cluster: float, keys: Sequence[Hashable], value: float, weight: float = 1.0) -> None:
        """`keys`: from the finest to the coarsest."""
        for key in keys:
            sums = self._sums.setdefault((_half(cluster), key), [0.0, 0.0])
            sums[0] += weight * value
            sums[1] += weight

    def predict(self, cluster: float, keys: Sequence[Hashable]) -> float:
        """0 if there is nothing like it: any prediction is allowed."""
        for key in keys:
            total, weight = self._sums.get((1 - _half(cluster), key), (0.0, 0.0))
            if weight:
                return total / weight
        return 0.0


def _half(cluster: float) -> int:
    """By a digit of the session's point that has no say in which side it is on."""
    return int(cluster * (1 << 24)) & 1
