"""What the checks of a pack say of a pair of answers, and of one by itself.

The order of the two matters: the first is the student's, whichever of them was served.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from router_policies.checks.check import (
    NA,
    Answer,
    CheckVerdict,
    Difference,
    Family,
    Finding,
    Outcome,
    Request,
    Severity,
)
from router_policies.checks.pack import Entry, Pack

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class FamilyVerdict:
    """Of all checks of a family: a side fails if it fails one, and passes if it passes one and fails none. `agree`: in
    every check; `student_worse`: in any. `severity`: the highest of what the student fails, None if nothing."""

    student: Outcome
    teacher: Outcome
    agree: bool
    student_worse: bool
    severity: Severity | None = None


def findings(
    pack: Pack, request: Request, answer: Answer, other: Answer | None = None
) -> tuple[tuple[Entry, Finding], ...]:
    """What each check says of one answer; `other`: the other side's to the same request, if there is one."""
    return tuple((entry, _finding(entry, request, answer, other)) for entry in pack.entries)


def verdict(pack: Pack, request: Request, student: Answer, teacher: Answer) -> tuple[CheckVerdict, ...]:
    """What each check says of a pair, in the order of the pack."""
    return tuple(_verdict(entry, request, student, teacher) for entry in pack.entries)


def families(verdicts: Iterable[CheckVerdict]) -> Mapping[Family, FamilyVerdict]:
    """Roll-ups. A family that has no check in the pack is not in it."""
    found: dict[Family, list[CheckVerdict]] = {}
    for one in verdicts:
        found.setdefault(one.family, []).append(one)
    return {family: _family(of_it) for family, of_it in found.items()}


def _finding(entry: Entry, request: Request, answer: Answer, other: Answer | None) -> Finding:
    if not entry.covers(request):
        return NA
    found = entry.check.judge(request, answer, other)
    if entry.severity is not None and found.outcome is Outcome.FAIL:
        return replace(found, severity=entry.severity)
    return found


def _verdict(entry: Entry, request: Request, student: Answer, teacher: Answer) -> CheckVerdict:
    check = entry.check
    if not entry.covers(request):
        return CheckVerdict(entry.name, check.version, check.family, Outcome.NA, Outcome.NA, True, False, Severity.LOW)
    ours = _finding(entry, request, student, teacher)
    theirs = _finding(entry, request, teacher, student)
    failed = next((found for found in (ours, theirs) if found.outcome is Outcome.FAIL), None)
    agree = check.agree(request, student, teacher, (ours, theirs))
    shown = failed or (agree if isinstance(agree, Difference) else theirs)
    return CheckVerdict(
        check=entry.name,
        version=check.version,
        family=check.family,
        student=ours.outcome,
        teacher=theirs.outcome,
        agree=bool(agree),
        student_worse=ours.outcome is Outcome.FAIL and theirs.outcome is not Outcome.FAIL,
        severity=failed.severity if failed else entry.severity or Severity.LOW,
        path=shown.path,
        evidence=shown.evidence,
    )


def _family(verdicts: list[CheckVerdict]) -> FamilyVerdict:
    failed = [one.severity for one in verdicts if one.student is Outcome.FAIL]
    return FamilyVerdict(
        student=_worst(one.student for one in verdicts),
        teacher=_worst(one.teacher for one in verdicts),
        agree=all(one.agree for one in verdicts),
        student_worse=any(one.student_worse for one in verdicts),
        severity=max(failed, key=_RANK.__getitem__, default=None),
    )


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    seen = set(outcomes)
    return next(outcome for outcome in (Outcome.FAIL, Outcome.PASS, Outcome.NA) if outcome in seen)
