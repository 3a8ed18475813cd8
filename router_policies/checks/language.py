"""Language mismatch: an answer in another language than the user's, or than the other answer.

Languages are told by `eld` (Apache-2.0, trigrams, no model to fetch), and only where there is enough to tell them by:
twenty letters at least that are no code, link, markup or JSON, and `eld` calls its own result reliable. Anything less
gives no verdict: short answers, names and JSON would be called Tagalog.

An answer in neither the user's nor the other answer's language fails. Where the user asks for a translation, both
answers leave the user's language and agree. A route whose answers have one language says so in `expected`.

Telling English from the rest needs no trigrams if most of the function words are there; that is the common case, and
costs a tenth. `eld` is loaded when the first other text comes: 60 ms and 50 MB of memory.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from eld import LanguageDetector
from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Difference, Family, Finding, Outcome, Request, Severity

_LETTERS = 20
_LOOKED_AT = 240  # characters: reliable results change in one of hundreds beyond, and the time grows with it
_NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]{1,400}`|https?://\S{1,2000}+|<[^<>\n]{1,200}+>|\S{1,64}@\S{1,64}", re.DOTALL
)
_ONLY_ENGLISH = frozenset(
    {"the", "and", "of", "you", "that", "with", "your", "this", "which", "they", "there", "would", "should", "these"}
)
_ENGLISH = (
    _ONLY_ENGLISH
    | {"to", "is", "for", "are", "it", "be", "on", "not", "as", "or", "can", "from", "have", "will", "if", "at", "by"}
    | {"an", "was", "we", "has", "what", "how", "their", "when", "more", "also", "my", "i", "a", "in"}
)
_Code = Annotated[str, Meta(pattern="^[a-z]{2,3}$")]


class Options(Struct, frozen=True):
    """`expected`: the languages an answer may be in (ISO 639-1), whatever the user writes; None: the user's own."""

    expected: frozenset[_Code] | None = None


class Language:
    id = "language"
    version = 1
    family = Family.POLICY

    def __init__(self, given: Options) -> None:
        self._expected = given.expected

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        ours = None if request.asked.json else language(answer.text)
        if ours is None:
            return NA
        right = self._expected or self._asked(request, other if ours != language(request.last_user) else None)
        if not right:
            return NA
        if ours in right:
            return PASS
        return Finding(Outcome.FAIL, Severity.HIGH, evidence=f"language: {ours}, not {' or '.join(sorted(right))}")

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> bool | Difference:
        if request.asked.json:
            return True
        ours, theirs = language(student.text), language(teacher.text)
        if ours is None or theirs is None or ours == theirs:
            return True
        return Difference(evidence=f"language mismatch: {ours}, teacher {theirs}")

    @staticmethod
    def _asked(request: Request, other: Answer | None) -> frozenset[str]:
        """The user's language and that of the other answer; none if the user's cannot be told."""
        if (asked := language(request.last_user)) is None:
            return frozenset()
        theirs = language(other.text) if other is not None else None
        return frozenset({asked, theirs or asked})


def make(given: Mapping[str, Any]) -> Language:
    return Language(options.read(Options, given))


def language(text: str) -> str | None:
    """The ISO 639-1 code, None where it cannot be told reliably."""
    return _language(text[: 4 * _LOOKED_AT])


def load() -> None:
    """Have the detector loaded now, and not by the first text that needs it: whoever else is served would wait."""
    _detector()


@lru_cache(maxsize=64)
def _language(plain: str) -> str | None:
    """Kept: a pair is asked about twice, from both sides."""
    if any(mark in plain for mark in "`<@") or "://" in plain:
        plain = _NO_LANGUAGE.sub(" ", plain)
    plain = plain[:_LOOKED_AT]
    if sum(map(str.isalpha, plain)) < _LETTERS:
        return None
    if plain.isascii() and _is_english(plain.lower().split()):
        return "en"
    found = _detector().detect(plain)
    return found.language if found.is_reliable() else None


def _is_english(words: list[str]) -> bool:
    common = sum(word in _ENGLISH for word in words)
    return common * 4 >= len(words) and sum(word in _ONLY_ENGLISH for word in words) * 10 >= len(words)


@lru_cache(maxsize=1)
def _detector() -> LanguageDetector:
    return LanguageDetector()
