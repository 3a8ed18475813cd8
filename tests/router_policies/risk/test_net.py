"""The safety net: what it promises at the top of `net.py`, one by one."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.risk.net import Decay, Placed, SafetyNet, Teacher, TeacherDown, place
from router_policies.risk.rules import Band, Risk
from router_policies.routes import Role
from router_policies.split import Salt, point

START, WEEK = 1_795_478_400.0, 7 * 86_400.0
END = START + WEEK
HIGH = Risk(Band.HIGH, ("law", "money"), 3.0, "default.1")
DOWN = Teacher(up=False)


def net(**more: Any) -> SafetyNet:
    return SafetyNet(START, END, **more)


# The schedule.


@pytest.mark.parametrize(
    ("given_", "share", "p"),
    [
        ({}, -1.0, 1.0),
        ({}, 0.0, 1.0),
        ({}, 0.5, 0.525),
        ({}, 1.0, 0.05),
        ({}, 9.0, 0.05),
        ({"p_start": 0.8, "floor": 0.2}, 0.25, 0.65),
        ({"decay": Decay.EXPONENTIAL, "floor": 0.01}, 0.5, 0.1),
        ({"decay": Decay.EXPONENTIAL, "floor": 0.01}, 1.0, 0.01),
        ({"decay": Decay.EXPONENTIAL, "p_start": 0.8, "floor": 0.1}, 1 / 3, 0.4),
        ({"decay": Decay.STEPS, "steps": (1.0, 0.5, 0.2)}, 0.3333, 1.0),
        ({"decay": Decay.STEPS, "steps": (1.0, 0.5, 0.2)}, 0.3334, 0.5),
        ({"decay": Decay.STEPS, "steps": (1.0, 0.5, 0.2)}, 0.9999, 0.2),
        ({"decay": Decay.STEPS, "steps": (1.0, 0.5, 0.2)}, 1.0, 0.05),
    ],
)
def test_the_schedule(given_: dict[str, Any], share: float, p: float) -> None:
    assert net(**given_).scheduled(START + share * WEEK) == pytest.approx(p, abs=1e-9)


NETS = st.builds(
    lambda decay, p_start, ratio, holdout: SafetyNet(
        START,
        END,
        p_start,
        p_start * ratio,
        decay,
        steps=(p_start, p_start * (1 + ratio) / 2) if decay is Decay.STEPS else (),
        holdout=holdout,
    ),
    st.sampled_from(Decay),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.floats(0, 0.5),
)
TIMES = st.floats(START - WEEK, END + WEEK)


@given(NETS, TIMES, TIMES)
def test_it_only_ever_falls_and_never_below_the_floor(some: SafetyNet, one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert some.p_start >= some.scheduled(early) >= some.scheduled(late) >= some.floor


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"start_s": END}, "start, end: expected two times"),
        ({"end_s": float("nan")}, "start, end: expected two times"),
        ({"floor": 0.0}, "expected 0 < floor <= p_start <= 1, got 0.0 and 1.0"),
        ({"floor": 0.5, "p_start": 0.4}, "got 0.5 and 0.4"),
        ({"p_start": 1.5}, "got 0.05 and 1.5"),
        ({"holdout": 0.6}, "holdout: expected a share from 0 to 0.5, got 0.6"),
        ({"steps": (0.5,)}, "with decay: steps and only then"),
        ({"decay": Decay.STEPS}, "with decay: steps and only then"),
        ({"decay": Decay.STEPS, "steps": (0.5, 0.6)}, "probabilities that fall"),
        ({"decay": Decay.STEPS, "steps": (0.5, 0.01)}, "probabilities that fall"),
    ],
)
def test_a_net_that_is_none(given_: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        SafetyNet(**{"start_s": START, "end_s": END, **given_})
    assert told in str(error.value)


# Who answers.


@pytest.mark.parametrize(
    ("band", "some", "at", "teacher", "expected"),
    [
        # band, net, point, teacher: role, reason, p_student, p_teacher, mirrored, verified
        (Band.LOW, net(), 0.0, DOWN, (Role.STUDENT, "split", 1.0, 0.0, False, False)),
        (Band.MEDIUM, net(), 0.0, DOWN, (Role.STUDENT, "risk", 1.0, 0.0, True, True)),
        (Band.HIGH, None, 0.99, Teacher(), (Role.TEACHER, "risk", 0.0, 1.0, True, False)),
        (Band.HIGH, None, 0.0, DOWN, (Role.STUDENT, "teacher_down", 1.0, 0.0, True, True)),
        (Band.HIGH, net(), 0.52, Teacher(), (Role.TEACHER, "safety_net", 0.475, 0.525, True, False)),
        (Band.HIGH, net(), 0.53, Teacher(), (Role.STUDENT, "risk", 0.475, 0.525, True, True)),
        (Band.HIGH, net(), 0.99, Teacher(), (Role.STUDENT, "holdout", 0.475, 0.525, True, True)),
        (Band.HIGH, net(), 0.1, DOWN, (Role.STUDENT, "teacher_down", 1.0, 0.0, True, True)),
        (Band.HIGH, net(), 0.6, DOWN, (Role.STUDENT, "risk", 1.0, 0.0, True, True)),
        (
            Band.HIGH,
            net(teacher_down=TeacherDown.REFUSE),
            0.1,
            DOWN,
            (None, "teacher_down", 0.475, 0.0, False, False),
        ),
        (
            Band.HIGH,
            net(teacher_down=TeacherDown.REFUSE),
            0.6,
            DOWN,
            (Role.STUDENT, "risk", 0.475, 0.0, True, True),
        ),
        (
            Band.HIGH,
            net(max_concurrent=8),
            0.1,
            Teacher(in_flight=8),
            (Role.STUDENT, "net_full", 1.0, 0.0, True, True),
        ),
        (
            Band.HIGH,
            net(max_concurrent=8),
            0.1,
            Teacher(in_flight=7),
            (Role.TEACHER, "safety_net", 0.475, 0.525, True, False),
        ),
        (
            Band.HIGH,
            net(max_nano_usd_per_day=5),
            0.1,
            Teacher(spent_nano_usd=5),
            (Role.STUDENT, "net_budget", 1.0, 0.0, True, True),
        ),
        (
            Band.HIGH,
            net(max_nano_usd_per_day=5),
            0.99,
            Teacher(spent_nano_usd=5),
            (Role.STUDENT, "holdout", 1.0, 0.0, True, True),
        ),
        (
            Band.HIGH,
            net(always=frozenset({"law"})),
            0.99,
            Teacher(),
            (Role.TEACHER, "safety_net", 0.0, 1.0, True, False),
        ),
        (
            Band.HIGH,
            net(always=frozenset({"self_harm"})),
            0.99,
            Teacher(),
            (Role.STUDENT, "holdout", 0.475, 0.525, True, True),
        ),
    ],
)
def test_who_answers_half_way(
    band: Band, some: SafetyNet | None, at: float, teacher: Teacher, expected: tuple[Any, ...]
) -> None:
    placed = place(Risk(band, ("law",), 3.0, "p.1"), some, at=at, now=START + WEEK / 2, teacher=teacher)
    assert (placed.band, placed.rules) == (band, ("law",))
    got = (placed.role, placed.reason, placed.p_student, placed.p_teacher, placed.mirror, placed.verify)
    assert got[:2] == expected[:2]
    assert got[2:4] == pytest.approx(expected[2:4])
    assert got[4:] == expected[4:]


STATES = st.sampled_from([Teacher(), DOWN, Teacher(in_flight=9), Teacher(spent_nano_usd=9)])


def points(count: int = 2000) -> Iterator[float]:
    return ((at + 0.5) / count for at in range(count))


@settings(max_examples=60, deadline=None)
@given(NETS, TIMES, STATES, st.sampled_from(TeacherDown))
def test_the_logged_probabilities_are_those_of_what_happens(
    some: SafetyNet, now: float, teacher: Teacher, down: TeacherDown
) -> None:
    """Over all sessions at a moment the sides have just the shares that every record says."""
    limited = SafetyNet(
        **{name: getattr(some, name) for name in ("start_s", "end_s", "p_start", "floor", "decay", "steps", "holdout")},
        max_concurrent=9,
        max_nano_usd_per_day=9,
        teacher_down=down,
    )
    placed = [place(HIGH, limited, at=at, now=now, teacher=teacher) for at in points(500)]
    for role in (Role.STUDENT, Role.TEACHER, None):
        got = [one for one in placed if one.role is role]
        share = len(got) / len(placed)
        assert all(one.propensity == pytest.approx(share, abs=0.003) for one in got)
        assert all(0 < one.propensity <= 1 for one in got)


@given(NETS, st.floats(0, 1, exclude_max=True), st.lists(TIMES, min_size=2, max_size=8))
def test_a_session_changes_sides_once_at_most_and_to_the_student(
    some: SafetyNet, at: float, times: list[float]
) -> None:
    roles = [place(HIGH, some, at=at, now=now).role for now in sorted(times)]
    assert roles == sorted(roles, key=lambda role: role is Role.STUDENT)


@given(NETS, TIMES)
def test_who_is_held_out_is_held_out_for_good(some: SafetyNet, now: float) -> None:
    for at in points(100):
        if at >= 1 - some.holdout:
            assert place(HIGH, some, at=at, now=now).reason == "holdout"


def test_a_held_out_session_tells_what_the_net_is_worth() -> None:
    """The teacher fails 1 % of risky requests and the student 9 %: weighted by the logged probabilities, records of the
    launch week give both rates and their difference back, for all risky sessions, although few were the student's."""
    some = net(holdout=0.05)
    sums = {Role.STUDENT: 0.0, Role.TEACHER: 0.0}
    count = 40_000
    for number in range(count):
        placed = place(HIGH, some, at=point(Salt.REVIEW, "net", f"s{number}"), now=START + WEEK * number / count)
        assert placed.role is not None
        rate = 0.09 if placed.role is Role.STUDENT else 0.01
        failed = point(Salt.SHADOW, "outcome", f"s{number}") < rate
        sums[placed.role] += failed / placed.propensity
    assert sums[Role.STUDENT] / count == pytest.approx(0.09, abs=0.012)
    assert sums[Role.TEACHER] / count == pytest.approx(0.01, abs=0.003)


@given(NETS, TIMES, st.floats(0, 1))
def test_both_draws_together(some: SafetyNet, now: float, weight: float) -> None:
    """What the split gives to the teacher and what the net gives it add up."""
    placed: Placed = place(HIGH, some, at=0.3, now=now)
    student, teacher = placed.overall(weight)
    assert student == pytest.approx(weight * placed.p_student)
    assert student + teacher == pytest.approx(1)


def test_a_replay_decides_the_same() -> None:
    some, now = net(), START + WEEK / 3
    sessions = [f"session-{number}" for number in range(200)]
    once = [place(HIGH, some, at=point(Salt.SPLIT, "chat", key), now=now) for key in sessions]
    assert once == [place(HIGH, some, at=point(Salt.SPLIT, "chat", key), now=now) for key in sessions]
    assert {one.role for one in once} == {Role.STUDENT, Role.TEACHER}
