"""Who learns from what: train, dev, calibration, holdout and gold, so that nothing is on two sides.

What belongs together stays together: all of one person, of one session and of one template family, and texts that are
nearly the same, and whatever these link. Such a group goes where a keyed hash of its smallest id says: the same on
every run, and not to be foreseen without the set's secret. What stands in a split stays there. What comes later and
belongs to a group that stands somewhere goes there, too; if it would link two splits, it is left out, and so are
copies.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct

from student_train.teachset import neardup
from student_train.teachset.example import Example, Split
from student_train.teachset.store import SetError, TeachingSet

ALIKE, COPY = 0.8, 0.95
"""Overlap from which two texts are kept on one side, and from which one of them is left out as a copy."""


class Shares(Struct, frozen=True):
    """Of groups, not of examples: groups are as large as they are. Gold is what people put there."""

    train: float = 0.8
    dev: float = 0.05
    calibration: float = 0.05
    holdout: float = 0.1

    def at(self, point: float) -> Split:
        """`point`: from 0 to 1."""
        for split in ("holdout", "calibration", "dev"):
            point -= getattr(self, split)
            if point < 0:
                return split
        return "train"


class Divided(Struct, frozen=True):
    """`put`: how many were put where, this time; `groups`: how many there are in all; `largest`: the examples in the
    largest of them."""

    put: dict[str, int]
    groups: int
    largest: int


def text_of(example: Example) -> str:
    """What is compared: all but what the app says itself, which is the same in every example."""
    parts: list[str] = []
    for message in example.messages:
        if message.get("role") in ("system", "developer"):
            continue
        content = message.get("content")
        if isinstance(content, str):
            parts.append(content)
        elif isinstance(content, list):
            parts += [str(part.get("text", "")) for part in content if isinstance(part, dict)]
    return "\n".join(parts)


def divide(
    teaching: TeachingSet,
    shares: Shares | None = None,
    pins: Mapping[str, Split] | None = None,
    show: Callable[[int], None] = lambda count: None,
) -> Divided:
    """Put every example of a set, opened with its holdout, into a split. `pins`: families, and where they go. `show` is
    told how many examples have been read. Needs some 350 bytes of memory per example."""
    if not teaching.holdout:
        raise SetError("expected a set that is opened with its holdout: else what is near to that could go elsewhere")
    shares = shares or Shares()
    if abs(sum(getattr(shares, name) for name in shares.__struct_fields__) - 1) > 1e-6:
        raise SetError(f"shares: expected a sum of 1, got {shares}")
    ids, groups, signatures, wanted = _read(teaching, pins or {}, show)
    if not ids:
        return Divided({}, 0, 0)
    copies: dict[int, int] = {}
    for one, other, much in neardup.pairs(signatures, ALIKE):
        groups.join(one, other)
        if much >= COPY and one not in copies:
            copies.setdefault(other, one)
    roots = [groups.root(row) for row in range(len(ids))]
    stands: dict[int, set[Split]] = {}
    for row, id_ in enumerate(ids):
        split = teaching.split_of(id_) or wanted.get(row)
        if split is not None and split != "left_out":
            stands.setdefault(roots[row], set()).add(split)
    put: Counter[str] = Counter()
    placed = _places(teaching, ids, roots, stands, shares, copies)
    for split, why, chosen in _in_batches(placed):
        put[split] += teaching.assign([(id_, split) for id_ in chosen], **({"why": why} if why else {}))
    sizes = Counter(roots)
    return Divided(dict(sorted(put.items())), len(sizes), max(sizes.values()))


def _read(
    teaching: TeachingSet, pins: Mapping[str, Split], show: Callable[[int], None]
) -> tuple[list[str], "_Groups", neardup.Signatures, dict[int, Split]]:
    ids: list[str] = []
    groups = _Groups()
    held = array("I")
    wanted: dict[int, Split] = {}
    first: dict[tuple[str, str], int] = {}
    for example in teaching.examples():
        row = groups.add()
        ids.append(example.id)
        held.frombytes(neardup.signature(text_of(example)).tobytes())
        for what, name in (("person", example.person), ("session", example.session), ("family", example.family)):
            if name:
                groups.join(first.setdefault((what, name), row), row)
        if example.family in pins:
            wanted[row] = pins[example.family]
        if len(ids) % 1000 == 0:
            show(len(ids))
    show(len(ids))
    signatures = np.frombuffer(held, dtype=np.uint32).reshape(-1, neardup.ORDERS)
    return ids, groups, signatures, wanted


def _places(
    teaching: TeachingSet,
    ids: Sequence[str],
    roots: Sequence[int],
    stands: Mapping[int, set[Split]],
    shares: Shares,
    copies: Mapping[int, int],
) -> Iterator[tuple[str, Split, str]]:
    """Ids that stand nowhere yet, where they go, and why if they are left out. Ids come in order, so the first of a
    group's is its smallest."""
    chosen: dict[int, Split] = {}
    for row, id_ in enumerate(ids):
        root = roots[row]
        if root not in chosen:
            at = stands.get(root, set())
            point = int(teaching.pseudonym(f"split {id_}"), 16) / 16**32
            chosen[root] = shares.at(point) if not at else "left_out" if len(at) > 1 else next(iter(at))
        if teaching.split_of(id_) is not None:
            continue
        if chosen[root] == "left_out":
            yield id_, "left_out", "between splits"
        elif row in copies and chosen[root] != "gold":
            yield id_, "left_out", "copy"
        else:
            yield id_, chosen[root], ""


def _in_batches(placed: Iterator[tuple[str, Split, str]]) -> Iterator[tuple[Split, str, list[str]]]:
    waiting: dict[tuple[Split, str], list[str]] = {}
    for id_, split, why in placed:
        batch = waiting.setdefault((split, why), [])
        batch.append(id_)
        if len(batch) == 1000:
            yield split, why, batch
            waiting[split, why] = []
    for (split, why), batch in waiting.items():
        yield split, why, batch


class _Groups:
    """Disjoint sets of rows, by union and path halving (Tarjan, van Leeuwen, 1984). Mutable state: each row's parent; a
    set's root is its smallest row."""

    def __init__(self) -> None:
        self._parent = array("I")

    def add(self) -> int:
        self._parent.append(len(self._parent))
        return len(self._parent) - 1

    def root(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(self, one: int, other: int) -> None:
        one, other = self.root(one), self.root(other)
        self._parent[max(one, other)] = min(one, other)
