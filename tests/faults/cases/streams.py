"""Streams that break after their first token, every one of which the next upstream can continue.

Without streaming the same faults hit a whole answer, of which the client has seen nothing: big is asked from the start.
"""

from collections.abc import Iterable

from tests.faults.answers import (
    DONE,
    END,
    HEAD,
    TEXT,
    WORDS,
    broken_after,
    chunk,
    chunked,
    completion,
    error,
    event,
    events,
    response,
)
from tests.faults.case import DEADLINES, SLACK_S, Case, Expect, Mode
from tests.faults.server import CLOSE, RESET, SILENCE, Call, Script, Step

WORDS_BEFORE = 5
MODEL = "small-model"
ONLY_STREAMING = (Mode.STREAMING,)
LAST_WORDS_S = 1.0  # that a provider gets for usage and end mark once it has given its finish reason
CLOSED_S = LAST_WORDS_S + 1.0 + SLACK_S  # what has said all, and does not hang up, is looked at once a second
STALL_S = DEADLINES["stall_s"]
RESCUED = Expect(by="small", rescued=True)
FALLBACK = Expect(why="fallback:invalid_stream")
UNSCATHED = Expect(by="small", big=0)


def _cut(bytes_after: bytes, then: Step = CLOSE) -> Script:
    """Some good events, then these bytes, then the end of the connection."""
    return broken_after(WORDS_BEFORE, bytes_after, 0.02, then)


def _split(one: bytes, mark: bytes, into: int) -> bytes:
    """The event framed as a chunk, up to `into` bytes after `mark`."""
    framed = chunked(one)
    return framed[: framed.index(mark) + into]


NEXT = chunk(MODEL, {"content": WORDS[WORDS_BEFORE]})
IN_EVENT = _split(NEXT, b'"content":"', 13)
IN_SIZE = chunked(NEXT)[:1]
IN_CHARACTER = _split(chunk(MODEL, {"content": " 世界"}), "世".encode(), 2)
BAD = b'data: {"id":"chatcmpl-small-model","object":"chat.compl\n\n'


def _bad_event_between(bad: bytes) -> Script:
    """One bad event among good ones: nothing of the answer is lost with it."""

    def script(call: Call) -> Iterable[Step]:
        told = events(call, WORDS)
        yield HEAD
        yield from (chunked(one) for one in told[:WORDS_BEFORE])
        yield chunked(bad)
        yield 0.02
        yield from (chunked(one) for one in told[WORDS_BEFORE:])
        yield END

    return script


def _garbage_for_good(call: Call) -> Iterable[Step]:
    """From some word on, everything is broken: the events keep coming, their JSON never is any."""
    yield HEAD
    told = events(call, WORDS)
    yield from (chunked(one) for one in told[:WORDS_BEFORE])
    for one in told[WORDS_BEFORE:-1]:
        yield chunked(one.replace(b'":', b"'="))
        yield 0.01
    yield chunked(DONE) + END


def _garbage_from_the_start(call: Call) -> Iterable[Step]:
    yield HEAD
    for one in events(call, WORDS)[:-1]:
        yield chunked(one.replace(b'":', b"'="))
        yield 0.005
    yield chunked(DONE) + END


def _no_finish(call: Call) -> Iterable[Step]:
    yield HEAD
    yield from (chunked(one) for one in events(call, WORDS)[: WORDS_BEFORE + 1])
    yield 0.05  # so that the words are out before it is known that they are all
    yield chunked(DONE) + END


def _finished(call: Call, *, usage: bool) -> list[bytes]:
    told = events(call, WORDS)[:-1]
    return [chunked(one) for one in told if usage or b'"usage"' not in one]


def _no_done_left_open(call: Call) -> Iterable[Step]:
    yield HEAD
    yield from _finished(call, usage=True)
    yield SILENCE


def _no_done_closed(call: Call) -> Iterable[Step]:
    yield HEAD
    yield from _finished(call, usage=True)
    yield END


def _no_done_no_usage(call: Call) -> Iterable[Step]:
    yield HEAD
    yield from _finished(call, usage=False)
    yield SILENCE


