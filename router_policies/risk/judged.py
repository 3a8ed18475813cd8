"""A route's risk policy, and what it comes to for one request: the facts' band, and whom the safety net would ask."""

from dataclasses import dataclass

import msgspec

from router_policies.risk.facts import RiskFacts
from router_policies.risk.net import WELL, Placed, SafetyNet, Teacher, TeacherDown, place
from router_policies.risk.policy_model import PolicyModel
from router_policies.risk.rules import Band, Risk, RiskPack


@dataclass(frozen=True, slots=True)
class RouteRisk:
    """`trust_header`: the route's callers may say how risky a request is. `net`: None without one, and then all high
    risk is the teacher's."""

    pack: RiskPack
    model: PolicyModel | None = None
    trust_header: bool = False
    net: SafetyNet | None = None

    @property
    def student_may_stand_in(self) -> bool:
        """Whether the student answers what was the teacher's for its risk, when the teacher cannot."""
        return self.net is None or self.net.teacher_down is TeacherDown.STUDENT


class Judged(msgspec.Struct, frozen=True):
    """`point`: of the session, on the net; `at`: when it was judged, UNIX seconds. `placed` is what the net says if the
    split leaves the request to the student: it is worked out of every request, so that the probabilities of both sides
    are known of each."""

    risk: Risk
    placed: Placed
    point: float
    at: float

    @property
    def band(self) -> Band:
        return self.risk.band


def judge(policy: RouteRisk, facts: RiskFacts, *, point: float, now: float, teacher: Teacher = WELL) -> Judged:
    """`point`: the session's, in [0, 1); `now`: UNIX seconds."""
    risk = policy.pack.assess(facts)
    return Judged(risk, place(risk, policy.net, at=point, now=now, teacher=teacher), point, now)
