"""What of a second answer is the rest of the first, which broke off after part of it was sent.

`router_policies.rescue` says how the second answer was asked for (`Mode`). Of an answer `ANEW`, all that was sent must
come again, character for character, before anything is relayed; of one that was continued, only the whitespace may
that was kept from the engine, and JSON must be valid as a whole before its end is relayed.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from router_policies.transcript import ARGUMENTS, NO_TOOL, Json, Key, Transcript, index_of

THOUGHTS = frozenset({"reasoning_content", "reasoning"})
_TEXTS = frozenset({"content", "text"})


class Mode(StrEnum):
    """How the rest was asked for: to go on with what was said, to go on with JSON, or the same request again."""

    CONTINUE = "continue"
    CONTINUE_JSON = "continue_json"
    ANEW = "anew"


class Mismatch(Exception):
    """The new answer is not one that begins with what was sent. Says where, and nothing of the text."""


class _Awaited:
    """What is still to come of a text that was sent. `strict`: it must; else it may, and is dropped if it does."""

    __slots__ = ("at", "strict", "text")

    def __init__(self, text: str, *, strict: bool) -> None:
        self.text = text
        self.at = 0
        self.strict = strict


class Seam:
    """Turns the chunks of the second answer into the rest of the first. What was said is read once, at the start.

    A chunk that is relayed has the `id` and `created` of the first answer, no second role, and its own `model`.
    """

    def __init__(self, said: Transcript, mode: Mode) -> None:
        fields = said.fields()
        self._id = said.id
        self._created = said.created
        self._roles = frozenset(said.roles)
        self._finished = frozenset(said.finished)
        self._heads = dict(said.heads)
        self._unseen_heads = set(said.heads) if mode is Mode.ANEW else set()
        self._text_begun = False  # and is to be gone on with: no more reasoning may come
        self._awaited: dict[Key, _Awaited] = {}
        self._json = _JsonTail(said.text("content")) if mode is Mode.CONTINUE_JSON else None
        for key, text in fields.items():
            if mode is Mode.ANEW:
                self._awaited[key] = _Awaited(text, strict=True)
            elif key[1] in _TEXTS:
                kept = text.rstrip()
                self._text_begun = self._text_begun or bool(kept)
                if len(kept) < len(text):
                    self._awaited[key] = _Awaited(text[len(kept) :], strict=False)

    @property
    def matched(self) -> bool:
        """Whether all that was sent has come again, as far as it must."""
        return not self._unseen_heads and not any(awaited.strict for awaited in self._awaited.values())

    def feed(self, chunk: Json) -> Json | None:
        """What of a chunk is to be relayed, None if nothing is. Raises `Mismatch`."""
        told = chunk.get("choices")
        choices = [choice for choice in told if isinstance(choice, dict)] if isinstance(told, list) else []
        rest = [left for choice in choices if (left := self._choice(choice)) is not None]
        if not rest and (choices or not self.matched):
            return None
        stamped = dict(chunk)
        if self._id:
            stamped["id"] = self._id
        if self._created:
            stamped["created"] = self._created
        if choices:
            stamped["choices"] = rest
        return stamped

    def _choice(self, choice: Json) -> Json | None:
        index = index_of(choice)
        left = dict(choice)
        if isinstance(choice.get("text"), str):
            left["text"] = self._rest((index, "text", NO_TOOL), choice["text"])
        if isinstance(choice.get("delta"), dict):
            left["delta"] = self._delta(index, choice["delta"])
        says = _says(left)
        ends = bool(choice.get("finish_reason"))
        if self._awaits(index) and (says or ends):
            raise Mismatch(f"choice {index} {'goes on' if says else 'ends'} before all that was sent has come again")
        if index in self._finished:
            if says:
                raise Mismatch(f"choice {index} goes on where it had ended")
            return None
        if self._awaits(index):
            return None
        if self._json is not None and not index:
            self._json.feed(_object(left.get("delta")).get("content"), ends=choice.get("finish_reason") == "stop")
        if left != choice:
            if not (says or ends or _object(left.get("delta")).get("role")):
                return None
            _cut_tokens(choice, left)
        return left

    def _awaits(self, choice: int) -> bool:
        """Whether something that must come of this choice has not."""
        return any(index == choice for index, _ in self._unseen_heads) or any(
            key[0] == choice and awaited.strict for key, awaited in self._awaited.items()
        )

    def _delta(self, choice: int, delta: Json) -> Json:
        left = {}
        for field, value in delta.items():
            if field == "role":
                if choice in self._roles:
                    continue
            elif field == "tool_calls" and isinstance(value, list):
                calls = [call for told in value if (call := self._call(choice, told)) is not None]
                if value and not calls:
                    continue
                value = calls
            elif isinstance(value, str):
                value = self._rest((choice, field, NO_TOOL), value)
            left[field] = value
        return left

    def _call(self, choice: int, call: object) -> object | None:
        if not isinstance(call, dict):
            return call
        number = call.get("index")
        head = self._heads.get((choice, number)) if isinstance(number, int) else None
        if head is None:
            return call
        assert isinstance(number, int)
        left = {key: value for key, value in call.items() if key not in ("id", "type")}
        function = call.get("function")
        if isinstance(function, dict):
            name = function.get("name")
            if name and head.name and name != head.name:
                raise Mismatch(f"tool call {number} of choice {choice} is of another function")
            if name or not head.name:
                self._unseen_heads.discard((choice, number))
            left["function"] = rest = {key: value for key, value in function.items() if key != "name" or not head.name}
            if isinstance(rest.get(ARGUMENTS), str):
                rest[ARGUMENTS] = self._rest((choice, ARGUMENTS, number), rest[ARGUMENTS])
            return left if any(rest.values()) else None
        return None

    def _rest(self, key: Key, piece: str) -> str:
        """What of a piece has not been sent."""
        if piece and self._text_begun and key[1] in THOUGHTS:
            raise Mismatch(f"choice {key[0]} has more {key[1]} where its text should go on")
        awaited = self._awaited.get(key)
        if awaited is None:
            return piece
        common = _common(awaited.text, awaited.at, piece)
        awaited.at += common
        if awaited.at == len(awaited.text):
            del self._awaited[key]
        elif common < len(piece):
            if awaited.strict:
                raise Mismatch(f"{key[1]} of choice {key[0]} differs from what was sent at character {awaited.at}")
            del self._awaited[key]
        return piece[common:]


class _JsonTail:
    """Holds the rest of a JSON text to making the whole one, for an engine's word is all there is for that."""

    def __init__(self, text: str) -> None:
        self._pieces = [text]
        self._begun = False

    def feed(self, piece: object, *, ends: bool) -> None:
        """A piece of the rest that is about to be relayed. Raises `Mismatch`."""
        piece = piece if isinstance(piece, str) else ""
        if not self._begun and (rest := piece.lstrip()):
            self._begun = True
            text = self._pieces[0].strip()
            if text and rest[0] == text[0] and rest[0] in "{[" and text[-1] not in ":,[":
                raise Mismatch("the JSON text begins anew where it should go on")
        self._pieces.append(piece)
        if ends:
            try:
                msgspec.json.decode("".join(self._pieces))
            except (msgspec.DecodeError, RecursionError):
                raise Mismatch("the JSON text is not valid as a whole") from None


