"""The blinded review: what is picked, that nothing tells the sides apart, and how a filled file is read."""

import csv
import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from student_train.teachset.example import Answer, Example, Review, Source
from student_train.teachset.judge import FORM
from student_train.teachset.review import (
    Key,
    Pick,
    ReviewError,
    Seen,
    blind,
    cases,
    pick,
    read_key,
    unblind,
    write_key,
    write_review,
)
from student_train.teachset.review_agreement import alpha, between_people, kappa, settled, with_filters, words

_SECRET = "5f" * 32


def _example(name: str, skill: str = "s") -> Example:
    return Example(
        name, Source("synthetic", "1", "t", 0.0), ({"role": "user", "content": f"Question {name}"},), skill=skill
    )


def _answer(example: str, teacher: str, index: int, content: str, **more: Any) -> Answer:
    return Answer(example, teacher, index, index, content, **more)


def _picked(number: int, skill: str = "s", agree: bool = False) -> Pick:
    name = f"{number:032x}"
    said = '{"intent": "same"}' if agree else f'{{"intent": "{number}"}}'
    answers = [_answer(name, "quartz-large", 0, said), _answer(name, "basalt-small", 0, '{"intent":"same"}')]
    found = pick(_example(name, skill), answers, FORM, _SECRET)
    assert found is not None
    return found


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Path, list[Pick]]:
    picks = [_picked(number) for number in range(40)]
    blinded, key = blind(picks, _SECRET)
    write_review(tmp_path / "review.jsonl", blinded)
    write_key(tmp_path / "key.json", key)
    return tmp_path / "review.jsonl", tmp_path / "key.json", picks


