"""The ways in which a model server of `chaos.py` fails, each a generator over the steps of a good answer.

`bytes` are written, a number is slept (seconds), `FIN` and `RST` end the connection in order or by a reset, `SILENCE`
waits for the other side to leave.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

GAP_S = (0.02, 0.06)  # between events
FIRST_S = (0.03, 0.15)
LATE_S = (0.9, 1.8)  # a late first token that is still in time
SILENT_S = 60.0


class End(Enum):
    FIN = "FIN"
    RST = "RST"
    SILENCE = "SILENCE"
    REFUSE = "REFUSE"  # reset, and no connection is accepted for a moment


FIN, RST, SILENCE, REFUSE = End
Step = bytes | float | End
Steps = Iterator[Step]


@dataclass
class Good:
    """A good answer as it goes over the wire: its head, its events (or its one body), what ends it."""

    head: bytes
    body: list[bytes]
    end: bytes
    numbers: random.Random
    chunked: bool

    def framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data

    def some(self) -> int:
        """How many events come before something happens: the role and a part of the text at least, never the end."""
        return self.numbers.randrange(2, max(3, len(self.body) - 3))

    def until(self, count: int) -> Steps:
        yield self.numbers.uniform(*FIRST_S)
        yield self.head
        yield from self.paced(self.body[:count])

    def paced(self, events: list[bytes]) -> Steps:
        """Events one by one; now and then one comes in two parts, cut at any byte."""
        for event in events:
            yield self.numbers.uniform(*GAP_S)
            if self.numbers.random() < 0.05:
                at = self.numbers.randrange(len(event))
                yield event[:at]
                yield 0.002
                event = event[at:]
            yield event


def good(one: Good) -> Steps:
    yield from one.until(len(one.body))
    yield one.end
    if not one.chunked:
        yield FIN


def response(status: str, body: bytes, extra: str = "", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def says(status: str, kind: str, extra: str = "") -> Callable[[Good], Steps]:
    body = json.dumps({"error": {"message": "chaos", "type": kind, "param": None, "code": None}}).encode()
    return lambda one: iter([response(status, body, extra)])


def steps(*what: Step) -> Callable[[Good], Steps]:
    return lambda one: iter(what)


HTML = b"<html><body>502 Bad Gateway</body></html>"
BEFORE: dict[str, Callable[[Good], Steps]] = {
    "429": says("429 Too Many Requests", "rate_limit_error"),
    "429, retry after 1 s": says("429 Too Many Requests", "rate_limit_error", "retry-after: 1\r\n"),
    "429, retry after 60 s": says("429 Too Many Requests", "rate_limit_error", "retry-after: 60\r\n"),
    "500": says("500 Internal Server Error", "server_error"),
    "503": says("503 Service Unavailable", "server_error", "connection: close\r\n"),
    "401": says("401 Unauthorized", "invalid_request_error"),
    "502 as HTML": steps(response("502 Bad Gateway", HTML, kind="text/html")),
    "200 as HTML": steps(response("200 OK", HTML, kind="text/html")),
    "an error as 200": steps(response("200 OK", b'{"error": {"message": "chaos", "type": "server_error"}}')),
    "no HTTP": steps(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "closed before the head": steps(FIN),
    "reset before the head": steps(RST),
    "connections refused": steps(REFUSE),
    "half a head": steps(b"HTTP/1.1 200 OK\r\ncontent-ty", FIN),
    "silence": steps(SILENCE),
}


def late(one: Good) -> Steps:
    yield one.numbers.uniform(*LATE_S)
    yield from good(one)


def comments_only(one: Good) -> Steps:
    yield one.head
    for _ in range(int(SILENT_S)):
        yield one.framed(b": keep-alive\n\n")
        yield 0.3


def cut(how: End) -> Callable[[Good], Steps]:
    """Ends at any byte of the body."""

    def play(one: Good) -> Steps:
        left = one.numbers.randrange(1, sum(map(len, one.body)))
        yield one.numbers.uniform(*FIRST_S)
        yield one.head
        for event in one.body:
            if left <= len(event):
                yield event[:left]
                break
            yield one.numbers.uniform(*GAP_S)
            yield event
            left -= len(event)
        yield 0.01
        yield how

    return play


def ended_clean(one: Good) -> Steps:
    """Good HTTP, but the answer is not whole."""
    yield from one.until(one.some())
    yield one.end
    if not one.chunked:
        yield FIN


def ended_by_mark(one: Good) -> Steps:
    yield from one.until(one.some())
    yield one.framed(b"data: [DONE]\n\n") + one.end
    if not one.chunked:
        yield FIN


def stalled(one: Good) -> Steps:
    yield from one.until(one.some())
    yield SILENCE


def stalled_in_event(one: Good) -> Steps:
    count = one.some()
    yield from one.until(count)
    yield one.body[count][: one.numbers.randrange(1, len(one.body[count]))]
    yield SILENCE


def stalled_with_comments(one: Good) -> Steps:
    yield from one.until(one.some())
    for _ in range(int(SILENT_S)):
        yield one.framed(b": keep-alive\n\n")
        yield 0.3


BAD_EVENTS = (
    *(b'data: {"id": "x", "choices": [{"ind\n\n', b"data: 5\n\n", b"data: Internal Server Error\n\n"),
    *(b'data: {"choices": [{"index": 0, "delta": {"content": "\xff\xfe"}}]}\n\n', b"data: [1, 2\ndata: 3\n\n"),
)


def bad_events(count: int) -> Callable[[Good], Steps]:
    """Events that are no JSON, between good ones that are all there."""

    def play(one: Good) -> Steps:
        places = sorted(one.numbers.randrange(1, len(one.body) - 2) for _ in range(count))
        yield from one.until(places[0])
        for at, end in zip(places, [*places[1:], len(one.body)], strict=True):
            yield one.framed(one.numbers.choice(BAD_EVENTS))
            yield from one.paced(one.body[at:end])
        yield one.end
        if not one.chunked:
            yield FIN

    return play


ERROR_EVENT = b'data: {"error": {"message": "chaos", "type": "server_error", "code": 500}}\n\n'


def told_of_error(one: Good) -> Steps:
    yield from one.until(one.numbers.choice((0, 1, one.some(), one.some())))
    yield one.framed(ERROR_EVENT) + one.framed(b"data: [DONE]\n\n") + one.end
    if not one.chunked:
        yield FIN


def bad_chunk(one: Good) -> Steps:
    yield from one.until(one.some())
    yield b"zz\r\nnot a chunk\r\n"
    yield SILENCE


def no_mark(*then: Step) -> Callable[[Good], Steps]:
    """All of the answer and its finish reason, and no end mark."""

    def play(one: Good) -> Steps:
        yield from one.until(len(one.body) - 1)
        if then == (FIN,) and one.chunked:
            yield one.end
        yield from then

    return play


IN_STREAM: dict[str, Callable[[Good], Steps]] = {
    "late first token": late,
    "comments, no token": comments_only,
    "cut at any byte": cut(FIN),
    "reset at any byte": cut(RST),
    "ended without a finish reason": ended_clean,
    "ended by [DONE] without one": ended_by_mark,
    "stalled": stalled,
    "stalled inside an event": stalled_in_event,
    "stalled with comments": stalled_with_comments,
    "one event no JSON": bad_events(1),
    "two events no JSON": bad_events(2),
    "an error in the stream": told_of_error,
    "broken chunk": bad_chunk,
    "no [DONE], closed": no_mark(FIN),
    "no [DONE], open": no_mark(SILENCE),
    "no [DONE], reset": no_mark(RST),
}
IN_BODY: dict[str, Callable[[Good], Steps]] = {
    "late answer": late,
    "cut body": cut(FIN),
    "reset in the body": cut(RST),
    "body no JSON": lambda one: iter([response("200 OK", one.body[0][: one.numbers.randrange(len(one.body[0]))])]),
    "stalled body": lambda one: iter([one.head, one.body[0][:20], SILENCE]),
}
STREAM_FAULTS, BODY_FAULTS = {**BEFORE, **IN_STREAM}, {**BEFORE, **IN_BODY}
