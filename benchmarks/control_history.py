"""Whether a history of reads and compare-and-swap writes is one that a single, never failing store could have made.

`check` is pure: it is given what clients did and were told, with the times between which they did it, and what the
trail says was made. It finds writes that were lost, made twice, made though they were refused or on another version
than they named, and reads of what never was. And it finds whether the history is linearizable (Herlihy and Wing, 1990):
whether every operation can be given one moment between its beginning and its end at which it happened, so that all of
them, in the order of these moments, are what one document does.

In general that takes a search (Wing and Gong, 1993). Here versions order the writes, so only their moments are left to
be found. With t(v) the moment of the write that made version v, and t(0) before everything:

    t(1) <= t(2) <= ...
    began(write v) <= t(v) <= ended(write v)      no upper bound if its client was never told that it was made
    t(v) <= ended(read) and t(v + 1) >= began(read)      for every read that saw version v

All of these bound single moments from below or above, or order neighbours. So the earliest moments that the lower
bounds allow, taken one after the other, meet the upper bounds if any moments do.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


class Outcome(enum.Enum):
    """What the client was told of its write."""

    MADE = "made"
    REFUSED = "refused"  # for certain: it must not be in the trail
    UNKNOWN = "unknown"  # an answer that says so, or none: it may be there or not, and appear any time later


@dataclass(frozen=True, slots=True)
class Write:
    """`reason` is unique to it, `on` the version it named in If-Match, `version` the one it was told it made. Times are
    seconds of one monotonic clock."""

    document: str
    reason: str
    on: int
    began: float
    ended: float
    outcome: Outcome
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A version that somebody was shown, also in a refusal. `reason` is that of the version: "" for version 0, None if
    it was not shown."""

    document: str
    version: int
    reason: str | None
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A version as the trail has it."""

    document: str
    version: int
    reason: str


class Fault(enum.Enum):
    LOST = "an accepted write is not in the trail"
    ELSEWHERE = "a write is another version than its client was told"
    TWICE = "a write was made twice"
    REFUSED = "a write was made though it was refused"
    OVERWROTE = "a write was made on another version than it named"
    UNASKED = "the trail has a write that nobody made"
    GAP = "versions do not follow each other"
    UNREAL = "a read saw what the trail does not have"
    ORDER = "no order in time explains the history"


@dataclass(frozen=True, slots=True)
class Violation:
    fault: Fault
    document: str
    text: str


def check(writes: Sequence[Write], reads: Iterable[Read], trail: Iterable[Entry]) -> list[Violation]:
    """All that is wrong, documents in order; nothing for a history that is right."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in trail:
        entries[entry.document].append(entry)
    by_document: dict[str, tuple[list[Write], list[Read]]] = defaultdict(lambda: ([], []))
    for write in writes:
        by_document[write.document][0].append(write)
    for read in reads:
        by_document[read.document][1].append(read)
    found = []
    for document in sorted(by_document.keys() | entries.keys()):
        its_writes, its_reads = by_document[document]
        found += _made_once(document, its_writes, entries[document])
        found += _real(its_reads, entries[document])
        found += _in_order(document, its_writes, its_reads, entries[document])
    return found


def _made_once(document: str, writes: Sequence[Write], entries: Sequence[Entry]) -> list[Violation]:
    """Each write against the trail, and each entry against the writes."""
    found: list[Violation] = []

    def wrong(fault: Fault, text: str) -> None:
        found.append(Violation(fault, document, text))

    asked = {write.reason: write for write in writes}
    if len(asked) != len(writes):
        raise ValueError(f"{document}: expected a reason of its own for every write")
    places: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries, start=1):
        if entry.version != place:
            wrong(Fault.GAP, f"version {entry.version} stands where {place} was expected")
        places[entry.reason].append(entry.version)
    for reason, versions in places.items():
        write = asked.get(reason)
        if write is None:
            wrong(Fault.UNASKED, f"version {versions[0]}, {reason!r}")
            continue
        if len(versions) > 1:
            wrong(Fault.TWICE, f"{reason!r} is versions {versions}")
        if write.outcome is Outcome.REFUSED:
            wrong(Fault.REFUSED, f"{reason!r} is version {versions[0]}")
        if write.outcome is Outcome.MADE and write.version not in versions:
            wrong(Fault.ELSEWHERE, f"{reason!r} is version {versions[0]}, told {write.version}")
        if versions[0] != write.on + 1:
            wrong(Fault.OVERWROTE, f"{reason!r} named version {write.on}, and is version {versions[0]}")
    for write in writes:
        if write.outcome is Outcome.MADE and write.reason not in places:
            wrong(Fault.LOST, f"{write.reason!r}, told that it is version {write.version}")
    return found


def _real(reads: Iterable[Read], entries: Sequence[Entry]) -> list[Violation]:
    """Whether what was read is what the trail has under that version."""
    reasons = {0: "", **{entry.version: entry.reason for entry in entries}}
    found = []
    for read in reads:
        if read.version not in reasons:
            found.append(Violation(Fault.UNREAL, read.document, f"version {read.version}, the last is {len(entries)}"))
        elif read.reason is not None and read.reason != reasons[read.version]:
            text = f"version {read.version} as {read.reason!r}, the trail says {reasons[read.version]!r}"
            found.append(Violation(Fault.UNREAL, read.document, text))
    return found


def _in_order(
    document: str, writes: Sequence[Write], reads: Sequence[Read], entries: Sequence[Entry]
) -> list[Violation]:
    """Versions for which there is no moment. After each the search goes on as if that version's upper bounds held."""
    asked = {write.reason: write for write in writes}
    earliest = _earliest(asked, reads, entries)
    latest = _latest(asked, reads, entries)
    found = []
    at, why = -math.inf, "the beginning"
    for entry in entries:
        bound, cause = earliest[entry.version]
        if bound > at:
            at, why = bound, cause
        until, other = latest[entry.version]
        if at > until:
            text = f"version {entry.version} was there at {until:.6f} ({other}), but not before {at:.6f} ({why})"
            found.append(Violation(Fault.ORDER, document, text))
            at, why = until, other
    return found


_Bounds = Mapping[int, tuple[float, str]]


def _earliest(asked: Mapping[str, Write], reads: Iterable[Read], entries: Iterable[Entry]) -> _Bounds:
    """Before which moment a version cannot have been made, and what says so."""
    bounds = defaultdict(lambda: (-math.inf, ""))
    for entry in entries:
        if (write := asked.get(entry.reason)) is not None:
            bounds[entry.version] = write.began, f"{write.reason!r} began"
    for read in reads:
        after = read.version + 1
        bounds[after] = max(bounds[after], (read.began, f"a read of version {read.version} began"))
    return bounds


def _latest(asked: Mapping[str, Write], reads: Iterable[Read], entries: Iterable[Entry]) -> _Bounds:
    """At which moment a version was there for certain, and what says so."""
    bounds = defaultdict(lambda: (math.inf, ""))
    for entry in entries:
        write = asked.get(entry.reason)
        if write is not None and write.outcome is Outcome.MADE:
            bounds[entry.version] = write.ended, f"{write.reason!r} was confirmed"
    for read in reads:
        bounds[read.version] = min(bounds[read.version], (read.ended, "a read of it ended"))
    return bounds
