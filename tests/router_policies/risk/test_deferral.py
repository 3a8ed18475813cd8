"""Deferral: quantiles, a bound with published and exact values, and the promise that a threshold keeps."""

import json
from fractions import Fraction
from math import comb, exp, inf, log, nan
from random import Random
from statistics import quantiles
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.checks.reading import CHAT, COMPLETIONS, RESPONSES
from router_policies.risk.deferral import (
    GRID,
    Calibrated,
    calibrate,
    confidence,
    defers,
    read_logprobs,
    upper_bound,
)

LOGPROBS = st.lists(st.floats(-30, 0), min_size=1, max_size=60)


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=60))
def test_quantiles_are_those_of_the_standard_library(logprobs: list[float]) -> None:
    deciles = quantiles(logprobs, n=10, method="inclusive")
    for at, expected in enumerate(deciles, start=1):
        assert confidence(logprobs, at / 10) == pytest.approx(expected, abs=1e-9)
    assert (confidence(logprobs, 0), confidence(logprobs, 1)) == (min(logprobs), max(logprobs))


@given(LOGPROBS, st.floats(0, 1))
def test_the_order_of_tokens_is_nothing(logprobs: list[float], quantile: float) -> None:
    assert confidence(logprobs, quantile) == confidence(logprobs[::-1], quantile)


def test_one_wrong_digit_counts_as_much_in_a_long_answer_and_length_by_itself_not_at_all() -> None:
    """Where a mean says "sure" and a sum says "long"."""
    sure, unsure = [-0.01] * 90, [-3.0] * 10
    answer = sure + unsure
    assert confidence(answer, 0.05) == -3.0
    assert confidence(answer * 10, 0.05) == -3.0
    assert confidence(sure * 10, 0.05) == confidence(sure, 0.05) == -0.01
    assert sum(answer) / len(answer) > log(0.7)
    assert sum(sure * 40) < sum(answer)


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [([], None), ([-1.0], -1.0), ([-1.0, -inf], -inf), ([nan, -1.0], -inf), ([-9999.0, -1.0], -9999.0)],
)
def test_what_servers_send_too(logprobs: list[float], expected: float | None) -> None:
    assert confidence(logprobs, 0.0) == expected


def test_a_quantile_that_is_none() -> None:
    with pytest.raises(ValueError, match="from 0 to 1, got 5"):
        confidence([-1.0], 5)


@pytest.mark.parametrize(
    ("sure", "deferred"), [(-0.5, False), (-1.0, False), (-1.1, True), (None, True), (nan, True), (-inf, True)]
)
def test_who_is_not_sure_defers(sure: float | None, deferred: bool) -> None:
    assert defers(sure, -1.0) is deferred


# The bound.


@pytest.mark.parametrize(
    ("bad", "n", "delta", "expected"),
    [
        (0, 10, 0.025, 0.3084971),  # R 4.3, binom.test(0, 10)$conf.int
        (10, 100, 0.025, 0.1762226),  # binom.test(10, 100)
        (81, 263, 0.025, 0.3676),  # Newcombe, Statistics in Medicine 17 (1998), table I: exact, .2527 to .3676
        (15, 148, 0.025, 0.1617),  # the same, .0578 to .1617
        (0, 20, 0.025, 0.1684),  # the same
        (1, 29, 0.025, 0.1776),  # the same
        (0, 59, 0.05, 0.0495076),  # 1 - .05^(1/59): the fewest that certify 5 %
        (10, 10, 0.05, 1.0),
        (0, 0, 0.05, 1.0),
    ],
)
def test_published_bounds(bad: int, n: int, delta: float, expected: float) -> None:
    digits = 5e-5 if expected == round(expected, 4) else 5e-7
    assert upper_bound(bad, n, delta) == pytest.approx(expected, abs=digits)


@given(st.integers(1, 60), st.data(), st.sampled_from([0.05, 0.01, 0.0025]))
def test_at_the_bound_so_few_are_seen_with_just_that_probability(n: int, data: st.DataObject, delta: float) -> None:
    bad = data.draw(st.integers(0, n - 1))
    rate = Fraction(upper_bound(bad, n, delta))
    tail = sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(bad + 1))
    assert float(tail) == pytest.approx(delta, rel=1e-9)


def test_counts_that_are_none() -> None:
    with pytest.raises(ValueError, match="from 0 to 3, got 4"):
        upper_bound(4, 3, 0.05)


# The threshold.


def made(drawn: Random, count: int) -> list[tuple[float, bool]]:
    """Answers that are bad as often as their confidence says, if it is sure, and more often else."""
    pairs = []
    for _ in range(count):
        sure = drawn.random()
        pairs.append((log(max(sure, 1e-9)), drawn.random() < (1 - sure) / 2))
    return pairs


