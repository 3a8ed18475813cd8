"""The embedded store: one SQLite file shared by the workers of a host."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, time

import msgspec

from gateway.control.trail import decode, encode
from gateway.stores.protocols import (
    NO_HASH,
    Bucket,
    Change,
    HeadMoved,
    Key,
    Lease,
    Member,
    Note,
    OutcomeUnknown,
    Standing,
    StoreError,
)
from gateway.stores.sqlite_file import connect, file_id, plain, transaction
from gateway.stores.texts import members_of, not_continued, wrong_version

_POLL_S = 0.05
_BUSY_S = 2.0  # how long a change waits for others to be written
_BUSY_SHARED_S = 0.25


class SqliteStore:
    """A `Store` in the file at `path`, made if it is not there. `append` returns when the disk has it.

    The file is opened when it is first used, when it is next used after an error, and when another was put in its
    place: a store that was unusable for a while, or was put back from a copy, needs no restart.

    Budgets, leases and members are written through a second connection, which does not wait for the disk: they are
    written several times a second. A power failure may take their last seconds, never what was appended, nor a lease
    that an appended entry speaks of: the log that both are written to is one, and is synced up to the entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        seen = threading.Event()
        self._trail = _Session(path, _BUSY_S, seen, durable=True)
        self._shared = _Session(path, _BUSY_SHARED_S, seen, durable=False)
        self._closed = threading.Event()

    def open(self) -> None:
        with self._trail.use():
            pass

    def head(self) -> tuple[int, str]:
        with self._trail.use() as db:
            return _head(db)

    def current(self) -> Standing:
        with self._trail.use() as db, transaction(db, "DEFERRED"):
            head = _head(db)
            rows = db.execute(
                "SELECT entry FROM trail WHERE revision IN (SELECT max(revision) FROM trail GROUP BY kind, name)"
            )
            changes = [decode(row[0]) for row in rows]
        return Standing(*head, {change.draft.key: change for change in changes})

    def append(self, change: Change) -> None:
        with self._trail.use() as db, transaction(db, "IMMEDIATE"):
            if _head(db) != (change.revision - 1, change.before):
                if _entries(db, change.revision - 1, 1) == [change]:
                    return
                raise HeadMoved
            self._add(db, [change])

    def load(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        with self._trail.use() as db, transaction(db, "IMMEDIATE"):
            head = _head(db)
            if head != (changes[0].revision - 1, changes[0].before):
                raise StoreError(not_continued(str(self._path), changes[0].revision, head[0]))
            self._add(db, changes)

    def _add(self, db: sqlite3.Connection, changes: Sequence[Change]) -> None:
        for change in changes:
            key, version = change.draft.key, change.draft.version
            last = db.execute(
                "SELECT coalesce(max(version), 0) FROM trail WHERE kind = ? AND name = ?", (key.kind, key.name)
            ).fetchone()[0]
            if version != last + 1:
                raise StoreError(wrong_version(str(self._path), key, version, last))
            db.execute("INSERT INTO trail (revision, entry) VALUES (?, ?)", (change.revision, encode(change)))

    def history(self, key: Key, *, before_version: int | None = None, limit: int = 100) -> list[Change]:
        with self._trail.use() as db:
            rows = db.execute(
                "SELECT entry FROM trail WHERE kind = ? AND name = ? AND version < ? ORDER BY version DESC LIMIT ?",
                (key.kind, key.name, 2**62 if before_version is None else before_version, limit),
            )
            return [decode(row[0]) for row in rows]

    def entries(self, after: int, limit: int) -> list[Change]:
        with self._trail.use() as db:
            return _entries(db, after, limit)

    def wait(self, revision: int, timeout_s: float) -> None:
        """Looks at the head every 50 ms, which costs some 20 µs: SQLite tells nobody of a change."""
        self._closed.clear()
        deadline = monotonic() + timeout_s
        while self.head()[0] <= revision:
            left = deadline - monotonic()
            if left <= 0 or self._closed.wait(min(_POLL_S, left)):
                return

    def warnings(self) -> list[str]:
        self.open()
        return []

    def close(self) -> None:
        self._closed.set()
        self._trail.close()
        self._shared.close()

    def share(
        self, replica: str, buckets: Sequence[Bucket], held: Mapping[str, int], ttl_s: float
    ) -> tuple[dict[str, float], dict[str, int]]:
        """Only what says something new is written, so that workers with nothing to do leave the disk alone."""
        with self._shared.use() as db:
            now = time()
            tells = self._tells(db, replica, buckets, held)
            with transaction(db, "IMMEDIATE" if tells else "DEFERRED"):
                if tells:
                    db.execute("DELETE FROM held WHERE until <= ?", (now,))
                levels = {bucket.name: _take(db, bucket, now) for bucket in buckets}
                for name, count in held.items():
                    _hold(db, name, replica, count, now + ttl_s)
                others = {name: _held_by_others(db, name, replica, now) for name in held}
        return levels, others

    @staticmethod
    def _tells(db: sqlite3.Connection, replica: str, buckets: Sequence[Bucket], held: Mapping[str, int]) -> bool:
        if any(bucket.used for bucket in buckets) or any(held.values()):
            return True
        return db.execute("SELECT 1 FROM held WHERE replica = ?", (replica,)).fetchone() is not None

    def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        with self._shared.use() as db, transaction(db, "IMMEDIATE"):
            now = time()
            row = db.execute("SELECT owner, token, until FROM leases WHERE name = ?", (name,)).fetchone()
            holder, token, until = row or ("", 0, 0.0)
            if until <= now:
                token += 1
            elif holder != owner:
                return None
            db.execute(
                "REPLACE INTO leases (name, owner, token, until) VALUES (?, ?, ?, ?)", (name, owner, token, now + ttl_s)
            )
            return Lease(name, owner, token)

    def renew(self, lease: Lease, ttl_s: float) -> bool:
        now = time()
        return self._set_until(lease, now, now + ttl_s)

    def release(self, lease: Lease) -> None:
        """The token stays: the next holder's is one more."""
        self._set_until(lease, time(), 0.0)

    def _set_until(self, lease: Lease, now: float, until: float) -> bool:
        with self._shared.use() as db, transaction(db, "IMMEDIATE"):
            done = db.execute(
                "UPDATE leases SET until = ? WHERE name = ? AND owner = ? AND token = ? AND until > ?",
                (until, lease.name, lease.owner, lease.token, now),
            )
            return done.rowcount == 1

    def noted(self, name: str) -> Note | None:
        with self._trail.use() as db:
            row = db.execute("SELECT version, text FROM notes WHERE name = ?", (name,)).fetchone()
            return None if row is None else Note(*row)

    def note(self, name: str, note: Note) -> bool:
        with self._trail.use() as db, transaction(db, "IMMEDIATE"):
            row = db.execute("SELECT version, text FROM notes WHERE name = ?", (name,)).fetchone()
            if row == (note.version, note.text):
                return True
            if note.version != (row[0] if row else 0) + 1:
                return False
            db.execute("REPLACE INTO notes (name, version, text) VALUES (?, ?, ?)", (name, note.version, note.text))
            return True

    def report(self, member: Member, ttl_s: float) -> None:
        now = time()
        said = msgspec.json.encode(replace(member, seen_at=now)).decode()
        with self._shared.use() as db, transaction(db, "IMMEDIATE"):
            db.execute("DELETE FROM members WHERE until <= ?", (now,))
            db.execute(
                "REPLACE INTO members (replica, said, until) VALUES (?, ?, ?)", (member.replica, said, now + ttl_s)
            )

    def leave(self, replica: str) -> None:
        with self._shared.use() as db, transaction(db, "IMMEDIATE"):
            db.execute("DELETE FROM members WHERE replica = ?", (replica,))

    def members(self) -> list[Member]:
        with self._shared.use() as db:
            rows = db.execute("SELECT said FROM members WHERE until > ? ORDER BY replica", (time(),))
            return list(members_of(row[0] for row in rows))


class _Session:
    """A connection that one thread at a time uses, and that is opened anew when it has to be.

    Once the file was `seen` it is not made again: whoever moves it away is about to put another in its place, and would
    find the logs of an empty one there, which SQLite would take for the new one's.
    """

    def __init__(self, path: Path, busy_s: float, seen: threading.Event, *, durable: bool) -> None:
        self._path = path
        self._busy_s = busy_s
        self._seen = seen
        self._durable = durable
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._opened()
            except (sqlite3.Error, ValueError, OSError) as error:
                self._forget()
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                    raise OutcomeUnknown(plain(self._path, error)) from error  # it may have come as far as the disk
                raise StoreError(plain(self._path, error)) from error

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _opened(self) -> sqlite3.Connection:
        file = file_id(self._path)
        if self._db is not None and file == self._file:
            return self._db
        self._forget()
        if file is None and self._seen.is_set():
            raise StoreError(f"{self._path}: gone. Put it back, or restart the gateway to begin with an empty one.")
        self._db = connect(self._path, self._busy_s, durable=self._durable)
        self._file = file_id(self._path)
        self._seen.set()
        return self._db

    def _forget(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _head(db: sqlite3.Connection) -> tuple[int, str]:
    row = db.execute("SELECT revision, hash FROM trail ORDER BY revision DESC LIMIT 1").fetchone()
    return (0, NO_HASH) if row is None else (row[0], row[1])


def _entries(db: sqlite3.Connection, after: int, limit: int) -> list[Change]:
    rows = db.execute("SELECT entry FROM trail WHERE revision > ? ORDER BY revision LIMIT ?", (after, limit))
    return [decode(row[0]) for row in rows]


def _take(db: sqlite3.Connection, bucket: Bucket, now: float) -> float:
    """A bucket is kept as the time at which it will be full, as in `router_policies.budgets`; one that is full, not at
    all."""
    row = db.execute("SELECT full_at FROM buckets WHERE name = ?", (bucket.name,)).fetchone()
    full_at = max(row[0] if row else 0.0, now) + bucket.used / bucket.per_s
    if bucket.used:
        if full_at > now:
            db.execute("REPLACE INTO buckets (name, full_at) VALUES (?, ?)", (bucket.name, full_at))
        else:
            db.execute("DELETE FROM buckets WHERE name = ?", (bucket.name,))
    return bucket.capacity - max(full_at - now, 0.0) * bucket.per_s


def _hold(db: sqlite3.Connection, name: str, replica: str, count: int, until: float) -> None:
    if count:
        db.execute("REPLACE INTO held (name, replica, count, until) VALUES (?, ?, ?, ?)", (name, replica, count, until))
    elif db.execute("SELECT 1 FROM held WHERE name = ? AND replica = ?", (name, replica)).fetchone():
        db.execute("DELETE FROM held WHERE name = ? AND replica = ?", (name, replica))


def _held_by_others(db: sqlite3.Connection, name: str, replica: str, now: float) -> int:
    row = db.execute(
        "SELECT coalesce(sum(count), 0) FROM held WHERE name = ? AND replica != ? AND until > ?", (name, replica, now)
    ).fetchone()
    return int(row[0])
