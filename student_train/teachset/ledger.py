"""The ledger's form: a chain of lines that can only be added to, and a tree over what a version holds.

Each line is one JSON object in one canonical form (sorted names, no blanks; what RFC 8785 makes of the values that
stand here). Its `hash` is SHA-256 over the hash before it and the line without `hash`, so a line that is changed, left
out, put in or moved breaks the chain at that place. A version's root is a Merkle tree hash (RFC 9162, section 2.1.1)
over its records, so that one number stands for all of them, in any place where it is written down.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

GENESIS = bytes(32)
"""What stands before the first line."""

Json = str | int | float | bool | None | list[Any] | dict[str, Any]


class LedgerError(Exception):
    """A ledger that is not as it was written: the line, what was expected and what came."""


def canonical(entry: Mapping[str, Json]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def link(before: bytes, entry: Mapping[str, Json]) -> tuple[bytes, bytes]:
    """The line of `entry` (without its line break) after the hash `before` (32 bytes), and its own hash."""
    own = sha256(before + canonical(entry)).digest()
    return canonical({**entry, "hash": own.hex()}), own


def entries(lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every entry and its hash, from the first on. Raises `LedgerError` at the first that is not what it was."""
    before = GENESIS
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            told = entry.pop("hash")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise LedgerError(f"line {number}: expected a JSON object with a hash, got {line[:80]!r}") from None
        expected, own = link(before, entry)
        if told != own.hex():
            raise LedgerError(
                f"line {number}: expected hash {own.hex()}, got {told}: it, or one before it, was changed"
            )
        if line.rstrip(b"\n") != expected or not line.endswith(b"\n"):
            raise LedgerError(f"line {number}: not in the form in which it was written")
        if entry.get("seq") != number:
            raise LedgerError(f"line {number}: expected seq {number}, got {entry.get('seq')}")
        yield entry, own
        before = own


class Tree:
    """A Merkle tree that leaves are added to, in memory of the logarithm of their number. Mutable state: the roots of
    the complete subtrees so far, largest first, each with its number of leaves."""

    def __init__(self) -> None:
        self._roots: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        size, root = 1, sha256(b"\0" + leaf).digest()
        while self._roots and self._roots[-1][0] == size:
            root = sha256(b"\1" + self._roots.pop()[1] + root).digest()
            size *= 2
        self._roots.append((size, root))

    def root(self) -> bytes:
        """32 bytes; of no leaves, SHA-256 of nothing."""
        if not self._roots:
            return sha256().digest()
        roots = [root for _, root in self._roots]
        found = roots.pop()
        while roots:
            found = sha256(b"\1" + roots.pop() + found).digest()
        return found
