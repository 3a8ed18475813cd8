"""Playbooks for the breaker: what happens when, and the state that is expected afterwards."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_policies.breaker import Breaker, BreakerRules, State

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
RULES = BreakerRules()


class Play:
    """`play(at, "ok" | "bad" | "pass" | "fail", times)`: outcomes of requests that are let through there and then, or
    of health checks that are made there and then."""

    def __init__(self, rules: BreakerRules = RULES) -> None:
        self.breaker = Breaker(rules)

    def __call__(self, at: float, what: str, times: int = 1) -> State:
        breaker = self.breaker
        for _ in range(times):
            before = breaker.state
            if what in ("ok", "bad"):
                tell = breaker.succeeded if what == "ok" else breaker.failed
                changed = tell(breaker.openings, at)
            else:
                changed = breaker.checked(what == "pass", at)
            assert changed is (breaker.state is not before)
        return breaker.state

    def opened(self, at: float) -> "Play":
        assert self(at, "bad", self.breaker.rules.min_requests) is OPEN
        return self


def test_it_opens_at_half_of_twenty_and_not_before() -> None:
    play = Play()
    assert play(0, "bad", 10) is CLOSED
    assert play(1, "ok", 9) is CLOSED
    assert play(2, "bad") is OPEN


def test_the_request_that_makes_them_enough_may_be_a_good_one() -> None:
    play = Play()
    assert play(0, "bad", 19) is CLOSED
    assert play(0, "ok") is OPEN


def test_failures_below_the_ratio_never_open_it() -> None:
    play = Play()
    assert play(0, "ok", 11) is CLOSED
    assert play(0, "bad", 10) is CLOSED
    for at in range(1, 200):
        assert play(at, "ok", 11) is CLOSED
        assert play(at, "bad", 9) is CLOSED


def test_many_good_requests_do_not_hide_failures_once_they_are_out_of_the_window() -> None:
    play = Play()
    assert play(0, "ok", 1000) is CLOSED
    assert play(26, "bad", 100) is CLOSED
    assert play(31, "bad", 1) is OPEN


def test_failures_out_of_the_window_do_not_count() -> None:
    play = Play()
    assert play(0, "bad", 19) is CLOSED
    assert play(30, "bad", 19) is CLOSED
    assert play(59.9, "ok") is CLOSED  # 19 and 1, were the window over a minute


@pytest.mark.parametrize("gap_s", [0.7, 1.4, 1.6, 30.1])
def test_slow_failures_open_it_if_twenty_fit_into_the_window(gap_s: float) -> None:
    play = Play()
    opened = any(play(turn * gap_s, "bad") is OPEN for turn in range(60))
    assert opened is (gap_s * 20 <= 28)  # the window moves in tenths


def test_probes_begin_before_open_s_is_over_and_let_users_through_by_then() -> None:
    play = Play().opened(at=100)
    assert play.breaker.probe_at == pytest.approx(109)
    assert play(108.9, "pass") is OPEN, "a check from before does not count"
    assert play(109, "pass") is HALF_OPEN
    assert play(109.1, "ok") is CLOSED


def test_traffic_is_back_within_ten_seconds_of_any_recovery() -> None:
    """Whenever the server recovers, with a check about every second that takes two to fail, and none to pass."""
    for tenths in range(300):
        recovers_at = tenths / 10
        play = Play().opened(at=0)
        now = 0.0
        while play.breaker.state is OPEN:
            now = max(now, play.breaker.probe_at)
            well = now >= recovers_at
            play(now if well else now + 2, "pass" if well else "fail")
        assert now - recovers_at < 10


def test_probes_come_one_by_one_about_a_second_apart() -> None:
    play = Play().opened(at=0)
    assert play(9, "fail") is OPEN
    assert play.breaker.probe_at == 10
    assert play(9.5, "pass") is OPEN, "not due"
    assert play(12, "fail") is OPEN
    assert play.breaker.probe_at == 13
    assert play(13, "pass") is HALF_OPEN
    assert play.breaker.probe_at == float("inf")


def test_as_many_probes_must_pass_in_a_row_as_the_rules_say() -> None:
    play = Play(BreakerRules(probe=3)).opened(at=0)
    for at, what in ((9, "pass"), (10, "pass"), (11, "fail"), (12, "pass"), (13, "pass")):
        assert play(at, what) is OPEN
    assert play(14, "pass") is HALF_OPEN


def test_the_first_outcome_decides_when_half_open() -> None:
    play = Play().opened(at=0)
    play(9, "pass")
    assert play(9, "bad") is OPEN
    assert play.breaker.probe_at == pytest.approx(18)
    play(18, "pass")
    assert play(18, "ok") is CLOSED


def test_it_closes_with_nothing_counted() -> None:
    play = Play().opened(at=0)
    play(9, "pass")
    play(9, "ok")
    assert play(9.1, "bad", 19) is CLOSED
    assert play(9.2, "bad") is OPEN


def test_what_was_let_through_before_it_opened_counts_no_more() -> None:
    play = Play()
    breaker = play.breaker
    before = breaker.openings
    play.opened(at=0)
    assert not breaker.succeeded(before, 1)
    assert not breaker.failed(before, 1)
    assert breaker.state is OPEN
    play(9, "pass")
    assert not breaker.failed(before, 9.1), "it does not decide"
    assert not breaker.succeeded(before, 9.2)
    assert breaker.state is HALF_OPEN
    during = breaker.openings
    assert breaker.succeeded(during, 9.3)
    for _ in range(100):
        breaker.failed(before, 9.4)
    assert breaker.state is CLOSED
    for _ in range(20):
        breaker.failed(during, 9.5)
    assert breaker.state is OPEN, "those of the half open time are as new as any"


def test_a_flapping_server_is_left_alone_most_of_the_time() -> None:
    """Well for checks and for nothing else: it fails 20 users, then one user about every nine seconds."""
    play, failed = Play(), 0
    for tenths in range(10_000):
        now = tenths / 10
        if play.breaker.state is OPEN:
            if now >= play.breaker.probe_at:
                play(now, "pass")
        else:
            failed += 1
            play(now, "bad")
    assert failed < 20 + 1000 / 9 + 1


def test_checks_change_nothing_while_it_is_closed_or_half_open() -> None:
    play = Play()
    assert play(0, "fail", 100) is CLOSED
    play.opened(at=1)
    play(10, "pass")
    assert play(11, "fail", 100) is HALF_OPEN


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=300), st.floats(0.05, 1), st.integers(1, 30))
@example([(0.0, True), (2.0, True), *[(5.0, False)] * 5], 1.0, 1)
def test_it_opens_when_a_plain_count_over_the_window_says_so(
    outcomes: list[tuple[float, bool]], ratio: float, least: int
) -> None:
    """Against a list of all outcomes: it never opens where the last 24 to 30 s give no reason, however they are cut:
    a tenth of the window that has begun is not yet full, and one that ends is let go of whole."""
    breaker = Breaker(BreakerRules(min_requests=least, failure_ratio=ratio))
    past: list[tuple[float, bool]] = []
    now = 0.0
    for gap, ok in outcomes:
        now += gap
        past.append((now, ok))
        (breaker.succeeded if ok else breaker.failed)(breaker.openings, now)

        def reason(window_s: float, now: float = now) -> bool:
            recent = [ok for at, ok in past if at > now - window_s]
            return len(recent) >= least and recent.count(False) >= ratio * len(recent) and False in recent

        cuts = [now - at + 1e-9 for at, _ in past if now - 30 - 1e-9 <= at <= now - 24 + 1e-9] + [24, 30]
        reasons = {reason(cut) for cut in cuts}
        if len(reasons) == 1:
            assert (breaker.state is OPEN) is reasons.pop()
        if breaker.state is OPEN:
            return


def test_recording_allocates_nothing_that_grows() -> None:
    breaker, draw = Breaker(RULES), random.Random(1)
    for turn in range(20_000):
        (breaker.failed if draw.random() < 0.2 else breaker.succeeded)(breaker.openings, turn / 100)
    assert breaker.state is CLOSED
    assert len(breaker._past) <= 10


@pytest.mark.parametrize(
    ("field", "value"),
    [("window_s", 0), ("open_s", -1), ("failure_ratio", 0), ("failure_ratio", 1.1), ("min_requests", 0), ("probe", 0)],
)
def test_rules_that_are_none(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"breaker: expected .*{field}"):
        BreakerRules(**{field: value})  # type: ignore[arg-type]
