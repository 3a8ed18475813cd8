"""The report on teachers: how right each is, by skill, what it costs, and whether several are better than one.

Choosing routes on gold and praising them on the same gold flatters them. So they are cross-validated: gold is dealt
into `FOLDS` parts, the routes and weights are found without one part and counted on it, `REPEATS` times over.

    route        the share right of the teacher that the other parts' routes choose
    blend        the expected share: of an answer drawn from the mixture
    best alone   the share of the one teacher that is best on all of gold

The best alone is one choice among few, made on all of gold; that flatters it a little, which is the safe side: several
teachers have to prove themselves. (Choosing it without the example that it is counted on would do worse than that to
it: of two that are nearly equal, the one that is right there is the worse one elsewhere.)

The difference between two ways is paired, example by example; its interval is a bootstrap over examples (percentiles of
`DRAWS` draws). Where the interval has 0 in it, the report says that no difference can be told, and advises the simpler.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from router_policies.prices import usd
from student_train.teachset.blend import Floats
from student_train.teachset.choose import ANY, PRIOR, TIE, Table, blends, ranking, rankings, smoothed

DRAWS = 2000
FOLDS = 5
REPEATS = 10
_NOTHING = 1e-9  # what sums of floating-point numbers are off by


def wilson(right: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """The interval of a proportion (Wilson 1927), 95 % unless `z` says otherwise. `right` need not be whole: an example
    of which half of the samples are right counts half, which makes the interval wider than it need be."""
    if not count:
        return 0.0, 1.0
    share, square = right / count, z * z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = z / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Compared:
    """By example: the share right of each way, `route` and `blend` held out. `name`: which teacher `single` is."""

    name: str
    single: Floats
    route: Floats
    blend: Floats
    route_cost_nano_usd: float


def compare(table: Table) -> Compared:
    """The same each time: the folds are drawn with a fixed seed."""
    count = len(table.skills)
    best = ranking(table, table.right.sum(axis=0), 0.0)[0]
    route, blend, cost = np.zeros(count), np.zeros(count), 0.0
    for fold in _folds(count):
        others = table.without(fold)
        orders, weights = rankings(others), blends(others)
        for at in fold:
            skill = table.skills[at]
            first = orders.get(skill, orders[ANY])[0]
            route[at] += table.right[at, first]
            blend[at] += np.dot(weights.get(skill, weights[ANY]).values, table.right[at])
            cost += table.cost_nano_usd[first]
    cost /= max(count, 1) * REPEATS
    return Compared(table.teachers[best], table.right[:, best], route / REPEATS, blend / REPEATS, cost)


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of paired differences with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1: more, -1: less, 0: nobody can tell."""
        return 1 if self.low > _NOTHING else -1 if self.high < -_NOTHING else 0


def difference(one: Floats, other: Floats, seed: int = 0) -> Difference:
    apart = one - other
    if not len(apart):
        return Difference(0.0, -1.0, 1.0)
    draws = np.random.default_rng(seed).integers(0, len(apart), (DRAWS, len(apart)))
    low, high = np.percentile(apart[draws].mean(axis=1), [2.5, 97.5])
    mean, low, high = (round(float(value), 9) + 0.0 for value in (apart.mean(), low, high))
    return Difference(mean, low, high)


def markdown(table: Table) -> str:
    """The whole report."""
    compared = compare(table)
    parts = [_head(table), _by_skill(table), _costs(table), _ways(table, compared), _advice(table, compared)]
    return "\n\n".join(parts) + "\n"


def _folds(count: int) -> Iterator[list[int]]:
    random = np.random.default_rng(0)
    for _ in range(REPEATS):
        dealt = random.permutation(count).tolist()
        yield from (dealt[first::FOLDS] for first in range(min(FOLDS, count)))


def _head(table: Table) -> str:
    left = f" {table.left_out} more were not answered by all teachers, and are left out." if table.left_out else ""
    return (
        f"# Teachers\n\n{len(table.teachers)} teachers on {len(table.skills)} gold examples of"
        f" {len(table.rows_of)} skills.{left} An example counts by the share of a teacher's samples that say what gold"
        " says. Intervals are Wilson's, 95 %."
    )


