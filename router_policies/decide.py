"""Where a request goes, and why."""

import msgspec

from router_policies.facts import Facts
from router_policies.routes import Role, Route, Routes
from router_policies.split import Salt, point

SPLIT = "split"  # the reason: the key's point under the route's weight
KILL_SWITCH = "kill_switch"  # the reason: somebody sent everything to one side, for now


class Decision(msgspec.Struct, frozen=True):
    """`propensity` is the probability, over keys, with which this request's side was chosen: statistics divide by it.

    It is 1 where the split leaves no choice (0 % or 100 %), never 0. `point` is the key's place on the route, whatever
    was decided: two requests of a session have the same, and a log of it can be replayed under another weight.
    """

    route: Route
    upstream: str
    role: Role
    reason: str
    propensity: float
    point: float


class UnknownRoute(LookupError):
    """The model name asked for is no route."""


def decide(facts: Facts, routes: Routes) -> Decision:
    """The decision for a request with these facts under this snapshot. Raises `UnknownRoute`."""
    route = routes.by_name.get(facts.route)
    if route is None:
        raise UnknownRoute(facts.route)
    at = point(Salt.SPLIT, route.drawn_as, facts.sticky_key)
    forced = routes.force or route.force
    if forced is not None:
        return Decision(route, route.upstream(forced), forced, KILL_SWITCH, 1.0, at)
    weight = route.student_percent / 100
    if at < weight:
        return Decision(route, route.student, Role.STUDENT, SPLIT, weight, at)
    return Decision(route, route.teacher, Role.TEACHER, SPLIT, 1 - weight, at)
