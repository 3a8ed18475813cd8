"""Weights of several teachers, so that their mixture gives the right answers the highest likelihood.

The mixture is linear, q(y|x) = Σ_k w_k p_k(y|x): unlike a product of them it does not grow sharper than its parts,
which would spoil calibration. The weights that maximise Σ_i log Σ_k w_k p_k(y_i|x_i) over gold examples are found by EM
(Dempster, Laird and Rubin 1977), which has no step size and never makes the likelihood less:

    r_ik = w_k p_k(y_i|x_i) / Σ_j w_j p_j(y_i|x_i)        w_k = (Σ_i r_ik + a b_k) / (n + a)

where b are weights found before, on all skills, and a is how many examples they count for: few gold examples of a skill
move its weights little. With a = 0 it is plain maximum likelihood.

p_k(y_i|x_i) is estimated from the teacher's samples, since endpoints do not score a text they are given: of n samples c
say what gold says, p = (c + 1/2) / (n + 1) (Krichevsky and Trofimov 1981), which is never 0.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 1000
_STILL = 1e-9  # nats per example: less is no progress


class Weights(Struct, frozen=True):
    """`values` sum to 1. `losses`: the mean negative log-likelihood per example before each round and after the last,
    in nats, with that of the prior if there is one; they never rise."""

    values: tuple[float, ...]
    losses: tuple[float, ...]


def log_likelihood(right: Floats, samples: Floats) -> Floats:
    """Of gold, by example and teacher. `right`: the share of samples that say what gold says; `samples`: how many."""
    found: Floats = np.log((right * samples + 0.5) / (samples + 1.0))
    return found


def em(logs: Floats, prior: Floats | None = None, strength: float = 0.0) -> Weights:
    """`logs`: log-likelihoods, examples × teachers. `prior`: weights, `strength`: how many examples they count for."""
    count, teachers = logs.shape
    before = np.full(teachers, 1 / teachers) if prior is None else prior
    if count + strength == 0:
        return Weights(tuple(before), ())
    weights = np.full(teachers, 1 / teachers)
    losses = [_loss(logs, weights, before, strength)]
    for _ in range(ROUNDS):
        joint = logs + np.log(weights)
        shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        weights = np.maximum((shares.sum(axis=0) + strength * before) / (count + strength), 1e-300)
        losses.append(_loss(logs, weights, before, strength))
        if losses[-2] - losses[-1] < _STILL:
            break
    return Weights(tuple(float(weight) for weight in weights / weights.sum()), tuple(losses))


def _loss(logs: Floats, weights: Floats, prior: Floats, strength: float) -> float:
    likelihood = np.logaddexp.reduce(logs + np.log(weights), axis=1).sum()
    held = strength * float(np.dot(prior, np.log(weights))) if strength else 0.0
    return -(float(likelihood) + held) / max(len(logs), 1)
