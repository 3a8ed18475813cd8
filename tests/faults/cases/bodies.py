"""Answers with status 200, or a redirect, that are no answer."""

from collections.abc import Iterable

from tests.faults.answers import (
    DONE,
    END,
    HEAD,
    TEXT,
    WORDS,
    always,
    chunked,
    completion,
    error,
    event,
    events,
    good,
    response,
    role,
)
from tests.faults.case import SLACK_S, Case, Expect, Mode
from tests.faults.cases.statuses import BACKOFF_S
from tests.faults.server import CLOSE, Call, Script, Step

INVALID = Expect(why="fallback:invalid_stream")
HTML = b"<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>"


def _whole(call: Call) -> bytes:
    return response(completion("small-model", {"content": TEXT}))


def _stream_as_text(call: Call) -> Iterable[Step]:
    """The right stream under the wrong name."""
    if not call.streams:
        yield response(completion("small-model", {"content": TEXT}), content_type="text/plain")
        return
    yield HEAD.replace(b"text/event-stream", b"text/plain")
    yield from (chunked(one) for one in events(call, WORDS))
    yield END


def _the_other_kind(call: Call) -> Iterable[Step]:
    """A whole answer where a stream was asked for, a stream where a whole answer was."""
    if call.streams:
        yield _whole(call)
        return
    yield HEAD
    yield from (chunked(one) for one in events(call, WORDS))
    yield END


def _empty(call: Call) -> Iterable[Step]:
    yield HEAD + END if call.streams else response(b"")


def _nothing_but_done(call: Call) -> Iterable[Step]:
    yield HEAD + chunked(role("small-model")) + chunked(DONE) + END


def _half_json(call: Call) -> Iterable[Step]:
    whole = completion("small-model", {"content": TEXT})
    body = response(whole).partition(b"\r\n\r\n")[2]
    yield response(body[: len(body) // 2])


def _no_choices(call: Call) -> Iterable[Step]:
    yield response({"id": "x", "object": "chat.completion", "created": 1, "model": "small-model", "choices": []})


def _error_as_answer(code: object, kind: str = "server_error") -> Script:
    """An error with status 200: in the stream's first event, or as the body."""

    def script(call: Call) -> Iterable[Step]:
        told = error("The engine is not well.", kind, code)
        if call.streams:
            yield HEAD + chunked(role("small-model")) + chunked(event(told)) + END
        else:
            yield response(told)

    return script


def _two_lengths(call: Call) -> Iterable[Step]:
    whole = _whole(call)
    if call.streams:
        yield HEAD.replace(b"\r\n\r\n", b"\r\ncontent-length: 10\r\ncontent-length: 20\r\n\r\n")
        yield from (chunked(one) for one in events(call, WORDS))
        yield END
    else:
        yield whole.replace(b"content-length", b"content-length: 7\r\ncontent-length", 1)
    yield CLOSE


def _no_http(call: Call) -> Iterable[Step]:
    yield from (b"-ERR unknown command `POST`\r\n\r\n", 0.05, CLOSE)


REDIRECT = response(b"", "307 Temporary Redirect", "location: http://127.0.0.1:1/v1/chat/completions\r\n")

CASES = (
    Case(
        name="html",
        fault="200 with an HTML page",
        small=always(response(HTML, content_type="text/html")),
        expect=INVALID,
    ),
    Case(
        name="text-plain",
        fault="the right answer as `text/plain`: taken for what it is, or from the next",
        small=_stream_as_text,
        expect=INVALID,
        expect_whole=Expect(by="small", big=0),
    ),
    Case(
        name="the-other-kind",
        fault="a whole answer where a stream was asked for, and the other way round",
        small=_the_other_kind,
        expect=INVALID,
    ),
    Case(name="empty", fault="200 with an empty body, or a stream without an event", small=_empty, expect=INVALID),
    Case(
        name="done-at-once",
        fault="a role, `[DONE]`, and nothing between",
        small=_nothing_but_done,
        modes=(Mode.STREAMING,),
        expect=INVALID,
    ),
    Case(
        name="half-json",
        fault="half a JSON body, correctly framed",
        small=_half_json,
        modes=(Mode.WHOLE,),
        expect=INVALID,
    ),
    Case(name="no-choices", fault="200 without any choice", small=_no_choices, modes=(Mode.WHOLE,), expect=INVALID),
    Case(
        name="error-in-200",
        fault="200 with an error for an answer, code 500",
        small=_error_as_answer(500),
        expect=Expect(why="fallback:http_5xx", small=2, gap_s=BACKOFF_S, within_s=(0.08, 1.0)),
    ),
    Case(
        name="error-in-200-without-code",
        fault="200 with an error for an answer, no code",
        small=_error_as_answer(None),
        expect=Expect(why="fallback:http_5xx", small=2, gap_s=BACKOFF_S, within_s=(0.08, 1.0)),
    ),
    Case(
        name="429-in-200",
        fault="200 with an error for an answer, code 429",
        small=_error_as_answer(429, "rate_limit_error"),
        expect=Expect(why="fallback:http_429", small=2, gap_s=BACKOFF_S, within_s=(0.08, 1.0)),
    ),
    Case(
        name="400-in-200",
        fault="200 with an error for an answer, code 400: the client's fault",
        small=_error_as_answer(400, "invalid_request_error"),
        expect=Expect(text=None, by="small", status=400, big=0, outcome="client_error"),
    ),
    Case(name="two-lengths", fault="two `Content-Length` headers that differ", small=_two_lengths, expect=INVALID),
    Case(
        name="huge-header",
        fault="a header of 2 MB",
        small=always(b"HTTP/1.1 200 OK\r\nx-pad: " + b"a" * 2_000_000 + b"\r\n\r\n", CLOSE),
        expect=INVALID.but(within_s=(0.0, 2 * SLACK_S)),
    ),
    Case(name="no-http", fault="something that is not HTTP", small=_no_http, expect=INVALID),
    Case(name="redirect", fault="a redirect, which is not followed", small=always(REDIRECT), expect=INVALID),
    Case(
        name="html-everywhere",
        fault="200 with an HTML page from both",
        small=always(response(HTML, content_type="text/html")),
        big=always(response(HTML, content_type="text/html")),
        expect=Expect(
            text=None, status=502, code="upstream_invalid_response", why="fallback:invalid_stream", outcome="invalid"
        ),
    ),
    Case(name="well", fault="nothing: no fault at all", small=good(), expect=Expect(by="small", big=0)),
)