def _filled(path: Path, **said: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.update({"decision_a": "good", "decision_b": "bad", "better": "a", "reviewer": "Ann"} | said)
    return rows


def _put(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_that_differ_are_shown_beside_each_other() -> None:
    answers = [_answer("e", "x", at, '{"a": 1}') for at in range(4)] + [_answer("e", "y", 0, '{"a": 2}')]
    for secret in ("00", "01", "02", "03"):
        found = pick(_example("e"), answers, FORM, secret)
        assert found is not None
        assert found.disagree
        assert {one.teacher for one in found.answers} == {"x", "y"}


def test_the_one_who_answers_more_is_on_neither_side_more_often() -> None:
    picks = []
    for number in range(80):
        name = f"{number:032x}"
        answers = [_answer(name, "x", at, '{"a": 1}') for at in range(9)] + [_answer(name, "y", 0, '{"a": 2}')]
        found = pick(_example(name), answers, FORM, _SECRET)
        assert found is not None
        picks.append(found)
    _, key = blind(picks, _SECRET)
    assert 24 < sum(hidden.a.teacher == "x" for hidden in key.cases.values()) < 56  # P outside < 1e-3


def test_a_disagreement_is_shown_whoever_is_first() -> None:
    answers = [_answer("e", "x", 0, '{"a": 1}'), _answer("e", "x", 1, '{"a": 2}')]
    answers += [_answer("e", "y", at, '{"a": 1}') for at in range(3)]
    for secret in range(20):
        found = pick(_example("e"), answers, FORM, f"{secret:02}")
        assert found is not None
        assert len({one.content for one in found.answers}) == 2


def test_json_is_shown_in_one_form() -> None:
    one, other = '{"b": 1, "a": [1,2]}', '{\n "a": [1, 2], "b": 1}'
    found = pick(_example("e"), [_answer("e", "x", 0, one), _answer("e", "y", 0, other)], FORM, _SECRET)
    assert found is not None
    ((case,), _) = blind([found], _SECRET)
    assert case.a == case.b


def test_samples_of_one_teacher_disagree_too_and_texts_never_do() -> None:
    one = pick(_example("e"), [_answer("e", "x", 0, "{}"), _answer("e", "x", 1, '{"a": 2}')], FORM, "00")
    texts = pick(_example("e"), [_answer("e", "x", 0, "some words"), _answer("e", "y", 0, "quite other")], FORM, "00")
    assert one is not None
    assert one.disagree
    assert texts is not None
    assert not texts.disagree
    assert len(texts.answers) == 2


def test_what_was_refused_or_is_empty_is_not_shown() -> None:
    answers = [_answer("e", "x", 0, "", rejected="refused: HTTP 400"), _answer("e", "x", 1, " ")]
    assert pick(_example("e"), answers, FORM, "00") is None
    alone = pick(_example("e"), [*answers, _answer("e", "y", 0, "text")], FORM, "00")
    assert alone is not None
    assert [one.teacher for one in alone.answers] == ["y"]


def test_all_that_disagree_and_a_slice_with_each_skills_share() -> None:
    seen = [Seen(f"odd-{number}", "a", True) for number in range(7)]
    seen += [Seen(f"many-{number}", "a", False) for number in range(50)]
    seen += [Seen(f"few-{number}", "b", False) for number in range(3)]
    found = cases(seen, 10, _SECRET)
    assert Counter(one.partition("-")[0] for one in found) == {"odd": 7, "few": 3, "many": 7}
    assert found == cases(list(seen), 10, _SECRET)
    assert sorted(cases(seen, 500, _SECRET)) == sorted(one.example for one in seen)


def test_the_review_says_nothing_of_whose_the_answers_are(written: tuple[Path, Path, list[Pick]]) -> None:
    review, key, picks = written
    text = review.read_text()
    assert "quartz" not in text
    assert "basalt" not in text
    rows = [json.loads(line) for line in text.splitlines()]
    assert {len(row["case"]) for row in rows} == {16}
    assert not {row["case"] for row in rows} & {one.example.id[:16] for one in picks}
    hidden = read_key(key).cases
    assert 8 < sum(hidden[row["case"]].a.teacher == "quartz-large" for row in rows) < 32  # of 40; P outside < 1e-4
    shown = [hidden[row["case"]].example for row in rows]
    assert shown != sorted(shown)
    assert {len(row["a"].splitlines()) for row in rows} == {len(row["b"].splitlines()) for row in rows}  # one style
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_same_key_gives_the_same_review_and_another_another() -> None:
    picks = [_picked(number) for number in range(20)]
    assert blind(picks, _SECRET) == blind(list(reversed(picks)), _SECRET)
    assert [one.case for one in blind(picks, "aa" * 32)[0]] != [one.case for one in blind(picks, _SECRET)[0]]


def test_neither_file_is_overwritten(written: tuple[Path, Path, list[Pick]]) -> None:
    with pytest.raises(FileExistsError):
        write_key(written[1], Key(_SECRET, {}))
    with pytest.raises(FileExistsError):
        write_review(written[0], [])


def test_a_filled_review_is_unblinded(written: tuple[Path, Path, list[Pick]]) -> None:
    review, key_file, _ = written
    rows = _filled(review)
    for row in rows[:5]:
        row.update(dict.fromkeys(("decision_a", "decision_b", "better", "reviewer"), ""))
    key = read_key(key_file)
    found, blank = unblind(_put(review, rows), key, 12.0)
    assert (len(found), blank) == (70, 5)
    hidden = key.cases[rows[5]["case"]]
    a, b = (
        next(one for one in found if (one.example, one.teacher) == (hidden.example, side.teacher))
        for side in (hidden.a, hidden.b)
        if side
    )
    assert (a.decision, a.better, b.decision, b.better, a.reviewer, a.at) == ("good", "yes", "bad", "no", "Ann", 12.0)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_goes_through_a_spreadsheet(tmp_path: Path, delimiter: str) -> None:
    """Written again with other line ends and another delimiter, as spreadsheets do."""
    blinded, key = blind([_picked(number) for number in range(5)], _SECRET)
    path = tmp_path / "review.csv"
    write_review(path, blinded)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update(
            {"decision_a": "Good ", "decision_b": "unsure", "reviewer": " Bo ", "a": row["a"].replace("\n", "\r\n")}
        )
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(reversed(rows[0])), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    found, blank = unblind(path, key, 0.0)
    assert (Counter(one.decision for one in found), blank) == ({"good": 5, "unsure": 5}, 0)
    assert {one.reviewer for one in found} == {"Bo"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decision_a": "great"}, "decision_a: expected one of good, bad, unsure, got 'great'"),
        ({"decision_b": ""}, "decision_b: expected one of"),
        ({"better": "left"}, "better: expected a, b, same or nothing, got 'left'"),
        ({"reviewer": " "}, "reviewer: expected who decided this"),
        ({"case": "0" * 16}, "case: expected one of the 40 of this key"),
        ({"a": "another answer"}, "prompt, a, b: expected what `review write` wrote"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_nothing_counts(
    written: tuple[Path, Path, list[Pick]], change: dict[str, str], told: str
) -> None:
    review, key, _ = written
    rows = _filled(review)
    rows[2].update(change)
    rows[6].update(change)
    with pytest.raises(ReviewError) as error:
        unblind(_put(review, rows), read_key(key), 0.0)
    first, second = str(error.value).splitlines()
    assert f"{review}:3: " in first
    assert f"{review}:7: " in second
    assert told in first


def test_a_broken_line_and_a_case_twice_are_told(written: tuple[Path, Path, list[Pick]]) -> None:
    review, key, _ = written
    rows = _filled(review)
    _put(review, [*rows[:2], rows[1]])
    review.write_text(review.read_text() + '{"case": \n[]\n')
    with pytest.raises(ReviewError) as error:
        unblind(review, read_key(key), 0.0)
    twice, broken, listed = sorted(str(error.value).splitlines())
    assert ":3: expected one line for each case and reviewer, line 2 has this one too" in twice
    assert ":4: expected a JSON object, this is no JSON" in broken
    assert ":5: expected a JSON object, got list" in listed


def test_a_case_with_one_side_wants_one_decision(tmp_path: Path) -> None:
    alone = pick(_example("e"), [_answer("e", "y", 0, "text")], FORM, "00")
    assert alone is not None
    blinded, key = blind([alone], _SECRET)
    path = tmp_path / "r.jsonl"
    write_review(path, blinded)
    rows = _filled(path, decision_b="", better="")
    assert [one.teacher for one in unblind(_put(path, rows), key, 0.0)[0]] == ["y"]
    with pytest.raises(ReviewError, match="there is no b"):
        unblind(_put(path, _filled(path)), key, 0.0)


def _said(*decisions: tuple[str, str]) -> list[Review]:
    return [
        Review(f"{at}", "t", 0, person, "r", word, 0.0)  # type: ignore[arg-type]
        for at, pair in enumerate(decisions)
        for person, word in zip(("Ann", "Bo"), pair, strict=True)
        if word
    ]


def test_kappa_by_hand() -> None:
    """20 both good, 5 only the first, 10 only the second, 15 both bad: p = .7, e = .5, kappa = .4."""
    pairs = [("good", "good")] * 20 + [("good", "bad")] * 5 + [("bad", "good")] * 10 + [("bad", "bad")] * 15
    found = kappa(pairs)
    assert (found.count, found.same) == (50, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert kappa([("good", "good")]).kappa is None
    assert kappa([]).count == 0


def test_alpha_as_in_krippendorffs_own_example() -> None:
    """Nominal data, two observers, ten articles (Krippendorff 2011, A): alpha = 0.095."""
    one, other = "0100000010", "1110010000"
    assert alpha(list(zip(one, other, strict=True))) == pytest.approx(0.095, abs=5e-4)
    assert alpha([("a", "a"), ("b", "b")]) == 1
    assert alpha([("a",), ("b",)]) is None


def test_agreement_of_people_counts_what_both_saw() -> None:
    pairs, _ = between_people(_said(("good", "good"), ("bad", "good"), ("good", ""), ("", "bad")))
    assert pairs["Ann", "Bo"].count == 2
    assert pairs["Ann", "Bo"].same == 0.5


def test_most_of_those_who_are_sure_decide() -> None:
    assert settled({"a": "good", "b": "good", "c": "bad"}) == "good"
    assert settled({"a": "bad", "b": "unsure"}) == "bad"
    assert settled({"a": "bad", "b": "good"}) is None
    assert settled({"a": "unsure"}) is None


def test_people_and_filters() -> None:
    said = {
        at: word
        for at, each in words(_said(("good", "good"), ("bad", "bad"), ("bad", ""))).items()
        if (word := settled(each))
    }
    answers = {
        ("0", "t", 0): _answer("0", "t", 0, ""),
        ("1", "t", 0): _answer("1", "t", 0, "", rejected="finish: length"),
        ("2", "t", 0): _answer("2", "t", 0, ""),
    }
    found = with_filters(said, answers)
    assert (found.count, found.same) == (3, pytest.approx(2 / 3))
