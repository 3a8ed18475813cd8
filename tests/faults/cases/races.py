"""Hedges: the next upstream is asked early, and the first token wins; a whole answer has none, and is not raced for.
And held-back tokens: a break inside them is invisible."""

from tests.faults.answers import broken_after, good
from tests.faults.case import CLOSED_WITHIN_S, SLACK_S, Case, Expect, Stage
from tests.faults.cases.rescues import BROKEN
from tests.faults.cases.streams import ONLY_STREAMING
from tests.faults.server import CLOSE

HEDGE_S = 0.3
HEDGED = {"hedge_after_s": HEDGE_S}
PATIENT = {"ttft_s": 5.0, "answer_s": 5.0}


async def _big_wins(stage: Stage) -> None:
    reply = await stage.ask()
    stage.caller_got = stage.describe(reply)
    await stage.no_leg_left_open(reply.ended_at)
    stage.check(reply, Expect(by="big", why="hedge", within_s=(HEDGE_S, HEDGE_S + SLACK_S)))
    small, big = stage.small.calls[0], stage.big.calls[0]
    stage.must_lie("from small's call to big's", big.at - small.at, (HEDGE_S - 0.02, HEDGE_S + 0.15))
    answered_at = reply.first_token_at or reply.ended_at
    closed = small.closed_by == "gateway" and small.closed_at is not None
    stage.must(closed and small.closed_at < answered_at + CLOSED_WITHIN_S, "small was not closed when big had won")  # type: ignore[operator]


async def _small_wins_late(stage: Stage) -> None:
    reply = await stage.ask()
    stage.caller_got = stage.describe(reply)
    await stage.no_leg_left_open(reply.ended_at)
    stage.check(reply, Expect(by="small", small=1, big=1, within_s=(0.6, 0.6 + SLACK_S)))
    big = stage.big.calls[0]
    closed = big.closed_by == "gateway" and big.closed_at is not None
    stage.must(closed and big.closed_at < reply.ended_at + CLOSED_WITHIN_S, "big was not closed when small had won")  # type: ignore[operator]


CASES = (
    Case(
        name="hedge-won",
        fault=f"no token for 3 s, hedge after {HEDGE_S} s",
        small=good(first_s=3.0),
        deadlines=PATIENT,
        fallback=HEDGED,
        modes=ONLY_STREAMING,
        play=_big_wins,
    ),
    Case(
        name="hedge-lost",
        fault=f"a token after 0.6 s, hedge after {HEDGE_S} s, big is slower still",
        small=good(first_s=0.6),
        big=good(first_s=3.0),
        deadlines=PATIENT,
        fallback=HEDGED,
        modes=ONLY_STREAMING,
        play=_small_wins_late,
    ),
    Case(
        name="hedge-not-needed",
        fault="a token at once: big is not asked",
        small=good(),
        fallback=HEDGED,
        expect=Expect(by="small", big=0),
    ),
    Case(
        name="hedge-fails",
        fault="a token after 0.6 s, the hedge fails at once",
        small=good(first_s=0.6),
        big=lambda call: [CLOSE],
        deadlines=PATIENT,
        fallback=HEDGED,
        modes=ONLY_STREAMING,
        expect=Expect(by="small", big=1, within_s=(0.6, 0.6 + SLACK_S)),
    ),
    Case(
        name="hold-cut-inside",
        fault="cut after 5 words, `mid_stream: hold:10`: invisible",
        small=broken_after(5, CLOSE),
        fallback={"mid_stream": "hold:10"},
        modes=ONLY_STREAMING,
        expect=Expect(why="fallback:invalid_stream"),
    ),
    Case(
        name="hold-cut-after",
        fault="cut after 15 words, `mid_stream: hold:10`: told",
        small=broken_after(15, CLOSE),
        fallback={"mid_stream": "hold:10"},
        modes=ONLY_STREAMING,
        expect=BROKEN.but(big=0),
    ),
    Case(
        name="hold-short-answer",
        fault="an answer shorter than what is held back: no fault",
        small=good("It is 42."),
        fallback={"mid_stream": "hold:10"},
        modes=ONLY_STREAMING,
        expect=Expect(text="It is 42.", by="small", big=0),
    ),
)
