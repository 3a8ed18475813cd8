"""Reads requests and answers as they went over the wire into what checks look at.

An answer is the whole JSON body, or the captured events of a stream, told apart by their first character. Of several
choices (`n` above 1) the first one is read.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from router_policies.answers import READERS, Asked, Call
from router_policies.checks.check import UNFINISHED, Answer, Request, Turn

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
ENDPOINTS = (CHAT, COMPLETIONS, RESPONSES)


def read_request(endpoint: str, body: bytes) -> Request:
    """Raises `ValueError` for an endpoint that no model answers, or a body of another shape."""
    if endpoint not in ENDPOINTS:
        raise ValueError(f"expected one of {', '.join(ENDPOINTS)}, got {endpoint}")
    try:
        sent = _decode_request(body)
        return Request(endpoint, tuple(_turns(endpoint, sent)), _asked(endpoint, body), _limit(sent))
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"the request cannot be read: {error}") from None


def read_answer(endpoint: str, body: bytes) -> Answer:
    """Raises `ValueError` for what is no answer of that endpoint, also for one that says it has failed."""
    whole, streamed = _READERS[endpoint]
    try:
        return whole(body) if body.lstrip()[:1] == b"{" else streamed(_events(body))
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"the answer cannot be read: {error}") from None


# Requests.


class _Request(Struct):
    messages: list[dict[str, Any]] | None = None
    instructions: object = None
    input: object = None
    prompt: object = None
    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None


_decode_request = msgspec.json.Decoder(_Request).decode


def _turns(endpoint: str, sent: _Request) -> Iterator[Turn]:
    if endpoint == COMPLETIONS:
        prompts = _listed(sent.prompt) or [sent.prompt]
        yield Turn("user", "\n".join(prompt for prompt in prompts if isinstance(prompt, str)))
        return
    if endpoint == RESPONSES:
        if isinstance(sent.instructions, str):
            yield Turn("system", sent.instructions)
        items = [{"role": "user", "content": sent.input}] if isinstance(sent.input, str) else sent.input
        yield from map(_turn, _listed(items))
        return
    yield from map(_turn, sent.messages or ())


_PLAIN = frozenset({"role", "content", "name"})
_ROLES = {"function_call": "assistant", "custom_tool_call": "assistant", "reasoning": "assistant"}


def _turn(item: Any) -> Turn:
    """Of a message, or an item of the Responses API: all that a model reads of it."""
    if not isinstance(item, dict):
        return Turn("user", "")
    kind, content = item.get("type"), item.get("content")
    if kind is None and type(content) is str and item.keys() <= _PLAIN:  # as a rule
        return Turn(str(item.get("role") or "tool"), content)
    role = item.get("role") or _ROLES.get(kind if isinstance(kind, str) else "", "tool")
    said = [_text(item.get(key)) for key in ("content", "output", "arguments", "input")]
    for call in _listed(item.get("tool_calls")):
        function = call.get("function") if isinstance(call, dict) else None
        said.append(_text(function.get("arguments")) if isinstance(function, dict) else "")
    return Turn(str(role), "\n".join(text for text in said if text))


def _text(content: object) -> str:
    """Of content, which is text or parts."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in _listed(content) if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _asked(endpoint: str, body: bytes) -> Asked:
    """Completions ask for JSON as chat completions do, where an engine can do that at all."""
    return READERS[RESPONSES if endpoint == RESPONSES else CHAT][0](body)


def _limit(sent: _Request) -> int | None:
    given = (sent.max_completion_tokens, sent.max_output_tokens, sent.max_tokens)
    return next((limit for limit in given if type(limit) is int), None)


# Whole answers.


class _Function(Struct):
    name: object = None
    arguments: object = None
    input: object = None


class _ToolCall(Struct):
    function: _Function | None = None
    custom: _Function | None = None


class _Message(Struct):
    content: object = None
    refusal: object = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    text: object = None
    finish_reason: object = None


class _Chosen(Struct):
    choices: list[_Choice]


class _Item(Struct):
    type: str = ""
    content: object = None
    name: object = None
    arguments: object = None
    input: object = None


class _Details(Struct):
    reason: object = None


class _Responded(Struct):
    output: list[_Item]
    status: object = None
    incomplete_details: _Details | None = None


_decode_chosen = msgspec.json.Decoder(_Chosen).decode
_decode_responded = msgspec.json.Decoder(_Responded).decode


def _whole_choice(body: bytes) -> Answer:
    choices = _decode_chosen(body).choices
    if not choices:
        raise ValueError("expected an answer with a choice, got none at choices")
    choice = choices[0]
    message = choice.message
    calls = [call.function or call.custom or _Function() for call in message.tool_calls or ()]
    if message.function_call is not None:
        calls.append(message.function_call)
    return Answer(
        text=_text(message.content) if choice.text is None else _text(choice.text),
        calls=tuple(
            _call(f"choices.0.message.tool_calls.{number}", called.name, called.arguments, called.input)
            for number, called in enumerate(calls)
        ),
        refusal=message.refusal if isinstance(message.refusal, str) and message.refusal else None,
        finish_reason=choice.finish_reason if isinstance(choice.finish_reason, str) else None,
    )


