"""Whether a whole answer is what its request asked for: JSON, JSON under a schema, calls of the tools that there are.

Pure: request and answer in, the first thing wrong out. What is wrong is told without any of the answer's text, so that
it may stand in logs and metrics.

No failure: an answer that was cut by the client's own `max_tokens`, or by a content filter, and a refusal. Nor what
cannot be judged, see `router_policies.schemas`. The text beside tool calls may be anything.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from router_policies.answers import READERS, Asked, Reply
from router_policies.schemas import Budget, misfit

LONGEST_ANSWER = 256 * 1024  # bytes; a longer one is not checked: some 5 ms, in which nobody else is served
LONGEST_REQUEST = 4 * 1024 * 1024  # bytes, as above

Kind = Literal["shape", "json", "schema", "tools"]


@dataclass(frozen=True, slots=True)
class Verify:
    """What is checked of whole answers before they are served.

    `json`: where JSON was asked for, the text is one JSON value. `schema`: where a schema was given, the value is valid
    under it, `strict` or not. `tools`: calls are of declared tools, with arguments that are a JSON object and valid
    under the tool's parameters; `tool_choice` and `parallel_tool_calls: false` are kept to.
    """

    json: bool = True
    schema: bool = True
    tools: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an answer. `path`: where in the answer, `choices.0.message.content`."""

    kind: Kind
    path: str
    detail: str


def verify(path: str, request: bytes, answer: bytes, what: Verify) -> Finding | None:
    """The first thing wrong with a whole answer to a request of an endpoint, None if there is nothing."""
    readers = READERS.get(path)
    if readers is None or len(answer) > LONGEST_ANSWER or len(request) > LONGEST_REQUEST:
        return None
    read_request, read_answer = readers
    try:
        asked = read_request(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # what to say of it is the upstream's
        return None
    if not (asked.json and (what.json or what.schema)) and not (asked.tools and what.tools):
        return None
    try:
        replies = tuple(read_answer(answer))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Finding("shape", "answer", str(error))
    except RecursionError:
        return Finding("shape", "answer", "is nested too deeply")
    budget = Budget()
    for reply in replies:
        if what.tools and asked.tools and (finding := _check_calls(reply, asked, budget)):
            return finding
        called = reply.calls or (reply.busy and reply.text is None)
        if asked.json and not called and (finding := _check_text(reply, asked, what, budget)):
            return finding
    return None


def _check_calls(reply: Reply, asked: Asked, budget: Budget) -> Finding | None:
    if asked.must and not reply.calls and not reply.busy:
        return Finding("tools", reply.path, "has no tool call, though tool_choice asks for one")
    if asked.one and len(reply.calls) > 1:
        return Finding("tools", reply.path, f"has {len(reply.calls)} tool calls, though parallel_tool_calls is false")
    for call in reply.calls:
        if not isinstance(call.name, str) or (call.name not in asked.tools and not asked.open):
            return Finding("tools", call.path, "calls a tool that was not declared")
        if asked.may is not None and call.name not in asked.may:
            return Finding("tools", call.path, "calls a tool that tool_choice does not allow")
        parameters = asked.tools.get(call.name)
        if parameters is not None and (wrong := _wrong_arguments(call.arguments, parameters, budget)):
            return Finding("tools", f"{call.path}.arguments", wrong)
    return None


def _wrong_arguments(arguments: object, parameters: bytes, budget: Budget) -> str | None:
    if not isinstance(arguments, str):
        return "is no text"
    text = arguments if arguments.strip() else "{}"  # what some servers write for no arguments
    try:
        value = _read(text)
    except ValueError as error:
        return f"is no JSON: {error}"
    if value is _UNREAD:
        return None
    if not isinstance(value, dict):
        return "is no JSON object"
    broken = misfit(parameters, value, text, budget)
    return None if broken is None else f"does not fit the tool's parameters{_at(broken)}"


def _check_text(reply: Reply, asked: Asked, what: Verify, budget: Budget) -> Finding | None:
    text = reply.text
    schema = asked.schema if what.schema else None
    if schema is None and not what.json:
        return None
    kind: Kind = "json" if what.json else "schema"
    if not text:
        return Finding(kind, reply.path, "is empty, though JSON was asked for")
    try:
        value = _read(text)
    except ValueError as error:
        return Finding(kind, reply.path, f"is no JSON: {error}")
    if schema is None or value is _UNREAD:
        return None
    broken = misfit(schema, value, text, budget)
    return None if broken is None else Finding("schema", reply.path, f"does not fit the schema{_at(broken)}")


def _at(broken: str) -> str:
    return f" at {broken}" if broken else ""


# Reading JSON. Where `msgspec` will not or had better not: an escaped half of a surrogate pair, and numbers past what a
# float holds, are valid; numbers like 1e300, of which each takes it 20 us, are only looked at.

_UNREAD = object()
_MAY_BE_WIDE = (re.compile(r"e\+?\d\d"), re.compile(r"E\+?\d\d"))
_WIDE = re.compile(r"(?:^|[:,\[\s])-?\d[\d.]*[eE]\+?\d\d")
_MOST_WIDE = 64


def _read(text: str) -> Any:
    """The value of a JSON text; `_UNREAD` if it is valid and that is all that can be said. Raises `ValueError`."""
    try:
        if sum(len(may.findall(text)) for may in _MAY_BE_WIDE) <= _MOST_WIDE or len(_WIDE.findall(text)) <= _MOST_WIDE:
            try:
                return msgspec.json.decode(text)
            except msgspec.DecodeError as error:
                refused = ValueError(str(error))
        else:
            refused = ValueError("malformed")
        try:
            json.loads(text, parse_int=len, parse_float=len, parse_constant=_refuse)
        except ValueError:
            raise refused from None
    except RecursionError:
        pass
    return _UNREAD


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