def _common(text: str, at: int, piece: str) -> int:
    """How many characters of `piece` are those of `text` from `at` on."""
    if text.startswith(piece, at):
        return len(piece)
    pairs = zip(piece, text[at : at + len(piece)], strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(text) - at)


def _says(choice: Json) -> bool:
    """Whether there is anything in a choice but its role, its end, and emptiness."""
    delta = _object(choice.get("delta"))
    return bool(choice.get("text")) or any(delta[field] for field in delta if field != "role")


def _strings(choice: Json) -> Iterator[str]:
    """Every text in a choice, the empty ones too."""
    if isinstance(choice.get("text"), str):
        yield choice["text"]
    for field, value in _object(choice.get("delta")).items():
        if field == "tool_calls" and isinstance(value, list):
            yield from [str(_object(_object(call).get("function")).get(ARGUMENTS) or "") for call in value]
        elif field != "role" and isinstance(value, str):
            yield value


def _cut_tokens(choice: Json, left: Json) -> None:
    """Take the log probabilities of the text that is not relayed out of `left`.

    They belong to tokens; if the cut is within one, what is left of it has no probability, and a client that puts the
    text together from the tokens would have part of it twice. Such an answer is refused.
    """
    whole, rest = [text for text in _strings(choice) if text], [text for text in _strings(left) if text]
    logprobs = choice.get("logprobs")
    if whole == rest or not (logprobs or choice.get("token_ids")):
        return
    left.pop("token_ids", None)
    left["logprobs"] = None
    if not rest:
        return
    if len(whole) == 1 and isinstance(logprobs, dict) and not choice.get("token_ids"):
        dropped = len(whole[0]) - len(rest[0])
        entries = logprobs.get("content") or logprobs.get("tokens") or ()
        tokens = [str(entry.get("token") if isinstance(entry, dict) else entry) for entry in entries]
        ends = [len("".join(tokens[:count])) for count in range(len(tokens))]
        if "".join(tokens) == whole[0] and dropped in ends:
            at = ends.index(dropped)
            left["logprobs"] = {
                key: value[at:] if isinstance(value, list) and len(value) == len(tokens) else value
                for key, value in logprobs.items()
            }
            return
    raise Mismatch("what was sent ends within a token whose log probability was asked for")


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