def _half_then(*then: Step) -> Script:
    """Half of a whole answer's body, framed by its length."""

    def script(call: Call) -> Iterable[Step]:
        whole = response(completion(MODEL, {"content": TEXT}))
        yield from (whole[: len(whole) // 2], 0.02, *then)

    return script


def _error_after_tokens(told: object) -> Script:
    return broken_after(WORDS_BEFORE, chunked(event(told)), END)


CASES = (
    Case(
        name="cut-in-order",
        fault="ends after 5 words, in order, without a `finish_reason`",
        small=broken_after(WORDS_BEFORE, END),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="cut-closed",
        fault="the connection is closed in mid-answer",
        small=broken_after(WORDS_BEFORE, CLOSE),
        expect=RESCUED,
        expect_whole=FALLBACK,
    ),
    Case(
        name="cut-reset",
        fault="the connection is reset in mid-answer",
        small=broken_after(WORDS_BEFORE, RESET),
        expect=RESCUED,
        expect_whole=FALLBACK,
    ),
    Case(
        name="cut-in-event", fault="closed inside an event", small=_cut(IN_EVENT), modes=ONLY_STREAMING, expect=RESCUED
    ),
    Case(
        name="cut-in-event-reset",
        fault="reset inside an event",
        small=_cut(IN_EVENT, RESET),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="cut-in-chunk-size",
        fault="closed inside a chunk's size line",
        small=_cut(IN_SIZE),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="cut-in-character",
        fault="closed inside a character's UTF-8 bytes",
        small=_cut(IN_CHARACTER),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="bad-chunk-size",
        fault="a chunk size that is no number, in mid-answer",
        small=_cut(b"xyz\r\n", SILENCE),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="cut-after-one-word",
        fault="closed after the first word",
        small=broken_after(1, CLOSE),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="cut-before-the-finish",
        fault="closed after the last word, before the `finish_reason`",
        small=broken_after(len(WORDS), CLOSE),
        modes=ONLY_STREAMING,
        expect=Expect(by="small", within_s=(0.0, SLACK_S)),
    ),
    Case(
        name="stall",
        fault="silence after 5 words, or in half a body",
        small=broken_after(WORDS_BEFORE, SILENCE),
        expect=RESCUED.but(within_s=(STALL_S, STALL_S + SLACK_S)),
        expect_whole=Expect(why="fallback:timeout", within_s=(0.8, 0.8 + SLACK_S)),
    ),
    Case(
        name="stall-with-comments",
        fault="only comments after 5 words",
        small=broken_after(WORDS_BEFORE, *(step for _ in range(40) for step in (chunked(b": still here\n\n"), 0.1))),
        modes=ONLY_STREAMING,
        expect=RESCUED.but(within_s=(STALL_S, STALL_S + SLACK_S)),
    ),
    Case(
        name="one-bad-event",
        fault="one event whose JSON is cut, the rest is well",
        small=_bad_event_between(BAD),
        modes=ONLY_STREAMING,
        expect=UNSCATHED.but(malformed=1),
    ),
    Case(
        name="one-odd-event",
        fault="one event that is JSON of no chunk, the rest is well",
        small=_bad_event_between(b"data: [1, 2\n\n"),
        modes=ONLY_STREAMING,
        expect=UNSCATHED.but(malformed=1),
    ),
    Case(
        name="one-bad-utf8-event",
        fault="one event that is no UTF-8, the rest is well",
        small=_bad_event_between(b'data: {"id":"\xff\xfe"}\n\n'),
        modes=ONLY_STREAMING,
        expect=UNSCATHED.but(malformed=1),
    ),
    Case(
        name="garbage-for-good",
        fault="every event after 5 words is no JSON, then `[DONE]`",
        small=_garbage_for_good,
        modes=ONLY_STREAMING,
        expect=RESCUED.but(within_s=(0.0, 1.0)),
    ),
    Case(
        name="garbage-from-the-start",
        fault="every event is no JSON, then `[DONE]`",
        small=_garbage_from_the_start,
        modes=ONLY_STREAMING,
        expect=FALLBACK.but(within_s=(0.0, 1.0)),
    ),
    Case(
        name="error-after-tokens",
        fault="an error event after 5 words",
        small=_error_after_tokens(error("The engine died.", code=500)),
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="no-done",
        fault="`finish_reason` and usage, no `[DONE]`, connection left open",
        small=_no_done_left_open,
        modes=ONLY_STREAMING,
        expect=UNSCATHED.but(open_s=CLOSED_S),
    ),
    Case(
        name="no-done-closed",
        fault="`finish_reason` and usage, no `[DONE]`, ended in order",
        small=_no_done_closed,
        modes=ONLY_STREAMING,
        expect=UNSCATHED,
    ),
    Case(
        name="no-done-no-usage",
        fault="`finish_reason`, no usage, no `[DONE]`, connection left open",
        small=_no_done_no_usage,
        modes=ONLY_STREAMING,
        expect=UNSCATHED.but(usage=False, within_s=(0.0, LAST_WORDS_S + SLACK_S), open_s=CLOSED_S),
    ),
    Case(
        name="done-without-finish",
        fault="`[DONE]` after 5 words, without a `finish_reason`: no success",
        small=_no_finish,
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="half-a-body",
        fault="the connection is reset in half a body",
        small=_half_then(RESET),
        modes=(Mode.WHOLE,),
        expect=FALLBACK,
    ),
)
