"""What a request asks of its answer, and what an answer says, of chat completions and of the Responses API.

Only what `router_policies.verify` looks at is decoded. A body of another shape raises `msgspec.DecodeError`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType


class Asked(Struct, frozen=True):
    """What a request asks of its answer. `json`, and under which `schema`. `tools`: the parameters of each, None for
    one that takes text; `open`: more of them may be declared elsewhere. `must`: there must be a call; `may`: of these
    only."""

    json: bool = False
    schema: bytes | None = None
    tools: Mapping[str, bytes | None] = {}
    open: bool = False
    must: bool = False
    may: frozenset[str] | None = None
    one: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    path: str
    name: object
    arguments: object


@dataclass(frozen=True, slots=True)
class Reply:
    """One of the answers to a request. `busy`: with calls that the upstream itself carries out."""

    path: str
    text: str | None
    calls: tuple[Call, ...]
    busy: bool = False


# What requests say.

_Maybe = Raw | UnsetType


class _Schema(Struct):
    schema: _Maybe = UNSET


class _Format(Struct):
    """`schema` is where the Responses API has it, and llama.cpp's chat completions."""

    type: str = ""
    json_schema: _Schema | None = None
    schema: _Maybe = UNSET


class _Text(Struct):
    format: _Format | None = None


class _Structured(Struct):
    json: _Maybe = UNSET
    json_object: bool | None = None


class _Function(Struct):
    name: str
    parameters: _Maybe = UNSET


class _Tool(Struct):
    type: str = "function"
    function: _Function | None = None
    custom: _Function | None = None
    name: str = ""
    parameters: _Maybe = UNSET


class _ToolsRequest(Struct):
    tools: list[_Tool] | None = None
    tool_choice: object = None
    parallel_tool_calls: bool | None = None
    prompt: object = None


class _ChatRequest(_ToolsRequest):
    """`structured_outputs`, and `guided_json` of earlier versions, are vLLM's."""

    response_format: _Format | None = None
    structured_outputs: _Structured | None = None
    guided_json: _Maybe = UNSET


class _ResponsesRequest(_ToolsRequest):
    text: _Text | None = None


_decode_chat_request = msgspec.json.Decoder(_ChatRequest).decode
_decode_responses_request = msgspec.json.Decoder(_ResponsesRequest).decode
_ANY = b"{}"  # the schema that everything fits


def _chat_asked(body: bytes) -> Asked:
    request = _decode_chat_request(body)
    if request.response_format is not None:
        return _with_tools(request, *_format(request.response_format))
    if (structured := request.structured_outputs) is not None:
        schema = _given(structured.json)
        return _with_tools(request, schema is not None or structured.json_object is True, schema)
    schema = _given(request.guided_json)
    return _with_tools(request, schema is not None, schema)


def _responses_asked(body: bytes) -> Asked:
    request = _decode_responses_request(body)
    if request.text is not None and request.text.format is not None:
        return _with_tools(request, *_format(request.text.format))
    return _with_tools(request, False, None)


def _format(asked: _Format) -> tuple[bool, bytes | None]:
    if asked.type not in ("json_object", "json_schema"):
        return False, None
    return True, _given(asked.json_schema.schema) if asked.json_schema is not None else _given(asked.schema)


def _given(schema: _Maybe) -> bytes | None:
    """A schema's text; vLLM takes one that is written in a string, too."""
    if schema is UNSET or (text := bytes(schema)) == b"null":
        return None
    return msgspec.json.decode(text, type=str).encode() if text.startswith(b'"') else text


def _with_tools(request: _ToolsRequest, asks_json: bool, schema: bytes | None) -> Asked:
    if not request.tools:
        return Asked(asks_json, schema)
    tools: dict[str, bytes | None] = {}
    more = request.prompt is not None  # a stored prompt of the Responses API brings its own
    for tool in request.tools:
        if tool.type in ("function", "custom"):
            it = tool.function or tool.custom or tool
            tools[it.name] = (_given(it.parameters) or _ANY) if tool.type == "function" else None
        elif tool.type in ("namespace", "tool_search"):
            more = True
    must, may = _choice(request.tool_choice)
    return Asked(asks_json, schema, tools, more, must, may, request.parallel_tool_calls is False)


