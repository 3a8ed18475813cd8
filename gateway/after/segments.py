"""Segment files: where one worker keeps the captured requests of one route. Blocking, for a thread.

A *run* is one worker from its start to its end, and its files are its own, so workers share nothing but a folder:

    FOLDER/20261005T080000Z-4711-9f3a1c-0001.jsonl      segments, numbered; .jsonl.enc if they are encrypted
    FOLDER/20261005T080000Z-4711-9f3a1c.tally           while the run lives: how many requests it owes the disk

A segment ends when it is large enough or its day (UTC) is over, and is deleted whole once it is too old. The tally is
memory that outlives its process: the worker notes there at each request, in some ten nanoseconds, that it owes one, and
at each write how much is paid. Its lock goes with the process. So whoever starts next can tell a run that was killed,
by `kill -9` too, and how many requests went with it: what was owed, less what was paid, less the whole lines that were
written after the last payment was noted. (One answer may be out in the very instant before its note, in each worker. A
machine that loses its power may lose the last notes as well.)
"""

import fcntl
import mmap
import os
import re
import secrets
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import gmtime, strftime, time

from gateway.after.sealing import Seal, whole_frames

_DAY_S = 86_400
_CHUNK = 64 * 1024  # bytes between two system calls, in which other threads may run
_OWED = struct.Struct("=Q")
_PAID = struct.Struct("=QQQ")  # lines, the segment's number, bytes of it: written by one system call, so all or none
_TALLY_BYTES = _OWED.size + _PAID.size
_SEGMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9]+-[0-9a-f]{6}-[0-9]{4,}\.jsonl(\.enc)?")


class Full(Exception):
    """The folder has as much as it may. Nothing is overwritten: somebody has to make room, or time."""


class Tally:
    """How many requests a run owes. `owe` is for the event loop's thread, the rest for the writer's."""

    def __init__(self, path: Path, owed: int) -> None:
        self._path = path
        fresh = path.with_suffix(".new")
        self._file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # before anybody looks for it by its name
        os.ftruncate(self._file, _TALLY_BYTES)
        self._memory = mmap.mmap(self._file, _TALLY_BYTES)
        self._owed = memoryview(self._memory)[: _OWED.size].cast("Q")
        self._owed[0] = owed
        fresh.rename(path)

    def owe(self, more: int) -> None:
        """So many more; fewer, for one that is not to be kept after all."""
        self._owed[0] += more

    def paid(self, lines: int, segment: int, size: int) -> None:
        os.pwrite(self._file, _PAID.pack(lines, segment, size), _OWED.size)

    def close(self) -> None:
        """Nothing is owed any more, or what is owed is known to be lost."""
        self._path.unlink(missing_ok=True)
        self._owed.release()
        self._memory.close()
        os.close(self._file)


class Run:
    """Mutable state: the segment that is written to, and how many lines of the run were written. `most`: bytes of a
    segment; it may be a line longer."""

    def __init__(self, folder: Path, key: bytes | None, most: int, owed: int) -> None:
        self._folder = folder
        self._seal = Seal(key) if key is not None else None
        self._most = most
        self._name = f"{strftime('%Y%m%dT%H%M%SZ', gmtime())}-{os.getpid()}-{secrets.token_hex(3)}"
        self._file: int | None = None
        self._number, self._day, self._size, self._frames, self._lines = 0, 0, 0, 0, 0
        self.tally = Tally(folder / f"{self._name}.tally", owed)

    def append(self, lines: Sequence[bytes]) -> None:
        """All of them are on the disk when it returns. Raises `OSError`; `written` says how many are in the file."""
        at = 0
        while at < len(lines):
            chunk: list[bytes] = []
            size = 0
            while at < len(lines) and (not chunk or size + len(lines[at]) <= _CHUNK):
                chunk.append(lines[at])
                size += len(lines[at])
                at += 1
            self._write(chunk)
        assert self._file is not None
        os.fsync(self._file)

    @property
    def written(self) -> int:
        return self._lines

    def _write(self, lines: Sequence[bytes]) -> None:
        file = self._opened()
        seal = self._seal
        if seal is None:
            data = b"".join(lines)
        else:
            data = b"".join([seal.frame(line, self._frames + at) for at, line in enumerate(lines)])
        _write_all(file, data, self._size)
        self._size += len(data)
        self._frames += len(lines)
        self._lines += len(lines)
        self.tally.paid(self._lines, self._number, self._size)

    def _opened(self) -> int:
        """The segment to write to: a new one if this one is over, or somebody took it away."""
        self.turn_day()
        if self._file is not None:
            about = os.fstat(self._file)
            if about.st_size > self._size:  # what could not be taken back when the disk was full
                os.ftruncate(self._file, self._size)
            if self._size >= self._most or not about.st_nlink:
                self._end()
        if self._file is None:
            number = self._number + 1
            ending = ".jsonl" if self._seal is None else ".jsonl.enc"
            path = self._folder / f"{self._name}-{number:04}{ending}"
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            header = b"" if self._seal is None else self._seal.header
            try:
                _write_all(file, header, 0)
            except OSError:
                path.unlink()
                os.close(file)
                raise
            self._file, self._number, self._size, self._frames = file, number, len(header), 0
            self._day = int(time() // _DAY_S)
            self.tally.paid(self._lines, number, self._size)
        return self._file

    def turn_day(self) -> None:
        """End a segment whose day is over, whether or not there is more to write: else it could not be deleted."""
        if self._file is not None and self._day != int(time() // _DAY_S):
            self._end()

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def close(self) -> None:
        with suppress(OSError):
            self._end()
        self.tally.close()


def _write_all(file: int, data: bytes, size: int) -> None:
    """All or nothing of it: half a line would spoil the next."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def opened(folder: Path) -> None:
    """See to it that the folder is there, for nobody else to read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def recovered(folder: Path) -> dict[str, int]:
    """How many requests were lost, by the runs that ended without an end, since this was asked last by anybody."""
    lost = {}
    for path in folder.glob("*.tally"):
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # another worker was faster, or the run ends just now
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                lost[path.stem] = _lost(folder, path.stem, os.pread(file, _TALLY_BYTES, 0))
                path.unlink()
        except BlockingIOError:  # it lives
            pass
        finally:
            os.close(file)
    return lost


def _lost(folder: Path, run: str, tally: bytes) -> int:
    owed: int = _OWED.unpack_from(tally)[0]
    lines: int
    lines, number, size = _PAID.unpack_from(tally, _OWED.size)
    for path in folder.glob(f"{run}-{number:04}.jsonl*"):
        with path.open("rb") as file:
            file.seek(size)
            rest = file.read()
        lines += whole_frames(rest) if path.suffix == ".enc" else rest.count(b"\n")
    return max(0, owed - lines)


def used(folder: Path) -> int:
    """Bytes of all segments, whoever wrote them."""
    return sum(size for _, size, _ in _segments(folder))


def expire(folder: Path, days: float) -> int:
    """Delete the segments to which nothing was added for so many days. Returns how many."""
    before = time() - days * _DAY_S
    gone = 0
    for path, _, changed_at in _segments(folder):
        if changed_at < before:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _segments(folder: Path) -> list[tuple[Path, int, float]]:
    """Each with its size and when it was written to last."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _SEGMENT.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    about = entry.stat()
                    found.append((Path(entry.path), about.st_size, about.st_mtime))
    return found
