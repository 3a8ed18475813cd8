"""The texts of one session without personal data and secrets: `learn` all of them, then `mask` each.

Two passes, because what gives a value away may stand after it: a customer signs with the name that the tool's result
three messages before had in a free text. The first pass collects what is found in any text of the session, the second
masks it wherever it stands, however it is written there.

What finds: `pii_find`, the pack that answers are scored with; the names of fields in JSON (`scrub_json`); cues in prose
(`scrub_text`); and what the session has shown already. Of finds that overlap the whole stretch is masked: better a word
too many than half a number left.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from router_policies.checks import pii_find
from student_train.teachset import scrub_json
from student_train.teachset.placeholders import PLACEHOLDER, Kind, Placeholders, normal
from student_train.teachset.scrub_words import PARTS_THAT_SAY_NOTHING, field

Field = Literal["system", "user", "assistant", "tool_arguments", "tool_results", "metadata"]
Action = Literal["mask", "keep", "drop"]
Found = tuple[Kind, int, int]

_KIND = {**dict.fromkeys(pii_find.SECRETS, "secret"), "ipv4": "ip", "ipv6": "ip"}
_KEYED_CHARS = 200  # a longer value has words of its own that say what is in it
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_FIRST_NAMES = frozenset(
    ("first_name", "firstname", "given_name", "forename", "vorname", "prénom", "prenom", "nombre", "voornaam")
)
_LAST_NAMES = frozenset(
    ("last_name", "lastname", "surname", "family_name", "nachname", "nom", "apellido", "apellidos", "achternaam")
)


class _Piece(Struct, frozen=True):
    """Of a text: prose, or JSON with what is in it."""

    start: int
    end: int
    finds: tuple[Found, ...] = ()
    scalars: tuple[tuple[scrub_json.Scalar, tuple[Found, ...]], ...] | None = None


@lru_cache(maxsize=512)
def _pieces(text: str) -> tuple[_Piece, ...]:
    """Remembered, in memory only: system prompts come again and again, and so do the messages of a long chat."""
    pieces = []
    at = 0
    for start, end in scrub_json.parts(text):
        try:
            scalars = scrub_json.scalars(text[start:end])
        except (ValueError, RecursionError):
            continue
        if at < start:
            pieces.append(_Piece(at, start, tuple(_in_prose(text[at:start]))))
        pieces.append(_Piece(start, end, scalars=tuple((scalar, tuple(_in_scalar(scalar))) for scalar in scalars)))
        at = end
    if at < len(text) or not pieces:
        pieces.append(_Piece(at, len(text), tuple(_in_prose(text[at:]))))
    return tuple(pieces)


def _in_prose(text: str) -> Iterator[Found]:
    yield from _pack(text)
    yield from _cues(text)


def _cues(text: str) -> Iterator[Found]:
    """Imported when it is needed: to compile its patterns takes 0.1 s, which no other command should wait for."""
    from student_train.teachset import scrub_text

    yield from scrub_text.find(text)


def _pack(text: str, skip: int = 0) -> Iterator[Found]:
    for span in pii_find.find(text):
        if span.end > skip:
            yield _KIND.get(span.kind, span.kind), max(0, span.start - skip), span.end - skip


_SCHEME = re.compile(r"(?:Bearer|Basic|Token)\s+", re.IGNORECASE)


def _in_scalar(scalar: scrub_json.Scalar) -> Iterator[Found]:
    """A value with a label is masked whole; another is looked at behind the name of its field, which may say what a
    number is."""
    text = scalar.text
    if scalar.label is not None:
        scheme = _SCHEME.match(text) if scalar.label == "secret" else None
        kind = scalar.label
        whole = next((span for span in pii_find.find(text) if (span.start, span.end) == (0, len(text))), None)
        if whole is not None and kind != "secret":
            kind = _KIND.get(whole.kind, whole.kind)
        yield kind, scheme.end() if scheme else 0, len(text)
        return
    if scalar.is_key:
        yield from _pack(text)
        return
    if not scalar.is_number and _is_json(text):
        return  # it is masked field by field
    if scalar.key and len(text) <= _KEYED_CHARS:
        yield from _pack(f"{scalar.key}: {text}", len(scalar.key) + 2)
    else:
        yield from _pack(text)
    if not scalar.is_number:
        yield from _cues(text)


class Scrubber:
    """Of one session. Mutable state: what has been learned, the table of placeholders, what was masked and why a text
    is to be dropped.

    `keep`: a pattern of what is never masked, such as numbers of orders; None for nothing. `action`: what the rules say
    of a kind in a field.
    """

    def __init__(
        self, table: Placeholders, keep: re.Pattern[str] | None, action: Callable[[Field, Kind], Action]
    ) -> None:
        self._table = table
        self._keep = keep
        self._action = action
        self._values: dict[Kind, dict[str, str]] = {}
        self._persons: dict[str, str] = {}
        self._patterns: list[tuple[Kind, re.Pattern[str]]] | None = None
        self.masked: Counter[Kind] = Counter()
        self.drops: set[tuple[Field, Kind]] = set()

    def learn(self, text: str) -> None:
        self._table.reserve(text)
        for piece in _pieces(text):
            if piece.scalars is None:
                self._learn(text[piece.start : piece.end], piece.finds)
                continue
            first = ""
            for scalar, finds in piece.scalars:
                self._learn(scalar.text, finds)
                if not scalar.is_key and (key := field(scalar.key)) in _FIRST_NAMES:
                    first = scalar.text
                elif not scalar.is_key and key in _LAST_NAMES and first and scalar.text:
                    self.know("name", f"{first} {scalar.text}")
                    first = ""
                if not scalar.is_number and not scalar.is_key and _is_json(scalar.text):
                    self.learn(scalar.text)

    def mask(self, where: Field, text: str) -> str:
        out = []
        for piece in _pieces(text):
            part = text[piece.start : piece.end]
            if piece.scalars is None:
                out.append(self._masked(where, part, piece.finds))
            else:
                finds = iter(piece.scalars)
                out.append(scrub_json.replaced(part, lambda _: self._masked_scalar(where, *next(finds))))  # noqa: B023 - used before the next
        return "".join(out)

    def _masked_scalar(self, where: Field, scalar: scrub_json.Scalar, finds: tuple[Found, ...]) -> str:
        if not finds and _is_json(scalar.text):
            return self.mask(where, scalar.text)
        return self._masked(where, scalar.text, finds)

    def _masked(self, where: Field, text: str, finds: tuple[Found, ...]) -> str:
        out, at = [], 0
        for kind, start, end in self._joined(text, finds):
            action: Action = self._action(where, kind)
            if action == "keep":
                continue
            if action == "drop":
                self.drops.add((where, kind))
            value = text[start:end]
            self.masked[kind] += 1
            out += [text[at:start], self._table.of(kind, self._canonical(kind, value))]
            at = end
        return "".join([*out, text[at:]]) if out else text

    def _joined(self, text: str, finds: tuple[Found, ...]) -> list[Found]:
        """In order, none overlapping. What lies in a kept number is no find; a kept number in a longer find is part
        of it. A stretch that several share is of the longest one's kind; one with a secret in it is a secret."""
        placed = [match.span() for match in PLACEHOLDER.finditer(text)]
        kept = [match.span() for match in self._keep.finditer(text) if match[0]] if self._keep is not None else []
        joined: list[tuple[Kind, int, int, int]] = []
        for kind, start, end in sorted((*finds, *self._known(text)), key=lambda find: (find[1], -find[2])):
            if start >= end or any(first <= start and end <= last for first, last in (*placed, *kept)):
                continue
            if joined and start < joined[-1][2]:
                before, begin, last, size = joined[-1]
                longer = end - start > size
                kind = "secret" if "secret" in (before, kind) else kind if longer else before
                joined[-1] = (kind, begin, max(end, last), max(size, end - start))
            else:
                joined.append((kind, start, end, end - start))
        return [
            piece
            for kind, start, end, _ in joined
            for piece in _around(
                kind, text, start, end, [span for span in placed if start <= span[0] and span[1] <= end]
            )
        ]

    # What the session has shown.

    def _learn(self, text: str, finds: Iterable[Found]) -> None:
        for kind, start, end in finds:
            if PLACEHOLDER.search(value := text[start:end]) is None and not (
                self._keep and self._keep.fullmatch(value)
            ):
                self.know(kind, value)

    def know(self, kind: Kind, value: str) -> None:
        """That this value is one, wherever it stands."""
        if self._values.setdefault(kind, {}).setdefault(normal(kind, value), value) is value:
            self._patterns = None

    def _known(self, text: str) -> Iterator[Found]:
        if self._patterns is None:
            self._persons = _persons(self._values.get("name", {}).values())
            self._patterns = [
                (kind, re.compile("|".join(shapes)))
                for kind, values in self._values.items()
                if (shapes := list(_shapes(kind, values.values())))
            ]
            if handles := list(_handles(self._values.get("name", {}).values())):
                self._patterns.append(("user", re.compile("|".join(handles))))
        for kind, pattern in self._patterns:
            for match in pattern.finditer(text):
                yield kind, *match.span()
        if self._table.continues:
            for match in _WORD.finditer(text):
                if match[0][0].isupper() and tells(match[0]) and self._table.known("name", match[0]):
                    yield "name", *match.span()

    def _canonical(self, kind: Kind, value: str) -> str:
        """What the value is filed under: of a part of a name the whole name, if the session had it."""
        if kind != "name":
            return value
        words = [word.casefold() for word in _WORD.findall(value)]
        for word in words:
            if (full := self._persons.get(word)) is None:
                continue
            its = [other.casefold() for other in _WORD.findall(full)]
            if all(one in its or (len(one) == 1 and any(other.startswith(one) for other in its)) for one in words):
                for part in _WORD.findall(full):
                    if tells(part) and self._persons.get(part.casefold()) == full:
                        self._table.same("name", full, part)
                return full
        return value


