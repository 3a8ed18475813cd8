"""A store in memory: what the protocol says, in the fewest words. The reference that others can be compared with, and
one that does what tests want of it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic, time

from gateway.stores.protocols import (
    NO_HASH,
    Bucket,
    Change,
    HeadMoved,
    Key,
    Lease,
    Member,
    Note,
    Standing,
    StoreError,
)


class MemoryStore:
    """A `Store`. While `down` is not empty, every call raises it."""

    def __init__(self) -> None:
        self.down = ""
        self.trail: list[Change] = []
        self._news = threading.Condition()
        self._levels: dict[str, tuple[float, float]] = {}
        self._held: dict[tuple[str, str], tuple[int, float]] = {}
        self._leases: dict[str, tuple[Lease, float]] = {}
        self.notes: dict[str, Note] = {}
        self._members: dict[str, tuple[Member, float]] = {}

    def open(self) -> None:
        if self.down:
            raise StoreError(self.down)

    def head(self) -> tuple[int, str]:
        self.open()
        return (self.trail[-1].revision, self.trail[-1].hash) if self.trail else (0, NO_HASH)

    def current(self) -> Standing:
        with self._news:
            return Standing(*self.head(), {change.draft.key: change for change in self.trail})

    def append(self, change: Change) -> None:
        with self._news:
            if (change.revision - 1, change.before) != self.head():
                if self.trail[change.revision - 1 : change.revision] == [change]:
                    return
                raise HeadMoved
            self.trail.append(change)
            self._news.notify_all()

    def load(self, changes: Sequence[Change]) -> None:
        with self._news:
            if changes and changes[0].before != self.head()[1]:
                raise StoreError("they do not follow what is there")
            self.trail += changes
            self._news.notify_all()

    def history(self, key: Key, *, before_version: int | None = None, limit: int = 100) -> list[Change]:
        self.open()
        of_key = [change for change in reversed(self.trail) if change.draft.key == key]
        return [one for one in of_key if before_version is None or one.draft.version < before_version][:limit]

    def entries(self, after: int, limit: int) -> list[Change]:
        self.open()
        return self.trail[after : after + limit]

    def wait(self, revision: int, timeout_s: float) -> None:
        self.open()
        with self._news:
            self._news.wait_for(lambda: len(self.trail) > revision, timeout_s)

    def warnings(self) -> list[str]:
        self.open()
        return []

    def close(self) -> None: ...

    def share(
        self, replica: str, buckets: Sequence[Bucket], held: Mapping[str, int], ttl_s: float
    ) -> tuple[dict[str, float], dict[str, int]]:
        self.open()
        now, levels, others = monotonic(), {}, {}
        for bucket in buckets:
            level, at = self._levels.get(bucket.name, (bucket.capacity, now))
            levels[bucket.name] = min(bucket.capacity, level + (now - at) * bucket.per_s) - bucket.used
            self._levels[bucket.name] = levels[bucket.name], now
        for name, count in held.items():
            self._held[name, replica] = count, now + ttl_s
            mine = (name, replica)
            others[name] = sum(
                count for at, (count, until) in self._held.items() if at[0] == name and at != mine and until > now
            )
        return levels, others

    def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        self.open()
        lease, until = self._leases.get(name, (Lease(name, "", 0), 0.0))
        if until <= monotonic():
            lease = Lease(name, owner, lease.token + 1)
        elif lease.owner != owner:
            return None
        self._leases[name] = lease, monotonic() + ttl_s
        return lease

    def renew(self, lease: Lease, ttl_s: float) -> bool:
        self.open()
        held, until = self._leases.get(lease.name, (None, 0.0))
        if held != lease or until <= monotonic():
            return False
        self._leases[lease.name] = lease, monotonic() + ttl_s
        return True

    def release(self, lease: Lease) -> None:
        self.open()
        if self._leases.get(lease.name, (None, 0.0))[0] == lease:
            self._leases[lease.name] = lease, 0.0

    def noted(self, name: str) -> Note | None:
        self.open()
        return self.notes.get(name)

    def note(self, name: str, note: Note) -> bool:
        self.open()
        there = self.notes.get(name)
        if there != note and note.version != (there.version if there else 0) + 1:
            return False
        self.notes[name] = note
        return True

    def report(self, member: Member, ttl_s: float) -> None:
        self.open()
        now = time()
        self._members[member.replica] = replace(member, seen_at=now), now + ttl_s

    def leave(self, replica: str) -> None:
        self.open()
        self._members.pop(replica, None)

    def members(self) -> list[Member]:
        self.open()
        return sorted((one for one, until in self._members.values() if until > time()), key=lambda one: one.replica)
