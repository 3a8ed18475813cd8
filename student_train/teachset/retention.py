"""What has to go: who asked to be forgotten, and what was kept for as long as it may be.

Erased is: the example, what was made from it, what teachers and people said of it, its session's table of placeholders
once nothing of the session is left, and every export that had it. The ledger keeps a tombstone, and tells which models
learned from it: those have to be trained again, which nobody does by erasing a file.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from student_train.teachset.example import Example
from student_train.teachset.ledger import Json
from student_train.teachset.lineage import Model, history
from student_train.teachset.store import SetError, TeachingSet

DAY_S = 86_400.0


class Erased(Struct, frozen=True):
    """`records`: examples, answers, lessons, reviews and tables together. `versions`: the exports that had any of it,
    and of which this set has no files any more; copies elsewhere are for whoever made them. `models`: those that
    learned from it."""

    examples: int
    records: int
    versions: tuple[str, ...]
    models: tuple[Model, ...]


def of_customer(teaching: TeachingSet, customer: str, tenant: str | None = None) -> Callable[[Example], bool]:
    """Whether an example is about this end user, of one tenant or of whichever; `customer` may be the pseudonym."""
    names: dict[str, str] = {}

    def is_about(example: Example) -> bool:
        own = example.source.tenant
        if not example.person or tenant not in (None, own):
            return False
        if own not in names:
            names[own] = teaching.person(own, customer)
        return example.person in (customer, names[own])

    return is_about


def of_requests(requests: Sequence[str]) -> Callable[[Example], bool]:
    wanted = frozenset(requests)
    return lambda example: example.source.id in wanted


def past(now: float, days: Mapping[str, float] | None = None) -> Callable[[Example], bool]:
    """Whether an example's time is over. `days`: of kinds of sources, from when it was collected; the earlier of that
    and what the example says itself counts. `now`: seconds since the epoch."""
    days = days or {}

    def is_over(example: Example) -> bool:
        source = example.source
        until = [] if source.retention_until is None else [source.retention_until]
        if source.kind in days:
            until.append(source.at + days[source.kind] * DAY_S)
        return bool(until) and min(until) <= now

    return is_over


def chosen(teaching: TeachingSet, wanted: Callable[[Example], bool]) -> list[str]:
    """The ids of the examples that `wanted` chooses, of all that was made from them, and of the tables of sessions that
    end with them; in order."""
    _all_readable(teaching)
    found: set[str] = set()
    children: dict[str, list[str]] = {}
    persons: set[str] = set()
    sessions: set[str] = set()
    for example in teaching.examples():
        if example.parent:
            children.setdefault(example.parent, []).append(example.id)
        if wanted(example):
            found.add(example.id)
            persons |= {example.person} - {""}
            sessions |= {example.session} - {""}
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    if sessions or persons:
        left = [one for one in teaching.examples() if one.id not in found]
        sessions -= {one.session for one in left}
        persons -= {one.person for one in left}
        found |= sessions | {id_ for person in persons for id_ in teaching.of_person(person)}
    return sorted(found)


def erase(teaching: TeachingSet, wanted: Callable[[Example], bool], why: str, kind: str = "erased") -> Erased:
    """Exports go first: killed in between, the set still has what is to be erased, and is told so by being asked again.
    Nothing that is wanted: a log that still holds what an earlier run erased is cleared all the same."""
    ids = chosen(teaching, wanted)
    known = history(teaching.path, frozenset(ids))
    examples = [id_ for id_ in ids if teaching.has("example", id_)]
    versions = {one.name for id_ in examples for one in known.versions_with(id_)}
    models = {one.name: one for id_ in examples for one in known.models_with(id_)}
    for name in [*versions, *(folder.name for folder in (teaching.path / "exports").glob(".*"))]:
        withdraw(teaching.path, name)  # those with a dot were being made when they were killed
    if not ids:
        teaching.shred()
        return Erased(0, 0, (), ())
    about: dict[str, Json] = {"why": why, "versions": sorted(versions), "models": sorted(models)}
    records = teaching.erase(ids, about, kind)
    return Erased(len(examples), records, tuple(sorted(versions)), tuple(models[name] for name in sorted(models)))


def withdraw(path: Path, version: str) -> None:
    """Remove the files of an export."""
    shutil.rmtree(path / "exports" / version, ignore_errors=True)
    if (path / "exports" / version).exists():
        raise SetError(f"{path / 'exports' / version}: expected to remove it, could not: remove it, and run this again")


def _all_readable(teaching: TeachingSet) -> None:
    if not teaching.holdout:
        raise SetError("expected a set that is opened with its holdout: what is to be erased may be in it")
