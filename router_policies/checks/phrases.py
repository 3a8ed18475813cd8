"""Words that an answer must not have, and words that it must: banned phrases, competitors' names, disclaimers.

Compared without case, after Unicode normalisation (NFKC: full-width and composed forms are one), with runs of blanks as
one and invisible characters left out, so that a soft hyphen or a curly apostrophe hides nothing. A phrase counts where
it stands by itself: `art` is not in `start`. Scripts that are written without blanks between words have no such edges.

A phrase that is required only of some requests is another entry of the pack, with a `scope`.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome

_SHOWN = 90  # characters of a phrase in the evidence
_HIDDEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d\u2010\u2011\u2012\u2013", "''\"\"----")


class Options(Struct, frozen=True):
    """`banned`, `competitors`: none of these. `required`: all of these. `one_of`: at least one of these, such as the
    wordings of a disclaimer. `prompted`: whether a competitor that the user has named may be named in return."""

    banned: tuple[str, ...] = ()
    competitors: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    prompted: bool = False

    def __post_init__(self) -> None:
        if not (phrases := (*self.banned, *self.competitors, *self.required, *self.one_of)):
            raise ValueError("expected phrases in banned, competitors, required or one_of, got none")
        if not all(normal(phrase) for phrase in phrases):
            raise ValueError("expected phrases of at least one visible character, got an empty one")


class Phrases:
    id = "phrases"
    version = 1
    family = Family.POLICY

    def __init__(self, given: Options) -> None:
        self._banned = [normal(phrase) for phrase in given.banned]
        self._competitors = [normal(phrase) for phrase in given.competitors]
        self._required = [normal(phrase) for phrase in given.required]
        self._one_of = [normal(phrase) for phrase in given.one_of]
        self._prompted = given.prompted

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if not answer.text.strip():
            return NA
        text = normal(answer.text)
        for phrase in self._banned:
            if has(text, phrase):
                return Finding(Outcome.FAIL, Severity.HIGH, evidence=f"banned phrase: {phrase[:_SHOWN]}")
        for phrase in self._competitors:
            if has(text, phrase) and not (self._prompted and has(normal(request.last_user), phrase)):
                return Finding(Outcome.FAIL, Severity.MEDIUM, evidence=f"competitor named: {phrase[:_SHOWN]}")
        for phrase in self._required:
            if not has(text, phrase):
                return Finding(Outcome.FAIL, Severity.MEDIUM, evidence=f"required phrase missing: {phrase[:_SHOWN]}")
        if self._one_of and not any(has(text, phrase) for phrase in self._one_of):
            return Finding(Outcome.FAIL, Severity.MEDIUM, evidence=f"disclaimer missing: {self._one_of[0][:_SHOWN]}")
        return PASS

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found) and found[0].evidence == found[1].evidence


def make(given: Mapping[str, Any]) -> Phrases:
    return Phrases(options.read(Options, given))


def normal(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_HIDDEN)).translate(_STRAIGHT)
    return " ".join(text.casefold().split())


def has(text: str, phrase: str) -> bool:
    """Whether `phrase` stands by itself in `text`, both as `normal` gives them."""
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if _edge(text[at - 1 : at], phrase[0]) and _edge(text[end : end + 1], phrase[-1]):
            return True
        at = text.find(phrase, at + 1)
    return False


def _edge(outside: str, inside: str) -> bool:
    """Whether a word may end between the two characters."""
    return not (outside.isalnum() and inside.isalnum()) or "W" in map(unicodedata.east_asian_width, (outside, inside))
