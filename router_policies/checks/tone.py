"""Brand voice: rules of tone that can be counted: openers, exclamation marks, emoji, capitals, contractions, grade.

Taste is not judged here, only what a style guide says in numbers and lists, so that two people who apply it agree.
Code blocks and quoted lines are not the brand speaking and do not count; JSON that was asked for has no tone.

The reading grade is Flesch-Kincaid's (Kincaid et al. 1975), 0.39 words per sentence + 11.8 syllables per word - 15.59,
with vowel groups for syllables; it is meant for English, and needs some 30 words to mean anything.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.check import (
    EVIDENCE_CHARS,
    NA,
    PASS,
    Answer,
    Family,
    Finding,
    Outcome,
    Request,
    Severity,
    same_outcome,
)
from router_policies.checks.phrases import has, normal

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,400}`|^ {0,3}>[^\n]*", re.DOTALL | re.MULTILINE)
_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55\u231a\u231b\u23e9-\u23f3]\ufe0f?"
)
_TYPOGRAPHIC = frozenset("✓✔✗✘➔➜→☐☑☒")  # in the emoji blocks, but no emoji
_CONTRACTION = re.compile(
    r"[a-z]{1,12}(?:n't|'(?:re|ve|ll|d|m))(?![a-z])|(?<![a-z])(?:it|that|there|here|what|who|let)'s(?![a-z])"
)
_SLANG = re.compile(
    r"(?<![a-z])(?:hey|hiya|yeah|yep|nope|gonna|wanna|gotta|kinda|sorta|awesome|cool|lol|omg|btw|dude|guys|folks|super|stuff"
    r"|no worries|no problem|oops|yikes|cheers)(?![a-z])"
)
_SHOUTED = re.compile(r"[A-Z](?<![A-Za-z][A-Z])[A-Z]{3,}(?![A-Za-z])")
_SENTENCE_ENDS = (". ", "! ", "? ", ".\n", "!\n", "?\n", "\n-", "\n*")
# Letters by what they do in a syllable: v vowel, e, l, c other consonant; all else is a blank. In a translated text a
# syllable is a run of v and e, and an e that is not heard ends a word after a c.
_CLASSES = bytes(
    ord("e" if char == "e" else "v" if char in "aiouy" else "l" if char == "l" else "c" if "a" <= char <= "z" else " ")
    for char in map(chr, range(256))
)
_VOWELS = bytes(32 if char in b" lc" else 118 for char in range(256))
_LETTERS = bytes(32 if char in b" " else 120 for char in range(256))
_GRADED_WORDS = 30

_Count = Annotated[int, Meta(ge=0)]


class Options(Struct, frozen=True):
    """`openers`: how an answer must not begin. `exclamations`, `emoji`, `capitals`: how many marks, emoji and words in
    capitals there may be; `acronyms`: capitals that are no shouting. `formal`: no contractions, no slang. `grade`: the
    highest reading grade."""

    openers: tuple[str, ...] = ()
    exclamations: _Count | None = None
    emoji: _Count | None = None
    capitals: _Count | None = None
    acronyms: frozenset[str] = frozenset()
    formal: bool = False
    grade: Annotated[float, Meta(gt=0)] | None = None


class Tone:
    id = "tone"
    version = 1
    family = Family.POLICY

    def __init__(self, given: Options) -> None:
        self._given = given
        self._openers = tuple(normal(opener) for opener in given.openers)

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if request.asked.json:
            return NA
        text = answer.text
        if "`" in text or ">" in text:
            text = _CODE.sub(" ", text)
        if not text.strip():
            return NA
        wrong = self._wrong(text)
        if not wrong:
            return PASS
        return Finding(Outcome.FAIL, Severity.LOW, evidence=f"tone: {', '.join(wrong)}"[:EVIDENCE_CHARS])

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)

    def _wrong(self, text: str) -> list[str]:
        given, wrong = self._given, []
        if self._openers:
            start = normal(text[:200]).lstrip("#*_-> \"'")
            wrong += [
                f"opens with {opener!r}" for opener in self._openers if start.startswith(opener) and has(start, opener)
            ][:1]
        if given.exclamations is not None and (count := text.count("!") - text.count("![")) > given.exclamations:
            wrong.append(f"{count} exclamation marks")
        if given.emoji is not None and not text.isascii():
            count = sum(found[0] not in _TYPOGRAPHIC for found in _EMOJI.findall(text))
            if count > given.emoji:
                wrong.append(f"{count} emoji")
        if given.capitals is not None:
            count = sum(word not in given.acronyms for word in _SHOUTED.findall(text))
            if count > given.capitals:
                wrong.append(f"{count} words in capitals")
        if given.formal or given.grade is not None:
            wrong += self._style(text.lower().replace("\u2019", "'"))
        return wrong

    def _style(self, text: str) -> list[str]:
        wrong = []
        if self._given.formal:
            if match := _CONTRACTION.search(text) if "'" in text else None:
                wrong.append(f"contraction {match[0]!r}")
            if match := _SLANG.search(text):
                wrong.append(f"slang {match[0]!r}")
        if self._given.grade is not None and (grade := reading_grade(text)) is not None and grade > self._given.grade:
            wrong.append(f"reading grade {grade:.1f}")
        return wrong


def make(given: Mapping[str, Any]) -> Tone:
    return Tone(options.read(Options, given))


def reading_grade(text: str) -> float | None:
    """Of lowercase English; None if there are too few words."""
    letters = b" " + text.replace("'", "").encode("ascii", "replace").translate(_CLASSES) + b" "
    words = letters.translate(_LETTERS).count(b" x")
    if words < _GRADED_WORDS:
        return None
    sentences = sum(map(f"{text} ".count, _SENTENCE_ENDS)) or 1
    silent = letters.count(b"ce ") - letters.count(b" ce ") - letters.count(b" cce ")  # but not in `he` and `the`
    syllables = max(words, letters.translate(_VOWELS).count(b" v") - silent)
    return 0.39 * words / sentences + 11.8 * syllables / words - 15.59
