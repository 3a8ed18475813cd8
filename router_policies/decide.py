"""Where a request goes, and why: the split's word, and what risk says over it."""

import msgspec

from router_policies.facts import Facts
from router_policies.risk.judged import Judged
from router_policies.routes import Role, Route, Routes
from router_policies.split import Salt, point

SPLIT = "split"  # the reason: the key's point under the route's weight
KILL_SWITCH = "kill_switch"  # the reason: somebody sent everything to one side, for now


class Decision(msgspec.Struct, frozen=True):
    """`propensity` is the probability, over keys, with which this request's side was chosen: statistics divide by it.

    It is 1 where the split leaves no choice (0 % or 100 %), never 0. `point` is the key's place on the route, whatever
    was decided: two requests of a session have the same, and a log of it can be replayed under another weight.
    `judged`: its risk, on a route that looks at that; `propensity` is then over the net's draw too.
    """

    route: Route
    upstream: str
    role: Role
    reason: str
    propensity: float
    point: float
    judged: Judged | None = None

    @property
    def teacher_for_risk(self) -> bool:
        """Whether the split left it to the student, and its risk made it the teacher's."""
        return self.judged is not None and self.role is Role.TEACHER and self.reason not in (SPLIT, KILL_SWITCH)


class UnknownRoute(LookupError):
    """The model name asked for is no route."""


class TeacherMissing(Exception):
    """The request was the teacher's for its risk, the teacher is down, and the student may not stand in."""


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


def with_risk(decision: Decision, judged: Judged) -> Decision:
    """The decision that the split made, under what was found of the request's risk. Raises `TeacherMissing`.

    Risk takes requests from the student and gives it none, so what the split gave to the teacher stays there; and the
    kill switch is stronger than both.
    """
    route, placed = decision.route, judged.placed
    if decision.reason == KILL_SWITCH:
        return msgspec.structs.replace(decision, judged=judged)
    p_student, p_teacher = placed.overall(route.student_percent / 100)
    if decision.role is Role.TEACHER:
        return Decision(route, decision.upstream, Role.TEACHER, SPLIT, p_teacher, decision.point, judged)
    if placed.role is None:
        raise TeacherMissing(route.teacher)
    chance = p_student if placed.role is Role.STUDENT else p_teacher
    return Decision(route, route.upstream(placed.role), placed.role, placed.reason, chance, decision.point, judged)
