"""Watching a stream of server-sent events.

Bytes are relayed in the pieces they came in, cut only so that no event is relayed in part: half an event is of no use
to a client, and a stream that breaks inside one can then still end with a clean error. Every event is decoded, into as
little as is needed: that costs half as much as searching its text for what may be of interest did
(docs/decisions/0002), and nothing that is no JSON gets through.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from gateway.face.openai import RESPONSES, Endpoint
from router_policies.prices import Usage
from router_policies.rescue import Transcript

MAX_EVENT_BYTES = 16 * 1024 * 1024
MAX_MALFORMED = 1  # one bad event among good ones is left out; a second says that the stream is not to be trusted
# A line ends with CRLF, LF or CR, an event with two such ends. A CR that is the last byte here may be half of a CRLF.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?:\r\n|\n|\r(?!\Z))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_EDGE = 3  # an event's end is at most four bytes, so it may lie across two pieces with three of them in the first
_MOST_TOKENS = 10**12  # more than any answer has: what is above is no count
DONE = b"data: [DONE]\n\n"
Change = Callable[[dict[str, object]], dict[str, object] | None]

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


class _Delta(msgspec.Struct, gc=False):
    content: object = None
    tool_calls: object = None
    reasoning_content: object = None
    reasoning: object = None
    refusal: object = None


_NO_DELTA = _Delta()


class _Choice(msgspec.Struct, gc=False):
    index: object = 0
    delta: _Delta | None = None
    text: object = None
    finish_reason: object = None


class _Chunk(msgspec.Struct, gc=False):
    """An event of a stream, as far as the usual one, a piece of text, differs from all others."""

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
    choices: list[msgspec.Raw] | None = None
    usage: _UsageReport | None = None
    error: object = None


class _OddAnswer(msgspec.Struct, frozen=True):
    """One with a `usage`, or choices, of unknown form."""

    choices: object = None
    error: object = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_any = msgspec.json.Decoder(dict[str, object]).decode
_decode_responses_event = msgspec.json.Decoder(_ResponsesEvent).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_odd_answer = msgspec.json.Decoder(_OddAnswer).decode
_decode_usage = msgspec.json.Decoder(_UsageReport | None).decode
_encode = msgspec.json.Encoder().encode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(body: bytes, endpoint: Endpoint) -> tuple[Usage | None, object]:
    """The usage that a whole (non-streamed) answer reports, if any, and the error that it holds in place of an answer.
    Raises ValueError for what is no answer: no JSON object, or one without choices where there must be some."""
    try:
        if not body.isascii():
            body.decode()
        try:
            answer: _Answer | _OddAnswer = _decode_answer(body)
        except msgspec.ValidationError:
            answer = _decode_odd_answer(body)
    except _NOT_JSON as error:
        raise ValueError(f"expected a JSON object, got something else: {error}") from None
    if endpoint.choices and not answer.choices:
        if not answer.error:
            raise ValueError("expected choices, got none")
        return None, answer.error
    if answer.error and not endpoint.choices and b'"output"' not in body and b'"data"' not in body:
        return None, answer.error
    return (_counted(answer.usage) if isinstance(answer, _Answer) else None), None


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


class StreamWatch:
    """What a stream has shown so far.

    `first_token`: a content, reasoning or tool-call delta has been seen; `tokens`: in how many events. `finished`:
    every choice has its finish reason, or a final event has come. `done`: the stream's own end mark has, after which
    nothing follows. `closing_usage`: the report that follows the last choice has. `error`: an error that the upstream
    sent inside the stream, `error_event` as it came. `events`: how many there were, comments not counted. `malformed`:
    how many were no JSON. `broken`: why the stream is not to be trusted, "" if it is: an event without end, or more
    than `MAX_MALFORMED` that are no JSON; nothing after that is relayed. `news`: something other than another piece of
    text came since it was last set to False.
    """

    __slots__ = (
        "_choices",
        "_finished_choices",
        "_responses",
        "_strip_usage",
        "_tail",
        "_tail_bytes",
        "_transcript",
        "broken",
        "closing_usage",
        "done",
        "error",
        "error_event",
        "events",
        "finished",
        "first_token",
        "malformed",
        "news",
        "tokens",
        "usage",
    )

    def __init__(
        self, endpoint: Endpoint, *, strip_usage: bool, choices: int = 1, transcript: Transcript | None = None
    ) -> None:
        """`choices`: how many answers were asked for. `transcript` is told of everything that is said."""
        self._responses = endpoint is RESPONSES
        self._strip_usage = strip_usage
        self._choices = choices
        self._transcript = transcript
        self._finished_choices: set[object] = set()
        self._tail: list[bytes] = []  # the pieces of an event that has not ended
        self._tail_bytes = 0
        self.first_token = False
        self.tokens = 0
        self.finished = False
        self.done = False
        self.closing_usage = False
        self.error: object = None
        self.error_event = b""
        self.events = 0
        self.malformed = 0
        self.broken = ""
        self.news = False
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the stream in, what may be relayed of them out: whole events, less those that are no JSON,
        an error and what follows it, an end mark before the end, and a usage chunk that the client did not ask for."""
        if self._tail:
            edge = self._tail[-1][-_EDGE:]
            end = _whole_events(edge + data)
            if end:
                end += self._tail_bytes - len(edge)
                data = b"".join((*self._tail, data))
                self._tail.clear()
                self._tail_bytes = 0
        else:
            end = _whole_events(data)
        if end < len(data):
            self._keep(data[end:] if end else data)
            data = data[:end]
        if not data:
            return b""
        if data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:  # one event: as a rule
            return b"" if self._read_event(data) else data
        kept = []
        at = 0
        for match in _EVENT_END.finditer(data + b"\n"):  # not the last byte, for the sake of a CR that is
            event = data[at : match.end()]
            at = match.end()
            if not self._read_event(event):
                kept.append(event)
        return b"".join(kept)

    def flush(self) -> bytes:
        """The stream is over: its last event, if that is whole but for the empty line that should have ended it."""
        last = b"".join(self._tail)
        self._tail.clear()
        if not last or (b"data:" not in last and not last.startswith(b":")):
            return b""
        malformed, self.malformed = self.malformed, 0  # cut short, as its stream is, it is no fault of its own
        left_out = self._read_event(last)
        self.malformed = malformed
        if left_out or last.endswith(b"\r\r"):
            return b"" if left_out else last
        return last.rstrip(b"\r\n") + b"\n\n"

    def _keep(self, piece: bytes) -> None:
        if self._tail and len(self._tail[-1]) < _EDGE:
            self._tail[-1] += piece
        else:
            self._tail.append(piece)
        self._tail_bytes += len(piece)
        if self._tail_bytes > MAX_EVENT_BYTES:
            self._break(f"an event of over {MAX_EVENT_BYTES} bytes")

    def _break(self, why: str) -> None:
        self.broken = why
        self.news = True
        self._tail.clear()
        self._tail_bytes = 0

    def _read_event(self, event: bytes) -> bool:
        """Note what the event says. True if it is to be left out."""
        if self.error is not None or self.broken or self.done:
            return True
        if (
            event.startswith(b"data: ")
            and event.endswith(b"\n\n")
            and event.find(b"\n") == len(event) - 2
            and b"\r" not in event
        ):
            data = event[6:-2]
        else:
            lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
            if not lines:
                return False
            data = b"\n".join(lines)
        self.events += 1
        if data == b"[DONE]":
            self.done = self.news = True
            return not self.finished
        try:
            if not data.isascii():
                data.decode()
            left_out = self._read_responses_event(data) if self._responses else self._read_chunk(data)
        except _NOT_JSON:
            self.malformed += 1
            if self.malformed > MAX_MALFORMED:
                self._break("several of its events are no JSON")
            return True
        if self.error is not None:
            self.error_event = event
            return True
        return left_out

    def _read_chunk(self, data: bytes) -> bool:
        chunk = _decode_chunk(data)
        choices = chunk.choices
        if self.first_token and choices is not None and len(choices) == 1 and chunk.error is None:
            choice = choices[0]
            delta = choice.delta or _NO_DELTA
            text = delta.content or choice.text
            if (
                text
                and type(text) is str
                and choice.index == 0
                and choice.finish_reason is None
                and chunk.usage == _NULL
                and not (delta.tool_calls or delta.reasoning_content or delta.reasoning or delta.refusal)
            ):
                self.tokens += 1
                if self._transcript is not None:
                    if delta.content:
                        self._transcript.texts.append(text)
                    else:
                        self._transcript.add_text(text)
                return False
        return self._read_unusual(data, chunk.usage)

    def _read_unusual(self, data: bytes, report: msgspec.Raw) -> bool:
        """Any chunk but a further piece of text."""
        self.news = True
        chunk = _decode_any(data)
        if error := chunk.get("error"):
            self.error = error
            return True
        choices = chunk.get("choices")
        told = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        if any(_has_token(choice) for choice in told):
            self.first_token = True
            self.tokens += 1
        for choice in told:
            if choice.get("finish_reason"):
                self._finished_choices.add(str(choice.get("index")))
                self.finished = len(self._finished_choices) >= self._choices
        if self._transcript is not None:
            self._transcript.add(chunk)
        usage = _read_usage(report)
        if usage is None:
            return False
        self.usage = usage
        self.closing_usage = choices == []
        return self._strip_usage and self.closing_usage

    def _read_responses_event(self, data: bytes) -> bool:
        event = _decode_responses_event(data)
        response = event.response or {}
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            self.finished = self.done = self.news = True
            self.usage = _read_usage(response.get("usage", _NULL))
            if event.type == "response.failed":
                error = msgspec.json.decode(response.get("error", _NULL))
                self.error = error or {"message": "the response failed"}
        elif event.type == "error" or (event.error and not event.type):
            told = {"message": event.message, "code": event.code, "param": event.param}
            self.error = event.error or {key: value for key, value in told.items() if value is not None}
            self.news = True
        elif event.type.endswith(".delta") and event.delta:
            self.tokens += 1
            self.news = self.news or not self.first_token
            self.first_token = True
        return False


def chunks(events: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each of some whole events, and the chunk in it, b"" if there is none."""
    at = 0
    for match in _EVENT_END.finditer(events + b"\n"):
        event = events[at : match.end()]
        at = match.end()
        lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
        data = b"\n".join(lines)
        yield event, b"" if data == b"[DONE]" else data


def rewritten(events: bytes, change: Change) -> Iterator[bytes]:
    """Whole events with each chunk in them put through `change`; what has no chunk in it stays as it is."""
    for event, data in chunks(events):
        if not data:
            yield event
        elif (chunk := change(_decode_any(data))) is not None:
            yield b"data: %b\n\n" % _encode(chunk)


def _has_token(choice: dict[object, object]) -> bool:
    """Any content, reasoning, refusal, audio or tool-call part; a role alone is none."""
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")


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
