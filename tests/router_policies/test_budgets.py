"""Budgets: never more than a minute's worth and the rate on top, whatever comes in whatever order."""

import math
from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.budgets import Bucket, Budget, Exceeded, KeyLimits, Limit

START = 1_000_000.0  # clocks of machines that have been up for long
rates = st.integers(1, 10_000)
gaps = st.lists(st.floats(0, 100) | st.just(0.0), max_size=60)
arrivals = st.lists(st.tuples(st.floats(0, 40) | st.just(0.0), st.integers(0, 12_000)), max_size=60)


def exceeded(budget: Budget, tokens: int, now: float) -> Exceeded:
    with pytest.raises(Exceeded) as caught:
        budget.reserve(tokens, now)
    return caught.value


def windows(admitted: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """The length of each window that begins and ends with an admission, and what was admitted in it."""
    for first in range(len(admitted)):
        total = 0
        for last in range(first, len(admitted)):
            total += admitted[last][1]
            yield admitted[last][0] - admitted[first][0], total


@settings(deadline=None)  # looks at every window: slow where others work too
@given(rates, gaps)
def test_no_window_admits_more_requests_than_a_minutes_worth_and_the_rate(rate: int, between: list[float]) -> None:
    budget = Budget(KeyLimits(requests_per_minute=rate))
    admitted = []
    for now in accumulate(between, initial=START):
        try:
            for _ in range(min(rate + 1, 50)):
                budget.reserve(0, now)
                admitted.append((now, 1))
        except Exceeded:
            pass
    for length, total in windows(admitted):
        assert total <= rate + rate * length / 60 + 1e-3


@settings(deadline=None)  # looks at every window: slow where others work too
@given(rates, arrivals)
def test_no_window_admits_more_tokens_than_a_minutes_worth_and_the_rate(
    rate: int, coming: list[tuple[float, int]]
) -> None:
    budget = Budget(KeyLimits(tokens_per_minute=rate))
    admitted, now = [], START
    for gap, tokens in coming:
        now += gap
        try:
            admitted.append((now, budget.reserve(tokens, now)))
        except Exceeded:
            continue
        assert admitted[-1][1] == min(tokens, rate)
    for length, total in windows(admitted):
        assert total <= rate + rate * length / 60 + 1e-3


@given(rates, arrivals)
def test_what_is_refused_passes_after_the_wait_it_was_told_and_not_before(
    rate: int, coming: list[tuple[float, int]]
) -> None:
    budget, now = Budget(KeyLimits(tokens_per_minute=rate)), START
    for gap, tokens in coming:
        now += gap
        try:
            budget.reserve(tokens, now)
        except Exceeded as refusal:
            assert refusal.wait_s is not None
            assert 0 < refusal.wait_s <= 60 + 1e-6  # never in debt here
            if refusal.wait_s > 1e-3:
                exceeded(budget, tokens, now + refusal.wait_s * 0.999 - 1e-5)
            now += refusal.wait_s
            budget.reserve(tokens, now)


@given(rates, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 9000)), max_size=30), st.floats(0, 200))
def test_settling_leaves_the_bucket_as_if_the_real_number_had_been_known(
    rate: int, requests: list[tuple[int, int]], later: float
) -> None:
    """Conservation: reserving estimates and settling them takes what was really used, no more, no less."""
    budget, known = Bucket(rate), Bucket(rate)
    known.take(sum(used for _, used in requests), START)
    for estimate, _ in requests:
        budget.take(estimate, START)
    for estimate, used in requests:
        budget.take(used - estimate, START)
    total = sum(estimate + used for estimate, used in requests)
    assert math.isclose(budget.level(START + later), known.level(START + later), abs_tol=1e-6 * (rate + total))


@given(
    st.integers(1, 5),
    st.integers(1, 1000),
    st.lists(st.tuples(st.booleans(), st.floats(0, 10), st.integers(0, 3000)), max_size=80),
)
def test_concurrency_is_held_and_never_negative_and_debt_is_what_was_used_above_it(
    most: int, rate: int, events: list[tuple[bool, float, int]]
) -> None:
    budget = Budget(KeyLimits(tokens_per_minute=rate, concurrency=most))
    under_way: list[int] = []
    now, used_up = START, 0
    for begin, gap, tokens in events:
        now += gap
        if begin:
            try:
                under_way.append(budget.reserve(tokens, now))
            except Exceeded as refusal:
                assert refusal.limit is not Limit.CONCURRENCY or len(under_way) == most
        elif under_way:
            budget.settle(under_way.pop(), tokens, now)
            used_up += tokens
        assert budget.in_use == len(under_way) <= most
        bucket = budget._tokens
        assert bucket is not None
        assert rate >= bucket.level(now) >= -used_up - 1e-3 * rate
    for reserved in under_way:
        budget.settle(reserved, 0, now)
    assert budget.in_use == 0


