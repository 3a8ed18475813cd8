from itertools import product
from math import exp, log, log1p, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.evidence.bets import Bets, Spread, even_bets, halving_bets
from tests.router_policies.evidence.quadrature import integral

TOLERANCE, LEAST = 0.05, 0.1


def inverse_propensity(values: list[float]) -> Bets:
    """The literature's form: tolerance - Y, where Y = D/q for a selected request and 0 for the others."""
    bets = Bets(even_bets(1 / LEAST - TOLERANCE))
    for value in values:
        bets.add(TOLERANCE - value)
    return bets


def multiplied(values: list[float]) -> float:
    """The second method: the products themselves, no logarithm before the end."""
    most = 1 / (1 / LEAST - TOLERANCE)
    return log(sum(prod(1 + k / 11 * most * (TOLERANCE - y) for y in values) for k in range(1, 11)) / 10)


MIXED = [1.0 if i % 20 == 10 else 10.0 if i % 100 == 15 else 0.0 for i in range(1, 201)]
RARE = [float(i % 100 == 0) for i in range(1, 2001)]


@pytest.mark.parametrize(
    ("values", "golden"),
    [
        (MIXED[:50], -0.715823674),
        (MIXED[:100], -0.699480475),
        (MIXED, -1.153664792),
        (RARE[:500], 1.125378509),
        (RARE, 5.57858835),
    ],
)
def test_golden_inverse_propensity(values: list[float], golden: float) -> None:
    assert inverse_propensity(values).log_capital() == pytest.approx(golden, abs=1e-8)
    assert inverse_propensity(values).log_capital() == pytest.approx(multiplied(values), abs=1e-10)


def test_over_all_requests_a_weighed_pair_gains_nothing_on_average() -> None:
    """Two strata with different probabilities, and together exactly the tolerance: every outcome, with its chance."""
    strata = ((0.1, 0.20, 1.0), (0.9, 0.03 / 0.9, 0.1))  # traffic, rate, probability of being selected
    least = min(probability for _, _, probability in strata)
    for bet in even_bets(1 - TOLERANCE):
        mean = 0.0
        for (traffic, rate, probability), differs, selected in product(strata, (0, 1), (0, 1)):
            chance = traffic * (rate if differs else 1 - rate) * (probability if selected else 1 - probability)
            weight = least / probability if selected else 0.0
            mean += chance * (1 + bet * weight * (TOLERANCE - differs))
        assert mean == pytest.approx(1, abs=1e-12)


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_capital_is_the_mean_of_products(gains: list[float]) -> None:
    bets = Bets(halving_bets(1.0))
    for gain in gains:
        bets.add(gain)
    assert bets.log_capital() == pytest.approx(
        log(sum(prod(1 + b * g for g in gains) for b in bets.bets) / 6), abs=1e-9
    )


@pytest.mark.parametrize("bets", [even_bets(0.95), halving_bets(0.05)])
def test_no_bet_can_lose_everything(bets: tuple[float, ...]) -> None:
    floor = 0.95 if bets == even_bets(0.95) else 0.05
    assert all(0 < bet * floor < 1 for bet in bets)


# ---- the interval ----


def test_the_step_of_the_interval_is_below_the_bet() -> None:
    """exp(l x - psi(l) x^2) <= 1 + l x for x >= -1, which all of it rests on."""
    for bet, x in product([i / 100 for i in range(1, 100)], [i / 50 - 1 for i in range(101)]):
        assert exp(bet * x + (log1p(-bet) + bet) * x * x) <= 1 + bet * x + 1e-12


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.05, 1)), min_size=1, max_size=80))
def test_the_interval_is_what_the_two_processes_leave(pairs: list[tuple[float, float]]) -> None:
    """Against the processes written out for every candidate, without the sums."""
    spread = Spread(-1.0, 1.0, 0.05)
    steps: list[tuple[float, float, float]] = []
    for value, weight in pairs:
        before = list(spread.sums)
        spread.add(value, weight)
        steps.append((value, weight / 2, (spread.sums[1] - before[1]) / (weight / 2)))  # the bet, from its sum
    low, high = spread.interval()
    assert -1 <= low <= (spread.mean or 0) <= high <= 1

    def log_process(m: float, sign: int) -> float:
        return sum(sign * bet * u * (x - m) + (log1p(-bet) + bet) * (u * (x - m)) ** 2 for x, u, bet in steps)

    for m in (low + 1e-6, (low + high) / 2, high - 1e-6):
        assert max(log_process(m, 1), log_process(m, -1)) < log(40)
    if low > -1:
        assert log_process(low - 1e-6, 1) >= log(40) - 1e-3
    if high < 1:
        assert log_process(high + 1e-6, -1) >= log(40) - 1e-3


def test_the_interval_of_long_streams_from_the_definition() -> None:
    """Bets and processes computed anew from the values alone, so that both ends are inside [0, 1]."""
    values = [((37 * i) % 101) / 100 for i in range(1, 601)]
    weights = [1.0 if i % 3 else 0.4 for i in range(1, 601)]
    spread = Spread(0.0, 1.0, 0.05)
    steps, variance = [], 0.25
    for t, (x, w) in enumerate(zip(values, weights, strict=True), 1):
        spread.add(x, w)
        steps.append((x, w, min(0.5, (2 * log(40) / (variance * log(1 + t))) ** 0.5)))
        before = list(zip(values[: t - 1], weights[: t - 1], strict=True))
        mean = (0.5 + sum(a * b for a, b in before)) / (1 + sum(b for _, b in before))
        variance += (w * (x - mean)) ** 2
    low, high = spread.interval()
    assert 0.4 < low < 0.5 < high < 0.6
    for end, sign in ((low, 1), (high, -1)):
        log_process = sum(sign * b * w * (x - end) + (log1p(-b) + b) * (w * (x - end)) ** 2 for x, w, b in steps)
        assert log_process == pytest.approx(log(40), abs=1e-6)


def test_the_bets_of_the_interval_are_fixed_before_the_value_is_seen() -> None:
    one, other = Spread(0.0, 1.0, 0.05), Spread(0.0, 1.0, 0.05)
    for spread, last in ((one, 0.0), (other, 1.0)):
        for value in (0.0, 1.0, 0.25, last):
            spread.add(value, 1.0)
    assert one.sums[1] == other.sums[1]


def test_the_rule_of_the_second_method() -> None:
    assert integral(lambda x: x**9, 0.0, 1.0, pieces=1) == pytest.approx(0.1, abs=1e-14)
