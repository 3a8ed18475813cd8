"""Which of many texts are alike, and which share a key, in little memory.

What would grow with the texts is spilled to files that have no name: they are gone with the process, whatever ends it,
so that no sketch of a text is left on a disk that the text is erased from. In memory is a part at a time.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from student_train.teachset.neardup import ALIKE, CONTAINED, ORDERS, U64, Sketches, mixed, similarity

_PARTS, _GRAM_PARTS = 16, 128  # powers of two
_NEIGHBOURS = 8
"""How many that follow are compared with each, of those that share a band or a run of words: all of up to nine; of more
those that are nearest, by the next band or by their place."""

Rows = NDArray[np.int64]


class Spill:
    """Rows of 64-bit numbers in unnamed files, opened when something is to be in them. Mutable state: what is in the
    files."""

    def __init__(self, folder: Path, width: int, parts: int = _PARTS) -> None:
        self._folder, self._width = folder, width
        self._files: list[IO[bytes] | None] = [None] * parts

    def add(self, part: Rows | U64, *columns: NDArray[np.uint64] | Rows) -> None:
        """`part`: into which file each row goes."""
        order = np.argsort(part, kind="stable")
        table = np.stack([np.asarray(column, np.uint64)[order] for column in columns], axis=1)
        edges = np.searchsorted(np.asarray(part)[order], np.arange(len(self._files) + 1))
        for at in np.flatnonzero(np.diff(edges)):
            file = self._files[at]
            if file is None:
                file = self._files[at] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            file.write(table[edges[at] : edges[at + 1]].tobytes())

    def parts(self) -> Iterator[U64]:
        """(rows, width) of each file."""
        for file in self._files:
            if file is None:
                yield np.empty((0, self._width), np.uint64)
            else:
                file.seek(0)
                yield np.frombuffer(file.read(), np.uint64).reshape(-1, self._width)

    def close(self) -> None:
        for file in self._files:
            if file is not None:
                file.close()


class Alike:
    """Sketches of texts, numbered as they are added. Mutable state: those, on disk, and how many runs of words each
    text has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._low = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - as long as this
        self._bands = Spill(folder, 3)
        self._grams = Spill(folder, 2, _GRAM_PARTS)  # many more than bands
        self._runs: list[NDArray[np.uint16]] = []
        self._count = 0

    def add(self, found: Sketches) -> None:
        rows = np.arange(self._count, self._count + len(found.low))
        self._count += len(rows)
        self._low.write(found.low.tobytes())
        bands, next_ = found.bands[found.words], np.roll(found.bands, -1, axis=1)[found.words]
        self._bands.add(
            _part_of(bands.ravel()), bands.ravel(), next_.ravel(), np.repeat(rows[found.words], bands.shape[1])
        )
        self._grams.add(_part_of(found.grams, _GRAM_PARTS), found.grams, rows[found.gram_of])
        self._runs.append(np.bincount(found.gram_of, minlength=len(rows)).astype(np.uint16))

    def pairs(self) -> Iterator[tuple[Rows, Rows]]:
        """Numbers of texts that are alike, the smaller first; each pair once or twice."""
        if self._count:
            yield from self._overlapping()
            yield from self._containing()

    def close(self) -> None:
        self._low.close()
        self._bands.close()
        self._grams.close()

    def _overlapping(self) -> Iterator[tuple[Rows, Rows]]:
        found = Spill(self._folder, 1)
        for table in self._bands.parts():
            order = np.lexsort((table[:, 2], table[:, 1], table[:, 0]))
            one, other = _neighbours(table[order, 0], table[order, 2])
            both = np.unique(joint(one, other))
            found.add(_part_of(mixed(both)), both)
        self._low.flush()
        for table in found.parts():
            both = np.unique(table[:, 0])
            for begin in range(0, len(both), 1 << 14):
                one, other = apart(both[begin : begin + (1 << 14)])
                close = similarity(self._sketch(one), self._sketch(other)) >= ALIKE
                yield one[close], other[close]
        found.close()

    def _sketch(self, rows: Rows) -> NDArray[np.uint8]:
        """(rows, ORDERS). Read, not mapped: what is mapped counts as memory."""
        some, which = np.unique(rows, return_inverse=True)
        file = self._low.fileno()
        held = b"".join(os.pread(file, ORDERS, row * ORDERS) for row in some.tolist())
        return np.frombuffer(held, np.uint8).reshape(-1, ORDERS)[which]

    def _containing(self) -> Iterator[tuple[Rows, Rows]]:
        found = Spill(self._folder, 2)
        for table in self._grams.parts():
            order = np.lexsort((table[:, 1], table[:, 0]))
            one, other = _neighbours(table[order, 0], table[order, 1])
            both, times = np.unique(joint(one, other), return_counts=True)
            found.add(_part_of(mixed(both)), both, times)
        runs = np.concatenate(self._runs)
        for table in found.parts():
            both, which = np.unique(table[:, 0], return_inverse=True)
            shared = np.bincount(which, weights=table[:, 1], minlength=len(both))
            one, other = apart(both)
            much = shared >= CONTAINED * np.minimum(runs[one], runs[other])
            yield one[much], other[much]
        found.close()


class Keys:
    """Rows that share a key: a person, a session, a family. Mutable state: keys and rows, on disk."""

    def __init__(self, folder: Path) -> None:
        self._spill = Spill(folder, 2)

    def add(self, held: Sequence[tuple[int, int]]) -> None:
        """Keys, as hashes of 64 bits, and rows."""
        table = np.array(held, np.uint64).reshape(-1, 2)
        self._spill.add(_part_of(table[:, 0]), table[:, 0], table[:, 1])

    def groups(self) -> Iterator[tuple[Rows, Rows]]:
        """Numbers of keys that more than one row has, from 0 on over all that is yielded, and those rows."""
        first = 0
        for table in self._spill.parts():
            _, which, counts = np.unique(table[:, 0], return_inverse=True, return_counts=True)
            shared = counts > 1
            number = np.cumsum(shared) - 1 + first
            inside = shared[which]
            first += int(shared.sum())
            yield number[which[inside]].astype(np.int64), table[inside, 1].astype(np.int64)

    def close(self) -> None:
        self._spill.close()


def _part_of(keys: U64, parts: int = _PARTS) -> U64:
    """By the highest bits."""
    return np.asarray(keys >> np.uint64(65 - parts.bit_length()))


def _neighbours(keys: U64, rows: U64) -> tuple[Rows, Rows]:
    """Of sorted keys, the rows of those that share one, at most `_NEIGHBOURS` apart."""
    ones, others = [rows[:0]], [rows[:0]]
    for apart in range(1, _NEIGHBOURS + 1):
        same = keys[apart:] == keys[:-apart]
        if not same.any():
            break
        ones.append(rows[:-apart][same])
        others.append(rows[apart:][same])
    one, other = np.concatenate(ones).astype(np.int64), np.concatenate(others).astype(np.int64)
    return np.minimum(one, other), np.maximum(one, other)


def joint(one: Rows, other: Rows) -> U64:
    """Two numbers below 2^32 in one."""
    return np.asarray(one.astype(np.uint64) << np.uint64(32) | other.astype(np.uint64))


def apart(both: U64) -> tuple[Rows, Rows]:
    return (both >> np.uint64(32)).astype(np.int64), (both & np.uint64(0xFFFFFFFF)).astype(np.int64)