def _call(path: str, name: object, arguments: object, text: object) -> Call:
    """Custom tools take text, in `input`."""
    return Call(path, name, text if arguments is None else arguments)


_CUT = {"max_output_tokens": "length", "content_filter": "content_filter"}


def _whole_response(body: bytes) -> Answer:
    return _response(_decode_responded(body))


def _response(answer: _Responded) -> Answer:
    if answer.status == "failed":
        raise ValueError("expected an answer, got one whose status is failed")
    texts: list[str] = []
    calls: list[Call] = []
    refusal = None
    for at, item in enumerate(answer.output):
        if item.type in ("function_call", "custom_tool_call"):
            calls.append(_call(f"output.{at}", item.name, item.arguments, item.input))
        elif item.type == "message":
            texts.append(_text(item.content))
            refusal = _refused(item.content) or refusal
    finish = None
    if answer.status == "completed":
        finish = "tool_calls" if calls else "stop"
    elif answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details is not None else None
        finish = _CUT.get(str(reason), UNFINISHED)
    elif answer.status is not None:
        finish = UNFINISHED
    return Answer("\n".join(texts), tuple(calls), refusal, finish, texts[-1] if len(texts) > 1 else None)


def _refused(content: object) -> str | None:
    for part in _listed(content):
        if isinstance(part, dict) and part.get("type") == "refusal":
            return str(part.get("refusal") or "refused")
    return None


# Streams.

_END_OF_LINE = re.compile(rb"\r\n|\n|\r")


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    """The data of each event of a stream (WHATWG HTML, 9.2.6), `[DONE]` aside. An error event raises `ValueError`."""
    data: list[bytes] = []
    for line in (*_END_OF_LINE.split(body), b""):
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and data:
            joined = b"\n".join(data)
            data.clear()
            if joined.strip() == b"[DONE]":
                continue
            event = msgspec.json.decode(joined)
            if not isinstance(event, dict):
                raise ValueError(f"expected events that are objects, got {type(event).__name__}")
            if event.get("error") or event.get("type") in ("error", "response.failed"):
                raise ValueError("expected an answer, got a stream with an error in it")
            yield event


@dataclass(slots=True)
class _Streamed:
    """Choice 0 so far. Mutable state: the pieces of its text, of its refusal, and by their number of its calls."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: dict[object, tuple[list[str], list[str]]] = field(default_factory=dict)
    finish: str = UNFINISHED
    seen: bool = False

    def add(self, choice: dict[str, Any]) -> None:
        self.seen = True
        if reason := choice.get("finish_reason"):
            self.finish = str(reason)
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {"content": choice.get("text")}
        if text := _text(delta.get("content")):
            self.text.append(text)
        if isinstance(refusal := delta.get("refusal"), str):
            self.refusal.append(refusal)
        for call in _listed(delta.get("tool_calls")):
            if isinstance(call, dict):
                self._add_call(call.get("index"), call.get("function") or call.get("custom"))
        if delta.get("function_call"):
            self._add_call(None, delta["function_call"])

    def _add_call(self, number: object, called: object) -> None:
        name, arguments = self.calls.setdefault(number, ([], []))
        if isinstance(called, dict):
            name.append(_text(called.get("name")))
            arguments.append(_text(called.get("arguments") or called.get("input")))


def _streamed_choice(events: Iterator[dict[str, Any]]) -> Answer:
    streamed = _Streamed()
    for event in events:
        for choice in _listed(event.get("choices")):
            if isinstance(choice, dict) and choice.get("index") in (0, None):
                streamed.add(choice)
    if not streamed.seen:
        raise ValueError("expected an answer with a choice, got a stream without")
    calls = tuple(
        Call(f"choices.0.message.tool_calls.{at}", "".join(name), "".join(arguments))
        for at, (name, arguments) in enumerate(streamed.calls.values())
    )
    return Answer("".join(streamed.text), calls, "".join(streamed.refusal) or None, streamed.finish)


def _streamed_response(events: Iterator[dict[str, Any]]) -> Answer:
    """The last event has the whole answer. Without it: the finished items, and the text of one that is not."""
    done: list[object] = []
    text: list[str] = []
    for event in events:
        kind = event.get("type")
        if kind in ("response.completed", "response.incomplete"):
            return _response(msgspec.convert(event.get("response"), _Responded))
        if kind == "response.output_item.done":
            done.append(event.get("item"))
            text.clear()
        elif kind == "response.output_text.delta":
            text.append(_text(event.get("delta")))
    if text:
        done.append({"type": "message", "content": [{"type": "output_text", "text": "".join(text)}]})
    if not done:
        raise ValueError("expected an answer, got a stream without")
    return _response(msgspec.convert({"output": done, "status": "in_progress"}, _Responded))


_Whole = Callable[[bytes], Answer]
_Events = Callable[[Iterator[dict[str, Any]]], Answer]
_READERS: dict[str, tuple[_Whole, _Events]] = {
    CHAT: (_whole_choice, _streamed_choice),
    COMPLETIONS: (_whole_choice, _streamed_choice),
    RESPONSES: (_whole_response, _streamed_response),
}
