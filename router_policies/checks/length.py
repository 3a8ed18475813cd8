"""Length drift: how many times as long as the other answer is this one, in words?

A student that was trained on short answers grows short, one that rambles costs more and is read less. Which of two
lengths is right nobody can tell from the two, so by default drift is a difference and no failure; a pack may say that
the longer or the shorter answer is at fault. Limits of their own, whatever the teacher says, are `rules`' business.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Difference, Family, Finding, Outcome, Request, Severity


class Options(Struct, frozen=True):
    """`ratio`: of words, from which on they differ, either way. `words`: where both have fewer, no ratio says much."""

    ratio: Annotated[float, Meta(gt=1)] = 2.0
    words: Annotated[int, Meta(ge=1)] = 20
    fault: Literal["longer", "shorter"] | None = None


class Length:
    id = "length"
    version = 1
    family = Family.POLICY

    def __init__(self, given: Options) -> None:
        self._given = given

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if other is None or not answer.text or not other.text or self._given.fault is None:
            return NA
        ratio = self._drift(answer, other)
        if ratio is None or (ratio > 1) is not (self._given.fault == "longer"):
            return PASS
        return Finding(Outcome.FAIL, Severity.LOW, evidence=_told(ratio, "the other's"))

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> bool | Difference:
        if not student.text or not teacher.text or (ratio := self._drift(student, teacher)) is None:
            return True
        return Difference(evidence=_told(ratio, "the teacher's"))

    def _drift(self, answer: Answer, other: Answer) -> float | None:
        """The ratio of their words if it is out of bounds."""
        ours, theirs = len(answer.words), len(other.words)
        if max(ours, theirs) < self._given.words:
            return None
        ratio = max(ours, 1) / max(theirs, 1)
        return None if 1 / self._given.ratio <= ratio <= self._given.ratio else ratio


def make(given: Mapping[str, Any]) -> Length:
    return Length(options.read(Options, given))


def _told(ratio: float, whose: str) -> str:
    return f"length drift: {ratio:.2g} times {whose} words"
