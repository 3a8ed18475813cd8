"""The store for replicas on several hosts: one Redis (7 or newer) or Valkey server, found as `redis_link` says.

An accepted change is there for good if the server's settings are right: `append` returns when the server says that its
disk has it (`appendfsync always`; where there is WAITAOF, whatever appendfsync is) and, if replicas are connected, that
one of them has it too. `warnings` tells which settings fall short of that.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import Any

import msgspec
import redis
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, RedisError

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
from gateway.stores.redis_link import Client, Link, is_lost
from gateway.stores.redis_scripts import ACQUIRE, APPEND, CURRENT, MEMBERS, MIGRATIONS, NOTE, RENEW, REPORT, SHARE
from gateway.stores.texts import members_of, not_continued, wrong_version
from gateway.stores.url import RedisUrl

_POLL_S = 0.5  # what a lost message costs
_RESOLVE_S = 2.0  # how long to find out what became of a change
_RESOLVE_AGAIN_S = 0.1
_CONFIRM_MS = 800  # how long disk and replica may take
_LOAD_S = 60.0  # for the one answer to a whole trail


@dataclass(frozen=True, slots=True)
class _Safety:
    """What the server can confirm: that its own disk has a change, that a replica has it."""

    disk: bool
    replica: bool


class RedisStore:
    """A `Store` at `url`."""

    def __init__(self, url: RedisUrl) -> None:
        self._link = Link(url)
        self._tag = f"{{{url.prefix}}}"
        self._channel = self._key("changes")
        self._listening = threading.Lock()
        self._messages: Any = None
        self._listener: Client | None = None  # kept, for a client that nobody has any more closes what it opened
        self._closed = threading.Event()

    def open(self) -> None:
        self._link.run(lambda client: client.ping())

    def head(self) -> tuple[int, str]:
        return _split(self._link.run(lambda client: client.get(self._key("head"))))

    def current(self) -> Standing:
        head, texts = self._eval(CURRENT, ["head", "newest"])
        changes = [self._decode(text) for text in texts]
        return Standing(*_split(head), {change.draft.key: change for change in changes})

    def append(self, change: Change) -> None:
        """One that is cut off while it waits for the answer sends the same again, which does nothing if the first has
        arrived; and if it arrives later, it finds that the head has moved."""
        deadline = monotonic() + _RESOLVE_S
        safety = self._link.run(_safety)  # asked first: an error until here means that nothing was sent
        keys, args = self._entries_to_append([change])
        in_doubt = False
        while True:
            try:
                answer, confirmed = _send(self._link.client(), keys, args, safety)
                break
            except (RedisError, OSError, StoreError) as error:
                self._link.forget_if_lost(error)
                again = is_lost(error) or (in_doubt and isinstance(error, BusyLoadingError))
                in_doubt = in_doubt or _may_have_arrived(error)
                if not again or monotonic() + _RESOLVE_AGAIN_S > deadline:
                    said = self._link.plain(error)
                    if in_doubt:
                        raise OutcomeUnknown(f"{said}. Whether the change was written is not known.") from error
                    raise StoreError(said) from error
            sleep(_RESOLVE_AGAIN_S)
        self._judge(answer, [change])
        if not confirmed:
            raise OutcomeUnknown(
                f"{self._link.name}: the change is written, but disk or replica did not confirm it within "
                f"{_CONFIRM_MS} ms each, so a failure now may lose it."
            )

    def load(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        keys, args = self._entries_to_append(changes)
        self.open()

        def send(client: Client) -> Any:
            patient = self._link.new_client(_LOAD_S)
            try:
                return patient.eval(APPEND, len(keys), *keys, *args)
            finally:
                patient.close()

        try:
            self._judge(self._link.run(send), changes)
        except HeadMoved:
            raise StoreError(not_continued(self._link.name, changes[0].revision, self.head()[0])) from None

    def history(self, key: Key, *, before_version: int | None = None, limit: int = 100) -> list[Change]:
        versions = self._versions(key)

        def read(client: Client) -> Any:
            count = client.llen(versions)  # the version at index 0 is 1
            if before_version is not None:
                count = min(count, before_version - 1)
            return client.lrange(versions, max(count - limit, 0), count - 1) if count > 0 else []

        return self._read(self._link.run(read))[::-1]

    def entries(self, after: int, limit: int) -> list[Change]:
        last = min(self.head()[0], after + limit)
        return self._read(range(after + 1, last + 1))

    def wait(self, revision: int, timeout_s: float) -> None:
        """One thread at a time. A message wakes it up; if one is lost, the head tells half a second later."""
        self._closed.clear()
        deadline = monotonic() + timeout_s
        with self._listening:
            self._listen()
            told = True
            while self.head()[0] <= revision:
                left = deadline - monotonic()
                if left <= 0 or self._closed.is_set():
                    return
                told = self._told(revision, min(left, _POLL_S))
            if not told:
                self._deaf()

    def warnings(self) -> list[str]:
        info = self._link.run(_info)
        fsync, replicas = self._setting("appendfsync"), self._setting("min-replicas-to-write")
        said = []
        if not info:
            said.append("INFO is not allowed, so what is confirmed of a change cannot be told. Allow it.")
        elif not info.get("aof_enabled"):
            said.append("appendonly is off: a crash loses the changes since the last snapshot. Set appendonly yes.")
        elif not _has_waitaof(info) and fsync is None:
            said.append("appendfsync cannot be read (CONFIG is not allowed): see to it that it is always.")
        elif not _has_waitaof(info) and fsync != "always":
            said.append(f"appendfsync is {fsync}: a crash loses the last changes. Set appendfsync always.")
        if info.get("aof_last_write_status", "ok") != "ok":
            said.append("The last write to the append-only file failed: is the disk full?")
        if info.get("connected_slaves") and replicas == "0":
            said.append(
                "min-replicas-to-write is 0: a primary that was replaced may accept changes and lose them. Set 1."
            )
        if info.get("maxmemory") and str(info.get("maxmemory_policy")).startswith("allkeys"):
            said.append(f"maxmemory-policy is {info['maxmemory_policy']}: changes may be evicted. Set noeviction.")
        if not self._link.run(self._may_publish):
            said.append(f"messages on {self._channel} are not allowed: changes are seen late. Allow &{self._channel}.")
        return [f"{self._link.name}: {text}" for text in said]

    def _may_publish(self, client: Client) -> bool:
        try:
            client.publish(self._channel, 0)
        except NoPermissionError:
            return False
        return True

    def close(self) -> None:
        """A `wait` under way returns within half a second."""
        self._closed.set()
        with self._listening:
            self._deaf()
        self._link.close()

    def share(
        self, replica: str, buckets: Sequence[Bucket], held: Mapping[str, int], ttl_s: float
    ) -> tuple[dict[str, float], dict[str, int]]:
        """If an answer gets lost it is told again, and what was used may be counted twice."""
        if not buckets and not held:
            return {}, {}
        names = [f"bucket:{bucket.name}" for bucket in buckets] + [f"held:{name}" for name in held]
        args: list[Any] = [replica, ttl_s, len(buckets)]
        for bucket in buckets:
            args += [bucket.capacity, bucket.per_s, bucket.used]
        levels, others = self._eval(SHARE, names, *args, *held.values())
        return (
            {bucket.name: float(level) for bucket, level in zip(buckets, levels, strict=True)},
            dict(zip(held, others, strict=True)),
        )

    def acquire(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        token = self._eval(ACQUIRE, [f"lease:{name}"], owner, ttl_s)
        return Lease(name, owner, token) if token else None

    def renew(self, lease: Lease, ttl_s: float) -> bool:
        return bool(self._eval(RENEW, [f"lease:{lease.name}"], lease.owner, lease.token, ttl_s))

    def release(self, lease: Lease) -> None:
        self._eval(RENEW, [f"lease:{lease.name}"], lease.owner, lease.token, 0)

    def noted(self, name: str) -> Note | None:
        version, text = self._link.run(lambda client: client.hmget(self._key(f"note:{name}"), ["version", "text"]))
        return None if version is None else Note(int(version), text)

    def note(self, name: str, note: Note) -> bool:
        """As durable as the server's settings are. What is appended later is in its log, and at its replicas, after
        this."""
        return bool(self._eval(NOTE, [f"note:{name}"], note.version, note.text))

    def report(self, member: Member, ttl_s: float) -> None:
        self._eval(REPORT, ["members"], member.replica, ttl_s, msgspec.json.encode(member))

    def leave(self, replica: str) -> None:
        self._link.run(lambda client: client.hdel(self._key("members"), replica))

    def members(self) -> list[Member]:
        now, said = self._eval(MEMBERS, ["members"])
        listed = [value.split(" ", 2) for value in said]
        found = [
            replace(member, seen_at=float(seen_at))
            for till, seen_at, text in listed
            if float(till) > float(now)
            for member in members_of([text])
        ]
        return sorted(found, key=lambda member: member.replica)

    def _key(self, name: str) -> str:
        return f"{self._tag}:{name}"

    def _versions(self, key: Key) -> str:
        return self._key(f"versions:{key.kind}/{key.name}")

    def _eval(self, script: str, names: Sequence[str], *args: Any) -> Any:
        keys = [self._key(name) for name in names]
        return self._link.run(lambda client: client.eval(script, len(keys), *keys, *args))

    def _entries_to_append(self, changes: Sequence[Change]) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of `APPEND`."""
        keys = [self._link.schema_key, *map(self._key, ("head", "trail", "newest"))]
        places: dict[Key, int] = {}
        first, last = changes[0], changes[-1]
        args: list[Any] = [
            len(MIGRATIONS),
            f"{first.revision - 1} {first.before}",
            f"{last.revision} {last.hash}",
            self._channel,
        ]
        for change in changes:
            key = change.draft.key
            if key not in places:
                keys.append(self._versions(key))
                places[key] = len(keys)
            document = f"{key.kind}/{key.name}"
            args += [change.revision, encode(change), document, change.draft.version, places[key]]
        return keys, args

    def _judge(self, answer: list[str], changes: Sequence[Change]) -> None:
        match answer:
            case ["done"]:
                return
            case ["moved", _]:
                raise HeadMoved
            case ["version", revision, last]:
                draft = changes[int(revision) - changes[0].revision].draft
                raise StoreError(wrong_version(self._link.name, draft.key, draft.version, int(last)))
        self._link.close()  # its schema is looked at when it is next used
        raise StoreError(
            f"{self._link.name}: emptied, or brought to another version, while in use; nothing was written"
        )

    def _read(self, revisions: Sequence[Any]) -> list[Change]:
        if not revisions:
            return []
        texts = self._link.run(lambda client: client.hmget(self._key("trail"), revisions))
        for revision, text in zip(revisions, texts, strict=True):
            if text is None:
                raise StoreError(f"{self._link.name}: the entry of revision {revision} is missing")
        return [self._decode(text) for text in texts]

    def _decode(self, text: str) -> Change:
        try:
            return decode(text)
        except ValueError as error:
            raise StoreError(f"{self._link.name}: damaged: {error}") from error

    def _setting(self, name: str) -> str | None:
        """A server's setting; None where one may not ask."""
        try:
            return str(self._link.client().config_get(name)[name])
        except (RedisError, OSError, KeyError):
            return None

    def _listen(self) -> None:
        """So that what is appended from here on is told. If that fails, the head shows it."""
        if self._messages is not None:
            return
        try:
            self._listener = self._link.client()
            self._messages = self._listener.pubsub()
            self._messages.subscribe(self._channel)
            if self._messages.get_message(timeout=1.0) is None:  # that it is subscribed
                self._deaf()
        except (RedisError, OSError, StoreError):
            self._deaf()

    def _told(self, revision: int, timeout_s: float) -> bool:
        """Whether somebody said within this time that the head is past `revision`, or nobody could have."""
        if self._messages is None:
            self._closed.wait(timeout_s)
            return True
        try:
            message = self._messages.get_message(timeout=timeout_s)
            while message is not None:
                if message["type"] == "message" and int(message["data"]) > revision:
                    return True
                message = self._messages.get_message(timeout=0)
        except (RedisError, OSError):
            self._deaf()
            return True
        return False

    def _deaf(self) -> None:
        """Listen anew next time."""
        messages, self._messages = self._messages, None
        if messages is not None:
            messages.close()
        self._listener = None


