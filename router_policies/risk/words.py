"""Words, and lexicons of words and phrases, looked for in time linear in the text.

A regular expression of three hundred phrases tries each of them at each place. Here a text is cut into words once, the
set of them is intersected with the set of words that phrases are found by, and only phrases with such a word are
looked for: what is not there costs nothing.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router_policies.risk.once import once

STRONG, WEAK = 2, 1  # of a term that is enough by itself, and of one that needs another beside it
ENOUGH = 2

_WORD = re.compile(r"[^\W_]+")
# Letters in lower case, digits as they are, all else a blank; apostrophes vanish: `don't` and `dont` are one word.
_ASCII = bytes(byte + 32 if 65 <= byte < 91 else byte if chr(byte).isalnum() else 32 for byte in range(128))
_ASCII += bytes([32]) * 128
_DROPPED = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff'\u2018\u2019"))  # invisible, and apostrophes
_PIECE = 512  # characters that are normalised at once


def split(text: str) -> list[str]:
    """The words of a text, in lower case, after Unicode normalisation, without any punctuation."""
    if text.isascii():
        return text.encode("ascii").translate(_ASCII, b"'").decode("ascii").split()
    parts: list[str] = []
    room = 2 * len(text)  # one character may be normalised into eighteen
    for at in range(0, len(text), _PIECE):
        parts.append(unicodedata.normalize("NFKC", text[at : at + _PIECE].translate(_DROPPED)).casefold())
        room -= len(parts[-1])
        if room < 0:
            break
    return _WORD.findall("".join(parts))


@dataclass(frozen=True)
class Words:
    """A text as words. `line`: them all, each between blanks, so that ` a phrase ` is found by itself only."""

    all: list[str]

    @classmethod
    def of(cls, text: str) -> "Words":
        return cls(split(text))

    @once
    def set(self) -> frozenset[str]:
        return frozenset(self.all)

    @once
    def line(self) -> str:
        return f" {' '.join(self.all)} "


@dataclass(frozen=True, slots=True)
class Terms:
    """Words, and phrases of more than one, as ` a phrase `. `longest`: the longest word of each phrase."""

    words: frozenset[str]
    phrases: tuple[str, ...]
    longest: frozenset[str]

    @classmethod
    def of(cls, terms: Sequence[str]) -> "Terms":
        phrases = tuple(f" {term} " for term in terms if " " in term)
        longest = frozenset(max(phrase.split(), key=len) for phrase in phrases)
        return cls(frozenset(term for term in terms if " " not in term), phrases, longest)

    def any_in(self, text: Words) -> bool:
        if not self.words.isdisjoint(text.set):
            return True
        if self.longest.isdisjoint(text.set):
            return False
        line = text.line
        return any(phrase in line for phrase in self.phrases)


def listed(given: str) -> frozenset[str]:
    """The words of a text that lists them between blanks."""
    return frozenset(given.split())


def terms(given: str) -> list[str]:
    """The terms of a text that lists them between commas, as `split` gives their words."""
    return [" ".join(split(term)) for term in given.split(",") if term.strip()]


class Lexicons:
    """Several lexicons that are looked for at once. Each is a pair of texts: strong terms and weak ones, by commas.

    A term counts in the plural too, and once however often it is there. What reaches `ENOUGH` is found.
    """

    def __init__(self, lexicons: Mapping[str, tuple[str, str]]) -> None:
        self._words: dict[str, list[tuple[str, str, int]]] = {}  # by word: lexicon, term, weight
        # By the longest word: lexicon, term, weight, the next longest word, the phrase.
        self._phrases: dict[str, list[tuple[str, str, int, str, str]]] = {}
        for name, (strong, weak) in lexicons.items():
            for listed, weight in ((strong, STRONG), (weak, WEAK)):
                for term in terms(listed):
                    for form in (term, f"{term}s"):
                        self._add(name, term, form, weight)
        self.keys = frozenset(self._words) | frozenset(self._phrases)

    def find(self, words: Words, telling: frozenset[str] | None = None) -> frozenset[str]:
        """The names of the lexicons that have enough in a text. `telling`: those of its words that are among `keys`,
        and maybe others, if that is known already."""
        seen: dict[tuple[str, str], int] = {}
        known, line, alone, phrases = words.set, words.line, self._words, self._phrases
        for word in self.keys & (known if telling is None else telling):
            for name, term, weight in alone.get(word, ()):
                seen[name, term] = weight
            for name, term, weight, other, phrase in phrases.get(word, ()):
                if other in known and phrase in line:
                    seen[name, term] = weight
        if not seen:
            return frozenset()
        sums: dict[str, int] = {}
        for (name, _), weight in seen.items():
            sums[name] = sums.get(name, 0) + weight
        return frozenset(name for name, total in sums.items() if total >= ENOUGH)

    def _add(self, name: str, term: str, form: str, weight: int) -> None:
        parts = form.split()
        if len(parts) == 1:
            self._words.setdefault(form, []).append((name, term, weight))
        else:  # the longest word is the rarest, as a rule
            longest, other = sorted(parts, key=len, reverse=True)[:2]
            self._phrases.setdefault(longest, []).append((name, term, weight, other, f" {form} "))
