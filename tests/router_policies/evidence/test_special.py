from math import exp, log, log1p

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.evidence.special import log_beta, log_incomplete_beta, log_mean_exp
from tests.router_policies.evidence.quadrature import integral


@pytest.mark.parametrize("x", [0.01, 0.05, 0.3, 0.95])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (1.0, 61.0), (11.0, 991.0), (8.5, 3.25), (300.0, 701.0)])
def test_the_incomplete_beta_function_is_its_integral(x: float, a: float, b: float) -> None:
    peak = min(max((a - 1) / max(a + b - 2, 1e-9), 1e-12), x)  # the integrand's largest value below x, taken out
    top = (a - 1) * log(peak) + (b - 1) * log1p(-peak)
    area = integral(lambda t: exp((a - 1) * log(t) + (b - 1) * log1p(-t) - top), 0.0, x)
    assert log_incomplete_beta(x, a, b) == pytest.approx(log(area) + top, abs=1e-10)


@given(st.floats(0.001, 0.999), st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_both_tails_are_the_whole(x: float, a: float, b: float) -> None:
    parts = (log_incomplete_beta(x, a, b), log_incomplete_beta(1 - x, b, a))
    assert log_mean_exp(parts) + log(2) == pytest.approx(log_beta(a, b), abs=1e-9)


def test_of_a_million_pairs_it_is_still_exact() -> None:
    """I_x(a, b) for whole numbers is a binomial tail; at x = 1/2 and a = b it is 1/2."""
    assert log_incomplete_beta(0.5, 5e5, 5e5) - log_beta(5e5, 5e5) == pytest.approx(log(0.5), abs=1e-9)


def test_the_mean_of_what_no_float_holds() -> None:
    assert log_mean_exp([5000.0, 5000.0]) == 5000.0
    assert log_mean_exp([5000.0, -5000.0]) == pytest.approx(5000 - log(2))
