"""How far two answers say the same, by their words: ranks what people look at, and never gates alone.

Two good answers may share few words, and two that share nearly all may say the opposite. So this is no judge of who is
right; it points at pairs worth reading: those whose numbers, names or negations differ, or which have little in common.

- token F1: words shared, as SQuAD counts them (arXiv:1606.05250), numbers and punctuation aside;
- chrF: character n-grams of one to six, recall counting twice (Popović 2015, chrF2), which is kinder to inflected
  languages; it is slow, so only where few words are shared, and of the beginnings;
- numbers: those in one answer and not in the other, `1,299.00` and `1299` being one;
- entities: words with a capital inside a sentence, a crude but fast stand-in for names;
- negation: texts that are otherwise alike, but one says "not" where the other does not, or one begins with yes and the
  other with no.

Answers that are to be JSON are compared by `fields`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks._words import words
from router_policies.checks.check import NA, Answer, Difference, Family, Finding, Request

_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_ENUMERATION = re.compile(r"^[ \t]*[0-9]{1,3}[.)][ \t]", re.MULTILINE)
_ENTITY = re.compile(r"(?<=[a-z0-9,;:] )[A-Z][\w'-]+(?: [A-Z][\w'-]+){0,4}")
_NEGATIONS = frozenset(
    {"not", "no", "never", "none", "neither", "nor", "cannot", "without", "nicht", "kein", "keine", "keinen", "nie"}
    | {"niemals", "ohne", "ne", "pas", "jamais", "sans", "nunca", "sin", "non", "mai", "senza"}
)
_YES = frozenset({"yes", "yeah", "yep", "ja", "oui", "sí", "si", "sì"})
_NO = frozenset({"no", "nope", "nein", "non"})
_CHRF_CHARS = 256
_CHRF_ORDER = 6
_FEW_SHARED = 0.5  # of token F1, below which chrF is looked at
_ALIKE = 0.6  # of token F1, from which on a negation more or less is worth a look


class Options(Struct, frozen=True):
    """`alike`: two answers whose token F1 and chrF both are below this have little in common."""

    alike: Annotated[float, Meta(ge=0, le=1)] = 0.3


@dataclass(frozen=True, slots=True)
class Likeness:
    """`token_f1`, `chrf`: from 0 to 1; the latter None where many words are shared. `numbers`, `entities`: how many are
    in one only, and of how many in all. `negated`: whether the negations differ."""

    token_f1: float
    chrf: float | None
    numbers: tuple[int, int]
    entities: tuple[int, int]
    negated: bool

    @property
    def words(self) -> float:
        return max(self.token_f1, self.chrf or 0.0)

    @property
    def review(self) -> float:
        """From 0, alike, to 1, read this one first. The weights are a guess, and only rank."""
        differing, in_all = self.numbers[0] + self.entities[0], self.numbers[1] + self.entities[1]
        facts = differing / in_all if in_all else 0.0
        return min(1.0, 0.4 * (1 - self.words) + 0.4 * facts + 0.3 * self.negated)


def likeness(ours: str, theirs: str) -> Likeness:
    our_words, their_words = words(ours), words(theirs)
    our_counts, their_counts = Counter(our_words), Counter(their_words)
    token_f1 = _f1(our_counts, their_counts)
    return Likeness(
        token_f1=token_f1,
        chrf=chrf(ours, theirs) if token_f1 < _FEW_SHARED else None,
        numbers=_apart(_numbers(ours), _numbers(theirs)),
        entities=_apart(set(_ENTITY.findall(ours)), set(_ENTITY.findall(theirs))),
        negated=_opposed(our_words[:1], their_words[:1])
        or (token_f1 >= _ALIKE and _negations(our_counts) != _negations(their_counts)),
    )


class Content:
    id = "content"
    version = 1
    family = Family.CONTENT

    def __init__(self, given: Options) -> None:
        self._alike = given.alike

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        return NA

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> bool | Difference:
        if request.asked.json or not student.text or not teacher.text or student.text == teacher.text:
            return True
        like = likeness(student.text, teacher.text)
        differ = []
        if like.negated:
            differ.append("negation")
        if like.numbers[0]:
            differ.append(f"{like.numbers[0]} of {like.numbers[1]} numbers")
        if 2 * like.entities[0] > like.entities[1] > 1:
            differ.append(f"{like.entities[0]} of {like.entities[1]} names")
        if like.words < self._alike:
            differ.append(f"words, {like.words:.2f} alike")
        return (
            Difference(evidence=f"content differs: {', '.join(differ)}; review {like.review:.2f}") if differ else True
        )


def make(given: Mapping[str, Any]) -> Content:
    return Content(options.read(Options, given))


def _f1(ours: Counter[str], theirs: Counter[str]) -> float:
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else float(not ours and not theirs)


def chrf(ours: str, theirs: str) -> float:
    """chrF (Popović, WMT 2015) with beta 1: neither text is the reference, so it is the same from both sides.

    Without word n-grams, blanks left out, over as many orders as both texts have."""
    one, two = "".join(ours[:_CHRF_CHARS].split()), "".join(theirs[:_CHRF_CHARS].split())
    precision = recall = 0.0
    orders = min(_CHRF_ORDER, len(one), len(two))
    for size in range(1, orders + 1):
        first = Counter(one[at : at + size] for at in range(len(one) - size + 1))
        second = Counter(two[at : at + size] for at in range(len(two) - size + 1))
        shared = (first & second).total()
        precision += shared / first.total()
        recall += shared / second.total()
    if not precision or not recall:
        return float(one == two)
    precision, recall = precision / orders, recall / orders
    return 2 * precision * recall / (precision + recall)


def _numbers(text: str) -> set[str]:
    """Without grouping marks and trailing zeros; the numbers of a list's items are not among them."""
    if not _NUMBER.search(text):
        return set()
    found = set()
    for number in _NUMBER.findall(_ENUMERATION.sub("", text)):
        whole, mark, decimals = number.rpartition("." if number.rfind(".") > number.rfind(",") else ",")
        if mark and len(decimals) == 3 and whole.lstrip("0"):  # 1,299 or 1.299: a thousand, more often than not
            whole, decimals = whole + decimals, ""
        elif not mark:
            whole, decimals = number, ""
        digits = re.sub("[.,]", "", whole).lstrip("0") or "0"
        found.add(f"{digits}.{decimals.rstrip('0')}".rstrip("."))
    return found


def _apart(ours: set[str], theirs: set[str]) -> tuple[int, int]:
    return len(ours ^ theirs), len(ours | theirs)


def _opposed(ours: list[str], theirs: list[str]) -> bool:
    """Of the first words: whether one is a yes and the other a no."""
    return {*ours, *theirs} & _YES != set() and {*ours, *theirs} & _NO != set()


def _negations(counts: Counter[str]) -> int:
    return sum(count for word, count in counts.items() if word in _NEGATIONS or word.endswith("n't"))
