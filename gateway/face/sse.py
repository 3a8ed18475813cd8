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
# A line ends with CRLF, LF or CR, an event with two such ends. A CR that is the last byte here may be half of a CRLF.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?:\r\n|\n|\r(?!\Z))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_EDGE = 3  # an event's end is at most four bytes, so it may lie across two pieces with three of them in the first
_MOST_TOKENS = 10**12  # more than any answer has: what is above is no count


_NULL = msgspec.Raw(b"null")


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _UsageReport(msgspec.Struct, frozen=True):
    """Usage as chat, completions and embeddings report it (`prompt_`, `completion_`) and as responses do."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None


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


class _Chunk(msgspec.Struct, frozen=True):
    """An event of a chat or completions stream."""

    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL  # by itself, so that an odd one does not spoil the rest
    error: object = None


class _ResponsesEvent(msgspec.Struct, frozen=True):
    type: str = ""
    delta: object = None
    response: dict[str, msgspec.Raw] | None = None
    error: object = None
    code: object = None
    message: object = None
    param: object = None


class _Answer(msgspec.Struct, frozen=True):
    usage: _UsageReport | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_responses_event = msgspec.json.Decoder(_ResponsesEvent).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_UsageReport | None).decode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_usage(body: bytes) -> Usage | None:
    """The usage a whole (non-streamed) answer reports, if it is JSON and reports any."""
    try:
        return _counted(_decode_answer(body).usage)
    except _NOT_JSON:
        return None


def _read_usage(report: msgspec.Raw) -> Usage | None:
    try:
        return _counted(_decode_usage(report))
    except _NOT_JSON:
        return None


def _counted(report: _UsageReport | None) -> Usage | None:
    if report is None:
        return None
    details = report.prompt_tokens_details or report.input_tokens_details
    counts = (
        report.prompt_tokens or report.input_tokens or 0,
        report.completion_tokens or report.output_tokens or 0,
        (details.cached_tokens or 0) if details else 0,
    )
    return Usage(*counts) if all(0 <= count <= _MOST_TOKENS for count in counts) else None


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
        "_tail_bytes",
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
        self._tail: list[bytes] = []  # the pieces of an event that has not ended
        self._tail_bytes = 0
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
        if not self._tail:
            end = _whole_events(data)
        else:
            edge = self._tail[-1][-_EDGE:]
            end = _whole_events(edge + data)
            if end:
                end += self._tail_bytes - len(edge)
                data = b"".join((*self._tail, data))
                self._tail.clear()
                self._tail_bytes = 0
        if end < len(data):
            self._keep(data[end:] if end else data)
            data = data[:end]
        if not data:
            return b""
        if self.first_token:
            for marker in self._markers:
                if marker in data:
                    break
            else:
                self.events += data.count(b"\n\n") or len(_EVENT_END.findall(data + b"\n"))
                return data
        return self._read(data)

    def flush(self) -> bytes:
        """The stream is over: its last event, if that is whole but for the empty line that should have ended it."""
        last = b"".join(self._tail)
        self._tail.clear()
        if not last:
            return b""
        self.events += 1
        malformed = self.malformed
        return b"" if self._read_event(last) or self.malformed > malformed else last

    def _keep(self, piece: bytes) -> None:
        if self._tail and len(self._tail[-1]) < _EDGE:
            self._tail[-1] += piece
        else:
            self._tail.append(piece)
        self._tail_bytes += len(piece)
        if self._tail_bytes > MAX_EVENT_BYTES:
            raise EventTooLong

    def _read(self, whole: bytes) -> bytes:
        kept = []
        at = 0
        for end in _EVENT_END.finditer(whole + b"\n"):  # not the last byte, for the sake of a CR that is
            event = whole[at : end.end()]
            at = end.end()
            self.events += 1
            if not self._read_event(event):
                kept.append(event)
        return b"".join(kept)

    def _read_event(self, event: bytes) -> bool:
        """Note what the event says. True if it is to be left out."""
        if event.startswith(b"data: ") and event.count(b"\n") == 2 and event.endswith(b"\n\n") and b"\r" not in event:
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
            return self._read_responses_event(data) if self._responses else self._read_chunk(data)
        except _NOT_JSON:
            self.malformed += 1
            return False

    def _read_chunk(self, data: bytes) -> bool:
        chunk = _decode_chunk(data)
        if chunk.error:
            self.error = chunk.error
        for choice in chunk.choices or ():
            self.first_token = self.first_token or choice.has_token
            self.finished = self.finished or bool(choice.finish_reason)
        usage = _read_usage(chunk.usage)
        if usage is None:
            return False
        self.usage = usage
        return self._strip_usage and chunk.choices == []

    def _read_responses_event(self, data: bytes) -> bool:
        event = _decode_responses_event(data)
        response = event.response or {}
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            self.finished = self.done = True
            self.usage = _read_usage(response.get("usage", _NULL))
            if event.type == "response.failed":
                error = msgspec.json.decode(response.get("error", _NULL))
                self.error = error or {"message": "the response failed"}
        elif event.type == "error":
            told = {"message": event.message, "code": event.code, "param": event.param}
            self.error = event.error or {key: value for key, value in told.items() if value is not None}
        elif event.type.endswith(".delta") and event.delta:
            self.first_token = True
        return False


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
