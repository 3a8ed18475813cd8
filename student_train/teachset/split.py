"""Who learns from what: train, dev, calibration, holdout and gold, so that nothing is on two sides.

What belongs together stays together: all of one person, of one session and of one template family, what was made from
one example, texts that are nearly the same, and whatever these link. Such a group goes where a keyed hash of its
smallest id says: the same on every run, and not to be foreseen without the set's secret.

What stands in a split stays there for good. What comes later goes where its group stands; an example that would link
groups of two splits is left out, and it alone: it links nothing then, so the groups stay apart and go on growing. In
gold is only what people wrote, or put there: anything else that is like it is left out. Of copies, to the letter but
for case and blanks, the first is kept.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from msgspec import Struct

from student_train.teachset.alike import Alike, Keys, Rows, Spill, apart, joint
from student_train.teachset.example import Example, Split
from student_train.teachset.neardup import sketches, text_of
from student_train.teachset.store import SetError, TeachingSet

_BLANK = re.compile(r"(?:\s|\\[nrt])+")
_AROUND_TEXT = re.compile(r' ?" ?')
_READ = 500  # examples whose sketches are made at a time
_BITS: dict[Split, int] = {split: 1 << at for at, split in enumerate(get_args(Split)) if split != "left_out"}
_SPLITS: dict[int, Split] = {bit: split for split, bit in _BITS.items()}
_GOLD = _BITS["gold"]


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
    """`put`: how many were put where, this time, and `left_out`: why how many of them. `groups`: how many there are in
    all; `largest`: the examples in the largest of them."""

    put: dict[str, int]
    left_out: dict[str, int]
    groups: int
    largest: int


def divide(
    teaching: TeachingSet,
    shares: Shares | None = None,
    pins: Mapping[str, Split] | None = None,
    show: Callable[[int], None] = lambda count: None,
) -> Divided:
    """Put every example of a set, opened with its holdout, into a split. `pins`: families, and where they go. `show` is
    told how many examples have been read. Some 150 bytes of memory per example; all else is in files."""
    if not teaching.holdout:
        raise SetError("expected a set that is opened with its holdout: else what is near to that could go elsewhere")
    shares = shares or Shares()
    parts = [getattr(shares, name) for name in shares.__struct_fields__]
    if min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
        raise SetError(f"shares: expected a sum of 1, and none below 0, got {shares}")
    rows = _Rows()
    links = _links(teaching, rows, pins or {}, show)
    groups = _group(rows, links)
    links.close()
    put: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for split, why, chosen in _in_batches(_places(teaching, rows, groups, shares)):
        put[split] += (count := teaching.assign([(id_, split) for id_ in chosen], **({"why": why} if why else {})))
        if why:
            left_out[why] += count
    sizes = Counter(groups.root(row) for row in range(len(rows.ids)) if not groups.out[row])
    return Divided(dict(sorted(put.items())), dict(left_out), len(sizes), max(sizes.values(), default=0))


class _Rows:
    """All examples of a set by number, in the order of their ids. `fixed`: the bit of the split that one stands in, or
    is pinned to, 0 for none. `left_out`: by an earlier run. `hand`: written by a person. Mutable state: all of it."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.fixed, self.stands, self.left_out, self.hand = (bytearray() for _ in range(4))

    def add(self, example: Example, split: Split | None, pin: Split | None) -> None:
        hand = example.source.kind == "handcrafted"
        wanted = split or pin or ("gold" if hand else None)
        self.ids.append(example.id)
        self.fixed.append(0 if wanted is None else _BITS.get(wanted, 0))
        self.stands.append(split is not None)
        self.left_out.append(split == "left_out")
        self.hand.append(hand)


