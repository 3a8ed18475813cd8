"""Makes scores probabilities, and measures how far probabilities are from what happens."""

from collections.abc import Sequence
from math import log1p

from router_policies.risk.policy_model import sigmoid

_ROUNDS = 100
_CLOSE = 1e-10
_RIDGE = 1e-12  # keeps Newton's matrix from being singular


def platt(scores: Sequence[float], labels: Sequence[bool]) -> tuple[float, float]:
    """Slope and offset of sigmoid(slope * score + offset), most likely for these labels (Platt 1999).

    Targets are (n+ + 1)/(n+ + 2) and 1/(n- + 2), not 1 and 0, so that scores which part the labels wholly do not make
    the slope infinite. Newton's method with step halving, as Lin, Lin and Weng (Machine Learning 68, 2007) give it.
    Temperature scaling is the special case of an offset of 0. Fit on texts that the weights were not trained on.
    """
    positives = sum(labels)
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise ValueError(f"expected labels of both kinds, got {positives} of {len(labels)} that are true")
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    targets = [high if label else low for label in labels]

    def loss(a: float, b: float) -> float:
        return sum([_cross_entropy(a * score + b, target) for score, target in zip(scores, targets, strict=True)])

    slope, offset = 0.0, 0.0
    best = loss(slope, offset)
    for _ in range(_ROUNDS):
        g_a = g_b = h_ab = 0.0
        h_aa = h_bb = _RIDGE
        for score, target in zip(scores, targets, strict=True):
            p = sigmoid(slope * score + offset)
            g_a += score * (p - target)
            g_b += p - target
            weight = p * (1 - p)
            h_aa += score * score * weight
            h_ab += score * weight
            h_bb += weight
        determinant = h_aa * h_bb - h_ab * h_ab
        step_a, step_b = (h_bb * g_a - h_ab * g_b) / determinant, (h_aa * g_b - h_ab * g_a) / determinant
        size = 1.0
        while (reached := loss(slope - size * step_a, offset - size * step_b)) > best and size > _CLOSE:
            size /= 2
        if best - reached < _CLOSE:
            break
        slope, offset, best = slope - size * step_a, offset - size * step_b, reached
    return slope, offset


def _cross_entropy(x: float, target: float) -> float:
    """-target log p - (1 - target) log(1 - p), p = sigmoid(x), where neither p may be rounded to 0."""
    return _softplus(x) - target * x


def _softplus(x: float) -> float:
    """log(1 + exp(x))."""
    p = sigmoid(-abs(x))  # in (0, 1/2]
    return max(x, 0.0) - log1p(-p)


def calibration_error(probabilities: Sequence[float], labels: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: the mean distance of what is said and what happens, over bins of equally many texts
    in the order of what is said (Naeini, Cooper and Hauskrecht, AAAI 2015; equal mass: Nguyen and O'Connor 2015).
    It is above 0 for a perfect model too, by about sqrt(p(1-p) bins/n)."""
    if not probabilities:
        raise ValueError("expected probabilities, got none")
    ranked = sorted(zip(probabilities, labels, strict=True))
    total, error = len(ranked), 0.0
    for at in range(bins):
        part = ranked[at * total // bins : (at + 1) * total // bins]
        error += abs(sum([said for said, _ in part]) - sum([true for _, true in part]))
    return error / total
