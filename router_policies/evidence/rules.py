"""What evidence is asked for, and what it is evidence of."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from math import pi

LOSS = "shadow_loss"
"""The check that every route has: how many of the pairs that were to be made are lost."""

LEAST_PROBABILITY = 0.05
"""A request weighs at most 20 times another. Below this a few rare ones would decide."""


class Kind(StrEnum):
    """What a check's value for a pair is, and what its tolerance is held against.

    RATE: 0 or 1, whether the two differ; the share that differs.
    SCORE: how far apart they are, from 0, the same, to 1; the mean.
    EXCESS: either of these, for pairs whose teacher was asked twice; by how much the student differs from the teacher
    more than the teacher from itself. For answers that differ from one time to the next whoever gives them.
    """

    RATE = "rate"
    SCORE = "score"
    EXCESS = "excess"


class Over(StrEnum):
    """Of what the tolerance holds. A stratum is a kind of request that is selected with a probability of its own.

    EACH_STRATUM: in every one of them. The stricter; a stratum without traffic holds everything up.
    ALL_TRAFFIC: on average over all requests, each weighed by the inverse of its probability.
    """

    EACH_STRATUM = "each_stratum"
    ALL_TRAFFIC = "all_traffic"


@dataclass(frozen=True, slots=True)
class Rule:
    """`tolerance`: the rate, mean or excess from which on the student is not acceptable; above 0 and below 1."""

    check: str
    tolerance: float
    kind: Kind = Kind.RATE

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(f"check {self.check}: expected a tolerance above 0 and below 1, got {self.tolerance}")


@dataclass(frozen=True, slots=True)
class Rules:
    """`alpha`: the probability with which a route may ever promote a student that fails a check, over all its students.
    `run_length`: the pairs after which, on average, the first of its alarms may be false. `loss_tolerance`: the share
    of selected pairs from which on too many are lost. `strata`: all that can receive student traffic."""

    checks: tuple[Rule, ...]
    strata: tuple[str, ...] = ("default",)
    over: Over = Over.EACH_STRATUM
    alpha: float = 0.05
    run_length: float = 100_000
    loss_tolerance: float = 0.02

    def __post_init__(self) -> None:
        names = [rule.check for rule in self.all_checks]
        if len(set(names)) < len(names):
            raise ValueError(f"checks: expected each name once, and not {LOSS}, which is always there; got {names}")
        if not self.strata or len(set(self.strata)) < len(self.strata):
            raise ValueError(f"strata: expected at least one, each once, got {list(self.strata)}")
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha: expected a probability above 0, at most 0.5, got {self.alpha}")
        if not self.run_length >= 1:
            raise ValueError(f"run_length: expected a number of pairs, 1 or more, got {self.run_length}")

    @property
    def all_checks(self) -> tuple[Rule, ...]:
        return (*self.checks, Rule(LOSS, self.loss_tolerance))

    @property
    def cells(self) -> tuple[str, ...]:
        """The strata, or "" for all traffic."""
        return self.strata if self.over is Over.EACH_STRATUM else ("",)

    @property
    def judged(self) -> int:
        """How many checks there are over all cells: any of them may fail or alarm, so those errors are shared."""
        return len(self.all_checks) * len(self.cells)

    def problems(self, sample: Mapping[str, float]) -> list[str]:
        """What is wrong with selecting these strata with these probabilities, in words; for checking a config."""
        wrong = [f"stratum {name}: no probability of being selected is given" for name in {*self.strata} - {*sample}]
        wrong += [
            f"stratum {name}: selected with probability {sample[name]:g}, expected at least {LEAST_PROBABILITY:g}: "
            "what is hardly looked at proves nothing"
            for name in self.strata
            if name in sample and not LEAST_PROBABILITY <= sample[name] <= 1
        ]
        return sorted(wrong)


@dataclass(frozen=True, slots=True)
class Key:
    """What pairs are evidence of; those with another key are not. Each is a name and a version or digest; `scorers` has
    one for every check."""

    student: str
    teacher: str
    prompt_pack: str = ""
    policy_pack: str = ""
    scorers: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Short, for records to carry."""
        parts = (self.student, self.teacher, self.prompt_pack, self.policy_pack, *self.scorers)
        return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def alpha_of(attempt: int, alpha: float) -> float:
    """What the k-th attempt of a route may spend: 6 alpha / (pi k)^2, which over all k adds up to alpha.

    With alpha for each, 20 builds of a bad student have a chance of more than half that one gets through.
    """
    if attempt < 1:
        raise ValueError(f"attempt: expected 1 or more, got {attempt}")
    return 6 * alpha / (pi * attempt) ** 2