def _split(head: str | None) -> tuple[int, str]:
    if head is None:
        return 0, NO_HASH
    revision, _, own = head.partition(" ")
    return int(revision), own


def _safety(client: Client) -> _Safety:
    info = _info(client)
    replicas = (value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict))
    return _Safety(
        disk=bool(info.get("aof_enabled")) and _has_waitaof(info),
        replica=any(replica.get("state") == "online" for replica in replicas),
    )


def _info(client: Client) -> dict[str, Any]:
    """What the server says of itself; nothing where one may not ask."""
    try:
        return dict(client.info())
    except NoPermissionError:
        return {}


def _has_waitaof(info: Mapping[str, Any]) -> bool:
    """Redis 7.2 has it, and so has Valkey, which goes on calling itself that."""
    version = re.match(r"(\d+)\.(\d+)", str(info.get("redis_version")))
    return version is not None and (int(version[1]), int(version[2])) >= (7, 2)


def _send(client: Client, keys: list[str], args: list[Any], safety: _Safety) -> tuple[list[str], bool]:
    """The script's answer, and whether all that could be asked for was confirmed.

    In one go: both ask about what was written on the same connection.
    """
    pipe = client.pipeline(transaction=False)
    pipe.eval(APPEND, len(keys), *keys, *args)
    if safety.disk:
        pipe.execute_command("WAITAOF", 1, 0, _CONFIRM_MS)
    if safety.replica:
        pipe.execute_command("WAIT", 1, _CONFIRM_MS)
    answer, *waits = pipe.execute(raise_on_error=False)
    if isinstance(answer, Exception):
        raise answer
    numbers = [wait[0] if isinstance(wait, list) else wait for wait in waits]
    return answer, all(isinstance(number, int) and number > 0 for number in numbers)


def _may_have_arrived(error: Exception) -> bool:
    """A server that answers with an error has done nothing; one that does not answer may have done everything."""
    return isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError) and not isinstance(
        error, AuthenticationError | BusyLoadingError
    )
