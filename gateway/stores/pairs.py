"""Where the records of shadow mode are kept: what became of every sample, and of a pair the texts, for a while.

Records are small and hold no text; statistics read them in the order in which they were filed. Texts are redacted, and
kept in a ring: by count, bytes and age, whichever is reached first. Both per route.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Caps:
    """What is kept at most, of each route: records, and of texts how many, how much, and how long."""

    records: int = 500_000
    texts: int = 5_000
    text_bytes: int = 64 * 1024 * 1024
    text_age_s: float = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Filed:
    """A record to be kept. `id` is the same however often it is tried; `at`: when the request began, seconds since the
    epoch; `record` and `texts` are JSON. `amends`: the record with this `id`, which was filed before, is to say this
    from now on, and its texts too; what of them is not kept any more stays away."""

    id: str
    route: str
    at: float
    record: str
    texts: str | None
    amends: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """`number`: its place among the route's records, from 1, without gaps. `texts`: None if none are kept."""

    number: int
    record: str
    texts: str | None = None


class PairStore(Protocol):
    """Its methods block, and raise `StoreError`."""

    def open(self) -> None:
        """Find out whether it can be used. The other methods do so themselves."""

    def file(self, filed: Sequence[Filed], caps: Caps) -> None:
        """Keep these, all or none, durably, and let go of what is over the caps. Those that are there already, by their
        `id`, are no error: after a `StoreError` the same may be filed again. One that amends another must come within
        ten minutes of it."""

    def records(self, route: str, after: int, limit: int) -> list[Kept]:
        """From number `after` + 1 on, or from the oldest that is kept, without texts."""

    def newest(self, route: str, *, before: int | None = None, limit: int = 50) -> list[Kept]:
        """Newest first, with their texts."""

    def close(self) -> None: ...