def _choice(choice: object) -> tuple[bool, frozenset[str] | None]:
    """Whether `tool_choice` asks for a call, and of which tools it allows one, None for all."""
    if not isinstance(choice, dict):
        return choice in ("required", "any"), frozenset() if choice == "none" else None
    match choice.get("type"):
        case "function" | "custom":
            return True, frozenset(_names([choice]))
        case "allowed_tools":
            inner = choice.get("allowed_tools", choice)
            if isinstance(inner, dict) and isinstance(tools := inner.get("tools"), list):
                return inner.get("mode") == "required", frozenset(_names(tools))
    return False, None  # a tool that the upstream runs


def _names(tools: list[Any]) -> Iterator[str]:
    for tool in tools:
        if isinstance(tool, dict):
            inner = tool.get(str(tool.get("type")), tool)
            if isinstance(inner, dict) and isinstance(name := inner.get("name"), str):
                yield name


# What answers say.


class _Part(Struct):
    type: str = ""
    text: str | None = None


class _Called(Struct):
    name: object = None
    arguments: object = None


class _ToolCall(Struct):
    function: _Called | None = None
    custom: _Called | None = None


class _Message(Struct):
    content: str | list[_Part] | None = None
    refusal: object = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct):
    message: _Message
    finish_reason: object = None


class _ChatAnswer(Struct):
    choices: list[_Choice]


class _Item(Struct):
    type: str = ""
    content: Raw = Raw(b"null")
    name: object = None
    arguments: object = None


class _ResponsesAnswer(Struct):
    output: list[_Item]
    status: object = None


_decode_chat_answer = msgspec.json.Decoder(_ChatAnswer).decode
_decode_responses_answer = msgspec.json.Decoder(_ResponsesAnswer).decode
_decode_parts = msgspec.json.Decoder(list[_Part] | None).decode


def _chat_replies(body: bytes) -> Iterator[Reply]:
    answer = _decode_chat_answer(body)
    if not answer.choices:
        raise msgspec.ValidationError("Expected a choice, got none - at `$.choices`")
    for at, choice in enumerate(answer.choices):
        message = choice.message
        if choice.finish_reason in ("length", "content_filter") or message.refusal:
            continue
        calls = []
        for number, call in enumerate(message.tool_calls or ()):
            called = call.function or call.custom or _Called()
            calls.append(Call(f"choices.{at}.message.tool_calls.{number}", called.name, called.arguments))
        text = message.content if not isinstance(message.content, list) else _text(message.content)
        yield Reply(f"choices.{at}.message.content", text, tuple(calls))


def _responses_replies(body: bytes) -> Iterator[Reply]:
    answer = _decode_responses_answer(body)
    if answer.status not in (None, "completed"):
        return
    calls = []
    busy = False
    path, text = "output", None
    for at, item in enumerate(answer.output):
        if item.type in ("function_call", "custom_tool_call"):
            calls.append(Call(f"output.{at}", item.name, item.arguments))
        elif item.type == "message":  # the last one answers; those before it, or before a call, tell what is being done
            parts = _decode_parts(item.content) or []
            if any(part.type == "refusal" for part in parts):
                return
            path, text = f"output.{at}.content", _text(parts)
        elif item.type.endswith("_call"):
            busy = True
            path, text = "output", None
    yield Reply(path, text, tuple(calls), busy)


def _text(parts: list[_Part]) -> str:
    return "".join(part.text for part in parts if part.text is not None)


READERS: dict[str, tuple[Callable[[bytes], Asked], Callable[[bytes], Iterator[Reply]]]] = {
    "/v1/chat/completions": (_chat_asked, _chat_replies),
    "/v1/responses": (_responses_asked, _responses_replies),
}
