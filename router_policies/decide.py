"""Where a request goes, and why."""

import msgspec

from router_policies.facts import Facts
from router_policies.routes import Role, Route, Routes
from router_policies.split import Salt, point

SPLIT = "split"  # the reason: the key's point under the route's weight


class Decision(msgspec.Struct, frozen=True):
    """`propensity` is the probability, over keys, with which this request's side was chosen: statistics divide by it.

    It is 1 where the split leaves no choice (0 % or 100 %), never 0.
    """

    route: Route
    upstream: str
    role: Role
    reason: str
    propensity: float


class UnknownRoute(LookupError):
    """The model name asked for is no route."""


def decide(facts: Facts, routes: Routes) -> Decision:
    """The decision for a request with these facts under this snapshot. Raises `UnknownRoute`."""
    route = routes.by_name.get(facts.route)
    if route is None:
        raise UnknownRoute(facts.route)
    weight = route.student_percent / 100
    if point(Salt.SPLIT, route.name, facts.sticky_key) < weight:
        return Decision(route, route.student, Role.STUDENT, SPLIT, weight)
    return Decision(route, route.teacher, Role.TEACHER, SPLIT, 1 - weight)