def test_the_limits_do_not_mix() -> None:
    nothing = Budget(KeyLimits())
    for _ in range(1000):
        assert nothing.reserve(10**9, START) == 0
    assert nothing.in_use == 1000

    requests = Budget(KeyLimits(requests_per_minute=2))
    requests.reserve(10**9, START)
    requests.reserve(10**9, START)
    refusal = exceeded(requests, 0, START)
    assert (refusal.limit, refusal.allowed, refusal.wait_s) == (Limit.REQUESTS, 2, pytest.approx(30))

    at_once = Budget(KeyLimits(concurrency=1))
    at_once.reserve(0, START)
    refusal = exceeded(at_once, 0, START + 1e6)
    assert (refusal.limit, refusal.allowed, refusal.wait_s) == (Limit.CONCURRENCY, 1, None)
    at_once.settle(0, 10**9, START)
    at_once.reserve(0, START)


def test_what_is_refused_uses_nothing_up() -> None:
    budget = Budget(KeyLimits(requests_per_minute=2, tokens_per_minute=100, concurrency=5))
    assert budget.reserve(60, START) == 60
    for _ in range(100):
        assert exceeded(budget, 60, START).limit is Limit.TOKENS
    assert budget.reserve(40, START) == 40
    assert budget.in_use == 2


def test_the_longest_wait_is_told() -> None:
    budget = Budget(KeyLimits(requests_per_minute=1, tokens_per_minute=60))
    budget.reserve(0, START)
    budget.settle(0, 120, START)
    refusal = exceeded(budget, 60, START)
    assert (refusal.limit, refusal.wait_s) == (Limit.TOKENS, pytest.approx(120))
    refusal = exceeded(budget, 0, START + 59)
    assert (refusal.limit, refusal.wait_s) == (Limit.REQUESTS, pytest.approx(1))


def test_more_than_a_minutes_worth_waits_for_a_full_bucket_and_pays_after() -> None:
    budget = Budget(KeyLimits(tokens_per_minute=60))
    assert budget.reserve(10_000, START) == 60
    budget.settle(60, 600, START)  # 540 in debt
    assert exceeded(budget, 1, START).wait_s == pytest.approx(541)
    budget.reserve(1, START + 541)


def test_an_unused_reservation_is_given_back_and_a_full_bucket_stays_full() -> None:
    budget = Budget(KeyLimits(tokens_per_minute=60))
    budget.settle(budget.reserve(60, START), 0, START)
    assert budget.reserve(60, START) == 60
    budget.settle(60, 0, START + 1000)  # it had refilled meanwhile: no more than a minute's worth is there now
    assert budget.reserve(60, START + 1000) == 60
    exceeded(budget, 1, START + 1000)


@given(
    rates,
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5), st.integers(-2000, 5000)), max_size=60),
)
def test_what_several_took_is_told_once_and_all_go_on_with_one_level(
    rate: int, taken: list[tuple[int, float, int]]
) -> None:
    """Four processes whose buckets are set, whenever one tells, to what a bucket of all has left."""
    shared, own = Bucket(rate), [Bucket(rate) for _ in range(4)]
    now = START
    for who, gap, units in taken:
        now += gap
        own[who].take(units, now)
        assert own[who].untold == units
        shared.take(own[who].untold, now)
        own[who].untold = 0
        for bucket in own:
            bucket.set_level(shared.level(now), now)
    size = rate + sum(abs(units) for _, _, units in taken)
    for bucket in own:
        for later in (0, 1, 30, 1000):
            assert math.isclose(bucket.level(now + later), shared.level(now + later), abs_tol=1e-6 * size)


def test_requests_under_way_elsewhere_count() -> None:
    budget = Budget(KeyLimits(concurrency=3))
    budget.in_use_elsewhere = 2
    budget.reserve(0, START)
    refusal = exceeded(budget, 0, START)
    assert (refusal.limit, refusal.allowed) == (Limit.CONCURRENCY, 3)
    budget.in_use_elsewhere = 7  # both let some through at once
    exceeded(budget, 0, START)
    budget.in_use_elsewhere = 0
    budget.reserve(0, START)
    assert budget.in_use == 2


def test_the_buckets_are_those_that_are_limited() -> None:
    assert Budget(KeyLimits(concurrency=1)).buckets == {}
    both = Budget(KeyLimits(requests_per_minute=5, tokens_per_minute=70)).buckets
    assert {limit: bucket.capacity for limit, bucket in both.items()} == {Limit.REQUESTS: 5, Limit.TOKENS: 70}
