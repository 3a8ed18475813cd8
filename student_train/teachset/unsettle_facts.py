"""The task `facts`: for prompts that carry JSON, such as an order that the app looked up.

A fact is a value in that JSON that the gold answer has too: so the answer needs it. It is dropped where it stands; if
it still stands elsewhere in the prompt the case is no good and left out. Contradicted it is by a note that gives the
field another value, one that an earlier example had there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from student_train.teachset.example import Example
from student_train.teachset.judge_agreement import Path, leaves
from student_train.teachset.unsettle import Contradicted, Dropped, Unsettled, filled

_SHORTEST = 3  # characters: a shorter value is in a text by chance
_DECODER = json.JSONDecoder()


class Facts:
    """Mutable state: of each field, by name, the last value that was seen in another example."""

    def __init__(self, dropped: Dropped | None, contradicted: Contradicted | None) -> None:
        self._dropped = dropped
        self._contradicted = contradicted
        self._others: dict[str, str] = {}

    def __call__(self, example: Example, random: Random) -> Iterator[Unsettled]:
        seen: dict[str, str] = {}
        for at, message in enumerate(example.messages):
            content = message.get("content")
            for start, end, value in _documents(content) if isinstance(content, str) else ():
                for path, text in _facts(value, example.gold or ""):
                    name = _name(path)
                    seen[name] = text
                    yield from self._ways(example, at, (start, end), value, name, text)
        self._others |= seen

    def _ways(
        self, example: Example, at: int, span: tuple[int, int], document: Any, name: str, text: str
    ) -> Iterator[Unsettled]:
        fields = {"name": name.replace("_", " "), "field": name, "value": text}
        if self._dropped is not None:
            messages = _without(example.messages, at, span, document, text)
            if not any(_has(message, text) for message in messages):
                gold = _target(example.gold or "", self._dropped.target, text, fields)
                yield Unsettled(messages, gold, "slot_dropped", name)
        other = self._others.get(name, text)
        if self._contradicted is not None and other != text:
            fields |= {"other": other}
            noted = _noted(example.messages, filled(self._contradicted.note, fields))
            if noted is not None:
                gold = _target(example.gold or "", self._contradicted.target, text, fields)
                yield Unsettled(noted, gold, "contradiction", name)


def _documents(content: str) -> Iterator[tuple[int, int, Any]]:
    """Each JSON object or list in a text, with where it begins and ends."""
    at = 0
    while (found := re.compile(r"[{\[]").search(content, at)) is not None:
        try:
            value, at = _DECODER.raw_decode(content, found.start())
        except (ValueError, RecursionError):
            at = found.end()
            continue
        if value:
            yield found.start(), at, value


def _facts(document: Any, gold: str) -> Iterator[tuple[Path, str]]:
    """Values that gold has as whole words, each once."""
    seen = set()
    for path, value in leaves(document):
        text = _text(value)
        if (
            len(text) >= _SHORTEST
            and text not in seen
            and any(isinstance(step, str) for step in path)
            and _in(text, gold)
        ):
            seen.add(text)
            yield path, text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if type(value) in (int, float) else ""


def _in(text: str, whole: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", whole, re.IGNORECASE) is not None


def _has(message: Mapping[str, Any], text: str) -> bool:
    return _in(text, json.dumps([message.get("content"), message.get("tool_calls")], ensure_ascii=False))


def _name(path: Path) -> str:
    return next(str(step) for step in reversed(path) if isinstance(step, str))


def _without(
    messages: tuple[dict[str, Any], ...], at: int, span: tuple[int, int], document: Any, text: str
) -> tuple[dict[str, Any], ...]:
    content = messages[at]["content"]
    written = content[slice(*span)]
    spaced = json.dumps(document, ensure_ascii=False) == written
    rest = json.dumps(
        _pruned(document, text),
        ensure_ascii=False,
        indent=2 if "\n" in written else None,
        separators=None if spaced or "\n" in written else (",", ":"),
    )
    changed = {**messages[at], "content": content[: span[0]] + rest + content[span[1] :]}
    return (*messages[:at], changed, *messages[at + 1 :])


def _pruned(value: Any, text: str) -> Any:
    """Without what has that value."""
    if isinstance(value, dict):
        return {key: _pruned(inner, text) for key, inner in value.items() if _text(inner) != text}
    if isinstance(value, list):
        return [_pruned(inner, text) for inner in value if _text(inner) != text]
    return value


def _noted(messages: tuple[dict[str, Any], ...], note: str) -> tuple[dict[str, Any], ...] | None:
    """With the note below the user's last message; None if that is no text."""
    for at in range(len(messages) - 1, -1, -1):
        content = messages[at].get("content")
        if messages[at].get("role") == "user":
            if not isinstance(content, str):
                return None
            changed = {**messages[at], "content": f"{content}\n\n{note}"}
            return (*messages[:at], changed, *messages[at + 1 :])
    return None


def _target(gold: str, template: dict[str, Any] | str, text: str, fields: Mapping[str, str]) -> str:
    """Gold's answer with the template's fields, and null where gold has the value that is not known now."""
    said = filled(template, fields)
    if isinstance(said, str):
        return said
    try:
        known = json.loads(gold)
    except ValueError:
        known = {}
    kept = _nulled(known, text) if isinstance(known, dict) else {}
    return json.dumps({**kept, **said}, ensure_ascii=False, separators=(",", ":"))


def _nulled(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: _nulled(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [_nulled(inner, text) for inner in value if _text(inner) != text]
    return None if _text(value) == text else value
