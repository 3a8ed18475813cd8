"""What a call costs, in integers.

Money is counted in nano-dollars (1 USD = 10**9), and prices are held in pico-dollars per token (USD per 1M tokens
times 10**6), so that a sum over any number of calls is exact and only one rounding happens per call.
"""

from dataclasses import dataclass
from decimal import Decimal

import msgspec

NANO_USD_PER_USD = 10**9
_PICO_PER_TOKEN = 10**6  # pico-dollars per token for each USD per 1M tokens
_FINEST = Decimal("0.000001")  # the finest price that is exact: USD per 1M tokens


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call. `cached_input` is the part of `input` the upstream read from its prefix cache."""

    input: int = 0
    output: int = 0
    cached_input: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """Pico-dollars per token. Build it with `per_million`."""

    input: int = 0
    output: int = 0
    cached_input: int = 0

    @classmethod
    def per_million(cls, input: Decimal, output: Decimal, cached_input: Decimal | None = None) -> "Price":
        """From USD per 1M tokens, at most six decimals. `cached_input` costs what `input` costs unless given."""
        return cls(_pico(input), _pico(output), _pico(input if cached_input is None else cached_input))


def _pico(usd_per_million: Decimal) -> int:
    if usd_per_million < 0 or usd_per_million % _FINEST:
        raise ValueError(f"price: expected USD per 1M tokens, 0 or more, at most 6 decimals, got {usd_per_million}")
    return int(usd_per_million * _PICO_PER_TOKEN)


def cost_nano_usd(price: Price, usage: Usage) -> int:
    """The cost of a call in nano-dollars, rounded half up once."""
    cached = min(usage.cached_input, usage.input)
    pico = (usage.input - cached) * price.input + cached * price.cached_input + usage.output * price.output
    return (pico + 500) // 1000


def usd(nano_usd: int) -> str:
    """Nano-dollars as people read them: "0.000012300"."""
    sign = "-" if nano_usd < 0 else ""
    whole, nano = divmod(abs(nano_usd), NANO_USD_PER_USD)
    return f"{sign}{whole}.{nano:09d}"
