"""What a client has of an answer that is streamed to it: enough to go on with it, or to check it, should it break.

Filled while the stream runs: a piece of text costs 0.15 us. Bounded in what it remembers.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

MAX_CHARS = 2_000_000  # four times the longest answers that models give
NO_TOOL = -1
ARGUMENTS = "arguments"
_ENTRY_CHARS = 100  # what a field, a tool call or a choice weighs beside its text
_PIECES = 256

Json = dict[str, Any]
Key = tuple[int, str, int]  # choice, field, tool call


class Text:
    """One field so far. Its pieces are joined now and then: apart they take ten times the memory."""

    __slots__ = ("_joined", "_pieces", "chars", "overflown")

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._pieces: list[str] = []
        self.chars = 0
        self.overflown = False

    def append(self, piece: str) -> None:
        pieces = self._pieces
        pieces.append(piece)
        self.chars += len(piece)
        if len(pieces) >= _PIECES or self.chars > MAX_CHARS:
            self._settle()

    def __str__(self) -> str:
        return "".join(self._joined) + "".join(self._pieces)

    def _settle(self) -> None:
        self._joined.append("".join(self._pieces))
        self._pieces.clear()
        if self.chars > MAX_CHARS:
            self.overflown = True
            self.chars = 0
            self._joined.clear()


@dataclass(frozen=True, slots=True)
class ToolHead:
    """The beginning of a tool call. Both may be "": not sent yet."""

    id: str
    name: str


class Transcript:
    """What the client has of an answer.

    `texts`: the content of choice 0; whoever knows that a chunk is no more than that appends it there. All others are
    given to `add`. `lost`: why it cannot be rescued any more, "" if it can; nothing is remembered then.
    `id`, `created`, `model`: as the client was told first. `heads`: by choice and number. `roles`: the choices whose
    role was sent; `finished`: the finish reasons that were. `content_last`: the last text was content of choice 0.
    """

    __slots__ = (
        "_chars",
        "_chars_then",
        "_lost",
        "_others",
        "created",
        "finished",
        "heads",
        "id",
        "model",
        "roles",
        "texts",
    )

    def __init__(self) -> None:
        self.texts = Text()
        self._others: dict[Key, Text] = {}
        self._chars = 0  # of the others
        self._chars_then = 0  # of the content, when the last of the others came
        self._lost = ""
        self.id: object = None
        self.created: object = None
        self.model: object = None
        self.roles: set[int] = set()
        self.finished: dict[int, str] = {}
        self.heads: dict[tuple[int, int], ToolHead] = {}

    @property
    def lost(self) -> str:
        return self._lost or (f"it has more than {MAX_CHARS} characters" if self.texts.overflown else "")

    @property
    def content_last(self) -> bool:
        return self.texts.chars > self._chars_then

    def text(self, field: str) -> str:
        """The text of choice 0."""
        return str(self.texts if field == "content" else self._others.get((0, field, NO_TOOL), ""))

    def fields(self) -> dict[Key, str]:
        """Every text of which something was sent."""
        told = {key: str(text) for key, text in self._others.items()}
        return {(0, "content", NO_TOOL): str(self.texts), **told} if self.texts.chars else told

    def add(self, chunk: Json) -> None:
        """A chunk that is sent to the client."""
        if self._lost:
            return
        self.id = self.id or chunk.get("id")
        self.created = self.created or chunk.get("created")
        self.model = self.model or chunk.get("model")
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._add_choice(choice)

    def add_text(self, piece: str) -> None:
        """A further piece of the text of a completion, choice 0: not its `content`, which is a chat's."""
        if not self._lost:
            self._append((0, "text", NO_TOOL), piece)

    def as_answer(self) -> bytes:
        """The same as an answer that was not streamed."""
        choices: dict[int, Json] = {}
        for (index, field, tool), text in sorted(self.fields().items()):
            choice = choices.setdefault(index, {"index": index})
            if field == "text":
                choice["text"] = text
            elif tool == NO_TOOL:
                choice.setdefault("message", {"role": "assistant"})[field] = text
        for (index, tool), head in sorted(self.heads.items()):
            message = choices.setdefault(index, {"index": index}).setdefault("message", {"role": "assistant"})
            arguments = str(self._others.get((index, ARGUMENTS, tool), ""))
            function = {"name": head.name, "arguments": arguments}
            message.setdefault("tool_calls", []).append({"id": head.id, "type": "function", "function": function})
        for index, reason in self.finished.items():
            choices.setdefault(index, {"index": index})["finish_reason"] = reason
        for choice in choices.values():
            if "text" not in choice:
                choice.setdefault("message", {"role": "assistant"}).setdefault("content", None)
        answer = {"id": self.id, "created": self.created, "model": self.model}
        return msgspec.json.encode({**answer, "choices": [choices[index] for index in sorted(choices)]})

    def _add_choice(self, choice: Json) -> None:
        index = index_of(choice)
        if reason := choice.get("finish_reason"):
            self.finished[index] = str(reason)
        if text := choice.get("text"):
            self._append((index, "text", NO_TOOL), text)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        for field, value in delta.items():
            if not value:
                continue
            if field == "role":
                self.roles.add(index)
            elif field == "tool_calls" and isinstance(value, list):
                for call in value:
                    if not self._lost:
                        self._add_call(index, call)
            else:
                self._append((index, field, NO_TOOL), value)

    def _add_call(self, choice: int, call: object) -> None:
        number = call.get("index") if isinstance(call, dict) else None
        function = (call.get("function") or {}) if isinstance(call, dict) else None
        if not isinstance(call, dict) or type(number) is not int or not isinstance(function, dict):
            self._forget("a tool call came in an unknown form")
            return
        if any(value for key, value in call.items() if key not in ("index", "id", "type", "function")):
            self._forget("a tool call came with more than a function")
            return
        name = str(function.get("name") or "")
        head = self.heads.get((choice, number), ToolHead("", ""))
        if name and head.name and name != head.name:
            self._forget("a tool's name came in pieces")
            return
        self.heads[choice, number] = ToolHead(head.id or str(call.get("id") or ""), head.name or name)
        if arguments := function.get(ARGUMENTS):
            self._append((choice, ARGUMENTS, number), arguments)
        self._weigh(0 if head.id or head.name else _ENTRY_CHARS)

    def _append(self, key: Key, piece: object) -> None:
        if not isinstance(piece, str):
            self._forget(f"its {key[1]} is no text")
        elif key == (0, "content", NO_TOOL):
            self.texts.append(piece)
        elif not self._lost:
            if key not in self._others:
                self._others[key] = Text()
                self._weigh(_ENTRY_CHARS)
            self._others[key].append(piece)
            self._chars_then = self.texts.chars
            self._weigh(len(piece))

    def _weigh(self, chars: int) -> None:
        self._chars += chars
        if self._chars > MAX_CHARS:
            self._forget(f"it has more than {MAX_CHARS} characters")

    def _forget(self, why: str) -> None:
        self._lost = why
        self.texts = Text()
        self._others = {}
        self.heads = {}


def index_of(choice: Json) -> int:
    """Which of several answers it is. Engines that give one leave it out at times."""
    index = choice.get("index")
    return index if type(index) is int else 0
