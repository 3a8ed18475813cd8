"""The embedded store: one SQLite file shared by the workers of a host."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time

from gateway.stores.protocols import Document, StoredRoute, StoreError, VersionConflict

_MIGRATIONS = (
    """
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
    """,
)
_BUSY_S = 2.0
_BUSY_AGAIN_S = 0.02


class SqliteStore:
    """A `ConfigStore` in the file at `path`, made if it is not there. `write` returns when the disk has it.

    The file is opened when it is first used and, after an error, when it is next used: a store that was unusable for a
    while, or was put back from a copy, needs no restart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        with self._session():
            pass

    def revision(self) -> int:
        with self._session() as db:
            row = db.execute("SELECT coalesce(max(seq), 0) FROM route_versions").fetchone()
        return int(row[0])

    def routes(self) -> dict[str, StoredRoute]:
        with self._session() as db:
            rows = db.execute(
                "SELECT route, max(version), overrides, actor, reason, changed_at FROM route_versions GROUP BY route"
            ).fetchall()
            return {row[0]: StoredRoute(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows}

    def write(self, route: str, expected_version: int, overrides: Document, actor: str, reason: str) -> StoredRoute:
        changed_at = time()
        stored = StoredRoute(route, expected_version + 1, overrides, actor, reason, changed_at)
        with self._session() as db, _transaction(db):
            row = db.execute("SELECT max(version) FROM route_versions WHERE route = ?", (route,)).fetchone()
            current = row[0] or 0
            if current != expected_version:
                raise VersionConflict(current)
            db.execute(
                "INSERT INTO route_versions (route, version, overrides, actor, reason, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (route, stored.version, json.dumps(overrides), actor, reason, changed_at),
            )
        return stored

    def close(self) -> None:
        with self._lock:
            self._forget()

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._db is None:
                    self._db = self._connect()
                yield self._db
            except (sqlite3.Error, ValueError) as error:
                self._forget()
                raise StoreError(f"{self._path}: {error}") from error

    def _forget(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _use_wal(db)
            db.execute("PRAGMA synchronous = FULL")
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Takes the write lock, for which a starting worker might have to wait, only if there is something to do."""
        if self._schema(db) == len(_MIGRATIONS):
            return
        with _transaction(db):
            for number, statement in enumerate(_MIGRATIONS[self._schema(db) :], start=self._schema(db) + 1):
                db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")

    def _schema(self, db: sqlite3.Connection) -> int:
        done: int = db.execute("PRAGMA user_version").fetchone()[0]
        if done > len(_MIGRATIONS):
            raise StoreError(f"{self._path}: made by a newer Understudy (schema {done}); use that version")
        return done


def _use_wal(db: sqlite3.Connection) -> None:
    """SQLite's own waiting does not cover the switch to WAL: of several that open a new file one gets in."""
    deadline = monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                raise
            sleep(_BUSY_AGAIN_S)
        else:
            return


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """The write lock from the start, so that what is read inside is still true when it is written."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
