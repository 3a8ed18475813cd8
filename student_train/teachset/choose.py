"""Which teacher teaches what: measured on gold, skill by skill.

`route` (the default): each example is taught by the teacher that is most often right in its skill. A skill has few
gold examples, so a teacher's accuracy there is drawn towards its accuracy over all skills, which counts for `PRIOR`
examples:

    S = (right + PRIOR · overall) / (n + PRIOR)

Those within `TIE` of the best are as good as the best, and the cheapest of them teaches. `blend`: all of them teach, by
weights (see `blend`). More teachers can make a student worse (reference: Knowledge Purification, ICLR 2026), so look at
the report before either: it says when one of them alone would have done better.

The teacher is right as often as its samples say what gold says: a share, between 0 and 1, of each gold example.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from msgspec import Struct

from router_policies.checks.pack import Pack
from student_train.teachset.blend import Floats, Weights, em, log_likelihood
from student_train.teachset.example import Answer, Example, Lesson, Target
from student_train.teachset.judge_agreement import Comparison, f1, read

PRIOR = 4.0  # examples
TIE = 0.02
ANY = "*"
"""In place of a skill: any that gold does not have."""

Mode = Literal["route", "blend"]
GoldUse = Literal["first", "beside", "never"]


class Score(Struct, frozen=True):
    """Of a gold example, by teacher: the share of its samples that are right, how many there are, and what one cost on
    average, in nano-dollars and in tokens that were written."""

    example: str
    skill: str
    right: dict[str, float]
    samples: dict[str, int]
    cost_nano_usd: dict[str, float]
    tokens: dict[str, float]


def score(example: Example, answers: Sequence[Answer], pack: Pack) -> Score:
    """`answers`: all there are, rejected or not: what a teacher got wrong is what is measured. Of open gold, text, how
    right an answer is is its F1 with it."""
    assert example.gold is not None
    gold = read(example.gold)
    readings = [read(answer.content, answer.tool_calls) for answer in answers]
    comparison = Comparison([gold, *readings], pack)
    by_teacher: dict[str, list[int]] = {}
    for at, answer in enumerate(answers):
        by_teacher.setdefault(answer.teacher, []).append(at)

    def right(at: int) -> float:
        if gold.closed:
            return float(comparison.differs(readings[at], gold) is None)
        return f1(readings[at].text, gold.text)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return Score(
        example=example.id,
        skill=example.skill,
        right={name: mean([right(at) for at in places]) for name, places in by_teacher.items()},
        samples={name: len(places) for name, places in by_teacher.items()},
        cost_nano_usd={name: mean([answers[at].cost_nano_usd for at in places]) for name, places in by_teacher.items()},
        tokens={name: mean([answers[at].output_tokens for at in places]) for name, places in by_teacher.items()},
    )


@dataclass(frozen=True)
class Table:
    """Scores of the examples that every teacher answered. Arrays are examples × teachers."""

    teachers: tuple[str, ...]
    skills: tuple[str, ...]
    right: Floats
    samples: Floats
    cost_nano_usd: tuple[float, ...]
    tokens: tuple[float, ...]
    left_out: int = 0

    @classmethod
    def of(cls, scores: Sequence[Score], teachers: Sequence[str] | None = None) -> "Table":
        names = tuple(teachers or sorted({name for one in scores for name in one.right}))
        whole = sorted((one for one in scores if set(names) <= one.right.keys()), key=lambda one: one.example)

        def rows(field: Literal["right", "samples", "cost_nano_usd", "tokens"]) -> Floats:
            values = [[getattr(one, field)[name] for name in names] for one in whole]
            return np.array(values, dtype=np.float64).reshape(len(whole), len(names))

        def means(field: Literal["cost_nano_usd", "tokens"]) -> tuple[float, ...]:
            return tuple(map(float, rows(field).mean(axis=0))) if whole else (0.0,) * len(names)

        return cls(
            names,
            tuple(one.skill for one in whole),
            rows("right"),
            rows("samples"),
            means("cost_nano_usd"),
            means("tokens"),
            len(scores) - len(whole),
        )

    @cached_property
    def rows_of(self) -> Mapping[str, Floats]:
        """Of each skill, which rows are of it, as 0 and 1."""
        skills = np.array(self.skills)
        return {skill: (skills == skill).astype(np.float64) for skill in sorted(set(self.skills))}

    def without(self, rows: Sequence[int]) -> "Table":
        keep = np.setdiff1d(np.arange(len(self.skills)), rows)
        return Table(
            self.teachers,
            tuple(self.skills[at] for at in keep),
            self.right[keep],
            self.samples[keep],
            self.cost_nano_usd,
            self.tokens,
            self.left_out,
        )


def smoothed(table: Table) -> dict[str, Floats]:
    """S of each skill by teacher; for `ANY` the overall one."""
    count = len(table.skills)
    overall = (table.right.sum(axis=0) + 1) / (count + 2)
    found = {ANY: overall}
    for skill, rows in table.rows_of.items():
        found[skill] = (rows @ table.right + PRIOR * overall) / (rows.sum() + PRIOR)
    return found


def ranking(table: Table, values: Floats, tie: float = TIE) -> tuple[int, ...]:
    """Teachers by place, the one to teach first. Of those as good as the best the cheapest: by dollars, then by what
    they write, then by name."""
    best = values.max()

    def order(at: int) -> tuple[float, ...]:
        as_good = bool(values[at] >= best - tie)
        return (0, table.cost_nano_usd[at], table.tokens[at], at) if as_good else (1, -float(values[at]), at)

    return tuple(sorted(range(len(table.teachers)), key=order))


def rankings(table: Table, tie: float = TIE) -> dict[str, tuple[int, ...]]:
    return {skill: ranking(table, values, tie) for skill, values in smoothed(table).items()}


def blends(table: Table) -> dict[str, Weights]:
    """By skill, and for `ANY` over all of them."""
    logs = log_likelihood(table.right, table.samples)
    overall = em(logs)
    prior = np.array(overall.values)
    found = {ANY: overall}
    for skill, rows in table.rows_of.items():
        found[skill] = em(logs[rows > 0], prior, PRIOR)
    return found


@dataclass(frozen=True)
class Choice:
    """How lessons are made. Both by skill, or `ANY`. `order`: whose answers are taught, the first who has
    any that are kept. `weights`: of the teachers, for `blend`."""

    mode: Mode
    teachers: tuple[str, ...]
    order: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, Weights]
    gold: GoldUse = "first"

    def lesson(self, example: Example, answers: Sequence[Answer]) -> Lesson:
        """`answers`: all to the example. One without targets teaches nothing: no answer is kept. Gold alone is the
        target where it is known (`first`), or half of the weight is its (`beside`); of what was made to be asked back
        about, only gold."""
        kept = {name: [one for one in answers if one.teacher == name and not one.rejected] for name in self.teachers}
        shares = self._shares(example.skill, {name for name, own in kept.items() if own})
        only_gold = example.gold is not None and (self.gold == "first" or example.kind != "plain")
        own = 0.0 if example.gold is None or (self.gold == "never" and example.kind == "plain") else 0.5
        if only_gold or (own and not shares):
            own = 1.0
        targets = [Target(example.gold or "", own)] if own else []
        for name, share in () if own == 1.0 else shares.items():
            targets += [
                Target(one.content, (1 - own) * share / len(kept[name]), name, one.index, one.tool_calls)
                for one in kept[name]
            ]
        return Lesson(example.id, tuple(targets), shares)

    def _shares(self, skill: str, able: set[str]) -> dict[str, float]:
        """Of the teachers that have something to teach; they sum to 1."""
        if not able:
            return {}
        if self.mode == "route":
            order = self.order.get(skill, self.order[ANY])
            return {next(self.teachers[at] for at in order if self.teachers[at] in able): 1.0}
        values = self.weights.get(skill, self.weights[ANY]).values
        some = {name: weight for name, weight in zip(self.teachers, values, strict=True) if name in able}
        total = sum(some.values())
        return {name: weight / total for name, weight in some.items()}


def choose(table: Table, mode: Mode, gold: GoldUse = "first") -> Choice:
    return Choice(mode, table.teachers, rankings(table), blends(table), gold)
