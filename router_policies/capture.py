"""Which requests are kept to teach a student, with which probability, and whose consent that takes.

One uniform number is drawn per request. What a request is (its *class*: it fell back, its pair disagreed, or neither is
known of it) has a rate, and it is kept if the number is below the highest rate of what it is. So the draws of all
classes are nested, and the probability of their union is the highest of them, exactly: P(kept | class). The class does
not depend on the number, so a sum over the kept requests, each divided by its probability, has the sum over all
requests as its mean, whichever of them the mirror happened to look at (Horvitz and Thompson 1952, section 3).
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

NOBODY = "none"  # as a tag: this request is not to be kept, whatever else was said
MIB = 1024 * 1024


class Why(StrEnum):
    """The class by which a request is kept, from the most to the least special: on equal rates the first one counts."""

    DISAGREEMENT = "disagreement"
    FALLBACK = "fallback"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Capture:
    """What a route keeps. `sample`, `disagreement`, `fallback`: rates. `consent`: tags that a request must carry, all
    of them. `max_body_bytes`: of a request and its answer together. `queue`, `queue_bytes`: what may wait, per process.
    """

    sample: float = 0.1
    disagreement: float = 1.0
    fallback: float = 1.0
    consent: frozenset[str] = frozenset({"train"})
    max_body_bytes: int = MIB
    queue: int = 1000
    queue_bytes: int = 64 * MIB

    def consents(self, tags: Collection[str]) -> bool:
        return NOBODY not in tags and self.consent.issubset(tags)

    def chance(self, *, fell_back: bool, disagrees: bool) -> tuple[Why, float]:
        """The class of a request that is known to be so, and the probability with which such a one is kept."""
        rates = [(Why.SAMPLE, self.sample)]
        if fell_back:
            rates.insert(0, (Why.FALLBACK, self.fallback))
        if disagrees:
            rates.insert(0, (Why.DISAGREEMENT, self.disagreement))
        return max(rates, key=lambda one: one[1])  # the first of several

    def most(self, *, mirrored: bool) -> float:
        """The highest probability that a request can come to, before it is known how it ends."""
        return max(self.sample, self.fallback, self.disagreement if mirrored else 0.0)


def tags(*said: str) -> frozenset[str]:
    """The tags of lists like "train, evaluate"."""
    return frozenset(tag for one in said for part in one.split(",") if (tag := part.strip().lower()))
