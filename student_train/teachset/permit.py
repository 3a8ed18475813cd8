"""A look at the holdout: each is counted, and none is had without a certificate that what is measured was not taught.

Who looks often enough finds a model that happens to do well on these very examples. So looks have a budget; each is an
entry in the ledger, made before anything is shown; the budget is raised by an entry too, with a reason.

The certificate compares the holdout with all that shapes a model, as it is now: a split that keeps near-duplicates
apart says nothing of what was imported since, or of what people put there by hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from student_train.teachset.alike import Alike
from student_train.teachset.example import Example, Split
from student_train.teachset.guard import TRAINABLE
from student_train.teachset.ledger import Json
from student_train.teachset.neardup import sketches, text_of
from student_train.teachset.store import SetError, TeachingSet
from student_train.teachset.verify import lines

BUDGET = 10
"""Looks at a holdout, unless the ledger says otherwise."""
MOST_ALIKE = 0.01
_READ = 500


class Certificate(Struct, frozen=True):
    """`holdout`, `taught`: examples. `alike`: of the holdout, how many have a near-duplicate among what is taught (see
    `neardup`). `runs_known`: the mean share of an example's runs of 13 words that occur anywhere in what is taught, for
    those long enough to have any; what templates and contexts share is in it, so it is told, not judged."""

    holdout: int
    taught: int
    alike: int
    runs_known: float
    most_alike: float

    @property
    def share(self) -> float:
        return self.alike / self.holdout if self.holdout else 0.0


class Permit(Struct, frozen=True):
    """The `number`-th look of `budget`."""

    number: int
    budget: int
    certificate: Certificate


def certify(teaching: TeachingSet, most_alike: float = MOST_ALIKE) -> Certificate:
    """Of a set that is opened with its holdout."""
    alike = Alike(teaching.path)
    held, runs = 0, []
    for batch in _sketched(teaching, ("holdout",)):
        alike.add(batch)
        held += len(batch.words)
        runs.append((batch.grams, batch.gram_of + held - len(batch.words)))
    grams = np.concatenate([np.zeros(0, np.uint64), *(found for found, _ in runs)])
    of = np.concatenate([np.zeros(0, np.int64), *(owner for _, owner in runs)])
    known = np.zeros(len(grams), bool)
    taught = 0
    for batch in _sketched(teaching, TRAINABLE):
        alike.add(batch)
        taught += len(batch.words)
        known |= np.isin(grams, batch.grams)
    near = np.zeros(held, bool)
    for one, other in alike.pairs():
        near[one[(one < held) & (other >= held)]] = True  # the smaller first, and the holdout before all
    alike.close()
    counts = np.bincount(of, minlength=held)
    shares = np.bincount(of, weights=known, minlength=held)[counts > 0] / counts[counts > 0]
    return Certificate(held, taught, int(near.sum()), float(shares.mean()) if len(shares) else 0.0, most_alike)


def budget(path: Path) -> tuple[int, int]:
    """Looks so far, and how many there may be."""
    used, allowed = 0, BUDGET
    for entry in lines(path):
        if entry["kind"] == "evaluation":
            used += 1
        elif entry["kind"] == "budget":
            allowed = int(entry["about"]["evaluations"])
    return used, allowed


def set_budget(teaching: TeachingSet, evaluations: int, why: str) -> None:
    """Raise it, or lower it. `why` goes into the ledger."""
    if evaluations < 0 or not why.strip():
        raise SetError(f"budget: expected 0 or more evaluations and a reason, got {evaluations} and {why!r}")
    teaching.note("budget", {"evaluations": evaluations, "why": why})


def permit(teaching: TeachingSet, model: str, why: str, most_alike: float = MOST_ALIKE) -> Permit:
    """One look, noted. Raises `SetError` if the budget is spent, or too much of the holdout is like what is taught;
    that costs nothing of the budget."""
    used, allowed = budget(teaching.path)
    if used >= allowed:
        raise SetError(
            f"the holdout was looked at {used} times, and {allowed} are the budget: a result on it means less each "
            "time. `evaluate-permit --budget N --reason ...` raises it; a new holdout is better"
        )
    found = certify(teaching, most_alike)
    if not found.holdout:
        raise SetError("expected examples in the holdout, there are none: `understudy teachset split` comes first")
    if found.share > most_alike:
        raise SetError(
            f"{found.alike} of {found.holdout} examples of the holdout are like something that is taught "
            f"({found.share:.1%}; at most {most_alike:.1%} may): what would be measured is memory. Take them out on "
            "one side (`teachset erase --example`), or split into a new set"
        )
    made = Permit(used + 1, allowed, found)
    about: dict[str, Json] = {"model": model, "why": why, "number": made.number, "budget": allowed}
    certificate: dict[str, Any] = msgspec.to_builtins(found)
    teaching.note("evaluation", about | {"certificate": certificate})
    return made


@contextmanager
def open_for_evaluation(path: Path, model: str, why: str) -> Iterator[tuple[Permit, Iterator[Example]]]:
    """The only way in which an evaluation opens the holdout: with a permit, and what it permits to see."""
    with TeachingSet.open(path, holdout=True) as teaching:
        yield permit(teaching, model, why), teaching.examples("holdout")


def _sketched(teaching: TeachingSet, splits: tuple[Split, ...]) -> Iterator[Any]:
    texts: list[str] = []
    for split in splits:
        for example in teaching.examples(split):
            texts.append(text_of(example))
            if len(texts) == _READ:
                yield sketches(texts)
                texts = []
    if texts:
        yield sketches(texts)
