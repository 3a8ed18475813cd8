import random
from math import prod
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.evidence.detector import Detector

TOLERANCE = 0.05
Stream = st.lists(st.booleans(), max_size=60)


@given(Stream)
def test_it_is_the_capital_of_all_who_began_at_any_pair(stream: list[bool]) -> None:
    """The second method: for every beginning the product of what came from there on, all added up."""
    detector = Detector(TOLERANCE, 1e9)
    for differs in stream:
        detector.add(differs - TOLERANCE)
    for bet, capital in zip(detector.bets, detector.capitals, strict=True):
        factors = [1 + bet * (differs - TOLERANCE) for differs in stream]
        assert capital == pytest.approx(sum(prod(factors[begin:]) for begin in range(len(factors))), rel=1e-9)


@given(Stream)
def test_at_the_tolerance_it_grows_by_one_a_pair_on_average(stream: list[bool]) -> None:
    """Which bounds the run length: it is the number of pairs on average, and the threshold is the stated number."""
    detectors = [Detector(TOLERANCE, 1e9), Detector(TOLERANCE, 1e9)]
    for detector in detectors:
        for differs in stream:
            detector.add(differs - TOLERANCE)
    before = fmean(detectors[0].capitals)
    for detector, differs in zip(detectors, (0, 1), strict=True):
        detector.add(differs - TOLERANCE)
    agree, differ = (fmean(detector.capitals) for detector in detectors)
    assert (1 - TOLERANCE) * agree + TOLERANCE * differ == pytest.approx(before + 1, rel=1e-9)


def alarm(rates: tuple[float, float], history: int, length: float, rng: random.Random) -> int:
    detector = Detector(TOLERANCE, length)
    for n in range(1, 1_000_000):
        if detector.add((rng.random() < rates[n > history]) - TOLERANCE):
            return n - history
    raise AssertionError("no alarm in a million pairs")


def test_the_run_length_is_at_least_the_stated() -> None:
    rng = random.Random("run length")
    assert fmean(alarm((TOLERANCE, TOLERANCE), 0, 200, rng) for _ in range(400)) >= 200


@pytest.mark.parametrize(("rate", "pairs"), [(0.10, 400), (0.20, 80)])
def test_it_is_quick_whatever_was_before(rate: float, pairs: int) -> None:
    rng = random.Random(f"delay {rate}")
    for history in (0, 3000):
        delays = [alarm((0.01, rate), history, 10_000, rng) for _ in range(25)]
        assert 0 < median(delays) <= pairs


def test_it_stays_finite_however_long_it_is_wrong() -> None:
    detector = Detector(TOLERANCE, 1e6)
    assert all([detector.add(1 - TOLERANCE) for _ in range(5000)][10:])
    assert detector.capitals == [1e300] * 6
