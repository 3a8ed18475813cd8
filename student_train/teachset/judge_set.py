"""Judges all answers of a set, and reads them beside their examples as the other steps need them.

A set is read in the order of ids, so that an example and its answers meet without either being held in memory.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from student_train.teachset.example import Answer, Example, Lesson, Review, Split
from student_train.teachset.judge import Lengths, Options, Verdict, Word, judge, tokens
from student_train.teachset.ledger import Json
from student_train.teachset.review_agreement import settled, words
from student_train.teachset.store import Entry, TeachingSet

TAUGHT: tuple[Split, ...] = ("train", "dev", "calibration")
JUDGED: tuple[Split, ...] = (*TAUGHT, "gold")
_BATCH = 500
_END = ("", b"")

Reviewed = Mapping[str, Mapping[tuple[str, int], Word]]


def judge_all(
    teaching: TeachingSet, options: Options, show: Callable[[], None] = lambda: None
) -> dict[str, Counter[str]]:
    """Writes the verdicts that changed. Of each teacher, how often which word was said. `show`: after each example."""
    lengths: dict[str, Lengths] = {}
    for example, answers in answered(teaching, JUDGED):
        for answer in answers:
            if answer.finish_reason not in ("length", "") and not answer.rejected.startswith("refused"):
                lengths.setdefault(example.skill, Lengths()).add(tokens(answer))
    reviews = reviewed(teaching)
    counts: dict[str, Counter[str]] = {}
    changed: list[Entry] = []
    for example, answers in answered(teaching, JUDGED):
        found = judge(example, answers, options, lengths.get(example.skill), reviews.get(example.id))
        for answer, verdict in zip(answers, found, strict=True):
            counts.setdefault(answer.teacher, Counter())[verdict.word] += 1
            if answer.rejected != verdict.reason:
                changed.append(rejected(teaching, example, answer, verdict.reason, _about(verdict, options)))
        if len(changed) >= _BATCH:
            teaching.add("answer", changed, replace=True)
            changed.clear()
        show()
    teaching.add("answer", changed, replace=True)
    if counts:
        teaching.note(
            "judge", {"pack": options.pack.key, "verdicts": {name: dict(said) for name, said in counts.items()}}
        )
    return counts


def answered(teaching: TeachingSet, splits: Sequence[Split]) -> Iterator[tuple[Example, list[Answer]]]:
    """Every example of these splits and what teachers said to it, without log-probabilities; by teacher and number."""
    payloads = teaching.payloads("answer")
    key, payload = next(payloads, _END)
    for example in heapq.merge(*(teaching.examples(split) for split in splits), key=lambda example: example.id):
        answers: list[Answer] = []
        while key and key.partition("/")[0] < example.id:
            key, payload = next(payloads, _END)
        while key.partition("/")[0] == example.id:
            answers.append(_light(payload))
            key, payload = next(payloads, _END)
        yield example, sorted(answers, key=lambda answer: (answer.teacher, answer.index))


def rejected(teaching: TeachingSet, example: Example, answer: Answer, reason: str, about: dict[str, Json]) -> Entry:
    """An answer with another reason, "" for none, and all else as it is in the set."""
    key = f"{answer.example}/{answer.teacher}/{answer.index}"
    fields = msgspec.json.decode(teaching.get("answer", key) or b"{}", type=dict[str, msgspec.Raw])
    fields.pop("rejected", None)
    if reason:
        fields["rejected"] = msgspec.Raw(msgspec.json.encode(reason))
    return Entry(id=key, about=about, payload=msgspec.json.encode(fields), person=example.person)


def lesson_entry(example: Example, lesson: Lesson, mode: str) -> Entry:
    targets = [[one.teacher or "gold", one.index, round(one.weight, 6)] for one in lesson.targets]
    about: dict[str, Json] = {
        "mode": mode,
        "targets": targets,
        "teachers": {name: round(value, 6) for name, value in lesson.teachers.items()},
    }
    return Entry(id=example.id, about=about, payload=msgspec.json.encode(lesson), person=example.person)


def reviewed(teaching: TeachingSet) -> Reviewed:
    """What people settled on, by example, teacher and number."""
    found: dict[str, dict[tuple[str, int], Word]] = {}
    for (example, teacher, index), said in words(all_reviews(teaching)).items():
        if (word := settled(said)) is not None:
            found.setdefault(example, {})[teacher, index] = word
    return found


def all_reviews(teaching: TeachingSet) -> Iterable[Review]:
    return (msgspec.json.decode(payload, type=Review) for _, payload in teaching.payloads("review"))


def _about(verdict: Verdict, options: Options) -> dict[str, Json]:
    about: dict[str, Json] = {"verdict": verdict.word, "pack": options.pack.key}
    for name, value in (("agreement", verdict.agreement), ("fields", verdict.fields)):
        if value is not None:
            about[name] = round(value, 4)
    return about


def _light(payload: bytes) -> Answer:
    """Log-probabilities are most of an answer, and are not looked at here."""
    fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    fields.pop("positions", None)
    return msgspec.json.decode(msgspec.json.encode(fields), type=Answer)
