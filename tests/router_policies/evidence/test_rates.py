"""Published values, values found by a second method, and exact probabilities."""

from collections.abc import Callable
from math import exp, log, log1p

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.evidence.rates import (
    best_rho,
    interval,
    log_better,
    log_mixture,
    log_worse,
    pairs_needed,
    prior_around,
)
from tests.router_policies.evidence.quadrature import integral

ENOUGH = log(20)


# ---- published: confseq's unit tests, "from a reference implementation in R" ----


@pytest.mark.parametrize(
    ("differ", "pairs", "aim", "published"),
    [
        (700, 1000, 100, (0.651629, 0.745949)),
        (15, 50, 50, (0.129556, 0.511896)),
        (5, 50, 50, (0.013021, 0.269264)),
        (1, 50, 50, (0, 0.13489)),
        (1, 2, 50, (0, 1)),
        (100, 200, 1, (0.328923, 0.671076)),
        (0, 1, 50, (0, 1)),
        (1, 1, 50, (0, 1)),
    ],
)
def test_published_intervals(differ: int, pairs: int, aim: int, published: tuple[float, float]) -> None:
    assert interval(differ, pairs, 0.05, aim) == pytest.approx(published, abs=1e-5)


VARIANCE, RATE = 100.0, 0.2
PAIRS = VARIANCE / RATE / (1 - RATE)  # of which the intrinsic variance is 100


def two_sided(differ: float) -> float:
    return log_mixture(differ, PAIRS, RATE, prior_around(RATE, PAIRS))  # type: ignore[arg-type]


def one_sided(differ: float) -> float:
    return log_worse(differ, PAIRS, RATE, prior_around(RATE, PAIRS, alpha=0.1))


def test_published_mixtures() -> None:
    assert best_rho(100, 0.05) == pytest.approx(12.60056, abs=1e-5)
    assert two_sided(10 + PAIRS * RATE) == pytest.approx(-0.6941012, abs=1e-5)
    assert one_sided(10 + PAIRS * RATE) == pytest.approx(-0.07134019, abs=1e-5)


@pytest.mark.parametrize(("mixture", "published"), [(two_sided, 31.4308), (one_sided, 28.41238)])
def test_published_bounds(mixture: Callable[[float], float], published: float) -> None:
    """The sum of deviations at which the mixture is 20."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if mixture(middle + PAIRS * RATE) >= ENOUGH else (middle, high)
    assert high == pytest.approx(published, abs=1e-5)


# ---- golden, found again by integrating the likelihood ratio ----


def integrated(differ: int, pairs: int, tolerance: float, low: float, high: float) -> float:
    """log of the mean of the likelihood ratio of p to the tolerance, over p evenly between `low` and `high`."""

    def log_ratio(p: float) -> float:
        return differ * log(p / tolerance) + (pairs - differ) * (log1p(-p) - log1p(-tolerance))

    top = log_ratio(min(max(differ / pairs, low + 1e-12), high - 1e-12))
    return log(integral(lambda p: exp(log_ratio(p) - top), low, high) / (high - low)) + top


@pytest.mark.parametrize(
    ("differ", "pairs", "golden"), [(10, 1000, 22.896664636), (0, 60, 1.917703123), (30, 1000, 3.577110994)]
)
def test_golden_better(differ: int, pairs: int, golden: float) -> None:
    assert log_better(differ, pairs, 0.05) == pytest.approx(golden, abs=1e-8)
    assert log_better(differ, pairs, 0.05) == pytest.approx(integrated(differ, pairs, 0.05, 0.0, 0.05), abs=1e-10)


@pytest.mark.parametrize(("differ", "pairs", "golden"), [(80, 1000, 4.290868213), (5, 20, 3.105536682)])
def test_golden_worse(differ: int, pairs: int, golden: float) -> None:
    assert log_worse(differ, pairs, 0.05) == pytest.approx(golden, abs=1e-8)
    assert log_worse(differ, pairs, 0.05) == pytest.approx(integrated(differ, pairs, 0.05, 0.05, 1.0), abs=1e-10)


# ---- what makes it a gate ----


@given(st.integers(0, 3000), st.integers(0, 3000), st.floats(0.001, 0.5))
def test_at_the_tolerance_the_next_pair_changes_nothing_on_average(differ: int, agree: int, tolerance: float) -> None:
    """A martingale, from any state: what Ville's inequality needs. Below the tolerance it grows, above it falls."""
    pairs = differ + agree
    for of in (log_better, log_worse):
        now = of(differ, pairs, tolerance)
        ratios = [exp(of(differ + hit, pairs + 1, tolerance) - now) for hit in (0, 1)]
        assert tolerance * ratios[1] + (1 - tolerance) * ratios[0] == pytest.approx(1, abs=1e-8)
        assert (ratios[1] <= 1 <= ratios[0]) is (of is log_better)


@pytest.mark.parametrize("tolerance", [0.02, 0.05, 0.2])
def test_the_exact_chance_of_a_false_promotion_is_at_most_alpha(tolerance: float) -> None:
    """Summed over all ways that 1,500 pairs can go, looked at after each: no simulation."""
    alive, passed = {0: 1.0}, 0.0
    for n in range(1, 1501):
        after: dict[int, float] = {}
        for differ, weight in alive.items():
            after[differ] = after.get(differ, 0.0) + weight * (1 - tolerance)
            after[differ + 1] = after.get(differ + 1, 0.0) + weight * tolerance
        alive = {differ: weight for differ, weight in after.items() if weight > 1e-15}
        while (least := min(alive)) <= tolerance * n and log_better(least, n, tolerance) >= ENOUGH:
            passed += alive.pop(least)
    assert 0.02 < passed <= 0.05


@pytest.mark.parametrize(
    ("tolerance", "alpha", "pairs"),
    [(0.10, 0.05, 43), (0.05, 0.05, 88), (0.02, 0.05, 224), (0.01, 0.05, 449), (0.01, 0.01, 644), (0.005, 0.05, 901)],
)
def test_pairs_without_a_disagreement_until_it_is_certified(tolerance: float, alpha: float, pairs: int) -> None:
    assert pairs_needed(0, 0, tolerance, log(1 / alpha)) == pairs
    assert log_better(0, pairs, tolerance) >= log(1 / alpha) > log_better(0, pairs - 1, tolerance)


@given(st.integers(1, 400), st.integers(0, 20))
def test_pairs_needed_are_enough_and_none_too_many(pairs: int, differ: int) -> None:
    differ = min(differ, pairs)
    needed = pairs_needed(differ, pairs, 0.05, ENOUGH)
    if differ / pairs >= 0.05:
        assert needed is None
    elif needed is not None:
        share = differ / pairs
        assert log_better(share * (pairs + needed), pairs + needed, 0.05) >= ENOUGH
        assert needed == 0 or log_better(share * (pairs + needed - 1), pairs + needed - 1, 0.05) < ENOUGH


def test_the_interval_is_what_is_not_ruled_out() -> None:
    low, high = interval(30, 1000, 0.05, 200)
    for rate, out in (
        (low - 1e-6, True),
        (low + 1e-6, False),
        (0.03, False),
        (high - 1e-6, False),
        (high + 1e-6, True),
    ):
        assert (log_mixture(30, 1000, rate, prior_around(rate, 200)) >= ENOUGH) is out
    assert interval(0, 0, 0.05, 200) == (0, 1)
