"""Reviews of a set: what is shown to people, and what comes of what they say.

An answer that most of those who are sure find bad is rejected and leaves its lesson at once; one that they find good
comes back, if only its length or the other answers spoke against it. People are in the set under pseudonyms.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from router_policies.checks.pack import Pack
from student_train.teachset.example import Answer, Example, Lesson, Review, Split
from student_train.teachset.judge import Options, judge
from student_train.teachset.judge_set import JUDGED, TAUGHT, all_reviews, answered, lesson_entry, rejected, reviewed
from student_train.teachset.ledger import Json
from student_train.teachset.review import Case, Key, Pick, Seen, blind, cases, pick, unblind
from student_train.teachset.review_agreement import Pairwise, between_people, with_filters
from student_train.teachset.store import Entry, TeachingSet

_SUSPECTED = ("length", "agreement")  # what a person overrules


class Heard(NamedTuple):
    """`new`: reviews that were not in the set. `pairs`, by pseudonym, and `alpha`: of all people so far. `filters`: of
    people with the filters. `rejected`, `restored`: answers, of this time."""

    new: int
    blank: int
    people: dict[str, str]
    pairs: dict[tuple[str, str], Pairwise]
    alpha: float | None
    filters: Pairwise
    rejected: int
    restored: int


def shown(
    teaching: TeachingSet,
    pack: Pack,
    count: int,
    splits: Sequence[Split] = TAUGHT,
    secret: str | None = None,
    show: Callable[[], None] = lambda: None,
) -> tuple[list[Case], Key]:
    """The review and its key. Noted in the ledger by how many cases it has."""
    secret = secret or secrets.token_hex(32)
    seen = []
    for example, answers in answered(teaching, splits):
        one = pick(example, answers, pack, secret)
        if one is not None:
            seen.append(Seen(example.id, example.skill, one.disagree))
        show()
    chosen = set(cases(seen, count, secret))
    picks: Iterable[Pick | None] = (
        pick(example, answers, pack, secret) for example, answers in answered(teaching, splits) if example.id in chosen
    )
    blinded, key = blind([one for one in picks if one is not None], secret)
    disagreeing = sum(hidden.disagree for hidden in key.cases.values())
    teaching.note("review written", {"cases": len(blinded), "disagreeing": disagreeing})
    return blinded, key


def heard(teaching: TeachingSet, path: Path, key: Key, at: float, options: Options) -> Heard:
    """Takes a filled review in. Raises `ReviewError` before anything is written if there is anything wrong with it.
    `options`: those of `judge`, for the agreement with the filters."""
    named, blank = unblind(path, key, at)
    people = {one.reviewer: teaching.pseudonym(f"reviewer:{one.reviewer.casefold()}")[:12] for one in named}
    found = [msgspec.structs.replace(one, reviewer=people[one.reviewer]) for one in named]
    new = [one for one in found if _is_new(teaching, one)]
    persons = _persons(teaching, {one.example for one in new})
    teaching.add("review", [_entry(one, persons.get(one.example, "")) for one in new], replace=True)
    touched = {one.example for one in found}
    gone, back = _apply(teaching, touched)
    pairs, alpha = between_people(all_reviews(teaching))
    filters = _with_filters(teaching, options)
    if new:
        told = {"reviews": len(new), "people": len(people), "rejected": gone, "restored": back}
        teaching.note("review read", told | {"alpha": None if alpha is None else round(alpha, 4)})
    return Heard(len(new), blank, people, pairs, alpha, filters, gone, back)


def _key(one: Review) -> str:
    return f"{one.example}/{one.teacher}/{one.index}/{one.reviewer}"


def _is_new(teaching: TeachingSet, one: Review) -> bool:
    """Also what somebody says otherwise than before; said again it is nothing new."""
    payload = teaching.get("review", _key(one))
    return payload is None or msgspec.structs.replace(msgspec.json.decode(payload, type=Review), at=one.at) != one


def _entry(one: Review, person: str) -> Entry:
    about: dict[str, Json] = {
        "reviewer": one.reviewer,
        "rubric": one.rubric,
        "decision": one.decision,
        "better": one.better,
        "at": one.at,
    }
    return Entry(id=_key(one), about=about, payload=msgspec.json.encode(one), person=person)


def _persons(teaching: TeachingSet, ids: set[str]) -> dict[str, str]:
    payloads = ((id_, teaching.get("example", id_)) for id_ in sorted(ids))
    return {id_: msgspec.json.decode(payload, type=Example).person for id_, payload in payloads if payload is not None}


def _apply(teaching: TeachingSet, touched: set[str]) -> tuple[int, int]:
    """How many answers were rejected, and how many came back."""
    reviews = reviewed(teaching)
    changed: list[Entry] = []
    lessons: list[Entry] = []
    gone = back = 0
    for example, answers in answered(teaching, JUDGED):
        if example.id not in touched:
            continue
        after = [_said(answer, reviews.get(example.id, {}).get((answer.teacher, answer.index))) for answer in answers]
        for answer, reason in zip(answers, after, strict=True):
            if reason != answer.rejected:
                gone, back = gone + bool(reason), back + (not reason)
                about: dict[str, Json] = {"verdict": "review" if reason else "kept", "by": "review"}
                changed.append(rejected(teaching, example, answer, reason, about))
        kept = {(one.teacher, one.index) for one, reason in zip(answers, after, strict=True) if not reason}
        payload = teaching.get("lesson", example.id)
        if payload is not None:
            before = msgspec.json.decode(payload, type=Lesson)
            lesson = without_rejected(before, kept)
            if lesson != before:
                lessons.append(lesson_entry(example, lesson, "review"))
    teaching.add("answer", changed, replace=True)
    teaching.add("lesson", lessons, replace=True)
    return gone, back


def _said(answer: Answer, word: str | None) -> str:
    if word == "bad" and not answer.rejected.startswith("refused"):
        return "review: a person found it bad"
    if word == "good" and answer.rejected.partition(":")[0] in (*_SUSPECTED, "review"):
        return ""
    return answer.rejected


def without_rejected(lesson: Lesson, kept: set[tuple[str, int]]) -> Lesson:
    """The lesson of the answers that are left; their weights sum to 1 again. Gold stays."""
    targets = [one for one in lesson.targets if not one.teacher or (one.teacher, one.index) in kept]
    whole = sum(one.weight for one in targets)
    able = {teacher for teacher, _ in kept}
    teachers = {name: weight for name, weight in lesson.teachers.items() if name in able}
    all_of_them = sum(teachers.values())
    if len(targets) == len(lesson.targets) and len(teachers) == len(lesson.teachers):
        return lesson
    return Lesson(
        lesson.example,
        tuple(msgspec.structs.replace(one, weight=one.weight / whole) for one in targets),
        {name: weight / all_of_them for name, weight in teachers.items()},
    )


def _with_filters(teaching: TeachingSet, options: Options) -> Pairwise:
    reviews = reviewed(teaching)
    said, judged = {}, {}
    for example, answers in answered(teaching, JUDGED):
        if example.id not in reviews:
            continue
        verdicts = judge(example, answers, options)
        for answer, verdict in zip(answers, verdicts, strict=True):
            word = reviews[example.id].get((answer.teacher, answer.index))
            if word is not None and verdict.word != "same":  # the twin of a kept answer is not found bad
                at = (example.id, answer.teacher, answer.index)
                said[at], judged[at] = word, msgspec.structs.replace(answer, rejected=verdict.reason)
    return with_filters(said, judged)
