"""Playbooks: what happens, and what is to be done about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.attempts import (
    Ask,
    Attempts,
    BreakOff,
    Cancel,
    Command,
    GiveUp,
    Kind,
    Needs,
    Serve,
    able,
)
from router_policies.capabilities import Capabilities
from router_policies.failures import Failure, FailureKind
from router_policies.routes import Candidate, Fallback, MidStream, Role

SMALL = Candidate("small", Role.STUDENT)
BIG = Candidate("big", Role.TEACHER)
HUGE = Candidate("huge", Role.TEACHER)
K = FailureKind


class Play:
    """Attempts with a fixed jitter of the middle: the first back-off is 0.2 s."""

    def __init__(
        self,
        *candidates: Candidate,
        needs: Needs | None = None,
        can: dict[Candidate, Capabilities] | None = None,
        hedge_after_s: float | None = None,
        ttft_s: float = 10.0,
        **fallback: object,
    ) -> None:
        self.attempts = Attempts(
            candidates or (SMALL, BIG),
            Fallback(**fallback),  # type: ignore[arg-type]
            ttft_s=ttft_s,
            capabilities=lambda candidate: (can or {}).get(candidate, Capabilities()),
            needs=lambda: needs or Needs(),
            draw=lambda: 0.5,
        )
        self.started = self.attempts.start(0.0, hedge_after_s)

    def fails(self, leg: int, kind: FailureKind, now: float = 1.0, **failure: object) -> tuple[Command, ...]:
        return self.attempts.failed(leg, Failure(kind, **failure), now)  # type: ignore[arg-type]


def test_a_good_primary_is_all_there_is_to_it() -> None:
    play = Play()
    assert play.started == (Ask(0, SMALL, Kind.PRIMARY, 0.0),)
    assert play.attempts.good(0) == ()
    assert play.attempts.due_at == float("inf")


@pytest.mark.parametrize("kind", [K.CONNECT, K.HTTP_5XX, K.HTTP_429])
def test_what_may_pass_is_tried_once_more_and_then_elsewhere(kind: FailureKind) -> None:
    play = Play()
    assert play.fails(0, kind) == ()
    assert play.attempts.due_at == pytest.approx(1.2)
    assert play.attempts.due(1.2) == (Ask(1, SMALL, Kind.PRIMARY, 0.0),)
    assert play.fails(1, kind, 2.0) == (Ask(2, BIG, Kind.FALLBACK, 2.0, kind),)
    assert play.fails(2, K.TIMEOUT, 9.0) == (GiveUp(2),)


@pytest.mark.parametrize("kind", [K.TIMEOUT, K.INVALID_STREAM, K.HTTP_401, K.CONTEXT_LENGTH, K.BREAKER, K.VERIFY])
def test_what_will_not_pass_goes_elsewhere_at_once(kind: FailureKind) -> None:
    assert Play().fails(0, kind) == (Ask(1, BIG, Kind.FALLBACK, 1.0, kind),)


@pytest.mark.parametrize("kind", [K.CLIENT_ERROR, K.CONTENT_FILTER])
def test_what_the_request_is_to_blame_for_is_told(kind: FailureKind) -> None:
    assert Play(retries=3).fails(0, kind) == (GiveUp(0),)


def test_backing_off_longer_each_time() -> None:
    play = Play(SMALL, retries=3)
    waits = []
    for leg in range(3):
        assert play.fails(leg, K.HTTP_429, 1.0) == ()
        waits.append(play.attempts.due_at - 1.0)
        play.attempts.due(play.attempts.due_at)
    assert waits == pytest.approx([0.2, 0.4, 0.8])
    assert play.fails(3, K.HTTP_429) == (GiveUp(3),)


@pytest.mark.parametrize(
    ("retry_after_s", "waits"), [(0.0, True), (2.0, True), (5.0, True), (5.1, False), (60.0, False)]
)
def test_a_short_retry_after_is_waited_for(retry_after_s: float, waits: bool) -> None:
    play = Play()
    commands = play.fails(0, K.HTTP_429, retry_after_s=retry_after_s)
    if waits:
        assert commands == ()
        assert play.attempts.due_at == 1.0 + retry_after_s
    else:
        assert commands == (Ask(1, BIG, Kind.FALLBACK, 1.0, K.HTTP_429),)


def test_a_wait_that_does_not_fit_the_deadline_is_none() -> None:
    assert Play(ttft_s=3.0).fails(0, K.HTTP_429, now=1.0, retry_after_s=2.0) == (
        Ask(1, BIG, Kind.FALLBACK, 1.0, K.HTTP_429),
    )


def test_a_spent_quota_is_not_asked_again() -> None:
    assert Play().fails(0, K.HTTP_429, hopeless=True) == (Ask(1, BIG, Kind.FALLBACK, 1.0, K.HTTP_429),)


def test_only_the_failures_named_lead_elsewhere() -> None:
    play = Play(retries=0, on=frozenset({K.TIMEOUT}))
    assert play.fails(0, K.HTTP_5XX) == (GiveUp(0),)
    assert Play(on=frozenset({K.TIMEOUT})).fails(0, K.TIMEOUT) == (Ask(1, BIG, Kind.FALLBACK, 1.0, K.TIMEOUT),)
    assert Play(retries=0).fails(0, K.BUSY) == (GiveUp(0),)
    assert Play(on=frozenset({K.BUSY})).fails(0, K.BUSY) == (Ask(1, BIG, Kind.FALLBACK, 1.0, K.BUSY),)


def test_the_failure_told_is_of_who_was_really_asked() -> None:
    play = Play(retries=0)
    play.fails(0, K.HTTP_5XX)
    assert play.fails(1, K.BREAKER) == (GiveUp(0),)
    play = Play(retries=0)
    play.fails(0, K.BREAKER)
    assert play.fails(1, K.HTTP_5XX) == (GiveUp(1),)
    play = Play(retries=0)
    play.fails(0, K.BREAKER)
    assert play.fails(1, K.BREAKER) == (GiveUp(0),)


def test_an_answer_that_failed_its_check_is_better_than_none() -> None:
    play = Play(retries=0)
    play.fails(0, K.VERIFY)
    assert play.fails(1, K.CONNECT) == (GiveUp(0),)


def test_who_cannot_is_not_asked() -> None:
    can = {BIG: Capabilities(tools=False, vision=False, context_tokens=100)}
    for needs in (Needs(tools=True), Needs(vision=True), Needs(tokens=100)):
        assert Play(SMALL, BIG, HUGE, needs=needs, can=can).fails(0, K.TIMEOUT) == (
            Ask(1, HUGE, Kind.FALLBACK, 1.0, K.TIMEOUT),
        )
        assert not able(can[BIG], needs)
    assert able(can[BIG], Needs(tokens=99))


def test_too_long_for_one_goes_only_to_what_may_take_more() -> None:
    can = {SMALL: Capabilities(8000), BIG: Capabilities(8000), HUGE: Capabilities(128_000)}
    play = Play(SMALL, BIG, HUGE, can=can)
    assert play.fails(0, K.CONTEXT_LENGTH) == (Ask(1, HUGE, Kind.FALLBACK, 1.0, K.CONTEXT_LENGTH),)
    assert Play(SMALL, BIG, can=can).fails(0, K.CONTEXT_LENGTH) == (GiveUp(0),)
    assert Play(SMALL, BIG, can={SMALL: Capabilities(8000)}).fails(0, K.CONTEXT_LENGTH) == (
        Ask(1, BIG, Kind.FALLBACK, 1.0, K.CONTEXT_LENGTH),
    )


# Hedging.


def test_the_first_good_answer_wins_and_the_loser_is_cancelled() -> None:
    for winner, loser in ((0, 1), (1, 0)):
        play = Play(hedge_after_s=0.5)
        assert play.attempts.due_at == 0.5
        assert play.attempts.due(0.5) == (Ask(1, BIG, Kind.HEDGE, 0.5),)
        assert play.attempts.good(winner) == (Cancel(loser),)
        assert play.attempts.due_at == float("inf")


def test_no_hedge_after_a_first_token() -> None:
    play = Play(hedge_after_s=0.5)
    play.attempts.good(0)
    assert play.attempts.due_at == float("inf")


def test_a_race_goes_on_with_who_is_left() -> None:
    play = Play(hedge_after_s=0.5)
    play.attempts.due(0.5)
    assert play.fails(0, K.TIMEOUT) == ()
    assert play.attempts.good(1) == ()


def test_both_lose() -> None:
    play = Play(hedge_after_s=0.5, retries=0)
    play.attempts.due(0.5)
    assert play.fails(1, K.HTTP_5XX) == ()
    assert play.fails(0, K.TIMEOUT) == (GiveUp(0),)


def test_a_decisive_answer_ends_the_race() -> None:
    play = Play(hedge_after_s=0.5)
    play.attempts.due(0.5)
    assert play.fails(1, K.CLIENT_ERROR) == (Cancel(0), GiveUp(1))


# Inside the answer.


def test_a_broken_stream_is_continued_by_the_next() -> None:
    play = Play(SMALL, BIG, HUGE)
    play.attempts.good(0)
    assert play.fails(0, K.INVALID_STREAM) == (Ask(1, BIG, Kind.RESCUE, 1.0, K.INVALID_STREAM),)
    assert play.fails(1, K.CONNECT, 2.0) == (Ask(2, HUGE, Kind.RESCUE, 2.0, K.INVALID_STREAM),)
    assert play.attempts.good(2) == ()
    assert play.fails(2, K.TIMEOUT, 3.0) == (BreakOff(),)


def test_with_nobody_else_the_same_is_asked_once_unless_it_is_silent() -> None:
    play = Play(SMALL)
    play.attempts.good(0)
    assert play.fails(0, K.INVALID_STREAM) == (Ask(1, SMALL, Kind.RESCUE, 1.0, K.INVALID_STREAM),)
    assert play.fails(1, K.INVALID_STREAM) == (BreakOff(),)
    for kind, retries in ((K.TIMEOUT, 1), (K.INVALID_STREAM, 0)):
        play = Play(SMALL, retries=retries)
        play.attempts.good(0)
        assert play.fails(0, kind) == (BreakOff(),)


@pytest.mark.parametrize("mid_stream", [MidStream.ERROR, MidStream.HOLD])
def test_a_broken_stream_ends_where_that_is_wanted(mid_stream: MidStream) -> None:
    play = Play(mid_stream=mid_stream)
    play.attempts.good(0)
    assert play.fails(0, K.INVALID_STREAM) == (BreakOff(),)


def test_a_filter_that_strikes_inside_an_answer_is_not_routed_around() -> None:
    play = Play()
    play.attempts.good(0)
    assert play.fails(0, K.CONTENT_FILTER) == (BreakOff(),)


# Whatever happens.


@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([None, 0.5]),
    st.lists(st.tuples(st.sampled_from([*FailureKind, "good", "due"]), st.integers(0, 5)), max_size=60),
)
def test_every_request_ends_and_says_so_once(
    candidates: int, retries: int, hedge_after_s: float | None, events: list[tuple[object, int]]
) -> None:
    names = tuple(Candidate(f"u{index}", Role.TEACHER) for index in range(candidates))
    play = Play(*names, retries=retries, hedge_after_s=hedge_after_s)
    now, open_legs, asked, over = 0.0, {0}, [play.started[0]], 0
    served: int | None = None

    def carry_out(commands: tuple[Command, ...]) -> None:
        nonlocal over
        for command in commands:
            assert not over
            if isinstance(command, Ask):
                open_legs.add(command.leg)
                asked.append(command)
            elif isinstance(command, Cancel):
                open_legs.remove(command.leg)
            else:
                assert isinstance(command, BreakOff) is (served is not None)
                over += 1

    for event, which in events:
        now += 0.3
        if over:
            break
        if event == "due" or not open_legs:
            if now >= play.attempts.due_at or not open_legs:
                now = max(now, play.attempts.due_at)
                assert now < float("inf"), "nothing is open, nothing is waited for, and the client was told nothing"
                carry_out(play.attempts.due(now))
            continue
        leg = sorted(open_legs)[which % len(open_legs)]
        if event == "good":
            if leg != served:
                served = leg
                carry_out(play.attempts.good(leg))
        else:
            open_legs.remove(leg)
            carry_out(play.attempts.failed(leg, Failure(event), now))  # type: ignore[arg-type]
    assert len(asked) <= candidates * (retries + 1)
    assert over or open_legs or play.attempts.due_at < float("inf")
    assert [ask.leg for ask in asked] == list(range(len(asked)))


# ---- An answer in reserve ----


def test_a_better_answer_is_served_and_the_one_in_reserve_let_go() -> None:
    play = Play()
    assert play.attempts.deferred(0, BIG, 1.0) == (Ask(1, BIG, Kind.DEFERRAL, 1.0),)
    assert play.attempts.in_reserve
    assert play.attempts.another, "nobody is waited for to the end"
    assert play.attempts.good(1) == (Cancel(0),)
    assert not play.attempts.in_reserve


@pytest.mark.parametrize("kind", list(FailureKind))
def test_whatever_goes_wrong_the_answer_in_reserve_is_served(kind: FailureKind) -> None:
    play = Play(SMALL, BIG, HUGE, retries=2)
    play.attempts.deferred(0, BIG, 1.0)
    assert play.fails(1, kind) == (Serve(0),)
    assert play.attempts.serving == 0
    assert play.attempts.due_at == float("inf")


def test_out_of_time_it_is_served() -> None:
    play = Play()
    play.attempts.deferred(0, BIG, 1.0)
    assert play.attempts.settle() == (Cancel(1), Serve(0))


def test_a_stream_in_reserve_that_breaks_leaves_the_better_one_which_is_not_asked_twice() -> None:
    play = Play(SMALL, BIG, HUGE, retries=0)
    play.attempts.deferred(0, BIG, 1.0)
    assert play.fails(0, K.INVALID_STREAM) == ()
    assert play.fails(1, K.TIMEOUT) == (Ask(2, HUGE, Kind.FALLBACK, 1.0, K.TIMEOUT),)


def test_a_hedge_that_is_under_way_is_the_better_answer() -> None:
    play = Play(hedge_after_s=0.5)
    (hedge,) = play.attempts.due(0.5)
    assert play.attempts.deferred(0, BIG, 1.0) == ()
    assert isinstance(hedge, Ask)
    assert play.attempts.good(hedge.leg) == (Cancel(0),)
