"""Splits: together what belongs together, the same on every run, and never moved."""

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from faker import Faker

from student_train.teachset import neardup
from student_train.teachset.example import Example, Source, Split
from student_train.teachset.split import Shares, divide
from student_train.teachset.store import Entry, SetError, TeachingSet
from student_train.teachset.verify import verify

FAKE = Faker()


def example(number: int, text: str, person: str = "", session: str = "", family: str = "") -> Example:
    source = Source("real_trace", f"request-{number}", "support", 0.0)
    messages = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": text})
    return Example(f"{number:06}", source, messages, person=person, session=session, family=family)


def fresh(path: Path) -> TeachingSet:
    TeachingSet.create(path).close()
    return TeachingSet.open(path, holdout=True)


def add(teaching: TeachingSet, examples: list[Example], **about: str) -> None:
    entries = (Entry(one.id, dict(about), msgspec.json.encode(one), one.person) for one in examples)
    teaching.add("example", entries)


def where(teaching: TeachingSet) -> dict[str, Split | None]:
    return {id_: teaching.split_of(id_) for id_, _ in teaching.payloads("example")}


def told(count: int, seed: int) -> list[str]:
    Faker.seed(seed)
    return [FAKE.paragraph(6) for _ in range(count)]


def test_an_estimate_is_near_the_truth() -> None:
    pick = random.Random(1)
    words = told(1, 1)[0].split() * 3
    for changed in (0, 3, 10, 30):
        other = words.copy()
        for at in pick.sample(range(len(other)), min(changed, len(other))):
            other[at] = "".join(pick.choices("abcdefghij", k=7))
        one, two = " ".join(words).casefold(), " ".join(other).casefold()
        sets = [{text[at : at + 8] for at in range(len(text) - 7)} for text in (one, two)]
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        assert neardup.alike(neardup.signature(one), neardup.signature(two)) == pytest.approx(truth, abs=0.2)
    assert neardup.alike(neardup.signature("Order 123 is late"), neardup.signature("order  987 is LATE")) == 1
    assert neardup.alike(neardup.signature(""), neardup.signature("x")) == 0


def test_all_that_are_alike_are_found() -> None:
    texts = told(500, 2)
    near = [f"{text} Thanks!" for text in texts[:200]]
    signatures = np.stack([neardup.signature(text) for text in (*texts, *near)])
    found = {(one, other) for one, other, much in neardup.pairs(signatures, 0.8)}
    assert found >= {(n, 500 + n) for n in range(200)}
    assert len(found) == 200


def test_what_belongs_together_stays_together(tmp_path: Path) -> None:
    texts = told(600, 3)
    pick = random.Random(3)
    examples = [
        example(n, text, person=f"p{pick.randrange(300)}" if n % 2 else "", session=f"s{n // 3}" if n % 5 == 0 else "")
        for n, text in enumerate(texts)
    ]
    examples += [example(1000 + n, f"{texts[n]} Please hurry.", family=f"f{n % 40}") for n in range(0, 600, 10)]
    with fresh(tmp_path / "set") as teaching:
        add(teaching, examples)
        made = divide(teaching)
        splits = where(teaching)
        assert sum(made.put.values()) == 660 == len(splits)
        for name in ("person", "session", "family"):
            for group in {getattr(one, name) for one in examples} - {""}:
                at = {splits[one.id] for one in examples if getattr(one, name) == group} - {"left_out"}
                assert len(at) <= 1, (name, group, at)
        for n in range(0, 600, 10):
            assert {splits[f"{n:06}"], splits[f"{1000 + n:06}"]} - {"left_out"} in (
                {"train"},
                {"dev"},
                {"calibration"},
                {"holdout"},
            )
        assert divide(teaching).put == {}  # all stands
    assert verify(tmp_path / "set").problems == ()


def test_shares_are_about_what_was_asked_for(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        add(teaching, [example(n, text) for n, text in enumerate(told(1000, 4))])
        put = divide(teaching, Shares(train=0.5, dev=0.2, calibration=0.1, holdout=0.2)).put
        for name, share in (("train", 0.5), ("dev", 0.2), ("calibration", 0.1), ("holdout", 0.2)):
            assert abs(put[name] / 1000 - share) < 4 * (share * (1 - share) / 1000) ** 0.5
        with pytest.raises(SetError, match="a sum of 1"):
            divide(teaching, Shares(train=0.5))


def test_what_comes_later_moves_nobody_and_links_nothing(tmp_path: Path) -> None:
    texts = told(300, 5)
    with fresh(tmp_path / "set") as teaching:
        add(teaching, [example(n, text, person=f"p{n}") for n, text in enumerate(texts)])
        add(teaching, [example(500, "A case for people to look at", family="hand")], split="gold")
        divide(teaching)
        before = where(teaching)
        train = next(id_ for id_, split in before.items() if split == "train")
        held = next(id_ for id_, split in before.items() if split == "holdout")
    with TeachingSet.open(tmp_path / "set", holdout=True) as teaching:
        add(
            teaching,
            [
                example(600, "I write again", person=f"p{int(held)}"),
                example(601, texts[int(train)], person=f"p{int(held)}"),  # a train text by a holdout person
                example(602, texts[int(train)]),
                example(603, "A case for people to look at, too", family="hand"),
            ],
        )
        divide(teaching)
        after = where(teaching)
    assert {id_: after[id_] for id_ in before} == before
    assert after["000600"] in ("holdout", "left_out")
    assert [after[f"00060{n}"] for n in (1, 2)] == ["left_out", "left_out"]
    assert after["000603"] == "gold"


def test_families_can_be_pinned(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        add(teaching, [example(n, text, family=f"f{n % 4}") for n, text in enumerate(told(80, 6))])
        divide(teaching, pins={"f1": "dev", "f2": "train"})
        splits = where(teaching)
    assert {splits[f"{n:06}"] for n in range(1, 80, 4)} == {"dev"}
    assert {splits[f"{n:06}"] for n in range(2, 80, 4)} == {"train"}
