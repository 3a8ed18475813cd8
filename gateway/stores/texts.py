"""What both stores read and say in the same way."""

from collections.abc import Iterable, Iterator

import msgspec

from gateway.stores.protocols import Key, Member


def members_of(texts: Iterable[str]) -> Iterator[Member]:
    """What replicas said of themselves; without those of another version, if it says other things."""
    for text in texts:
        try:
            yield msgspec.json.decode(text, type=Member)
        except msgspec.DecodeError:
            continue


def not_continued(where: str, first: int, last: int) -> str:
    """Entries from revision `first` on do not fit on a trail that ends with `last`."""
    if first == last + 1:
        return (
            f"{where}: its trail is another one: its entry {last} is not the one that entry {first} was written after"
        )
    return f"{where}: its trail ends with revision {last}, so expected entries from {last + 1} on; got {first}"


def wrong_version(where: str, key: Key, version: int, last: int) -> str:
    return f"{where}: expected version {last + 1} of {key.kind} {key.name!r}, got {version}"
