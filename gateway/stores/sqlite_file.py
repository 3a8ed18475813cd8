"""The file of the embedded store: how it is opened, brought up to this version, and what is said when it fails."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from gateway.control.trail import encode, seal
from gateway.stores.protocols import NO_HASH, Draft, Key, StoreError

_BUSY_AGAIN_S = 0.02
_FIRST = """
CREATE TABLE route_versions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    route TEXT NOT NULL,
    version INTEGER NOT NULL,
    overrides TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_at REAL NOT NULL,
    UNIQUE (route, version)
)
"""
_SECOND = (
    # An entry's text is the only place where anything is said; what is looked for is read out of it.
    """
    CREATE TABLE trail (
        revision INTEGER PRIMARY KEY,
        entry TEXT NOT NULL,
        hash TEXT GENERATED ALWAYS AS (json_extract(entry, '$.hash')) VIRTUAL,
        kind TEXT GENERATED ALWAYS AS (json_extract(entry, '$.key.kind')) VIRTUAL,
        name TEXT GENERATED ALWAYS AS (json_extract(entry, '$.key.name')) VIRTUAL,
        version INTEGER GENERATED ALWAYS AS (json_extract(entry, '$.version')) VIRTUAL
    )
    """,
    "CREATE UNIQUE INDEX versions ON trail (kind, name, version)",
    "CREATE TABLE buckets (name TEXT PRIMARY KEY, full_at REAL NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE held (
        name TEXT NOT NULL, replica TEXT NOT NULL, count INTEGER NOT NULL, until REAL NOT NULL,
        PRIMARY KEY (name, replica)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX held_by ON held (replica)",
    """
    CREATE TABLE leases (
        name TEXT PRIMARY KEY, owner TEXT NOT NULL, token INTEGER NOT NULL, until REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE members (replica TEXT PRIMARY KEY, said TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
)

_THIRD = "CREATE TABLE notes (name TEXT PRIMARY KEY, version INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID"


def connect(path: Path, busy_s: float, *, durable: bool) -> sqlite3.Connection:
    """A connection to the file, made and brought up to this version if it must be. It waits `busy_s` for other writers.

    `durable`: a commit waits until the disk has it (https://sqlite.org/pragma.html#pragma_synchronous). Raises
    `sqlite3.Error`, `StoreError`.
    """
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        use_wal(db, busy_s)
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


def file_id(path: Path) -> tuple[int, int] | None:
    """Tells a file from one that was put in its place."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


@contextmanager
def transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    """IMMEDIATE takes the write lock from the start, so that what is read inside is still true when it is written;
    DEFERRED reads what was there at one moment."""
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def plain(path: Path, error: Exception) -> str:
    """What is wrong, and what to do about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return f"{path}: the disk is full, so nothing was written. Free some space; the next change is taken then."
    if code == sqlite3.SQLITE_IOERR:
        return f"{path}: the disk cannot be used ({error}). Is it full, over its quota, or broken?"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, ValueError):
        return (
            f"{path}: damaged, or no store of Understudy ({error}). Move it away together with {path.name}-wal and "
            f"{path.name}-shm, and put a copy in its place."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path}: locked by another process for too long ({error}), so nothing was written. Try again."
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path}: {error}. The folder must be there, and the gateway must be able to write to both."
    return f"{path}: {error}"


def use_wal(db: sqlite3.Connection, busy_s: float) -> None:
    """SQLite's own waiting does not cover the switch to WAL: of several that open a new file one gets in."""
    deadline = monotonic() + busy_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                raise
            sleep(_BUSY_AGAIN_S)
        else:
            return


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Takes the write lock, for which a starting worker might have to wait, only if there is something to do."""
    if _schema(db, path) == len(_MIGRATIONS):
        return
    with transaction(db, "IMMEDIATE"):
        for number, migrate in enumerate(_MIGRATIONS[_schema(db, path) :], start=_schema(db, path) + 1):
            migrate(db)
            db.execute(f"PRAGMA user_version = {number}")


def _schema(db: sqlite3.Connection, path: Path) -> int:
    done: int = db.execute("PRAGMA user_version").fetchone()[0]
    if done > len(_MIGRATIONS):
        raise StoreError(f"{path}: made by a newer Understudy (schema {done}); use that version")
    return done


def _routes_alone(db: sqlite3.Connection) -> None:
    db.execute(_FIRST)


def _the_trail(db: sqlite3.Connection) -> None:
    """What routes had become is carried over as the first entries, in the order in which it was changed."""
    for statement in _SECOND:
        db.execute(statement)
    before = NO_HASH
    rows = db.execute(
        "SELECT route, version, overrides, actor, reason, changed_at FROM route_versions ORDER BY seq"
    ).fetchall()
    for revision, (route, version, overrides, actor, reason, changed_at) in enumerate(rows, start=1):
        draft = Draft(Key("route", route), version, "change", json.loads(overrides), (), actor, reason, changed_at)
        change = seal(draft, revision, before)
        db.execute("INSERT INTO trail (revision, entry) VALUES (?, ?)", (revision, encode(change)))
        before = change.hash
    db.execute("DROP TABLE route_versions")


def _notes(db: sqlite3.Connection) -> None:
    db.execute(_THIRD)


_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_routes_alone, _the_trail, _notes)
