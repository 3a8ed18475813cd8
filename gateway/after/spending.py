"""What something has cost today, by all replicas together: so that a cap is for all of them."""

from collections.abc import Iterable, Mapping
from time import time

_DAY_S = 86_400


class Spending:
    """Nano-dollars per route and UTC day. `kind`: what for, the first part of the names under which replicas tell each
    other. Mutable state: the day, what this one spent, and what it heard of the others."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._day = 0
        self._mine: dict[str, int] = {}
        self._others: Mapping[str, int] = {}

    def add(self, route: str, nano_usd: int) -> None:
        self._turn_day()
        self._mine[route] = self._mine.get(route, 0) + nano_usd

    def today(self, route: str) -> int:
        """By all replicas."""
        self._turn_day()
        return self._mine.get(route, 0) + self._others.get(route, 0)

    def within(self, route: str, most_nano_usd: int | None) -> bool:
        """Whether a route may spend more today."""
        return most_nano_usd is None or self.today(route) < most_nano_usd

    def told(self, routes: Iterable[str]) -> dict[str, int]:
        """What this replica has spent on these, for the others."""
        self._turn_day()
        return {f"{self._today}{route}": self._mine.get(route, 0) for route in routes}

    def heard(self, others: Mapping[str, int]) -> None:
        """What the others have spent, by the names of `told`. What is no business of this one is left out."""
        self._turn_day()
        today = self._today
        self._others = {name.removeprefix(today): spent for name, spent in others.items() if name.startswith(today)}

    @property
    def _today(self) -> str:
        return f"{self._kind}:{self._day}:"

    def _turn_day(self) -> None:
        day = int(time() // _DAY_S)
        if day != self._day:
            self._day, self._mine, self._others = day, {}, {}
