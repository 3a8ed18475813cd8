"""Money: exact integers, one rounding per call."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.prices import Price, Usage, cost_nano_usd, usd

tokens = st.integers(0, 10**7)
prices = st.integers(0, 10**9).map(lambda millionths: Decimal(millionths) / 10**6)


def test_a_worked_example() -> None:
    price = Price.per_million(Decimal("2.50"), Decimal("10.00"))
    assert cost_nano_usd(price, Usage(input=1000, output=200)) == 4_500_000  # 0.0025 + 0.0020 USD


@given(prices, prices, prices, tokens, tokens, tokens)
def test_cost_is_the_exact_sum_rounded_half_up(
    input_price: Decimal, output_price: Decimal, cached_price: Decimal, input_: int, output: int, cached: int
) -> None:
    price = Price.per_million(input_price, output_price, cached_price)
    cost = cost_nano_usd(price, Usage(input_, output, cached))
    read = min(cached, input_)
    exact = 1000 * (
        (input_ - read) * Fraction(input_price) + read * Fraction(cached_price) + output * Fraction(output_price)
    )
    assert -Fraction(1, 2) < cost - exact <= Fraction(1, 2)


def test_cached_input_costs_as_input_unless_priced() -> None:
    usage = Usage(input=1000, output=0, cached_input=800)
    assert cost_nano_usd(Price.per_million(Decimal(1), Decimal(0)), usage) == 1_000_000
    assert cost_nano_usd(Price.per_million(Decimal(1), Decimal(0), Decimal("0.1")), usage) == 280_000


@pytest.mark.parametrize("wrong", [Decimal("-0.1"), Decimal("0.0000001")])
def test_prices_that_are_not_exact_are_refused(wrong: Decimal) -> None:
    with pytest.raises(ValueError, match="at most 6 decimals"):
        Price.per_million(wrong, Decimal(0))


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.000000000"), (12_300, "0.000012300"), (1_500_000_000, "1.500000000"), (-1, "-0.000000001")],
)
def test_usd(nano: int, text: str) -> None:
    assert usd(nano) == text
