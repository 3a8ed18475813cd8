"""Providers that cannot be reached, that hang up, or that say nothing."""

from collections.abc import Iterable

from tests.faults.answers import (
    HEAD,
    TEXT,
    WORDS,
    always,
    chunked,
    completion,
    each,
    event,
    events,
    good,
    response,
    role,
)
from tests.faults.case import DEADLINES, SLACK_S, Case, Expect, Mode
from tests.faults.cases.statuses import BACKOFF_S
from tests.faults.server import CLOSE, RESET, SILENCE, Call, Refusing, Step, Unreachable

RETRIED = Expect(why="fallback:connect", small=2, gap_s=BACKOFF_S, within_s=(0.0, 1.0))
DEADLINE_S = DEADLINES["ttft_s"]  # the same as answer_s
TIMED_OUT = Expect(why="fallback:timeout", within_s=(DEADLINE_S, DEADLINE_S + SLACK_S))


def _role_only(call: Call) -> Iterable[Step]:
    yield from (HEAD, chunked(role(call.json["model"])), SILENCE)


def _comments(call: Call) -> Iterable[Step]:
    yield HEAD + chunked(role(call.json["model"]))
    for _ in range(50):
        yield from (chunked(b": OPENROUTER PROCESSING\n\n"), 0.2)


def _empty_deltas(call: Call) -> Iterable[Step]:
    """Chunks that are chunks, and say nothing."""
    model = call.json["model"]
    yield HEAD
    for _ in range(50):
        yield chunked(
            event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": []})
        )
        yield 0.2


def _headers_only(call: Call) -> Iterable[Step]:
    yield HEAD if call.streams else response(completion("small-model", {"content": TEXT}))[:120]
    yield SILENCE


def _trickle(call: Call) -> Iterable[Step]:
    """A body that comes so slowly that it will not be whole in time, though it never stops for long."""
    for byte in response(completion("small-model", {"content": TEXT})):
        yield bytes((byte,))
        yield 0.02


def _chunk_by_chunk(call: Call) -> Iterable[Step]:
    """The pieces of each event come a few bytes at a time, cut inside lines, characters and chunk sizes."""
    whole = HEAD + b"".join(chunked(one) for one in events(call, WORDS)) + b"0\r\n\r\n"
    for at in range(0, len(whole), 7):
        yield whole[at : at + 7]
        if at % 140 == 0:
            yield 0.001


CASES = (
    Case(
        name="refused",
        fault="the connection is refused",
        small=Refusing,
        expect=Expect(why="fallback:connect", small=0, within_s=(0.08, 1.0)),
    ),
    Case(
        name="refused-everywhere",
        fault="the connection is refused by both",
        small=Refusing,
        big=Refusing,
        expect=Expect(
            text=None,
            status=502,
            code="upstream_unreachable",
            why="fallback:connect",
            within_s=(0.1, 1.5),
            outcome="connect_error",
        ),
    ),
    Case(
        name="connect-hangs",
        fault="connecting is never answered",
        small=Unreachable,
        deadlines={"connect_s": 0.3, "ttft_s": 3.0, "answer_s": 3.0},
        expect=Expect(why="fallback:connect", small=0, within_s=(0.6, 1.0 + SLACK_S)),
    ),
    Case(name="reset", fault="reset before headers, for good", small=always(RESET), expect=RETRIED),
    Case(
        name="reset-once",
        fault="reset before headers, then well",
        small=each(always(RESET), good()),
        expect=RETRIED.but(by="small", why="split", big=0),
    ),
    Case(name="closed", fault="closed before headers, for good", small=always(CLOSE), expect=RETRIED),
    Case(
        name="closed-in-headers",
        fault="closed inside the headers, for good",
        small=always(HEAD[:40], 0.05, CLOSE),
        expect=RETRIED,
    ),
    Case(name="silence", fault="accepts, and never answers", small=always(SILENCE), expect=TIMED_OUT),
    Case(
        name="silence-everywhere",
        fault="both accept, and never answer",
        small=always(SILENCE),
        big=always(SILENCE),
        deadlines={"total_s": 2.5},
        expect=Expect(
            text=None,
            status=504,
            code="upstream_timeout",
            why="fallback:timeout",
            within_s=(2 * DEADLINE_S, 2 * DEADLINE_S + SLACK_S),
            outcome="timeout",
        ),
        expect_whole=Expect(  # nobody is left to be asked instead of the last, which may take the time that is left
            text=None,
            status=504,
            code="upstream_timeout",
            why="fallback:timeout",
            within_s=(2.5, 2.5 + SLACK_S),
            outcome="timeout",
        ),
    ),
    Case(name="headers-then-silence", fault="headers, then silence", small=_headers_only, expect=TIMED_OUT),
    Case(
        name="role-then-silence",
        fault="a role-only chunk, then silence",
        small=_role_only,
        modes=(Mode.STREAMING,),
        expect=TIMED_OUT,
    ),
    Case(
        name="comments",
        fault="an SSE comment every 200 ms, and no token",
        small=_comments,
        modes=(Mode.STREAMING,),
        expect=TIMED_OUT,
    ),
    Case(
        name="empty-chunks",
        fault="a chunk without choices every 200 ms, and no token",
        small=_empty_deltas,
        modes=(Mode.STREAMING,),
        expect=TIMED_OUT,
    ),
    Case(
        name="trickle",
        fault="a byte every 20 ms",
        small=_trickle,
        modes=(Mode.WHOLE,),
        expect=TIMED_OUT,
    ),
    Case(
        name="slow-first-token",
        fault="a first token just inside the deadline: no fault",
        small=good(first_s=DEADLINE_S - 0.25),
        expect=Expect(by="small", big=0, within_s=(DEADLINE_S - 0.25, DEADLINE_S + SLACK_S)),
    ),
    Case(
        name="slow-and-steady",
        fault="2 s of tokens, each well inside the stall deadline: no fault",
        small=good(each_s=2 / len(WORDS)),
        modes=(Mode.STREAMING,),
        expect=Expect(by="small", big=0, within_s=(1.9, 3.5)),
    ),
    Case(
        name="seven-bytes",
        fault="an answer in pieces of seven bytes: no fault",
        small=_chunk_by_chunk,
        modes=(Mode.STREAMING,),
        expect=Expect(by="small", big=0, within_s=(0.0, 1.5)),
    ),
    Case(
        name="not-on-timeout",
        fault="silence, on a route whose `on` is only `http_5xx`",
        small=always(SILENCE),
        fallback={"on": ["http_5xx"]},
        deadlines={"total_s": 1.0},
        expect=Expect(
            text=None,
            by="small",
            status=504,
            code="upstream_timeout",
            big=0,
            within_s=(DEADLINE_S, 1.0 + SLACK_S),
            outcome="timeout",
        ),
    ),
)