class _Links:
    """Which rows are linked to which, and to which keys, by windows of rows; a key's number follows on the rows'.
    Mutable state: those, on disk; `keys`, how many; of every row the number of its copies, one for all of them, or -1
    (`twins`)."""

    def __init__(self, folder: Path, count: int) -> None:
        self._window = max(4096, -(-count // 64))  # at most 64 files are open
        self._spill = Spill(folder, 1, -(-count // self._window))
        self._count = count
        self.keys = 0
        self.twins = array("i", [-1]) * count

    def key(self, which: Rows, rows: Rows) -> None:
        self.keys = max(self.keys, int(which.max(initial=-1)) + 1)
        self._spill.add(rows // self._window, joint(rows, which + self._count))

    def pair(self, one: Rows, other: Rows) -> None:
        self._spill.add(one // self._window, joint(one, other))
        self._spill.add(other // self._window, joint(other, one))

    def of_rows(self) -> Iterator[tuple[int, list[int]]]:
        """Every row, in order, and what it is linked to."""
        for at, table in enumerate(self._spill.parts()):
            rows, linked = apart(np.unique(table[:, 0]))
            begin, end = at * self._window, min((at + 1) * self._window, self._count)
            edges = np.searchsorted(rows, np.arange(begin, end + 1)).tolist()
            others = linked.tolist()
            for row in range(begin, end):
                yield row, others[edges[row - begin] : edges[row - begin + 1]]

    def close(self) -> None:
        self._spill.close()


def _links(teaching: TeachingSet, rows: _Rows, pins: Mapping[str, Split], show: Callable[[int], None]) -> _Links:
    """Reads the set, once, into `rows` and what is linked."""
    alike, keys, copies = Alike(teaching.path), Keys(teaching.path), Keys(teaching.path)
    for batch in _batches(teaching.examples(), _READ):
        first = len(rows.ids)
        for one in batch:
            rows.add(one, teaching.split_of(one.id), pins.get(one.family) if one.family else None)
        alike.add(sketches([text_of(one) for one in batch]))
        keys.add([(key, first + at) for at, one in enumerate(batch) for key in _keys(one)])
        copies.add([(_copy(one), first + at) for at, one in enumerate(batch) if one.kind == "plain"])
        show(len(rows.ids))
    links = _Links(teaching.path, len(rows.ids))
    for which, linked in keys.groups():
        links.key(which, linked)
    twins = np.frombuffer(links.twins, np.intc)
    for which, linked in copies.groups():
        twins[linked] = which
    for smaller, larger in alike.pairs():
        links.pair(smaller, larger)
    for made in (alike, keys, copies):
        made.close()
    return links


def _keys(example: Example) -> Iterator[int]:
    names = ("person", example.person), ("session", example.session), ("family", example.family)
    for what, name in (*names, ("from", example.parent or example.id)):
        if name:
            yield _hash(f"{what}\0{name}".encode())


def _copy(example: Example) -> int:
    """Of all that a model would be sent, but for case and blanks."""
    sent = msgspec.json.encode([example.messages, example.tools, example.response_format], order="sorted")
    return _hash(_AROUND_TEXT.sub('"', _BLANK.sub(" ", sent.decode().casefold())).encode())


def _hash(what: bytes) -> int:
    return int.from_bytes(blake2b(what, digest_size=8).digest())


class _Groups:
    """Disjoint sets of rows and keys, by union and path halving (Tarjan, van Leeuwen, 1984). Mutable state: each one's
    parent, a set's root is its smallest; by root, the splits that what is in it stands in, as bits; why a row is left
    out, "" if it is not."""

    def __init__(self, rows: int, keys: int) -> None:
        self._parent = array("I", range(rows + keys))
        self.bits = bytearray(rows + keys)
        self.out: list[str] = [""] * rows

    def root(self, one: int) -> int:
        parent = self._parent
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    def join(self, one: int, other: int) -> None:
        one, other = self.root(one), self.root(other)
        self.bits[min(one, other)] |= self.bits[max(one, other)]
        self._parent[max(one, other)] = min(one, other)


def _group(rows: _Rows, links: _Links) -> _Groups:
    """First what stands, or is pinned: it says where its keys belong, and is not moved by anything. Then all others, in
    order: each joins what it is linked to, unless that is in two splits. Rows that follow look back to it themselves,
    so what is left out has linked nothing."""
    count = len(rows.ids)
    groups = _Groups(count, links.keys)
    taken = bytearray(max(links.twins, default=-1) + 2)  # copies of which one is kept; the last: of no copies
    for row, linked in links.of_rows():
        if bit := rows.fixed[row]:
            groups.bits[row] |= bit
            for other in linked:
                if other >= count:
                    groups.bits[other] |= bit
            taken[links.twins[row]] = True
    for row, linked in links.of_rows():
        if rows.left_out[row]:
            groups.out[row] = "before"
            continue
        bit = rows.fixed[row]
        others = [one for one in linked if one >= count or rows.fixed[one] or (one < row and not groups.out[one])]
        if bit:
            others = [one for one in others if groups.bits[groups.root(one)] == bit]
        else:
            found = 0
            for one in others:
                found |= groups.bits[groups.root(one)]
            twins = links.twins[row]
            if why := _why_not(found, bool(rows.hand[row]), twins >= 0 and bool(taken[twins])):
                groups.out[row] = why
                continue
            taken[twins] = True
        for one in others:
            groups.join(row, one)
    return groups


def _why_not(bits: int, hand: bool, copy: bool) -> str:
    if bits & (bits - 1):
        return "between splits"
    if bits == _GOLD and not hand:
        return "like gold"
    return "copy" if copy else ""


def _places(teaching: TeachingSet, rows: _Rows, groups: _Groups, shares: Shares) -> Iterator[tuple[str, Split, str]]:
    """Ids that stand nowhere yet, where they go, and why if they are left out."""
    chosen: dict[int, Split] = {}
    for row, id_ in enumerate(rows.ids):
        if rows.stands[row]:
            continue
        if why := groups.out[row]:
            yield id_, "left_out", why
            continue
        root = groups.root(row)
        if root not in chosen:
            bits = rows.fixed[row] or groups.bits[root]
            point = int(teaching.pseudonym(f"split {rows.ids[root]}"), 16) / 16**32
            chosen[root] = _SPLITS[bits] if bits else shares.at(point)
        yield id_, chosen[root], ""


def _batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    batch: list[Example] = []
    for one in examples:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_batches(placed: Iterator[tuple[str, Split, str]]) -> Iterator[tuple[Split, str, list[str]]]:
    waiting: dict[tuple[Split, str], list[str]] = {}
    for id_, split, why in placed:
        batch = waiting.setdefault((split, why), [])
        batch.append(id_)
        if len(batch) == 1000:
            yield split, why, batch
            waiting[split, why] = []
    for (split, why), batch in waiting.items():
        if batch:
            yield split, why, batch