def _by_skill(table: Table) -> str:
    orders, values = rankings(table), smoothed(table)
    rows = []
    for skill, mask in [*table.rows_of.items(), ("all", np.ones(len(table.skills)))]:
        count = float(mask.sum())
        right = mask @ table.right
        cells = [f"{value / count:.3f} ({_interval(value, count)})" for value in map(float, right)] if count else []
        taught = "" if skill == "all" else _taught(table, orders[skill][0], values[skill])
        rows.append([skill or "(none)", f"{count:.0f}", *cells, taught])
    head = ["skill", "gold", *table.teachers, "route to"]
    return (
        f"## Accuracy by skill\n\n{_table(head, rows)}\n\nRoutes follow accuracies that are drawn towards the teacher's"
        f" overall one as if {PRIOR:g} more examples had come to that; within {TIE:g} of the best (*) the cheapest"
        " teaches."
    )


def _taught(table: Table, first: int, values: Floats) -> str:
    as_good = int((values >= values.max() - TIE).sum())
    return table.teachers[first] + (" *" if as_good > 1 else "")


def _costs(table: Table) -> str:
    rows = [
        [name, usd(round(cost)), f"{written:.0f}"]
        for name, cost, written in zip(table.teachers, table.cost_nano_usd, table.tokens, strict=True)
    ]
    return "## Cost, measured on gold\n\n" + _table(["teacher", "USD per answer", "tokens per answer"], rows)


def _ways(table: Table, compared: Compared) -> str:
    overall = blends(table)[ANY].values
    weights = ", ".join(f"{name} {value:.2f}" for name, value in zip(table.teachers, overall, strict=True))
    rows = []
    for way, values in (("route", compared.route), ("blend", compared.blend), ("best alone", compared.single)):
        against = difference(values, compared.single)
        apart = "" if way == "best alone" else f"{against.mean:+.3f} ({against.low:+.3f} to {against.high:+.3f})"
        rows.append([way, f"{values.mean() if len(values) else 0:.3f}", apart])
    return (
        "## Several or one, held out\n\n"
        + _table(["way", "accuracy", "less best alone (95 %)"], rows)
        + f"\n\nBest alone: {compared.name}. Weights of the blend over all skills: {weights}. A routed"
        f" answer costs {usd(round(compared.route_cost_nano_usd))} USD."
    )


def _advice(table: Table, compared: Compared) -> str:
    if len(table.teachers) == 1:
        return f"## What follows\n\nThere is one teacher, {compared.name}: nothing to choose between."
    lines = [_sentence("Routing", difference(compared.route, compared.single), compared.name, len(table.skills))]
    lines.append(_sentence("Blending", difference(compared.blend, compared.single), compared.name, len(table.skills)))
    worse = []
    for skill, mask in table.rows_of.items():
        rows = mask > 0
        apart = float((compared.route[rows] - compared.single[rows]).mean())
        if apart < -_NOTHING:
            worse.append(f"{skill or '(none)'} ({apart:+.3f} on {int(mask.sum())})")
    if worse:
        lines.append(f"Skills in which {compared.name} alone came out above the routes: {', '.join(worse)}.")
    return "## What follows\n\n" + "\n".join(f"- {line}" for line in lines)


def _sentence(way: str, apart: Difference, name: str, count: int) -> str:
    told = f"{apart.mean:+.3f}, 95 % {apart.low:+.3f} to {apart.high:+.3f}, {count} examples"
    if apart.verdict > 0:
        return f"{way} is better than the best teacher alone ({told})."
    if apart.verdict < 0:
        return f"One teacher alone, {name}, would have been better than {way.lower()} ({told})."
    return f"{way} and {name} alone: a tie, no difference can be told ({told}). One teacher is simpler."


def _interval(right: float, count: float) -> str:
    low, high = wilson(right, count)
    return f"{low:.2f}–{high:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
