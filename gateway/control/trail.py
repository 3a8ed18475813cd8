"""The trail's hash chain: each entry holds the hash of the one before, so that an edit, a deletion, an insertion or a
reordering anywhere shows at the next entry.

What it cannot show is a trail that somebody with the store in hands rewrote from some entry to its end. For that the
head's hash has to be known elsewhere: every replica logs it with each change, and `verify` takes one that was noted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import msgspec

from gateway.stores.protocols import NO_HASH, Change, Document, Draft, Key, Undo


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """What `to_document` makes."""

    revision: int
    key: Key
    version: int
    action: str
    document: Document
    undo: tuple[Undo, ...]
    actor: str
    reason: str
    changed_at: float
    before: str
    hash: str


def seal(draft: Draft, revision: int, before: str) -> Change:
    """The entry that a draft becomes at this place."""
    return Change(revision, draft, before, _hash(draft, revision, before))


def verify(changes: Iterable[Change], after: int = 0, before: str = NO_HASH) -> tuple[int, str]:
    """Follow the chain from an entry that is known to be right, by its revision and hash. Returns those of the last
    one. Raises `ValueError` naming the first entry that is not what it should be."""
    versions: dict[Key, int] = {}
    from_the_start = after == 0
    for change in changes:
        wanted = after + 1
        if change.revision != wanted:
            raise ValueError(
                f"revision {wanted}: expected it after {after}, got {change.revision}: entries are missing"
            )
        if change.before != before:
            raise ValueError(f"revision {wanted}: the entry before it is not the one that it was written after")
        if change.hash != _hash(change.draft, change.revision, change.before):
            raise ValueError(f"revision {wanted}: the entry was changed after it was written")
        key = change.draft.key
        last = versions.get(key, 0 if from_the_start else change.draft.version - 1)
        if change.draft.version != last + 1:
            raise ValueError(
                f"revision {wanted}: version {change.draft.version} of {key.kind} {key.name!r} follows {last}"
            )
        versions[key] = change.draft.version
        after, before = change.revision, change.hash
    return after, before


def to_document(change: Change) -> Document:
    """An entry as it is hashed, shown and exported."""
    return {**_hashed(change.draft, change.revision, change.before), "hash": change.hash}


def from_document(document: Mapping[str, Any]) -> Change:
    """The entry that `to_document` was given; `verify` tells whether it was changed since. Raises `ValueError`."""
    try:
        entry = msgspec.convert(document, _Entry)
    except msgspec.ValidationError as error:
        raise ValueError(f"expected an entry of a trail: {error}") from None
    about = entry.key, entry.version, entry.action, entry.document, entry.undo
    return Change(entry.revision, Draft(*about, entry.actor, entry.reason, entry.changed_at), entry.before, entry.hash)


def encode(change: Change) -> str:
    """An entry as one line of JSON, as it is kept and exported: always the same text for the same entry."""
    return _json(to_document(change))


def decode(line: str | bytes) -> Change:
    """The entry of such a line. Raises `ValueError`."""
    return from_document(json.loads(line))


def _hash(draft: Draft, revision: int, before: str) -> str:
    return sha256(_json(_hashed(draft, revision, before)).encode()).hexdigest()


def _hashed(draft: Draft, revision: int, before: str) -> Document:
    """Times as floats, whatever they were given as: 5 and 5.0 are the same time, and different texts."""
    entry = {"revision": revision, **asdict(draft), "before": before, "changed_at": float(draft.changed_at)}
    for undo in entry["undo"]:
        undo["at"] = float(undo["at"])
    return entry


def _json(document: Document) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