def true_rate(threshold: float) -> float:
    """Of the answers served at it: the mean of (1 - s)/2 over s from exp(threshold) to 1."""
    return (1 - exp(threshold)) / 4


def test_a_threshold_by_hand() -> None:
    pairs = [(-0.01, False)] * 200 + [(-0.8, False)] * 100 + [(-0.8, True)] * 30 + [(-2.0, True)] * 50
    found = calibrate(pairs, bad_rate=0.05, delta=0.05, grid=(-0.1, -1.0, -3.0))
    assert found == Calibrated(-0.1, 200, 0, 380, pytest.approx(1 - (0.05 / 3) ** (1 / 200)))
    loose = calibrate(pairs, bad_rate=0.2, delta=0.05, grid=(-0.1, -1.0, -3.0))
    assert (loose.threshold, loose.served, loose.bad) == (-1.0, 330, 30)


def test_without_enough_pairs_there_is_no_threshold() -> None:
    assert calibrate([], bad_rate=0.05).threshold is None
    assert calibrate([(-0.01, False)] * 50, bad_rate=0.05).threshold is None
    assert calibrate([(-0.01, True)] * 5000, bad_rate=0.05).threshold is None


def test_the_promise_is_kept() -> None:
    """In 400 calibrations the chosen threshold serves more than 10 % of bad answers in no more than the promised 5 %,
    plus two standard errors; and it is not so careful that it serves nobody."""
    drawn = Random(7)
    broken, served = 0, 0
    for _ in range(400):
        found = calibrate(made(drawn, 2000), bad_rate=0.10, delta=0.05)
        if found.threshold is not None:
            served += 1
            broken += true_rate(found.threshold) > 0.10
    assert broken / 400 <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
    assert served > 350


def test_the_bound_taken_from_the_pairs_themselves_would_not_be() -> None:
    """Why the grid is fixed and delta shared: the lowest rate seen among thresholds is a promise that is broken."""
    drawn = Random(7)
    broken = 0
    for _ in range(200):
        pairs = sorted(made(drawn, 600), reverse=True)
        bad, lowest = 0, None
        for n, (sure, wrong) in enumerate(pairs, start=1):
            bad += wrong
            if bad / n <= 0.10:
                lowest = sure
        broken += lowest is not None and true_rate(lowest) > 0.10
    assert broken / 200 > 0.3


@pytest.mark.parametrize(("bad_rate", "delta"), [(0.0, 0.05), (1.0, 0.05), (0.05, 0.0), (0.05, 1.0)])
def test_promises_that_are_none(bad_rate: float, delta: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibrate([], bad_rate=bad_rate, delta=delta)


def test_the_grid_is_of_probabilities() -> None:
    assert [round(2.718281828459045**one, 2) for one in GRID][:2] == [0.95, 0.9]
    assert len(GRID) == 19


# Answers.

TOKENS = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]
BODIES: list[tuple[str, Any, list[float]]] = [
    (CHAT, {"choices": [{"logprobs": {"content": TOKENS}}]}, [-0.5, -1.0]),
    (CHAT, {"choices": [{"logprobs": {"content": TOKENS}}, {"logprobs": {"content": TOKENS}}]}, [-0.5, -1.0]),
    (CHAT, {"choices": [{"logprobs": None}]}, []),
    (CHAT, {"choices": []}, []),
    (COMPLETIONS, {"choices": [{"logprobs": {"token_logprobs": [None, -0.25, -2]}}]}, [-0.25, -2.0]),
    (COMPLETIONS, {"choices": [{"logprobs": {"content": TOKENS}}]}, [-0.5, -1.0]),  # llama.cpp
    (RESPONSES, {"output": [{"content": [{"type": "output_text", "logprobs": TOKENS}]}]}, [-0.5, -1.0]),
    (RESPONSES, {"output": [{"type": "reasoning"}, {"content": [{"logprobs": []}]}]}, []),
    (CHAT, {"choices": "no"}, []),
    (CHAT, {"choices": [{"logprobs": {"content": [7, {"logprob": "x"}]}}]}, []),
    (CHAT, [], []),
]


@pytest.mark.parametrize(("endpoint", "body", "expected"), BODIES)
def test_log_probabilities_are_found_where_each_endpoint_has_them(
    endpoint: str, body: object, expected: list[float]
) -> None:
    assert read_logprobs(endpoint, json.dumps(body).encode()) == expected


def test_no_answer_has_none() -> None:
    assert read_logprobs(CHAT, b"no") == []
    assert read_logprobs(CHAT, b"[" * 5000) == []
