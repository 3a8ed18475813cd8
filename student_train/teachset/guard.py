"""What training may read of a teaching set, and what it may not: the holdout.

Training opens a set through `open_for_training` and in no other way. From then on the process refuses to open anything
in the set's directory that is not on a short list (`ALLOWED`): not the holdout, and not the secret that says who would
be in it. The refusal is an audit hook (PEP 578): it sees every `open`, every SQLite connection and what is handed to
other programs, and cannot be taken away again. What the reader itself reads has no text of the holdout in it: those
are in a database of their own.

This keeps out mistakes: a glob too wide, a notebook cell, a library that looks around. It does not keep out somebody
who means to: code that opens files below Python (a library in C, a program that was started) is not seen. Where that
matters, run training as a user who may not read SET/holdout; nothing else changes.
"""

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from student_train.teachset.example import Example, Lesson, Split
from student_train.teachset.store import SetError

TRAINABLE: tuple[Split, ...] = ("train", "dev", "calibration")
"""Not gold: it is what models are measured by."""
ALLOWED = ("set.db", "set.db-wal", "set.db-shm", "ledger.jsonl", "exports")
"""What of a set's directory a process that trains may open."""

_FILES = {
    *("open", "sqlite3.connect", "os.listdir", "os.scandir"),
    *("os.link", "os.symlink", "os.rename", "os.remove", "os.truncate"),
}
_PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.spawn", "os.posix_spawn"}
_PAGE = 500
_guarded: list[str] = []  # real paths of sets; an audit hook has no other way to be told of more


class Refused(PermissionError):
    """Training was about to open what it must not see."""


class TrainingData:
    """Examples of some splits, and what is taught of each, read-only, also while the set is open elsewhere. A context
    manager."""

    def __init__(self, path: Path, splits: Sequence[Split]) -> None:
        self._splits = tuple(splits)
        try:
            self._db = sqlite3.connect(f"{(path / 'set.db').absolute().as_uri()}?mode=ro", uri=True)
            self._db.execute("SELECT 1 FROM head")
        except sqlite3.Error as error:
            raise SetError(f"{path}: expected a teaching set that can be read, got: {error}") from None
        self._example = msgspec.json.Decoder(Example).decode
        self._lesson = msgspec.json.Decoder(Lesson).decode

    def __enter__(self) -> "TrainingData":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def __iter__(self) -> Iterator[tuple[Example, Lesson | None]]:
        """Split by split, each in order of id; again and again the same."""
        for split in self._splits:
            last: str | None = ""
            while last is not None:
                rows = self._db.execute(
                    """
                    SELECT splits.id, example.body, lesson.body
                    FROM splits JOIN records AS example ON example.kind = 'example' AND example.id = splits.id
                         LEFT JOIN records AS lesson ON lesson.kind = 'lesson' AND lesson.id = splits.id
                    WHERE split = ? AND splits.id > ? ORDER BY splits.id LIMIT ?
                    """,
                    (split, last, _PAGE),
                ).fetchall()
                for _, example, lesson in rows:
                    yield self._example(example), None if lesson is None else self._lesson(lesson)
                last = rows[-1][0] if len(rows) == _PAGE else None


def open_for_training(path: Path, splits: Sequence[Split] = ("train",)) -> TrainingData:
    """The only way in which training opens a set. It guards the whole process, for good."""
    for split in splits:
        if split not in TRAINABLE:
            raise Refused(f"splits: expected some of {', '.join(TRAINABLE)}, got {split!r}: a model is measured on it")
    guard(path)
    return TrainingData(path, splits)


def guard(path: Path) -> None:
    """Refuse, from now on, to open anything in this set that is not `ALLOWED`, by whatever name."""
    real = os.path.realpath(path)
    if not _guarded:
        sys.addaudithook(_hook)
        sqlite3.connect = sqlite3.dbapi2.connect = _connect  # type: ignore[assignment]
    if real not in _guarded:
        _guarded.append(real)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _FILES or event in _PROGRAMS:
        for said in _texts(args):
            if (set_ := _of_program(said) if event in _PROGRAMS else _outside(_path(said))) is not None:
                raise Refused(
                    f"{said}: training opens of {set_} only {', '.join(ALLOWED)}; models are measured by what else is "
                    "there. An evaluation opens it with a permit: student_train.teachset.permit"
                )


_sqlite_connect = sqlite3.connect


def _connect(*args: Any, **named: Any) -> sqlite3.Connection:
    """No event tells of ATTACH, so a process that trains goes without."""
    made: sqlite3.Connection = _sqlite_connect(*args, **named)
    made.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    return made


def _texts(args: Iterable[Any]) -> Iterator[str]:
    for one in args:
        if isinstance(one, str | bytes | os.PathLike):
            yield os.fsdecode(one)
        elif isinstance(one, list | tuple):
            yield from _texts(one)


def _path(said: str) -> str:
    """The file that is meant; SQLite also takes URIs."""
    return unquote(urlsplit(said).path) if said.startswith("file:") else said


def _outside(path: str) -> str | None:
    """The set in which a path is, if it is not allowed there. Links are followed; a hard link is known by its file."""
    real = os.path.realpath(path)
    for set_ in _guarded:
        if real.startswith(set_ + os.sep) and real[len(set_) + 1 :].split(os.sep)[0] not in ALLOWED:
            return set_
        if _is(real, os.path.join(set_, "holdout", "holdout.db")):
            return set_
    return None


def _is(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _of_program(said: str) -> str | None:
    """What is handed to another program is a path, or has one in it."""
    return next((set_ for set_ in _guarded if os.path.join(set_, "holdout") in said), None) or _outside(said)
