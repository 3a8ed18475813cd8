"""Records of shadow mode in an SQLite file of their own: filing them must not hold up a change of the config."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.stores.pairs import Caps, Filed, Kept
from gateway.stores.protocols import StoreError
from gateway.stores.sqlite_file import file_id, plain, transaction, use_wal

_BUSY_S = 5.0
_SCHEMA = 1
_TABLES = (
    """
    CREATE TABLE records (
        route TEXT NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL,
        PRIMARY KEY (route, number)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE texts (
        route TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, bytes INTEGER NOT NULL, texts TEXT NOT NULL,
        PRIMARY KEY (route, number)
    ) WITHOUT ROWID
    """,
    # What is in each ring, so that it need not be counted: the last number given, and the texts' count and bytes.
    """
    CREATE TABLE rings (
        route TEXT PRIMARY KEY, last INTEGER NOT NULL, texts INTEGER NOT NULL, bytes INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)


class SqlitePairs:
    """A `PairStore` in the file at `path`, made if it is not there; opened anew after an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def open(self) -> None:
        with self._use():
            pass

    def file(self, filed: Sequence[Filed], caps: Caps) -> None:
        with self._use() as db, transaction(db, "IMMEDIATE"):
            for route in sorted({one.route for one in filed}):
                self._file_of(db, route, [one for one in filed if one.route == route], caps)

    def _file_of(self, db: sqlite3.Connection, route: str, filed: Sequence[Filed], caps: Caps) -> None:
        row = db.execute("SELECT last, texts, bytes FROM rings WHERE route = ?", (route,)).fetchone()
        last, texts, size = row or (0, 0, 0)
        for one in filed:
            if one.amends:
                size += _amend(db, one)
                continue
            done = db.execute(
                "INSERT OR IGNORE INTO records (route, number, id, record) VALUES (?, ?, ?, ?)",
                (route, last + 1, one.id, one.record),
            )
            if done.rowcount == 0:
                continue
            last += 1
            if one.texts is not None:
                length = len(one.texts.encode("utf-8", "surrogatepass"))
                db.execute("INSERT INTO texts VALUES (?, ?, ?, ?, ?)", (route, last, one.at, length, one.texts))
                texts, size = texts + 1, size + length
        db.execute("DELETE FROM records WHERE route = ? AND number <= ?", (route, last - caps.records))
        too_old = max((one.at for one in filed), default=0.0) - caps.text_age_s
        oldest = db.execute("SELECT number, at, bytes FROM texts WHERE route = ? ORDER BY number", (route,))
        gone = 0
        for number, at, length in oldest:
            if texts <= caps.texts and size <= caps.text_bytes and at >= too_old:
                break
            gone, texts, size = number, texts - 1, size - length
        db.execute("DELETE FROM texts WHERE route = ? AND number <= ?", (route, gone))
        db.execute("REPLACE INTO rings VALUES (?, ?, ?, ?)", (route, last, texts, size))

    def records(self, route: str, after: int, limit: int) -> list[Kept]:
        with self._use() as db:
            rows = db.execute(
                "SELECT number, record FROM records WHERE route = ? AND number > ? ORDER BY number LIMIT ?",
                (route, after, limit),
            )
            return [Kept(number, record) for number, record in rows]

    def newest(self, route: str, *, before: int | None = None, limit: int = 50) -> list[Kept]:
        with self._use() as db:
            rows = db.execute(
                "SELECT number, record, texts FROM records LEFT JOIN texts USING (route, number)"
                " WHERE route = ? AND number < ? ORDER BY number DESC LIMIT ?",
                (route, 2**62 if before is None else before, limit),
            )
            return [Kept(*row) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._forget()

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._db is not None and file_id(self._path) != self._file:
                    self._forget()
                if self._db is None:
                    self._db = self._connect()
                    self._file = file_id(self._path)
                yield self._db
            except (sqlite3.Error, ValueError, OSError) as error:
                self._forget()
                raise StoreError(plain(self._path, error)) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            use_wal(db, _BUSY_S)
            db.execute("PRAGMA synchronous = FULL")
            with transaction(db, "IMMEDIATE"):
                schema = db.execute("PRAGMA user_version").fetchone()[0]
                if schema > _SCHEMA:
                    raise StoreError(f"{self._path}: made by a newer Understudy (schema {schema}); use that version")
                if schema < _SCHEMA:
                    for table in _TABLES:
                        db.execute(table)
                    db.execute(f"PRAGMA user_version = {_SCHEMA}")
        except BaseException:
            db.close()
            raise
        return db

    def _forget(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _amend(db: sqlite3.Connection, one: Filed) -> int:
    """By how many bytes the texts have grown."""
    row = db.execute("SELECT number FROM records WHERE id = ? AND route = ?", (one.id, one.route)).fetchone()
    if row is None:
        return 0
    place = (one.route, row[0])
    db.execute("UPDATE records SET record = ? WHERE route = ? AND number = ?", (one.record, *place))
    kept = db.execute("SELECT bytes FROM texts WHERE route = ? AND number = ?", place).fetchone()
    if kept is None or one.texts is None:
        return 0
    length = len(one.texts.encode("utf-8", "surrogatepass"))
    db.execute("UPDATE texts SET texts = ?, bytes = ? WHERE route = ? AND number = ?", (one.texts, length, *place))
    return length - int(kept[0])
