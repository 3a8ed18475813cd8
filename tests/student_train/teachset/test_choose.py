"""Teachers on gold: measured, smoothed, routed, blended; and the report that says when one alone is enough."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from student_train.teachset.choose import ANY, PRIOR, Score, Table, choose, rankings, score, smoothed
from student_train.teachset.choose_picture import draw
from student_train.teachset.choose_report import Difference, compare, difference, markdown, wilson
from student_train.teachset.example import Answer, Example, Source
from student_train.teachset.judge import FORM


def _scores(skill: str, count: int, **right: float) -> list[Score]:
    same = dict.fromkeys(right, 4)
    cost = {"cheap": 1.0, "dear": 5.0, "third": 9.0}
    return [
        Score(f"{skill}{at:03}", skill, right, same, {name: cost[name] for name in right}, dict.fromkeys(right, 10.0))
        for at in range(count)
    ]


def _example(**more: Any) -> Example:
    return Example("e", Source("synthetic", "1", "t", 0.0), ({"role": "user", "content": "?"},), **more)


def _answer(teacher: str, index: int, content: str = "text", **more: Any) -> Answer:
    return Answer("e", teacher, index, index, content, **more)


def test_a_score_is_the_share_of_samples_that_say_what_gold_says_rejected_or_not() -> None:
    gold = json.dumps({"intent": "a", "reply": "one two three four five six seven eight"})
    other = json.dumps({"reply": "quite other words than these, as many as you like", "intent": "a"})
    wrong = json.dumps({"intent": "b", "reply": "-"})
    answers = [
        _answer("x", 0, other, cost_nano_usd=10, output_tokens=4),
        _answer("x", 1, wrong, rejected="gold: differs at intent", cost_nano_usd=30, output_tokens=6),
        _answer("y", 0, other),
        _answer("y", 1, "no JSON"),
        _answer("y", 2, "", rejected="refused: HTTP 400"),
    ]
    found = score(_example(gold=gold, skill="s"), answers, FORM)
    assert found.right == {"x": 0.5, "y": pytest.approx(1 / 3)}
    assert found.samples == {"x": 2, "y": 3}
    assert found.cost_nano_usd["x"] == 20
    assert found.tokens["x"] == 5


def test_open_gold_counts_by_its_words() -> None:
    found = score(_example(gold="a b c d"), [_answer("x", 0, "a b x y")], FORM)
    assert found.right == {"x": 0.5}


def test_few_examples_are_drawn_towards_the_overall_accuracy() -> None:
    table = Table.of([*_scores("many", 50, cheap=0.8, dear=0.2), *_scores("one", 1, cheap=0.0, dear=1.0)])
    values = smoothed(table)
    overall = (50 * 0.8 + 1) / 53
    assert values["one"][0] == pytest.approx((0 + PRIOR * overall) / (1 + PRIOR))
    assert rankings(table)["one"][0] == table.teachers.index("cheap")  # one example is not enough to turn it round
    table = Table.of([*_scores("many", 50, cheap=0.8, dear=0.2), *_scores("some", 12, cheap=0.0, dear=1.0)])
    assert rankings(table)["some"][0] == table.teachers.index("dear")


def test_of_those_as_good_the_cheapest_teaches() -> None:
    table = Table.of([*_scores("tie", 30, cheap=0.80, dear=0.80), *_scores("clear", 30, cheap=0.80, dear=0.90)])
    names = {skill: table.teachers[order[0]] for skill, order in rankings(table).items()}
    assert names == {"tie": "cheap", "clear": "dear", ANY: "dear"}


def test_no_skill_is_a_skill_and_an_unknown_one_is_taught_by_the_best_overall() -> None:
    table = Table.of([*_scores("", 20, cheap=1.0, dear=0.0), *_scores("b", 60, cheap=0.0, dear=1.0)])
    chosen = choose(table, "route")
    answers = [_answer("cheap", 0), _answer("dear", 0)]
    taught = {skill: [*chosen.lesson(_example(skill=skill), answers).teachers] for skill in ("", "b", "new")}
    assert taught == {"": ["cheap"], "b": ["dear"], "new": ["dear"]}


def test_examples_that_not_all_answered_are_left_out_and_counted() -> None:
    table = Table.of([*_scores("a", 3, cheap=1.0, dear=0.0), *_scores("b", 2, cheap=1.0)])
    assert (len(table.skills), table.left_out) == (3, 2)


_SKILLED = [*_scores("a", 40, cheap=0.9, dear=0.1), *_scores("b", 40, cheap=0.1, dear=0.9)]


def test_a_routed_lesson_is_the_best_teachers_that_has_something_kept() -> None:
    chosen = choose(Table.of(_SKILLED), "route")
    answers = [
        _answer("cheap", 0, "c0"),
        _answer("dear", 0, "d0"),
        _answer("dear", 1, "d1"),
        _answer("dear", 2, "x", rejected="same: as number 0"),
    ]
    lesson = chosen.lesson(_example(skill="b"), answers)
    assert [(one.teacher, one.index, one.weight) for one in lesson.targets] == [("dear", 0, 0.5), ("dear", 1, 0.5)]
    assert lesson.teachers == {"dear": 1.0}
    rejected = [answers[0], *[_answer("dear", at, "d", rejected="finish: length") for at in range(2)]]
    assert chosen.lesson(_example(skill="b"), rejected).teachers == {"cheap": 1.0}
    assert chosen.lesson(_example(skill="b"), rejected[1:]).targets == ()


def test_blended_targets_weigh_what_their_teachers_weigh() -> None:
    chosen = choose(Table.of(_SKILLED), "blend")
    answers = [_answer("cheap", 0), _answer("dear", 0), _answer("dear", 1)]
    lesson = chosen.lesson(_example(skill="a"), answers)
    weights = chosen.weights["a"].values
    assert lesson.teachers == pytest.approx(dict(zip(chosen.teachers, weights, strict=True)))
    assert [one.weight for one in lesson.targets] == pytest.approx([weights[0], weights[1] / 2, weights[1] / 2])
    assert sum(one.weight for one in lesson.targets) == pytest.approx(1)
    assert weights[0] > 0.8
    alone = chosen.lesson(_example(skill="a"), answers[1:])
    assert alone.teachers == {"dear": 1.0}
    assert sum(one.weight for one in alone.targets) == pytest.approx(1)


def test_gold_is_taught_first_beside_or_never() -> None:
    table, answers = Table.of(_SKILLED), [_answer("cheap", 0, "c0"), _answer("cheap", 1, "c1")]
    example = _example(skill="a", gold="G")

    def taught(gold: Any, example: Example = example, answers: list[Answer] = answers) -> list[tuple[str, float]]:
        return [(one.content, one.weight) for one in choose(table, "route", gold).lesson(example, answers).targets]

    assert taught("first") == [("G", 1.0)]
    assert taught("beside") == [("G", 0.5), ("c0", 0.25), ("c1", 0.25)]
    assert taught("beside", answers=[]) == [("G", 1.0)]
    assert taught("never") == [("c0", 0.5), ("c1", 0.5)]
    asked_back = _example(skill="a", gold="G", kind="slot_dropped")
    assert taught("never", asked_back) == [("G", 1.0)]
    assert choose(table, "route").lesson(example, answers).teachers == {"cheap": 1.0}  # for soft targets


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.01, 0.2, 1), (-0.2, -0.01, -1), (-0.01, 0.2, 0), (0, 0.2, 0)])
def test_the_interval_decides_not_the_mean(low: float, high: float, verdict: int) -> None:
    assert Difference((low + high) / 2, low, high).verdict == verdict


def test_wilson_as_printed_in_textbooks() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_teachers_with_skills_of_their_own_are_better_routed() -> None:
    report = markdown(Table.of(_SKILLED))
    assert "Routing is better than the best teacher alone" in report
    assert "| a | 40 | 0.900" in report


def test_one_teacher_that_is_best_everywhere_is_a_tie_and_said_so() -> None:
    report = markdown(Table.of([*_scores("a", 40, cheap=0.9, dear=0.1), *_scores("b", 40, cheap=0.8, dear=0.2)]))
    assert "Routing and cheap alone: a tie, no difference can be told (+0.000" in report


def test_a_blend_of_a_better_and_a_worse_teacher_is_found_to_be_worse() -> None:
    """One is right on 56 of 80, the other on the other 24: the likelihood likes both, an answer drawn from both is
    right less often."""
    scores = [
        Score(f"{at:03}", "a", {"cheap": float(at % 10 < 7), "dear": float(at % 10 >= 7)}, {"cheap": 4, "dear": 4},
              {"cheap": 1.0, "dear": 2.0}, {"cheap": 1.0, "dear": 1.0})
        for at in range(80)
    ]  # fmt: skip
    assert "One teacher alone, cheap, would have been better than blending" in markdown(Table.of(scores))


def test_routes_that_chase_noise_are_found_out() -> None:
    """Both teachers are right half of the time, at random, in many tiny skills: in sample routing looks far better,
    held out it does not."""
    draw_ = np.random.default_rng(3)
    scores = [
        Score(f"{at:03}", f"s{at % 60}", dict(zip(("cheap", "dear"), map(float, draw_.integers(0, 2, 2)), strict=True)),
              {"cheap": 4, "dear": 4}, {"cheap": 1.0, "dear": 2.0}, {"cheap": 1.0, "dear": 1.0})
        for at in range(180)
    ]  # fmt: skip
    table = Table.of(scores)
    orders = rankings(table)
    in_sample = np.mean([table.right[at, orders[skill][0]] for at, skill in enumerate(table.skills)])
    held_out = compare(table)
    assert in_sample > held_out.route.mean() + 0.1
    assert difference(held_out.route, held_out.single).verdict <= 0


def test_a_single_teacher_makes_a_report_too(tmp_path: Path) -> None:
    table = Table.of(_scores("a", 5, cheap=0.75))
    assert "There is one teacher, cheap" in markdown(table)
    draw(table, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_is_the_same_each_time() -> None:
    assert markdown(Table.of(_SKILLED)) == markdown(Table.of(list(reversed(_SKILLED))))
