"""Is a teaching set what its ledger says? Every line, and every text that has not been erased."""

import hmac
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from student_train.teachset import ledger
from student_train.teachset.ledger import LedgerError, Tree
from student_train.teachset.store import mac

_TELL = 10_000


class Verified(Struct, frozen=True):
    """`head`: the hash of the last line. `erased`: records of which only the HMAC is left. `problems`: what is not as
    the ledger says; none: all is."""

    entries: int
    head: str
    records: int
    erased: int
    problems: tuple[str, ...]


def verify(path: Path, show: Callable[[int], None] = lambda entries: None) -> Verified:
    """Reads the set at `path`, also while it is open elsewhere; writes nothing. `show` is told how many entries have
    been looked at. What it finds is told, never raised."""
    with _Looked(path) as looked:
        try:
            with (path / "ledger.jsonl").open("rb") as lines:
                for entry, own in ledger.entries(lines):
                    looked.at(entry, own)
                    if looked.entries % _TELL == 0:
                        show(looked.entries)
        except LedgerError as error:
            looked.problems.append(f"ledger.jsonl: {error}")
        except OSError as error:
            looked.problems.append(f"ledger.jsonl: {error.strerror}")
        else:
            looked.end()
        return Verified(looked.entries, looked.head.hex(), looked.records, looked.erased, tuple(looked.problems[:100]))


def root(path: Path) -> tuple[str, int]:
    """The Merkle root over all records that are there, in order of kind and id, and how many they are."""
    tree, count = Tree(), 0
    with _Looked(path) as looked:
        for kind, id_, own in looked.macs():
            tree.add(ledger.canonical({"hmac": own, "id": id_, "kind": kind}))
            count += 1
    return tree.root().hex(), count


class _Looked:
    """A verification under way. Mutable state: what was seen so far; what has to be remembered of each record is in a
    temporary database, so that memory does not grow with the set."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries, self.records, self.erased = 0, 0, 0
        self.head = ledger.GENESIS
        self.problems: list[str] = []
        self._db = sqlite3.connect(f"file:{path / 'set.db'}?mode=ro", uri=True, isolation_level=None)
        self._db.execute("ATTACH ? AS protected", (f"file:{path / 'holdout' / 'holdout.db'}?mode=ro",))
        self._seen = sqlite3.connect("", isolation_level=None)  # in a file of its own that nobody else sees
        self._seen.executescript("""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;
            CREATE TABLE seen (kind TEXT, id TEXT, seq INTEGER, mac TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
            CREATE TABLE split (id TEXT PRIMARY KEY, split TEXT) WITHOUT ROWID;
        """)

    def __enter__(self) -> "_Looked":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._seen.close()

    def at(self, entry: dict[str, Any], own: bytes) -> None:
        self.entries, self.head = entry["seq"], own
        id_, kind = entry.get("id"), entry["kind"]
        if "ids" in entry:
            for gone in entry["ids"]:
                made = self._seen.execute(
                    "DELETE FROM seen WHERE id = ? OR (id > ? AND id < ?)", (gone, f"{gone}/", f"{gone}0")
                )
                self.erased += made.rowcount
                self._seen.execute("DELETE FROM split WHERE id = ?", (gone,))
        elif kind == "split":
            self._seen.execute("INSERT OR IGNORE INTO split VALUES (?, ?)", (id_, entry["about"]["split"]))
        elif id_ is not None:
            row = (kind, id_, entry["seq"], entry.get("hmac"))
            self._seen.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", row)
            if kind == "example" and "split" in entry["about"]:
                self._seen.execute("INSERT OR IGNORE INTO split VALUES (?, ?)", (id_, entry["about"]["split"]))

    def end(self) -> None:
        """All lines were seen: is what they tell there, and nothing else?"""
        seq, own = self._db.execute("SELECT seq, hash FROM head").fetchone()
        waiting = self._db.execute("SELECT count(*) FROM outbox").fetchone()[0]
        if self.entries + waiting != seq or (not waiting and own != self.head):
            told = f"{seq} entries, the last {own.hex()}; it has {self.entries}, the last {self.head.hex()}"
            self.problems.append(f"ledger.jsonl: expected {told}: its end is missing, or was put in from elsewhere")
        for kind, id_, found in self.macs():
            self.records += 1
            row = self._seen.execute("SELECT mac FROM seen WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
            if row is None:
                self.problems.append(f"{kind} {id_}: it is in the database, and the ledger knows nothing of it")
            elif not hmac.compare_digest(str(row[0]), found):
                self.problems.append(f"{kind} {id_}: its text, or whom it is about, is not what was added")
        if (missing := self._seen.execute("SELECT count(*) FROM seen").fetchone()[0] - self.records) > 0:
            self.problems.append(f"{missing} records are in the ledger, were not erased, and are not in the database")
        own_splits = self._db.execute("SELECT id, split FROM splits ORDER BY id")
        told_splits = self._seen.execute("SELECT id, split FROM split ORDER BY id")
        while True:
            here, told_here = own_splits.fetchone(), told_splits.fetchone()
            if here != told_here:
                self.problems.append(f"splits: expected {told_here}, got {here}")
                break
            if here is None:
                break

    def macs(self) -> Iterator[tuple[str, str, str]]:
        """Kind, id and HMAC as it is now of every record with a text, by kind and id; "None" of those without."""
        rows = self._db.execute("""
            SELECT one.kind, one.id, coalesce(one.key, other.key), coalesce(one.body, other.body), one.person
            FROM main.records AS one LEFT JOIN protected.records AS other USING (kind, id) ORDER BY one.kind, one.id
        """)
        for kind, id_, key, body, person in rows:
            yield kind, id_, "None" if body is None else mac(key, person, body)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The ledger's entries as they stand, without looking whether they are right."""
    with (path / "ledger.jsonl").open("rb") as file:
        for line in file:
            yield json.loads(line)
