"""How tests write to a store: as the door does, and as many others at once."""

import sys
from time import monotonic

from gateway.control.trail import seal
from gateway.stores.protocols import Change, Document, Draft, HeadMoved, Key, Store, StoreError, Undo
from gateway.stores.url import make_store

ROUTE = Key("route", "support-chat")
OTHER = Key("gateway", "")


def draft(key: Key, version: int, document: Document | None = None, undo: tuple[Undo, ...] = ()) -> Draft:
    return Draft(key, version, "change", document or {}, undo, "sre", "a quiet day", 1_700_000_000.5)


def sealed_on(store: Store, key: Key = ROUTE, document: Document | None = None) -> Change:
    """The next change of a document, for where the trail ends now."""
    standing = store.current()
    last = standing.changes.get(key)
    version = 1 if last is None else last.draft.version + 1
    return seal(draft(key, version, document), standing.revision + 1, standing.hash)


def write(store: Store, key: Key = ROUTE, document: Document | None = None) -> Change:
    change = sealed_on(store, key, document)
    store.append(change)
    return change


def chain(keys: list[Key], first: int = 1, before: str = "0" * 64) -> list[Change]:
    """A trail with a change of each of these documents, in this order."""
    changes: list[Change] = []
    versions: dict[Key, int] = {}
    for revision, key in enumerate(keys, start=first):
        versions[key] = versions.get(key, 0) + 1
        change = seal(draft(key, versions[key], {"n": revision}), revision, before)
        changes.append(change)
        before = change.hash
    return changes


def compete(url: str, name: str, count: int, seconds: float) -> None:
    """Append up to `count` changes, against whoever else does, and print the revision and hash of each as soon as it is
    accepted. A store that is away is tried again."""
    store = make_store(url)
    deadline = monotonic() + seconds
    done = 0
    while done < count and monotonic() < deadline:
        try:
            change = sealed_on(store, Key("route", "ab"[done % 2]), {"by": name, "n": done})
            store.append(change)
        except (HeadMoved, StoreError):
            continue
        print(change.revision, change.hash, flush=True)
        done += 1
    store.close()


if __name__ == "__main__":
    compete(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
