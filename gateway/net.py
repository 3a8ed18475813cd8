"""What safety nets, and deferral, ask of teachers: calls under way, of this worker, and what they cost today, of all
replicas. The net's caps are for both together; deferral has a cap of its own besides.

The caps hold as closely as that: requests that are under way when the money is spent are still answered, and what other
replicas spend is heard of about once a second.
"""

import math
from collections.abc import Iterable, Mapping
from time import time

from gateway.telemetry.risk import RiskMetrics
from gateway.upstream.upstream import Upstream
from router_policies.risk.deferral import Deferral
from router_policies.risk.net import NET_FULL, Teacher, lack_of
from router_policies.routes import Route

_DAY_S = 86_400


class Caught:
    """A request that the net caught, or that was deferred, as long as it is under way. `settle` ends that; a second
    time does nothing."""

    __slots__ = ("_deferred", "_nets", "_route")

    def __init__(self, nets: "Nets", route: str, deferred: bool) -> None:
        self._nets: Nets | None = nets
        self._route = route
        self._deferred = deferred

    def settle(self, cost_nano_usd: int) -> None:
        nets, self._nets = self._nets, None
        if nets is not None:
            nets.over(self._route, cost_nano_usd, deferred=self._deferred)


class Nets:
    """Mutable state, by route: requests under way because of its net or deferral, those of deferral alone, and
    nano-dollars of this UTC day, this worker's own and those of the other replicas."""

    def __init__(self, metrics: RiskMetrics) -> None:
        self._metrics = metrics
        self._in_flight: dict[str, int] = {}
        self._deferred: dict[str, int] = {}
        self._spent: dict[str, int] = {}
        self._others: Mapping[str, int] = {}
        self._day = 0
        self._shown: set[str] = set()

    def teacher(self, route: Route, upstream: Upstream) -> Teacher:
        """How the route's teacher is, and what its net has asked of it."""
        self._turn_day()
        return Teacher(
            up=upstream.up,
            in_flight=self._in_flight.get(route.name, 0),
            spent_nano_usd=self._spent.get(route.name, 0) + self._others.get(route.name, 0),
        )

    def lack(self, route: Route, upstream: Upstream, policy: Deferral) -> str | None:
        """Why an answer cannot be deferred to the route's teacher, None if it can."""
        lack = lack_of(route.risk.net if route.risk is not None else None, self.teacher(route, upstream))
        if lack is None and self._deferred.get(route.name, 0) >= policy.max_concurrent:
            return NET_FULL
        return lack

    def catch(self, route: str, *, deferred: bool = False) -> Caught:
        self._in_flight[route] = self._in_flight.get(route, 0) + 1
        self._deferred[route] = self._deferred.get(route, 0) + deferred
        return Caught(self, route, deferred)

    def over(self, route: str, cost_nano_usd: int, *, deferred: bool) -> None:
        self._turn_day()
        self._in_flight[route] -= 1
        self._deferred[route] -= deferred
        self._spent[route] = self._spent.get(route, 0) + cost_nano_usd
        self._metrics.net_cost(route, cost_nano_usd)

    def spent_today(self, routes: Iterable[Route]) -> dict[str, int]:
        """For the other replicas, of the routes that have a net."""
        self._turn_day()
        return {
            f"net:{self._day}:{route.name}": self._spent.get(route.name, 0)
            for route in routes
            if route.risk is not None and route.risk.net is not None
        }

    def heard(self, others: Mapping[str, int]) -> None:
        """What the other replicas have spent, by the names of `spent_today`."""
        self._turn_day()
        today = f"net:{self._day}:"
        self._others = {name.removeprefix(today): spent for name, spent in others.items() if name.startswith(today)}

    def show(self, routes: Iterable[Route]) -> None:
        """Set the gauges. To be called about once a second."""
        now = time()
        nets = {route.name: route.risk.net for route in routes if route.risk is not None}
        for name in self._shown.difference(name for name, net in nets.items() if net is not None):
            self._shown.discard(name)
            self._metrics.show_net(name, math.nan, self._in_flight.get(name, 0))
        for name, net in nets.items():
            if net is not None:
                self._shown.add(name)
                share = min(net.scheduled(now), 1 - net.holdout)
                self._metrics.show_net(name, share, self._in_flight.get(name, 0))

    def _turn_day(self) -> None:
        day = int(time() // _DAY_S)
        if day != self._day:
            self._day, self._spent, self._others = day, {}, {}