def tells(part: str) -> bool:
    """Whether a single word is masked wherever it stands because a name had it."""
    return len(part) >= 3 and part.casefold() not in PARTS_THAT_SAY_NOTHING


def _persons(names: Iterable[str]) -> dict[str, str]:
    """Of each word of a name the longest name that has it, the first learned of several."""
    persons: dict[str, str] = {}
    for name in sorted(names, key=lambda name: -len(_WORD.findall(name))):
        for part in _WORD.findall(name):
            persons.setdefault(part.casefold(), name)
    return persons


def _shapes(kind: Kind, values: Iterable[str]) -> Iterator[str]:
    """Patterns that find the values again, longest first."""
    for value in sorted(values, key=len, reverse=True):
        digits = re.sub(r"\D", "", value)
        if kind in ("phone", "card", "national_id", "iban") and digits and len(digits) >= 7:
            chars = re.sub(r"[\s\-./()+]", "", value)
            yield r"(?<![0-9A-Za-z])\+?" + r"[ \-./()]{0,2}".join(map(re.escape, chars)) + r"(?![0-9A-Za-z])"
        elif kind == "name":
            words = _WORD.findall(value)
            if len(words) > 1:
                yield r"(?<!\w)(?i:" + r"\.?[\s\u00a0]+".join(map(re.escape, words)) + r")(?!\w)"
            for word in words:
                if tells(word):
                    ways = dict.fromkeys((word, word.capitalize(), word.upper()))
                    yield r"(?<![\w<])(?:" + "|".join(map(re.escape, ways)) + r")(?![\w>])"
        elif len(value) >= (3 if kind == "secret" else 5) and (len(value) >= 8 or not value.isalpha()):
            exact = kind == "secret" or len(value) < 12
            body = (
                r"[\s,]+".join(map(re.escape, value.replace(",", " ").split()))
                if kind == "address"
                else re.escape(value)
            )
            yield (
                r"(?<!\w)" * value[0].isalnum() + (body if exact else f"(?i:{body})") + r"(?!\w)" * value[-1].isalnum()
            )
        elif (
            kind == "address"
            and len(value) >= 4
            and value[0].isupper()
            and value.casefold() not in PARTS_THAT_SAY_NOTHING
        ):
            yield rf"(?<!\w){re.escape(value)}(?!\w)"


def _handles(names: Iterable[str]) -> Iterator[str]:
    """Names that people log in under are made of the names they have: `rosa.keller`, `keller_rosa_9620`."""
    for name in names:
        words = [re.escape(word) for word in _WORD.findall(name) if tells(word)]
        if len(words) >= 2:
            for first, last in ((words[0], words[-1]), (words[-1], words[0])):
                yield rf"(?i:(?<![\w.@])[\w.-]{{0,32}}{first}[._-]?{last}[\w-]*)"


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") and next(scrub_json.parts(text), None) is not None


def _around(kind: Kind, text: str, start: int, end: int, placed: list[tuple[int, int]]) -> Iterator[Found]:
    """A find without the placeholders that are in it. What is left beside one is masked if it can be a value: a cue
    that found its way in with a placeholder, such as `is`, is none."""
    if not placed:
        yield kind, start, end
        return
    for first, last in [*sorted(placed), (end, end)]:
        piece = text[start:first]
        if any(map(str.isdigit, piece)) or (kind == "name" and any(map(str.isupper, piece))):
            yield kind, start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        start = max(start, last)
