"""Splits: together what belongs together, the same on every run, and never moved."""

import math
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from faker import Faker

from student_train.teachset.alike import Alike
from student_train.teachset.example import Example, Source, Split
from student_train.teachset.neardup import ALIKE, BANDS, ORDERS, similarity, sketches
from student_train.teachset.split import Shares, divide
from student_train.teachset.store import Entry, SetError, TeachingSet
from student_train.teachset.verify import lines, verify

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
    return [FAKE.paragraph(8, variable_nb_sentences=False) for _ in range(count)]


def test_an_estimate_is_near_the_truth() -> None:
    pick = random.Random(1)
    errors = []
    for number, text in enumerate(told(60, 1)):
        words = text.split()
        for at in pick.sample(range(len(words)), number % 20):
            words[at] = "".join(pick.choices("abcdefghij", k=7))
        one, two = text.casefold(), " ".join(words).casefold()
        sets = [{each[at : at + 8] for at in range(len(each) - 7)} for each in (one, two)]
        errors.append(likeness(one, two) - len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    assert abs(np.mean(errors)) < 0.03  # 60 estimates, each with a standard error of at most 0.05
    assert np.std(errors) < 0.065
    assert likeness("Order 123 is late", "order  987 is LATE") == 1
    assert likeness("Order 123 is late", "The weather is fine") < 0.2


def test_few_of_those_that_are_alike_are_missed() -> None:
    """What `neardup` says of its numbers: by the binomial distribution of places that agree."""

    def missed(overlap: float) -> float:
        agree = overlap + (1 - overlap) / 256
        needed = math.ceil(ORDERS * (ALIKE * 255 / 256 + 1 / 256) - 1e-9)
        too_few = sum(math.comb(ORDERS, n) * agree**n * (1 - agree) ** (ORDERS - n) for n in range(needed))
        return too_few + (1 - overlap ** (ORDERS // BANDS)) ** BANDS

    assert 1 / missed(0.8) == pytest.approx(90, rel=0.05)
    assert 1 / missed(0.85) == pytest.approx(9000, rel=0.1)


def likeness(one: str, other: str) -> float:
    low = sketches([one, other]).low
    return float(similarity(low[0], low[1]))


def found_alike(path: Path, texts: list[str], at_once: int = 64) -> set[tuple[int, int]]:
    alike = Alike(path)
    for begin in range(0, len(texts), at_once):
        alike.add(sketches(texts[begin : begin + at_once]))
    found = {pair for one, other in alike.pairs() for pair in zip(one.tolist(), other.tolist(), strict=True)}
    alike.close()
    return found


def test_all_that_are_alike_are_found(tmp_path: Path) -> None:
    texts = told(500, 2)
    near = [f"{text} Thanks!" for text in texts[:200]]
    other = told(200, 22)
    quoted = [f"{other[n]} You wrote: {texts[n + 200]} Yours, {other[-n - 1]}" for n in range(100)]
    expected = {(n, 500 + n) for n in range(200)} | {(200 + n, 700 + n) for n in range(100)}
    assert found_alike(tmp_path, [*texts, *near, *quoted]) == expected
    assert list(tmp_path.iterdir()) == []
    assert found_alike(tmp_path, []) == set()
    assert found_alike(tmp_path, ["", "", "?", "?"]) == set()  # nothing is known of them


def test_many_of_a_kind_are_all_linked(tmp_path: Path) -> None:
    """More than are compared with each other: still in one piece."""
    base = told(4, 8)
    pick = random.Random(8)
    texts = [f"{base[n % 4]} {pick.choice(base[n % 4].split())}" for n in range(400)]
    pairs = found_alike(tmp_path, texts)
    assert all(one % 4 == other % 4 for one, other in pairs)
    for kind in range(4):
        reached, waiting = {kind}, [kind]
        while waiting:
            one = waiting.pop()
            beside = {other for pair in pairs if one in pair for other in pair} - reached
            reached |= beside
            waiting += beside
        assert len(reached) == 100


def test_a_sketch_does_not_depend_on_its_neighbours() -> None:
    texts = ["", told(1, 9)[0] * 400, "short", *told(60, 10), told(1, 9)[0] * 400]
    together = sketches(texts)
    for at, text in enumerate(texts):
        alone = sketches([text])
        assert np.array_equal(alone.bands[0], together.bands[at])
        assert np.array_equal(alone.low[0], together.low[at])
        assert np.array_equal(alone.grams, together.grams[together.gram_of == at])


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
            assert len({splits[f"{n:06}"], splits[f"{1000 + n:06}"]} - {"left_out"}) == 1
        assert made.left_out == {}
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
    assert after["000600"] == "holdout"
    assert [after[f"00060{n}"] for n in (1, 2)] == ["left_out", "left_out"]
    assert after["000603"] == "left_out"  # like gold, and nobody put it there
    told_why = {one["id"]: one["about"].get("why") for one in lines(tmp_path / "set") if one["kind"] == "split"}
    assert [told_why[f"00060{n}"] for n in range(4)] == [None, "between splits", "copy", "like gold"]


def test_what_was_left_out_links_nothing(tmp_path: Path) -> None:
    """One example between two families is left out; all others of the two, and later ones, still find their places."""
    with fresh(tmp_path / "set") as teaching:
        add(teaching, [example(n, text, family=f"f{n % 20}") for n, text in enumerate(told(200, 11))])
        divide(teaching, Shares(train=0.5, dev=0, calibration=0, holdout=0.5))
        at = {f"f{n}": teaching.split_of(f"{n:06}") for n in range(20)}
        train, held = (next(family for family, split in at.items() if split == name) for name in ("train", "holdout"))
        bridge = example(300, "One of both", person="p", family=train)
        add(teaching, [bridge, example(301, "Of the other, by the same person", person="p", family=held)])
        add(teaching, [example(310 + n, text, family=train) for n, text in enumerate(told(5, 12))])
        divide(teaching)
        assert [teaching.split_of(f"{n:06}") for n in (300, 301)] == ["train", "left_out"]
        assert {teaching.split_of(f"{n:06}") for n in range(310, 315)} == {"train"}
        add(teaching, [example(320 + n, text, family=held) for n, text in enumerate(told(5, 13))])
        add(teaching, [example(330 + n, text, family=train) for n, text in enumerate(told(5, 14))])
        assert divide(teaching).left_out == {}
        assert {teaching.split_of(f"{n:06}") for n in range(320, 325)} == {"holdout"}
        assert {teaching.split_of(f"{n:06}") for n in range(330, 335)} == {"train"}


def test_the_order_in_which_they_came_does_not_count(tmp_path: Path) -> None:
    pick = random.Random(15)
    texts = told(150, 15)
    examples = [example(n, pick.choice(texts) + " " * (n % 3), person=f"p{pick.randrange(200)}") for n in range(400)]
    found = []
    for name in ("one", "two"):
        with fresh(tmp_path / name) as teaching:
            (tmp_path / name / "secret").write_bytes(bytes(32))
        with TeachingSet.open(tmp_path / name, holdout=True) as teaching:
            add(teaching, examples)
            divide(teaching)
            found.append(where(teaching))
        pick.shuffle(examples)
    assert found[0] == found[1]
    assert len(set(found[0].values())) > 2


def test_copies_are_left_out_and_children_are_none(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        text, picture = told(1, 16)[0], {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        other = {"type": "image_url", "image_url": {"url": "data:image/png;base64,BBBB"}}
        system = {"role": "system", "content": "Translate into French."}
        user = {"role": "user", "content": text}
        add(
            teaching,
            [
                example(1, text),
                example(2, f"  {text.upper()}\n"),
                msgspec.structs.replace(example(3, text), messages=(system, user)),
                msgspec.structs.replace(example(4, text), parent="000001", kind="slot_dropped"),
                msgspec.structs.replace(example(5, ""), messages=({"role": "user", "content": [picture]},)),
                msgspec.structs.replace(example(6, ""), messages=({"role": "user", "content": [other]},)),
                example(7, "My order 480112 is late"),
                example(8, "My order 220934 is late"),
            ],
        )
        found = divide(teaching)
        assert found.left_out == {"copy": 1}
        splits = where(teaching)
    assert splits["000002"] == "left_out"
    assert splits["000001"] == splits["000003"] == splits["000004"]
    assert splits["000007"] == splits["000008"] != "left_out"


def test_what_people_wrote_is_gold_unless_they_say_otherwise(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        hand = [example(n, text) for n, text in enumerate(told(20, 17))]
        hand = [msgspec.structs.replace(one, source=Source("handcrafted", one.id, "us", 0.0)) for one in hand]
        add(teaching, hand[:10])
        add(teaching, hand[10:], split="holdout")
        divide(teaching)
        assert [teaching.split_of(one.id) for one in hand] == ["gold"] * 10 + ["holdout"] * 10
        add(teaching, [example(100 + n, f"{told(20, 17)[n]} Now!") for n in (3, 13)])
        assert divide(teaching).put == {"holdout": 1, "left_out": 1}


def test_families_can_be_pinned(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        add(teaching, [example(n, text, family=f"f{n % 4}") for n, text in enumerate(told(80, 6))])
        divide(teaching, pins={"f1": "dev", "f2": "train"})
        splits = where(teaching)
    assert {splits[f"{n:06}"] for n in range(1, 80, 4)} == {"dev"}
    assert {splits[f"{n:06}"] for n in range(2, 80, 4)} == {"train"}
