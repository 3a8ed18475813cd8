"""EM: weights that sum to 1, a loss that never rises, and the answers that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from student_train.teachset.blend import em, log_likelihood

_LOGS = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-30, 0))
)


@settings(max_examples=150, deadline=None)
@given(_LOGS, st.sampled_from([0.0, 0.5, 4.0]))
def test_weights_sum_to_one_and_the_loss_never_rises(logs: np.ndarray, strength: float) -> None:
    prior = np.linspace(1, 2, logs.shape[1])
    found = em(logs, prior / prior.sum(), strength)
    assert sum(found.values) == pytest.approx(1)
    assert min(found.values) >= 0
    assert all(after <= before + 1e-9 for before, after in zip(found.losses, found.losses[1:], strict=False))


def test_the_maximum_is_found() -> None:
    """Two teachers, each alone right on a and b of 10 examples: maximise a log(.9w + .1(1-w)) + b log(.1w + .9(1-w)).
    With u = .9w + .1(1-w) that is u = a / (a + b), so w = (u - .1) / .8."""
    first, second = np.log([0.9, 0.1]), np.log([0.1, 0.9])
    found = em(np.array([first] * 7 + [second] * 3))
    assert found.values[0] == pytest.approx((0.7 - 0.1) / 0.8, abs=1e-3)


def test_no_other_weights_are_better() -> None:
    logs = np.log(np.random.default_rng(7).uniform(0.01, 1, (40, 3)))
    found = em(logs)
    for other in np.random.default_rng(8).dirichlet([1, 1, 1], 300):
        assert -np.logaddexp.reduce(logs + np.log(other), axis=1).mean() >= found.losses[-1] - 1e-6


def test_few_examples_stay_near_the_prior_and_many_do_not() -> None:
    prior = np.array([0.2, 0.8])
    one = np.log([[0.99, 0.01]])
    assert em(one[:0], prior, 4).values == pytest.approx((0.2, 0.8))
    assert em(one, prior, 4).values[0] < 0.5
    assert em(np.repeat(one, 200, axis=0), prior, 4).values[0] > 0.95


def test_gold_that_no_sample_says_is_unlikely_not_impossible() -> None:
    found = np.exp(log_likelihood(np.array([[0.0, 1.0, 0.5]]), np.array([[4.0, 4.0, 4.0]])))
    assert found[0] == pytest.approx([0.1, 0.9, 0.5])
