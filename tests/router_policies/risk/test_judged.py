"""Risk over the split: who answers, with which probability, and who may stand in."""

from collections.abc import Iterator

import pytest

from router_policies.decide import KILL_SWITCH, SPLIT, Decision, TeacherMissing, decide, with_risk
from router_policies.facts import Facts
from router_policies.risk.judged import RouteRisk, judge
from router_policies.risk.net import HOLDOUT, NET_FULL, RISK, SAFETY_NET, SafetyNet, Teacher, TeacherDown
from router_policies.risk.rules import Band, RiskPack, read_risk_pack
from router_policies.routes import Candidate, Fallback, Role, Route, Routes
from router_policies.split import Salt, point
from tests.router_policies.risk.asking import asks

STUDENT, TEACHER = Role.STUDENT, Role.TEACHER
NOW = 1000.0


def pack() -> RiskPack:
    rules = [
        {"rule": "danger", "when": {"mentions": "danger"}, "band": "high"},
        {"rule": "care", "when": {"mentions": "care"}, "band": "medium"},
    ]
    return read_risk_pack({"risk": "test", "version": 1, "rules": rules})


def net(**changes: object) -> SafetyNet:
    return SafetyNet(0, 1, p_start=0.5, floor=0.5, holdout=0.1, **changes)  # type: ignore[arg-type]


def route(percent: float = 60, risk: RouteRisk | None = None, **changes: object) -> Route:
    return Route("chat", "big", "small", percent, risk=risk, **changes)  # type: ignore[arg-type]


def decided(
    policy: RouteRisk, text: str, *, percent: float = 60, force: Role | None = None, teacher: Teacher | None = None
) -> Iterator[Decision]:
    """Of 4,000 sessions; those that are refused are left out."""
    routes = Routes.of(route(percent, policy, force=force))
    for number in range(4000):
        split = decide(Facts("chat", f"user={number}"), routes)
        at = point(Salt.NET, "chat", f"user={number}")
        judged = judge(policy, asks(text), point=at, now=NOW, teacher=teacher or Teacher())
        try:
            yield with_risk(split, judged)
        except TeacherMissing:
            continue


@pytest.mark.parametrize("text", ["danger", "with care", "hello"])
@pytest.mark.parametrize("with_net", [True, False])
def test_what_happens_has_the_probability_that_is_recorded(text: str, with_net: bool) -> None:
    """Each record weighs one over its propensity: so both sides come to all sessions, or to none if never asked."""
    policy = RouteRisk(pack(), net=net() if with_net else None)
    made = list(decided(policy, text))
    for role in Role:
        weights = [1 / one.propensity for one in made if one.role is role]
        if role is STUDENT and text == "danger" and not with_net:
            assert not weights
        else:
            assert sum(weights) == pytest.approx(len(made), rel=0.06)


def test_the_split_keeps_the_teachers_and_the_net_takes_of_the_students() -> None:
    policy = RouteRisk(pack(), net=net())
    made = list(decided(policy, "danger"))
    reasons = {(one.role, one.reason) for one in made}
    assert reasons == {(TEACHER, SPLIT), (TEACHER, SAFETY_NET), (STUDENT, RISK), (STUDENT, HOLDOUT)}
    for one in made:
        assert (one.reason == SPLIT) == (one.point >= 0.6)
        assert one.teacher_for_risk == (one.reason == SAFETY_NET)
        assert one.propensity == pytest.approx(0.6 * 0.5 if one.role is STUDENT else 0.4 + 0.6 * 0.5)


def test_medium_and_low_stay_where_they_are() -> None:
    policy = RouteRisk(pack(), net=net())
    for text, band, reason in (("with care", Band.MEDIUM, RISK), ("hello", Band.LOW, SPLIT)):
        for one in decided(policy, text):
            assert one.judged is not None
            assert one.judged.band is band
            assert (one.role is STUDENT) == (one.point < 0.6)
            assert one.reason == (reason if one.role is STUDENT else SPLIT)


@pytest.mark.parametrize("force", list(Role))
def test_the_kill_switch_is_stronger(force: Role) -> None:
    made = list(decided(RouteRisk(pack(), net=net()), "danger", force=force))
    assert {(one.role, one.reason, one.propensity) for one in made} == {(force, KILL_SWITCH, 1.0)}
    assert not any(one.teacher_for_risk for one in made)
    assert all(one.judged is not None and one.judged.band is Band.HIGH for one in made)


def test_a_full_net_leaves_them_to_the_student() -> None:
    policy = RouteRisk(pack(), net=net(max_concurrent=2))
    made = list(decided(policy, "danger", percent=100, teacher=Teacher(in_flight=2)))
    assert {one.role for one in made} == {STUDENT}
    assert NET_FULL in {one.reason for one in made}
    assert {one.propensity for one in made} == {1.0}


def test_a_teacher_that_is_down_is_waited_for_if_the_route_says_so() -> None:
    refusing = RouteRisk(pack(), net=net(teacher_down=TeacherDown.REFUSE))
    served = list(decided(refusing, "danger", percent=100, teacher=Teacher(up=False)))
    assert {one.role for one in served} == {STUDENT}
    assert len(served) == pytest.approx(2000, rel=0.06)
    assert len(list(decided(refusing, "with care", percent=100, teacher=Teacher(up=False)))) == 4000


@pytest.mark.parametrize(
    ("policy", "order", "careful"),
    [
        (None, ("teacher", "student"), ["big"]),
        (RouteRisk(pack()), ("teacher",), ["big", "small"]),
        (RouteRisk(pack(), net=net()), ("student", "huge"), ["big", "huge", "small"]),
        (RouteRisk(pack(), net=net(teacher_down=TeacherDown.REFUSE)), ("student", "huge"), ["big", "huge"]),
    ],
)
def test_the_student_stands_in_for_the_teacher_last_or_never(
    policy: RouteRisk | None, order: tuple[str, ...], careful: list[str]
) -> None:
    made = route(risk=policy, fallback=Fallback(order=order))
    assert [candidate.upstream for candidate in made.careful] == careful
    assert [one for one in made.careful if one.role is STUDENT] == (
        [Candidate("small", STUDENT)] if "small" in careful else []
    )
