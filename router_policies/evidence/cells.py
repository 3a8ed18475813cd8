"""What is known of one check in one stratum, or over all traffic: three kinds of cell that answer the same questions.

`Counted` for what either differs or does not, where every pair counts the same: two whole numbers. `Scored` for scores
in [0, 1] that count the same. `Weighted` for everything else: pairs selected with different probabilities, and the
excess over the teacher's own noise, which lies in [-1, 1].
"""

from typing import Any, Protocol

from router_policies.evidence import rates
from router_policies.evidence.bets import Bets, Spread, even_bets, halving_bets
from router_policies.evidence.capital import Capital

_AIM = 10  # the display interval is narrowest where so many disagreements are due at the tolerance


class Cell(Protocol):
    """The logs are natural; evidence below 0 speaks for the other side, and either may be looked at at any time."""

    @property
    def pairs(self) -> int: ...

    def add(self, value: float, weight: float) -> None: ...

    def log_better(self) -> float:
        """log of the evidence that the mean is below the tolerance."""

    def log_worse(self) -> float:
        """log of the evidence that it is above."""

    def estimate(self) -> float | None:
        """None without pairs."""

    def interval(self) -> tuple[float, float]: ...

    def needed(self, enough: float) -> int | None:
        """How many more pairs until `log_better` is `enough`, if they are like those so far; None if it never will."""

    def plain(self) -> dict[str, Any]:
        """The state, without what follows from the rules."""

    def restore(self, plain: dict[str, Any]) -> None: ...


class Counted:
    """Values are 0 and 1, weights 1."""

    __slots__ = ("_alpha", "_tolerance", "differ", "pairs")

    def __init__(self, tolerance: float, alpha: float) -> None:
        self._tolerance, self._alpha = tolerance, alpha
        self.pairs = 0
        self.differ = 0

    def add(self, value: float, weight: float) -> None:
        self.pairs += 1
        self.differ += value == 1

    def log_better(self) -> float:
        return rates.log_better(self.differ, self.pairs, self._tolerance)

    def log_worse(self) -> float:
        return rates.log_worse(self.differ, self.pairs, self._tolerance)

    def estimate(self) -> float | None:
        return self.differ / self.pairs if self.pairs else None

    def interval(self) -> tuple[float, float]:
        return rates.interval(self.differ, self.pairs, self._alpha, _AIM / self._tolerance)

    def needed(self, enough: float) -> int | None:
        return rates.pairs_needed(self.differ, self.pairs, self._tolerance, enough)

    def plain(self) -> dict[str, Any]:
        return {"pairs": self.pairs, "differ": self.differ}

    def restore(self, plain: dict[str, Any]) -> None:
        self.pairs, self.differ = plain["pairs"], plain["differ"]


class Weighted:
    """Values are in [low, 1], weights in (0, 1]."""

    __slots__ = ("_better", "_spread", "_tolerance", "_worse")

    def __init__(self, tolerance: float, alpha: float, low: float = 0.0) -> None:
        self._tolerance = tolerance
        self._better = Bets(even_bets(1 - tolerance))
        self._worse = Bets(halving_bets(tolerance - low))
        self._spread = Spread(low, 1.0, alpha)

    @property
    def pairs(self) -> int:
        return self._spread.count

    def add(self, value: float, weight: float) -> None:
        gain = weight * (self._tolerance - value)
        self._better.add(gain)
        self._worse.add(-gain)
        self._spread.add(value, weight)

    def log_better(self) -> float:
        return self._better.log_capital()

    def log_worse(self) -> float:
        return self._worse.log_capital()

    def estimate(self) -> float | None:
        return self._spread.mean

    def interval(self) -> tuple[float, float]:
        return self._spread.interval()

    def needed(self, enough: float) -> int | None:
        ahead = self._better
        if not self.pairs:  # then as if the next all agree, at full weight
            ahead = Bets(self._better.bets)
            ahead.add(self._tolerance)
        counted = self.pairs or 1
        if max(ahead.logs) <= 0:
            return None
        return rates.smallest(self.pairs, lambda n: ahead.log_capital(n / counted) >= enough)

    def plain(self) -> dict[str, Any]:
        spread = self._spread
        return {
            "pairs": spread.count,
            "better": list(self._better.logs),
            "worse": list(self._worse.logs),
            "spread": [spread.weight, spread.total, spread.variance, *spread.sums],
        }

    def restore(self, plain: dict[str, Any]) -> None:
        spread = self._spread
        self._better.logs, self._worse.logs = list(plain["better"]), list(plain["worse"])
        spread.count = plain["pairs"]
        spread.weight, spread.total, spread.variance, *spread.sums = plain["spread"]


class Scored:
    """Values are in [0, 1], weights 1."""

    __slots__ = ("_capital",)

    def __init__(self, tolerance: float, alpha: float) -> None:
        self._capital = Capital(tolerance, alpha)

    @property
    def pairs(self) -> int:
        return self._capital.count

    def add(self, value: float, weight: float) -> None:
        self._capital.add(value)

    def log_better(self) -> float:
        return self._capital.below[0]

    def log_worse(self) -> float:
        return self._capital.above[0]

    def estimate(self) -> float | None:
        return self._capital.total / self._capital.count if self._capital.count else None

    def interval(self) -> tuple[float, float]:
        return self._capital.interval()

    def needed(self, enough: float) -> int | None:
        have = self.log_better()
        if not self.pairs:
            return self._of_none(enough)
        if have <= 0:
            return None
        return rates.smallest(self.pairs, lambda n: have * n / self.pairs >= enough)

    def plain(self) -> dict[str, Any]:
        capital = self._capital
        return {
            "pairs": capital.count,
            "total": capital.total,
            "variance": capital.variance,
            "above": list(capital.above),
            "below": list(capital.below),
        }

    def restore(self, plain: dict[str, Any]) -> None:
        capital = self._capital
        capital.count, capital.total, capital.variance = plain["pairs"], plain["total"], plain["variance"]
        capital.above, capital.below = list(plain["above"]), list(plain["below"])

    def _of_none(self, enough: float) -> int | None:
        """If the next all score 0: the bets are then at their limit for long, and half the capital is never risked."""
        ahead = Capital(self._capital.marks[0], self._capital.alpha, 1)
        ahead.add(0.0)
        return rates.smallest(0, lambda n: n * ahead.below[0] >= enough)
