"""Deferral: the student's own answer, taken back before anyone has seen it, where it was not sure of it.

Confidence is a low *quantile* of the log-probabilities of the answer's tokens. Their sum punishes length and their mean
drowns one wrong digit in fifty sure words; a low quantile is about the weakest tokens, and the same for an answer twice
as long (Gupta et al., ICLR 2024, arXiv:2404.10136). It is a signal and no truth: a model can be sure of nonsense.

The threshold comes from labelled pairs, by `calibrate`, with a promise: with probability 1 - `delta` over the pairs,
of the answers that are served at most the share `bad_rate` is bad. It goes into the config by hand and is changed by
nothing else; it holds as long as traffic and student are those of the pairs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, exp, floor, isnan, log
from typing import Any

import msgspec

from router_policies.checks.reading import COMPLETIONS, RESPONSES
from router_policies.evidence.special import log_beta, log_incomplete_beta
from router_policies.risk.net import NET_BUDGET, NET_FULL, TEACHER_DOWN

QUANTILE = 0.1
GRID = tuple(log(share / 20) for share in range(19, 0, -1))
"""Thresholds to choose from, as log-probabilities of 95 %, 90 %, ..., 5 %. Fixed before any pair is seen: a threshold
that is picked among the pairs' own confidences is fitted to them, and the bound would not hold."""
_HALVINGS = 60


def confidence(logprobs: Sequence[float], quantile: float = QUANTILE) -> float | None:
    """The quantile of the tokens' log-probabilities, interpolated between two (Hyndman and Fan's type 7, as NumPy and R
    have it); of the first tokens alone, if that is all that is known yet. None of no tokens. NaN counts as -inf."""
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: expected a number from 0 to 1, got {quantile}")
    if not logprobs:
        return None
    ranked = sorted([float("-inf") if isnan(one) else one for one in logprobs])
    place = quantile * (len(ranked) - 1)
    low, high = ranked[floor(place)], ranked[ceil(place)]
    if low == high or low == float("-inf"):
        return low
    return low + (high - low) * (place - floor(place))


def defers(sure: float | None, threshold: float) -> bool:
    """Whether the teacher is asked instead. An answer without log-probabilities is deferred: the promise is about
    answers that were sure enough, and of this one nobody knows."""
    return sure is None or not sure >= threshold


class Deferred(StrEnum):
    """What became of an answer whose confidence was looked at. `MEASURED`: there is no threshold. `SHORT`: it has too
    few tokens to say. `DEFERRED`: the teacher's was served. The others were to be deferred, and were served: the net's
    or deferral's places at the teacher are taken, its money is spent, the teacher is down, or was asked and failed."""

    MEASURED = "measured"
    SHORT = "short"
    SURE = "sure"
    DEFERRED = "deferred"
    FULL = NET_FULL
    BUDGET = NET_BUDGET
    DOWN = TEACHER_DOWN
    FAILED = "teacher_failed"


@dataclass(frozen=True, slots=True)
class Deferral:
    """`threshold`: log-probability below which an answer is deferred; None: confidence is only noted. `min_tokens`:
    answers with fewer are served without a look. `max_concurrent`: deferred requests at the teacher at once, of this
    process; the net's caps hold besides."""

    quantile: float = QUANTILE
    threshold: float | None = None
    min_tokens: int = 1
    max_concurrent: int = 16

    def confidence(self, logprobs: Sequence[float]) -> float | None:
        """None if there is nothing to go by, or too little."""
        return confidence(logprobs, self.quantile) if len(logprobs) >= self.min_tokens else None

    def judge(self, logprobs: Sequence[float]) -> Deferred:
        if self.threshold is None:
            return Deferred.MEASURED
        if 0 < len(logprobs) < self.min_tokens:
            return Deferred.SHORT
        return Deferred.DEFERRED if defers(self.confidence(logprobs), self.threshold) else Deferred.SURE


@dataclass(frozen=True, slots=True)
class Calibrated:
    """`threshold`: None if no threshold keeps the promise with these pairs. `served`: of `pairs`, those at it or above;
    `bad`: of these. `bound`: on the bad rate of what is served, with the promise's probability."""

    threshold: float | None
    served: int
    bad: int
    pairs: int
    bound: float


def calibrate(
    pairs: Iterable[tuple[float, bool]], *, bad_rate: float, delta: float = 0.05, grid: Sequence[float] = GRID
) -> Calibrated:
    """The lowest threshold of the grid that serves at most `bad_rate` of bad answers, with probability 1 - `delta`.

    `pairs`: an answer's confidence, and whether it was bad (worse than the teacher's, or wrong by a label). Each of the
    grid's thresholds is tested at `delta` over their number (Bonferroni), so that it holds for whichever is chosen, and
    whether or not lower thresholds are worse: learn then test (Angelopoulos et al., arXiv:2110.01052).
    """
    if not 0 < bad_rate < 1 or not 0 < delta < 1:
        raise ValueError(f"bad_rate, delta: expected numbers between 0 and 1, got {bad_rate} and {delta}")
    known = list(pairs)
    each = delta / len(grid)
    for threshold in sorted(grid):
        served = [bad for sure, bad in known if sure >= threshold]
        n, bad = len(served), sum(served)
        if bad < n and _at_most(bad, n, bad_rate) <= each:
            return Calibrated(threshold, n, bad, len(known), upper_bound(bad, n, each))
    return Calibrated(None, 0, 0, len(known), 1.0)


def upper_bound(bad: int, n: int, delta: float) -> float:
    """Clopper and Pearson's one-sided upper bound on a rate (Biometrika 26, 1934), for `bad` of `n`: the rate at which
    so few or fewer would be seen with probability `delta`. For none it is 1 - delta^(1/n)."""
    if not 0 <= bad <= n:
        raise ValueError(f"bad: expected from 0 to {n}, got {bad}")
    if bad == n:
        return 1.0
    if bad == 0:
        return float(1 - delta ** (1 / n))
    low, high = bad / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(bad, n, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def _at_most(bad: int, n: int, rate: float) -> float:
    """P(X <= bad), X binomial: the regularised incomplete beta function of 1 - rate at (n - bad, bad + 1)."""
    if rate >= 1:
        return 0.0
    return exp(log_incomplete_beta(1 - rate, n - bad, bad + 1) - log_beta(n - bad, bad + 1))


# Where log-probabilities are in an answer.


def read_logprobs(endpoint: str, body: bytes) -> list[float]:
    """Of the tokens of a whole answer's first choice; none if it has none, or is of another shape."""
    try:
        answer = msgspec.json.decode(body)
        return [float(one) for one in _found(endpoint, answer) if isinstance(one, (int, float))]
    except (ValueError, RecursionError):
        return []


def _found(endpoint: str, answer: Any) -> Iterator[object]:
    if endpoint == RESPONSES:
        for item in _list(answer, "output"):
            for part in _list(item, "content"):
                yield from _logprobs(_list(part, "logprobs"))
        return
    logprobs = next((_get(choice, "logprobs") for choice in _list(answer, "choices")), None)
    if endpoint == COMPLETIONS and (old := _list(logprobs, "token_logprobs")):
        yield from old
    else:
        yield from _logprobs(_list(logprobs, "content"))


def _logprobs(tokens: list[Any]) -> Iterator[object]:
    return (_get(token, "logprob") for token in tokens)


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any, key: str) -> list[Any]:
    found = _get(value, key)
    return found if isinstance(found, list) else []
