"""Which requests are kept, and that what is kept can be counted back to what there was."""

from random import Random

import pytest

from router_policies.capture import Capture, Why, tags


@pytest.mark.parametrize(
    ("fell_back", "disagrees", "expected"),
    [
        (False, False, (Why.SAMPLE, 0.1)),
        (True, False, (Why.FALLBACK, 0.5)),
        (False, True, (Why.DISAGREEMENT, 0.9)),
        (True, True, (Why.DISAGREEMENT, 0.9)),
    ],
)
def test_a_request_has_the_highest_rate_of_what_it_is(
    fell_back: bool, disagrees: bool, expected: tuple[Why, float]
) -> None:
    capture = Capture(sample=0.1, fallback=0.5, disagreement=0.9)
    assert capture.chance(fell_back=fell_back, disagrees=disagrees) == expected


def test_of_equal_rates_the_special_one_is_named_and_a_lower_one_takes_nothing_away() -> None:
    assert Capture(sample=1.0).chance(fell_back=True, disagrees=True) == (Why.DISAGREEMENT, 1.0)
    assert Capture(sample=1.0).chance(fell_back=True, disagrees=False) == (Why.FALLBACK, 1.0)
    assert Capture(sample=0.4, fallback=0.0).chance(fell_back=True, disagrees=False) == (Why.SAMPLE, 0.4)


def test_nothing_is_held_that_cannot_be_kept() -> None:
    capture = Capture(sample=0.1, fallback=0.3, disagreement=0.9)
    assert capture.most(mirrored=False) == 0.3
    assert capture.most(mirrored=True) == 0.9


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ((), False),
        (("train",), False),
        (("train, evaluate",), True),
        (("Train", " EVALUATE "), True),
        (("train,evaluate", "none"), False),
        (("train,evaluate,more",), True),
    ],
)
def test_all_tags_must_be_there_and_none_wins(said: tuple[str, ...], kept: bool) -> None:
    assert Capture(consent=frozenset({"train", "evaluate"})).consents(tags(*said)) is kept


def test_the_kept_weighted_by_their_probability_are_all_there_were() -> None:
    """Also though a disagreement is only known of the fifth that is mirrored."""
    random = Random(7)
    capture = Capture(sample=0.1, fallback=0.6, disagreement=0.9)
    count = 200_000
    differ_in_all = weight_in_all = weight_differ = kept = 0.0
    for _ in range(count):
        fell_back, differs = random.random() < 0.05, random.random() < 0.1
        disagrees = differs and not fell_back and random.random() < 0.2
        _, probability = capture.chance(fell_back=fell_back, disagrees=disagrees)
        differ_in_all += differs
        if random.random() < probability:
            kept += 1
            weight_in_all += 1 / probability
            weight_differ += differs / probability
    assert kept < 0.2 * count
    assert weight_in_all == pytest.approx(count, rel=0.02)  # its standard deviation is 0.6 %
    assert weight_differ == pytest.approx(differ_in_all, rel=0.06)
