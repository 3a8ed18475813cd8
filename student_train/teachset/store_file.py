"""The files of a teaching set: one writer, nothing readable for others, nothing half done after a kill."""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

RECORDS = """
    CREATE TABLE IF NOT EXISTS records (
        kind TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, key BLOB, body BLOB, person TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS by_id ON records (id);
"""
OWN = """
    CREATE UNIQUE INDEX IF NOT EXISTS by_kind ON records (kind, id);
    CREATE INDEX IF NOT EXISTS by_person ON records (person) WHERE person != '';
    CREATE TABLE IF NOT EXISTS splits (id TEXT PRIMARY KEY, split TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_split ON splits (split, id);
    CREATE TABLE IF NOT EXISTS erased (id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, line BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS head (seq INTEGER NOT NULL, hash BLOB NOT NULL);
"""
PROTECTED = """
    CREATE UNIQUE INDEX IF NOT EXISTS by_entry ON records (kind, id, seq);
"""
"""Of the holdout: a text is known by its entry, too, so that the one before is there until the new one is told of."""


class SetError(Exception):
    """What is wrong with a set, or with what was asked of it, in a line or several."""


class Writing:
    """A transaction over two databases, then something. They cannot be written at once: the first may have been written
    alone when the process is killed. `mend` takes back what the holdout has and the set does not tell of."""

    def __init__(self, first: sqlite3.Connection, second: sqlite3.Connection, then: Callable[[], None]) -> None:
        self._both, self._then = (first, second), then

    def __enter__(self) -> None:
        for db in self._both:
            db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, at: object) -> None:
        for db in self._both:
            db.execute("COMMIT" if kind is None else "ROLLBACK")
        if kind is None:
            self._then()


def mend(protected: sqlite3.Connection, path: Path) -> None:
    """Drop texts of the holdout that the set in `path` does not tell of, or has itself: they were being added, moved or
    erased when the process was killed."""
    protected.execute("ATTACH ? AS told", (str(path),))
    protected.execute("""
        DELETE FROM main.records WHERE NOT EXISTS (
            SELECT 1 FROM told.records AS own
            WHERE own.kind = main.records.kind AND own.id = main.records.id AND own.seq = main.records.seq
                  AND own.key IS NULL)
    """)
    protected.execute("DETACH told")


def database(path: Path, schema: str) -> sqlite3.Connection:
    try:
        with suppress(FileExistsError):
            os.close(private(str(path), os.O_CREAT | os.O_EXCL | os.O_RDWR))
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.executescript(schema)
    except (sqlite3.Error, OSError) as error:
        raise SetError(f"{path}: {error}") from None
    return db


def shred(db: sqlite3.Connection) -> bool:
    """Take what was dropped off the disk, as far as files go: out of free pages, and out of the database's log. (Pages
    are overwritten as they are freed, `secure_delete`; until now a log may hold them.) Whether that could be done."""
    try:
        db.execute("VACUUM")
        return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def locked(path: Path) -> int:
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise SetError(f"{path.parent}: another process has this set open; wait for it, or end it") from None
    return file


def end_before(file: IO[bytes], line: bytes) -> int:
    """Where the first line that waits begins in the file: it, and some after it, may have been written already, or
    half of one. Looked for from the end, in what waiting lines can be long."""
    size = file.seek(0, os.SEEK_END)
    span = 1 << 16
    while True:
        begin = max(0, size - span)
        file.seek(begin)
        tail = file.read()
        at = tail.find(line)
        if at >= 0 and (begin + at == 0 or at > 0):
            return begin + at
        if begin == 0 or span > 1 << 28:
            return begin + tail.rfind(b"\n") + 1  # none is there: what follows the last whole line is half of one
        span *= 4
