"""What a store must do. Its methods block: call them from a thread, never from the event loop's.

A store holds five things, each behind a small protocol: the trail of changes (which is also the history of every
document that can be changed while serving), the budgets that replicas share, leases, notes of whoever holds one, and
who the replicas are. Two stores exist, SQLite for the workers of one host and Redis for several; one suite of tests is
run against both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]
NO_HASH = "0" * 64


class StoreError(Exception):
    """The store cannot be read or written now. Nothing was half done."""


class OutcomeUnknown(StoreError):
    """The store went away while a change was being written, and could not be asked in time whether it has it. It was
    made whole or not at all."""


class HeadMoved(Exception):
    """Another entry was appended first. Whoever wanted to append reads what stands now, and decides anew."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which document. `kind`: route, upstream, key, or gateway (whose one document has the name "")."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Undo:
    """What is taken back by itself: at `at` (seconds since the epoch) the overlay's places that `patch` names become
    what they were. It maps JSON pointers (RFC 6901) to `[value]`, or `[]` for not there. `version` is the change that
    asked for it."""

    at: float
    patch: Document
    version: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A change to be made. `version` is the one that it makes, one more than the one that stands. `action` says what
    was done, in one word: change, replace, delete, revert, kill, expire, rollout. `document` is what lies over the
    config file afterwards: mappings are merged, anything else replaces, `{"deleted": true}` takes away. `changed_at`:
    seconds since the epoch."""

    key: Key
    version: int
    action: str
    document: Document
    undo: tuple[Undo, ...]
    actor: str
    reason: str
    changed_at: float


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was made: an entry of the trail. `revision` is its place there, from 1, without gaps. `before` is
    the hash of the entry before it (`NO_HASH` for the first), `hash` its own (`gateway.control.trail`)."""

    revision: int
    draft: Draft
    before: str
    hash: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The head's revision and hash ((0, `NO_HASH`) for an empty trail), and the newest change of every document that
    was ever changed."""

    revision: int
    hash: str
    changes: Mapping[Key, Change]


class ChangeStore(Protocol):
    """The trail: appended to by compare-and-swap, never changed."""

    def open(self) -> None:
        """Find out whether it can be used, and bring it up to this version. Raises `StoreError`.

        The other methods do so themselves.
        """

    def head(self) -> tuple[int, str]:
        """Revision and hash of the last entry, (0, `NO_HASH`) if there is none. Raises `StoreError`."""

    def current(self) -> Standing:
        """What stands, of one moment. Raises `StoreError`."""

    def append(self, change: Change) -> None:
        """Add an entry after the head that it was sealed on, durably and exactly once: what was validated against all
        that stood then is appended only if that still stands. An entry that is there already, by its hash, is no
        error. Raises `HeadMoved`, `OutcomeUnknown`, `StoreError`."""

    def history(self, key: Key, *, before_version: int | None = None, limit: int = 100) -> list[Change]:
        """A document's changes, newest first. Raises `StoreError`."""

    def entries(self, after: int, limit: int) -> list[Change]:
        """The trail from revision `after` + 1 on, oldest first. Raises `StoreError`."""

    def load(self, changes: Sequence[Change]) -> None:
        """Append entries of another store as they are, to this one's end, whose head is the `before` of the first of
        them. All or none. Raises `StoreError`."""

    def wait(self, revision: int, timeout_s: float) -> None:
        """Return as soon as the head may be past `revision`, or after `timeout_s`. Raises `StoreError`."""

    def warnings(self) -> list[str]:
        """What of its settings endangers what is kept in it, for people: one sentence each. Raises `StoreError`."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket that replicas share: it holds `capacity` at most and gains `per_s`. `used` is what one replica
    took since it last said."""

    name: str
    capacity: float
    per_s: float
    used: float


class BudgetStore(Protocol):
    def share(
        self, replica: str, buckets: Sequence[Bucket], held: Mapping[str, int], ttl_s: float
    ) -> tuple[dict[str, float], dict[str, int]]:
        """Tell what was used, and learn what there is, of one moment.

        `held` has how much of each named thing this replica holds now; it is forgotten after `ttl_s` without news.
        Returns the buckets' levels (negative when more was taken than there was), and how much of each thing the
        *other* replicas hold. Raises `StoreError`.
        """


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do what only one may do. `token` grows with every holder: what is written in its name says it, and
    an older one is refused (a fencing token: Kleppmann, How to do distributed locking, 2016)."""

    name: str
    owner: str
    token: int


class LeaseStore(Protocol):
    def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """The lease, if nobody else has it. Who has it already gets it again, with the same token. Raises
        `StoreError`."""

    def renew(self, lease: Lease, ttl_s: float) -> bool:
        """Hold it for `ttl_s` from now. False if it is somebody else's by now, or nobody's. Raises `StoreError`."""

    def release(self, lease: Lease) -> None:
        """Let others have it at once. Raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class Note:
    """What whoever leads writes down for who comes next. `version` counts how often it was written, from 1."""

    version: int
    text: str


class NoteStore(Protocol):
    """Notes are written by compare-and-swap: one is refused if anybody has written since it was read. That fences off
    a leader of old more strictly than its lease's token would, and lets others write between two notes of the leader.
    """

    def noted(self, name: str) -> Note | None:
        """The note of that name, None if nobody wrote one. Raises `StoreError`."""

    def note(self, name: str, note: Note) -> bool:
        """Write it, durably, if its version is one more than the one that is there (0: none). One that is there
        already, with the same text, is no error. False: another is there, and nothing was written. A change that is
        appended afterwards is kept only together with it. Raises `StoreError`; it may have been written then."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a replica (a worker process) says of itself. `replica` is unique to the process: host, pid and a few random
    digits. Times are seconds since the epoch; `seen_at` is the store's to set."""

    replica: str
    host: str
    software: str
    started_at: float
    revision: int
    live_at: float
    draining: bool
    in_flight: int
    seen_at: float = 0.0


class MemberStore(Protocol):
    def report(self, member: Member, ttl_s: float) -> None:
        """Be listed for `ttl_s` from now. Raises `StoreError`."""

    def leave(self, replica: str) -> None:
        """Be listed no more. Raises `StoreError`."""

    def members(self) -> list[Member]:
        """Who reported and was not forgotten yet, by name. Raises `StoreError`."""


class Store(ChangeStore, BudgetStore, LeaseStore, NoteStore, MemberStore, Protocol):
    """All of it, at one place."""
