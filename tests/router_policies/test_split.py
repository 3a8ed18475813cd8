"""The sticky split: monotone in the weight, uniform over keys, independent between purposes."""

import math
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.decide import UnknownRoute, decide
from router_policies.facts import Facts
from router_policies.routes import Role, Route, Routes
from router_policies.split import Salt, point

ROUTE = Route("chat", teacher="big", student="small")
percents = st.floats(0, 100)
keys = st.text(max_size=60)


def decision(key: str, percent: float, route: Route = ROUTE) -> Role:
    changed = Route(route.name, route.teacher, route.student, percent)
    return decide(Facts(route.name, key), Routes.of(changed)).role


def test_point_is_the_documented_hash() -> None:
    digest = sha256(b"split|chat|session=1").digest()
    assert point(Salt.SPLIT, "chat", "session=1") == (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def test_points_never_change() -> None:
    """A changed hash would move every session of every user at the next upgrade."""
    assert point(Salt.SPLIT, "chat", "a") == 0.2986587679958882
    assert point(Salt.SHADOW, "chat", "a") == 0.6673154165885816
    assert point(Salt.REVIEW, "chat", "a") == 0.2620761720994389


@given(keys, percents, percents)
def test_raising_the_weight_never_moves_anyone_off_the_student(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if decision(key, low) is Role.STUDENT:
        assert decision(key, high) is Role.STUDENT


@given(keys)
def test_the_ends_leave_no_choice(key: str) -> None:
    assert decision(key, 0) is Role.TEACHER
    assert decision(key, 100) is Role.STUDENT


@given(st.text())
def test_any_key_has_a_point(key: str) -> None:
    assert 0 <= point(Salt.SPLIT, "chat", key) < 1


def test_lone_surrogates_have_points_of_their_own() -> None:
    assert point(Salt.SPLIT, "chat", "\ud800") != point(Salt.SPLIT, "chat", "\ud801")


N = 20_000


@pytest.mark.parametrize("salt", list(Salt))
def test_points_are_uniform(salt: Salt) -> None:
    """Kolmogorov-Smirnov against the uniform law; fails by chance for one set of keys in 10,000, and keys are fixed."""
    points = sorted(point(salt, "chat", f"user-{number}") for number in range(N))
    distance = max(max((i + 1) / N - x, x - i / N) for i, x in enumerate(points))
    assert distance < math.sqrt(-math.log(0.0001 / 2) / 2 / N)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("split", "chat"), ("shadow", "chat")),
        (("split", "chat"), ("review", "chat")),
        (("split", "chat"), ("split", "b")),
    ],
)
def test_points_of_different_purposes_and_routes_are_independent(one: tuple[str, str], other: tuple[str, str]) -> None:
    """A 10 x 10 contingency table; chi-squared with 81 degrees of freedom exceeds 132 for one in 5,000."""
    counts = [[0] * 10 for _ in range(10)]
    for number in range(N):
        key = f"user-{number}"
        x, y = (int(point(Salt(salt), route, key) * 10) for salt, route in (one, other))
        counts[x][y] += 1
    rows = [sum(row) for row in counts]
    columns = [sum(row[j] for row in counts) for j in range(10)]
    chi = sum(
        (counts[i][j] - rows[i] * columns[j] / N) ** 2 / (rows[i] * columns[j] / N)
        for i in range(10)
        for j in range(10)
    )
    assert chi < 132


def test_the_realised_share_is_the_weight() -> None:
    share = sum(decision(f"user-{number}", 25) is Role.STUDENT for number in range(N)) / N
    assert share == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / N))


@given(keys, st.floats(0.001, 99.999))
def test_propensity_is_the_probability_of_the_side_chosen(key: str, percent: float) -> None:
    chosen = decide(Facts("chat", key), Routes.of(Route("chat", "big", "small", percent)))
    assert chosen.propensity == pytest.approx(percent / 100 if chosen.role is Role.STUDENT else 1 - percent / 100)
    assert chosen.reason == "split"
    assert chosen.upstream == ("small" if chosen.role is Role.STUDENT else "big")


def test_an_unknown_route_is_said() -> None:
    with pytest.raises(UnknownRoute, match="nope"):
        decide(Facts("nope", "k"), Routes.of(ROUTE))


@pytest.mark.parametrize("name", ["", "a|b", "a b", "-a", "a" * 129, "a\n"])
def test_names_that_could_confuse_a_hash_or_a_header_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="route name: expected"):
        Route(name, "big", "small")


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan])
def test_a_percentage_is_from_0_to_100(percent: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        Route("chat", "big", "small", percent)


@given(keys, percents)
def test_the_kill_switch_beats_the_split(key: str, percent: float) -> None:
    route = Route("chat", "big", "small", percent, force=Role.TEACHER)
    decided = decide(Facts("chat", key), Routes.of(route))
    assert (decided.role, decided.upstream, decided.reason, decided.propensity) == (
        Role.TEACHER,
        "big",
        "kill_switch",
        1.0,
    )
    everywhere = decide(Facts("chat", key), Routes.of(route, force=Role.STUDENT))
    assert (everywhere.role, everywhere.upstream) == (Role.STUDENT, "small")
    assert decided.point == everywhere.point == point(Salt.SPLIT, "chat", key)


def test_another_salt_draws_all_sessions_anew() -> None:
    def chosen(salt: str) -> list[bool]:
        route = Route("chat", "big", "small", 30.0, salt=salt)
        decided = (decide(Facts("chat", f"user={number}"), Routes.of(route)) for number in range(4000))
        return [decision.role is Role.STUDENT for decision in decided]

    one, other = chosen(""), chosen("again")
    assert abs(sum(other) / 4000 - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 4000)
    both = sum(a and b for a, b in zip(one, other, strict=True)) / 4000
    assert abs(both - 0.09) < 4 * math.sqrt(0.09 * 0.91 / 4000)
