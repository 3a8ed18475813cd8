"""Watching a stream of server-sent events without taking it apart.

Bytes are relayed in the pieces they came in, cut only so that no event is relayed in part: half an event is of no use
to a client, and a stream that breaks inside one can then still end with a clean error. Events are decoded until the
first token and wherever a marker says that something of interest may be in them; all others are only counted.

The markers cannot occur inside text: JSON escapes the quotes of a string's content.
"""

import re

import msgspec

from gateway.face.openai import RESPONSES, Endpoint
from router_policies.prices import Usage

MAX_EVENT_BYTES = 16 * 1024 * 1024
_MARKERS = (b'"usage"', b'"error"', b"[DONE]", b'"finish_reason":"', b'"finish_reason": "')
_RESPONSES_MARKERS = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"', b'"error"')
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class UsageReport(msgspec.Struct, frozen=True):
    """Usage as chat, completions and embeddings report it (`prompt_`, `completion_`) and as responses do."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: object = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: object = None

    @property
    def usage(self) -> Usage:
        details = self.prompt_tokens_details or self.input_tokens_details
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return Usage(
            max(0, self.prompt_tokens or self.input_tokens or 0),
            max(0, self.completion_tokens or self.output_tokens or 0),
            max(0, cached) if isinstance(cached, int) else 0,
        )


class _Choice(msgspec.Struct, frozen=True):
    delta: dict[str, object] | None = None
    text: object = None
    finish_reason: object = None

    @property
    def has_token(self) -> bool:
        """Any content, reasoning, refusal, audio or tool-call part; a role alone is none."""
        if self.text:
            return True
        return self.delta is not None and any(value for key, value in self.delta.items() if key != "role")


class _Response(msgspec.Struct, frozen=True):
    usage: UsageReport | None = None


class _Event(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: UsageReport | None = None
    error: object = None
    type: object = None
    delta: object = None
    response: _Response | None = None


class _Answer(msgspec.Struct, frozen=True):
    usage: UsageReport | None = None
    response: _Response | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_usage(body: bytes) -> Usage | None:
    """The usage a whole (non-streamed) answer reports, if it is JSON and reports any."""
    try:
        report = _decode_answer(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return report.usage if report else None


class EventTooLong(Exception):
    """A stream whose event does not end within `MAX_EVENT_BYTES`."""


class StreamWatch:
    """What a stream has shown so far.

    `first_token`: a content, reasoning or tool-call delta has been seen. `finished`: a finish reason or a final event
    has. `done`: the stream's own end mark has, after which nothing follows. `error`: an error that the upstream sent
    inside the stream. `events`: how many, comments included. `malformed`: how many were not what they should be.
    """

    __slots__ = (
        "_markers",
        "_responses",
        "_strip_usage",
        "_tail",
        "done",
        "error",
        "events",
        "finished",
        "first_token",
        "malformed",
        "usage",
    )

    def __init__(self, endpoint: Endpoint, *, strip_usage: bool) -> None:
        self._responses = endpoint is RESPONSES
        self._markers = _RESPONSES_MARKERS if self._responses else _MARKERS
        self._strip_usage = strip_usage
        self._tail = b""
        self.first_token = False
        self.finished = False
        self.done = False
        self.error: object = None
        self.events = 0
        self.malformed = 0
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the stream in, what may be relayed of them out: whole events, less a usage chunk that the
        client did not ask for. Raises `EventTooLong`."""
        if self._tail:
            data = self._tail + data
        end = _whole_events(data)
        self._tail = data[end:]
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EventTooLong
        if not end:
            return b""
        whole = data[:end] if self._tail else data
        if self.first_token:
            for marker in self._markers:
                if marker in whole:
                    break
            else:
                self.events += whole.count(b"\n\n") or len(_EVENT_END.findall(whole))
                return whole
        return self._read(whole)

    def _read(self, whole: bytes) -> bytes:
        kept = []
        at = 0
        for end in _EVENT_END.finditer(whole):
            event = whole[at : end.end()]
            at = end.end()
            self.events += 1
            if not self._read_event(event):
                kept.append(event)
        return b"".join(kept)

    def _read_event(self, event: bytes) -> bool:
        """Note what the event says. True if it is to be left out."""
        if event.startswith(b"data: ") and event.count(b"\n") == 2 and b"\r" not in event:
            data = event[6:-2]
        else:
            lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
            if not lines:
                return False
            data = b"\n".join(lines)
        if data == b"[DONE]":
            self.done = True
            return False
        try:
            content = _decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return False
        if self._responses:
            self._read_responses_event(content)
            return False
        if content.error:
            self.error = content.error
        if content.usage:
            self.usage = content.usage.usage
            if self._strip_usage and content.choices == []:
                return True
        for choice in content.choices or ():
            self.first_token = self.first_token or choice.has_token
            self.finished = self.finished or bool(choice.finish_reason)
        return False

    def _read_responses_event(self, content: _Event) -> None:
        kind = content.type
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self.finished = self.done = True
            if content.response and content.response.usage:
                self.usage = content.response.usage.usage
        elif kind == "error":
            self.error = content.error or {"message": "the upstream ended the stream with an error event"}
        elif isinstance(kind, str) and kind.endswith(".delta") and content.delta:
            self.first_token = True


def _whole_events(data: bytes) -> int:
    """How many leading bytes of `data` are whole events."""
    if data.endswith(b"\n\n"):
        return len(data)
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    end = 0
    for match in _EVENT_END.finditer(data):
        end = match.end()
    return end
