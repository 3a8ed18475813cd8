"""Measures the teachers of a set on its gold, and writes its lessons."""

from collections import Counter
from collections.abc import Callable, Sequence

from router_policies.checks.pack import Pack
from student_train.teachset.choose import Choice, Table, score
from student_train.teachset.example import Lesson, Split
from student_train.teachset.judge_set import TAUGHT, answered, lesson_entry
from student_train.teachset.store import Entry, TeachingSet

_BATCH = 500


class NoGoldError(ValueError):
    """Teachers cannot be compared: what is missing, and what to do."""


def measured(teaching: TeachingSet, pack: Pack, split: Split = "gold", teachers: Sequence[str] | None = None) -> Table:
    """`teachers`: all that answered, unless they are said. Where there is only one it needs no gold to be chosen: the
    table is empty then."""
    found = [
        score(example, answers, pack)
        for example, answers in answered(teaching, (split,))
        if example.gold is not None and answers
    ]
    names = sorted({name for one in found for name in one.right})
    if not found and (only := _only_teacher(teaching, teachers)):
        return Table.of((), [only])
    if not found:
        raise NoGoldError(
            f"expected answers to examples of split {split} that have gold, there are none: ask them first"
        )
    if unknown := sorted(set(teachers or ()) - set(names)):
        raise NoGoldError(
            f"expected teachers that answered split {split} ({', '.join(names)}), got {', '.join(unknown)}"
        )
    table = Table.of(found, teachers or names)
    if not table.skills:
        raise NoGoldError(f"expected examples of split {split} that all of {', '.join(names)} answered, there are none")
    return table


def _only_teacher(teaching: TeachingSet, wanted: Sequence[str] | None) -> str:
    """Who alone answered what is taught; "" for nobody, or several."""
    names = {answer.teacher for _, answers in answered(teaching, TAUGHT) for answer in answers}
    chosen = names & set(wanted) if wanted else names
    return chosen.pop() if len(chosen) == 1 else ""


def teach(teaching: TeachingSet, choice: Choice, show: Callable[[], None] = lambda: None) -> Counter[str]:
    """Writes the lessons that changed. How many examples are taught by whom: a teacher, `gold`, `several` teachers, or
    `nobody`, because no answer is kept."""
    counts: Counter[str] = Counter()
    changed: list[Entry] = []
    for example, answers in answered(teaching, TAUGHT):
        lesson = choice.lesson(example, answers)
        counts[_by(lesson)] += 1
        entry = lesson_entry(example, lesson, choice.mode)
        known = teaching.get("lesson", example.id)
        if known != entry.payload and (lesson.targets or known is not None):
            changed.append(entry)
        if len(changed) >= _BATCH:
            teaching.add("lesson", changed, replace=True)
            changed.clear()
        show()
    teaching.add("lesson", changed, replace=True)
    if counts:
        teaching.note(
            "choose",
            {"mode": choice.mode, "gold": choice.gold, "teachers": list(choice.teachers), "lessons": dict(counts)},
        )
    return counts


def _by(lesson: Lesson) -> str:
    names = {one.teacher or "gold" for one in lesson.targets}
    return "nobody" if not names else names.pop() if len(names) == 1 else "several"
