from math import exp, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.evidence.capital import Capital

ALPHA = 0.05
TWENTIETH = [float(i % 20 == 0) for i in range(1, 1001)]
SPREAD = [((37 * i) % 101) / 100 for i in range(1, 501)]
MEANS = (0.02, 0.05, 0.10, 0.20)
GOLDEN = {  # log K at t = 100, 500, 1000, from confseq's own Python
    0.02: (0.340457915, 3.371916482, 5.7198329),
    0.05: (-1.691211875, -3.125457674, -3.561896765),
    0.10: (0.977502937, 6.165392923, 10.236036624),
    0.20: (7.032973433, 25.168398726, 38.131286984),
}
GOLDEN_BETS = {1: 6.524984656, 2: 4.635696474, 21: 1.375634336, 1000: 0.151132342}


def of(scores: list[float], tolerance: float = 0.05, steps: int = 1000) -> Capital:
    capital = Capital(tolerance, ALPHA, steps)
    for score in scores:
        capital.add(score)
    return capital


def from_the_paper(scores: list[float], m: float) -> tuple[float, float]:
    """The second method: theorem 3 as it is written, everything computed anew for each score. Products, not logs."""
    above = below = 1.0
    for t in range(1, len(scores) + 1):
        means = [(0.5 + sum(scores[:i])) / (i + 1) for i in range(1, t)]
        variance = (0.25 + sum((x - mean) ** 2 for x, mean in zip(scores, means, strict=False))) / t
        bet = sqrt(2 * log(2 / ALPHA) / (variance * t * log(1 + t)))
        above *= 1 + min(bet, 0.5 / m) * (scores[t - 1] - m)
        below *= 1 - min(bet, 0.5 / (1 - m)) * (scores[t - 1] - m)
    return log(above), log(below)


@pytest.mark.parametrize(("i", "t"), [(0, 100), (1, 500), (2, 1000)])
def test_golden_capital(i: int, t: int) -> None:
    hedged = of(TWENTIETH[:t]).log_hedged()
    for m in MEANS:
        assert hedged[1 + round(1000 * m)] == pytest.approx(GOLDEN[m][i], abs=1e-8)
    assert hedged[0] == pytest.approx(GOLDEN[0.05][i], abs=1e-8)


@pytest.mark.parametrize(("turn", "golden"), GOLDEN_BETS.items())
def test_golden_bets(turn: int, golden: float) -> None:
    assert of(TWENTIETH[: turn - 1]).bet == pytest.approx(golden, abs=1e-8)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from(MEANS))
def test_capital_is_the_papers(scores: list[float], m: float) -> None:
    capital = of(scores, m, steps=1)
    assert (capital.above[0], capital.below[0]) == pytest.approx(from_the_paper(scores, m), abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "t", "golden"),
    [
        (TWENTIETH, 50, (0, 0.183)),
        (TWENTIETH, 100, (0, 0.136)),
        (TWENTIETH, 500, (0.021, 0.084)),
        (TWENTIETH, 1000, (0.027, 0.074)),
        (SPREAD, 50, (0.389, 0.623)),
        (SPREAD, 100, (0.42, 0.589)),
        (SPREAD, 500, (0.458, 0.545)),
    ],
)
def test_golden_intervals(scores: list[float], t: int, golden: tuple[float, float]) -> None:
    assert of(scores[:t]).interval() == pytest.approx(golden, abs=1e-9)


def test_an_interval_narrower_than_the_grid_is_two_steps_wide() -> None:
    assert of([0.0] * 4000, steps=10).interval() == (0, 0.1)
    assert of([0.5] * 4000, steps=9).interval() in ((3 / 9, 5 / 9), (4 / 9, 6 / 9))


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_at_the_tolerance_the_next_score_gains_nothing_on_average(scores: list[float], low: float, high: float) -> None:
    """Any two scores around the tolerance, with the chances that make it their mean: a martingale from any state."""
    tolerance = 0.3
    low, high = low * tolerance, tolerance + high * (1 - tolerance)
    share = (tolerance - low) / (high - low) if high > low else 1.0
    for side in ("above", "below"):
        now = getattr(of(scores, tolerance, steps=1), side)[0]
        after = [getattr(of([*scores, score], tolerance, steps=1), side)[0] - now for score in (low, high)]
        assert (1 - share) * exp(after[0]) + share * exp(after[1]) == pytest.approx(1, abs=1e-9)
