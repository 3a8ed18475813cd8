"""Does the answer go round in circles? The same words, four times in a row or more: how small models fail.

A loop is a stretch in which each word is the one a fixed number of words before it. Tables, lists and code repeat
themselves too, but with something new in each round.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome

_LONG_WORD = 40  # characters; what is longer is looked at by characters, as are scripts without spaces
_MOST_TOKENS = 20_000  # the last ones; loops are at the end, for a model does not get out of one
_GRAM = 4


class Repetition(Struct, frozen=True):
    """`times`: how often the same words stand in a row for it to be a loop; `chars`: how long all of it is at least."""

    id: ClassVar[str] = "repetition"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT
    times: Annotated[int, Meta(ge=2)] = 4
    chars: Annotated[int, Meta(ge=1)] = 60

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if not answer.text:
            return NA
        tokens = _tokens(answer.words)
        if len(set(_grams(tokens))) >= len(tokens) - _GRAM + 1:
            return PASS
        loop = _loop(tokens, self.times, self.chars)
        if loop is None:
            return PASS
        period, length = loop
        return Finding(Outcome.FAIL, Severity.HIGH, "", f"loop: {period} words, {length // period} times")

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)


def _tokens(words: tuple[str, ...]) -> Sequence[str]:
    if max(map(len, words), default=0) <= _LONG_WORD:
        return words[-_MOST_TOKENS:]
    tokens: list[str] = []
    for word in words[-_MOST_TOKENS:]:
        if len(word) > _LONG_WORD:
            tokens += word
        else:
            tokens.append(word)
    return tokens[-_MOST_TOKENS:]


def _grams(tokens: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    return zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False)


def _loop(tokens: Sequence[str], times: int, chars: int) -> tuple[int, int] | None:
    """Its period and its length, in words."""
    last: dict[tuple[str, str, str, str], int] = {}
    period = start = 0  # a stretch of `period` that began at `start`; 0: in none
    for at, gram in enumerate(_grams(tokens)):
        if period and tokens[at + _GRAM - 1] != tokens[at + _GRAM - 1 - period]:
            if _is_loop(tokens, start, at + _GRAM - 1, period, times, chars):
                return period, at + _GRAM - 1 - start
            period = 0
        if not period and gram in last:
            period, start = at - last[gram], last[gram]
        last[gram] = at
    if period and _is_loop(tokens, start, len(tokens), period, times, chars):
        return period, len(tokens) - start
    return None


def _is_loop(tokens: Sequence[str], start: int, end: int, period: int, times: int, chars: int) -> bool:
    if end - start < times * period:
        return False
    stretch = tokens[start:end]
    if not any(char.isalpha() for token in stretch[:period] for char in token):
        return False  # rules of tables, rows of numbers
    return sum(map(len, stretch)) >= chars


def make(given: Mapping[str, Any]) -> Repetition:
    return options.read(Repetition, given)
