"""Where the texts of a chat are: every one that a model reads or writes, with the field that rules speak of."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from student_train.teachset.scrub import Field

Change = Callable[[Field, str], str]


class Chat(Struct, frozen=True):
    """A request and what came of it, of one shape whether a gateway captured it or somebody made it."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    served: str | None = None
    gold: str | None = None


class Unusable(Exception):
    """Why a request cannot be made an example of, in a few words: they are counted."""


_FIELDS: dict[str, Field] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool_results",
    "function": "tool_results",
}


def changed(chat: Chat, change: Change) -> Chat:
    """With `change` applied to each text. Ids of tool calls are numbered anew: they are random and say nothing. Raises
    `Unusable` for what cannot be scrubbed: pictures, sound, files."""
    ids: dict[str, str] = {}
    return Chat(
        tuple(_message(message, change, ids) for message in chat.messages),
        tuple(_described(tool, change) for tool in chat.tools),
        None if chat.response_format is None else _described(chat.response_format, change),
        None if chat.served is None else change("assistant", chat.served),
        None if chat.gold is None else change("assistant", chat.gold),
    )


def _message(message: Mapping[str, Any], change: Change, ids: dict[str, str]) -> dict[str, Any]:
    """Only what a chat completion defines is kept: of a field that is not known nobody knows what is in it."""
    role = message.get("role")
    if role not in _FIELDS:
        raise Unusable("a message whose role is not known")
    where = _FIELDS[role]
    made: dict[str, Any] = {"role": role}
    if isinstance(name := message.get("name"), str):
        made["name"] = name if where == "tool_results" else change("metadata", name)
    made["content"] = _content(message.get("content"), where, change)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        made["refusal"] = change(where, refusal)
    if calls := message.get("tool_calls"):
        made["tool_calls"] = [_call(call, change, ids) for call in calls]
    if isinstance(answered := message.get("tool_call_id"), str):
        made["tool_call_id"] = _id(answered, ids)
    return made


def _content(content: Any, where: Field, change: Change) -> Any:
    if content is None:
        return None
    if isinstance(content, str):
        return change(where, content)
    if not isinstance(content, list):
        raise Unusable("content that is neither text nor parts")
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in ("text", "refusal"):
            raise Unusable("pictures, sound or files, which cannot be scrubbed")
        kind = part["type"]
        parts.append({"type": kind, kind: change(where, str(part.get(kind, "")))})
    return parts


def _call(call: Any, change: Change, ids: dict[str, str]) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise Unusable("a tool call that is no object")
    kind = "custom" if "custom" in call else "function"
    called = call.get(kind)
    if not isinstance(called, dict) or not isinstance(called.get("name"), str):
        raise Unusable("a tool call without a name")
    text = "input" if kind == "custom" else "arguments"
    sent = called.get(text)
    return {
        "id": _id(str(call.get("id") or len(ids)), ids),
        "type": kind,
        kind: {"name": called["name"], text: change("tool_arguments", sent if isinstance(sent, str) else "")},
    }


def _id(given: str, ids: dict[str, str]) -> str:
    return ids.setdefault(given, f"call_{len(ids) + 1}")


_SAID = frozenset(("description", "title", "default", "examples", "example", "enum", "const", "$comment"))


def _described(definition: Any, change: Change, said: bool = False) -> Any:
    """Of tools and schemas what is said for people and models, and values; not names of fields, types and patterns."""
    if isinstance(definition, dict):
        return {key: _described(value, change, said or key in _SAID) for key, value in definition.items()}
    if isinstance(definition, list):
        return [_described(value, change, said) for value in definition]
    return change("metadata", definition) if said and isinstance(definition, str) else definition
