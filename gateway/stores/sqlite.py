"""The embedded store: one SQLite file shared by the workers of a host."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time

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


class SqliteStore:
    """A `ConfigStore` in the file at `path`, made if it is not there. `write` returns when the disk has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()

    def revision(self) -> int:
        with self._lock, self._errors():
            row = self._db.execute("SELECT coalesce(max(seq), 0) FROM route_versions").fetchone()
        return int(row[0])

    def routes(self) -> dict[str, StoredRoute]:
        with self._lock, self._errors():
            rows = self._db.execute(
                "SELECT route, max(version), overrides, actor, reason, changed_at FROM route_versions GROUP BY route"
            ).fetchall()
        return {row[0]: StoredRoute(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows}

    def write(self, route: str, expected_version: int, overrides: Document, actor: str, reason: str) -> StoredRoute:
        changed_at = time()
        stored = StoredRoute(route, expected_version + 1, overrides, actor, reason, changed_at)
        with self._transaction():
            row = self._db.execute("SELECT max(version) FROM route_versions WHERE route = ?", (route,)).fetchone()
            current = row[0] or 0
            if current != expected_version:
                raise VersionConflict(current)
            self._db.execute(
                "INSERT INTO route_versions (route, version, overrides, actor, reason, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (route, stored.version, json.dumps(overrides), actor, reason, changed_at),
            )
        return stored

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _migrate(self) -> None:
        with self._transaction():
            done = self._db.execute("PRAGMA user_version").fetchone()[0]
            if done > len(_MIGRATIONS):
                raise StoreError(f"{self._path}: made by a newer Understudy (schema {done}); use that version")
            for number, statement in enumerate(_MIGRATIONS[done:], start=done + 1):
                self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """The write lock from the start, so that what is read inside is still true when it is written."""
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"{self._path}: {error}") from error
