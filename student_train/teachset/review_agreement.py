"""How far people agree with each other, and with the filters, beyond what chance would give.

Cohen's kappa (1960) for two: (p - e) / (1 - e), p the share in which they agree, e that which their own shares of good
and bad would give by chance. Krippendorff's alpha (nominal; 2011, "Computing Krippendorff's alpha-reliability") for any
number of people of whom each saw some: 1 - observed / expected disagreement. Both are 1 for full agreement, 0 for what
chance gives, and nothing (None) where only one word was ever used.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, permutations
from typing import Any, Literal

from msgspec import Struct

from student_train.teachset.example import Answer, Review

Word = Literal["good", "bad"]


class Pairwise(Struct, frozen=True):
    """Of two: on how many answers both said something, the share on which they agree, kappa."""

    count: int
    same: float
    kappa: float | None


def kappa(pairs: Sequence[tuple[str, str]]) -> Pairwise:
    count = len(pairs)
    if not count:
        return Pairwise(0, 0.0, None)
    same = sum(one == other for one, other in pairs) / count
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(ones[word] * others[word] for word in ones) / count**2
    return Pairwise(count, same, None if chance == 1 else (same - chance) / (1 - chance))


def alpha(units: Iterable[Sequence[str]]) -> float | None:
    """`units`: of each answer what all who saw it said. Answers that one person saw say nothing and are left out."""
    coincidences: dict[tuple[str, str], float] = defaultdict(float)
    for said in units:
        for pair in permutations(said, 2):
            coincidences[pair] += 1 / (len(said) - 1)
    totals: dict[str, float] = defaultdict(float)
    for (one, _), weight in coincidences.items():
        totals[one] += weight
    everything = sum(totals.values())
    expected = sum(totals[one] * totals[other] for one, other in combinations(totals, 2)) * 2
    if not expected:
        return None
    observed = sum(weight for (one, other), weight in coincidences.items() if one != other)
    return 1 - (everything - 1) * observed / expected


def words(reviews: Iterable[Review]) -> dict[tuple[str, str, int], dict[str, str]]:
    """Of each answer, what each person decided."""
    found: dict[tuple[str, str, int], dict[str, str]] = {}
    for one in reviews:
        found.setdefault((one.example, one.teacher, one.index), {})[one.reviewer] = one.decision
    return found


def settled(said: Mapping[str, str]) -> Word | None:
    """What most of those say who are sure; None for a tie, or nobody."""
    good, bad = (sum(word == each for word in said.values()) for each in ("good", "bad"))
    return "good" if good > bad else "bad" if bad > good else None


def between_people(reviews: Iterable[Review]) -> tuple[dict[tuple[str, str], Pairwise], float | None]:
    """Cohen's kappa of each two, and Krippendorff's alpha of all."""
    units = words(reviews)
    people = sorted({person for said in units.values() for person in said})
    pairs = {
        (one, other): kappa([(said[one], said[other]) for said in units.values() if one in said and other in said])
        for one, other in combinations(people, 2)
    }
    return pairs, alpha([list(said.values()) for said in units.values()])


def with_filters(said: Mapping[Any, Word], answers: Mapping[Any, Answer]) -> Pairwise:
    """What people settled on against what the filters alone say: kept is good. Answers by what `said` calls them."""
    return kappa([(word, "bad" if answers[at].rejected else "good") for at, word in said.items() if at in answers])
