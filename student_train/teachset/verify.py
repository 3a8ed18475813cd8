"""Is a teaching set what its ledger says? Every line, and every text that has not been erased."""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
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


def verify(path: Path, show: Callable[[int], None] = lambda entries: None, noted: str | None = None) -> Verified:
    """Reads the set at `path`; writes nothing. `show` is told how many entries have been looked at. `noted`: the hash
    of an entry that was written down elsewhere: who has the whole set can make a new chain, but none with that in it.
    What it finds is told, never raised."""
    missing = noted
    with _Looked(path) as looked:
        try:
            with (path / "ledger.jsonl").open("rb") as lines:
                for entry, own in ledger.entries(lines):
                    looked.at(entry, own)
                    if own.hex() == noted:
                        missing = None
                    if looked.entries % _TELL == 0:
                        show(looked.entries)
            looked.end()
            looked.exports()
            if missing is not None:
                looked.problems.append(
                    f"ledger.jsonl: expected an entry with hash {noted}, there is none: a new chain?"
                )
        except LedgerError as error:
            looked.problems.append(f"ledger.jsonl: {error}")
        except OSError as error:
            looked.problems.append(f"ledger.jsonl: {error.strerror}")
        except sqlite3.Error as error:
            looked.problems.append(f"set.db or holdout.db: expected a database, got one that is broken: {error}")
        return Verified(looked.entries, looked.head.hex(), looked.records, looked.erased, tuple(looked.problems[:100]))


def root(path: Path) -> tuple[str, int]:
    """The Merkle root over all records that are there, in order of kind and id, and how many they are. What a version
    writes into the ledger; `verify` works it out again from the ledger alone, for every version there was."""
    tree, count = Tree(), 0
    with _Looked(path) as looked:
        for kind, id_, own, split in looked.macs():
            tree.add(_leaf(kind, id_, own, split))
            count += 1
    return tree.root().hex(), count


def _leaf(kind: str, id_: str, own: str, split: str) -> bytes:
    return ledger.canonical({"hmac": own, "id": id_, "kind": kind, "split": split})


class _Looked:
    """A verification under way. Mutable state: what was seen so far; what has to be remembered of each record is in a
    temporary database, so that memory does not grow with the set."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries, self.records, self.erased = 0, 0, 0
        self.head = ledger.GENESIS
        self.problems: list[str] = []
        self._versions: dict[str, dict[str, Any]] = {}
        self._db = sqlite3.connect(f"{(path / 'set.db').absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        self._seen = sqlite3.connect("", isolation_level=None)  # in a file of its own that nobody else sees
        self._seen.executescript("""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;
            CREATE TABLE seen (kind TEXT, id TEXT, seq INTEGER, mac TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
            CREATE TABLE split (id TEXT PRIMARY KEY, split TEXT) WITHOUT ROWID;
            CREATE TABLE gone (id TEXT PRIMARY KEY) WITHOUT ROWID;
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
                self._seen.execute(
                    "INSERT OR IGNORE INTO gone SELECT id FROM seen WHERE kind = 'example' AND id = ?", (gone,)
                )
                made = self._seen.execute(
                    "DELETE FROM seen WHERE id = ? OR (id > ? AND id < ?)", (gone, f"{gone}/", f"{gone}0")
                )
                self.erased += made.rowcount
                self._seen.execute("DELETE FROM split WHERE id = ?", (gone,))
        elif kind == "split":
            self._seen.execute("INSERT OR IGNORE INTO split VALUES (?, ?)", (id_, entry["about"]["split"]))
        elif kind == "version":
            self._root_of(entry)
            self._versions[entry["about"]["name"]] = entry["about"].get("files", {})
        elif id_ is not None:
            row = (kind, id_, entry["seq"], entry.get("hmac"))
            self._seen.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", row)
            if kind == "example" and "split" in entry["about"]:
                self._seen.execute("INSERT OR IGNORE INTO split VALUES (?, ?)", (id_, entry["about"]["split"]))

    def _root_of(self, entry: dict[str, Any]) -> None:
        tree = Tree()
        for kind, id_, own, split in self._seen.execute("""
            SELECT kind, id, coalesce(mac, 'None'), CASE kind WHEN 'example' THEN coalesce(split, '') ELSE '' END
            FROM seen LEFT JOIN split USING (id) ORDER BY kind, id
        """):
            tree.add(_leaf(kind, id_, own, split))
        if (found := tree.root().hex()) != (told := entry["about"].get("root")):
            name = entry["about"].get("name")
            self.problems.append(f"version {name}: expected the root {told}, its records give {found}")

    def end(self) -> None:
        """All lines were seen: is what they tell there, and nothing else?"""
        seq, own = self._db.execute("SELECT seq, hash FROM head").fetchone()
        waiting = self._db.execute("SELECT count(*) FROM outbox").fetchone()[0]
        if self.entries + waiting != seq or (not waiting and own != self.head):
            told = f"{seq} entries, the last {own.hex()}; it has {self.entries}, the last {self.head.hex()}"
            self.problems.append(f"ledger.jsonl: expected {told}: its end is missing, or was put in from elsewhere")
        for kind, id_, found, _ in self.macs():
            self.records += 1
            row = self._seen.execute("SELECT mac FROM seen WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
            if row is None:
                self.problems.append(f"{kind} {id_}: it is in the database, and the ledger knows nothing of it")
            elif not hmac.compare_digest(str(row[0]), found):
                self.problems.append(f"{kind} {id_}: its text, or whom it is about, is not what was added")
        if (missing := self._seen.execute("SELECT count(*) FROM seen").fetchone()[0] - self.records) > 0:
            self.problems.append(f"{missing} records are in the ledger, were not erased, and are not in the database")
        self._same("splits", self.splits(), self._seen.execute("SELECT id, split FROM split ORDER BY id"))
        erased = self._db.execute("SELECT id FROM erased ORDER BY id")
        self._same("erased", erased, self._seen.execute("SELECT id FROM gone ORDER BY id"))

    def exports(self) -> None:
        """Of every version that has files here: are they those that were written?"""
        for name, files in self._versions.items():
            folder = self._path / "exports" / name
            for file, told in files.items() if folder.is_dir() else ():
                try:
                    with (folder / file).open("rb") as held:
                        found = hashlib.file_digest(held, "sha256").hexdigest()
                except OSError as error:
                    self.problems.append(f"exports/{name}/{file}: {error.strerror}")
                    continue
                if found != told["sha256"]:
                    self.problems.append(f"exports/{name}/{file}: expected SHA-256 {told['sha256']}, got {found}")

    def _same(self, what: str, here: Iterable[Any], told: Iterable[Any]) -> None:
        for own, expected in zip_longest(here, told):
            if own != expected:
                self.problems.append(f"{what}: expected {expected}, got {own}")
                break

    def splits(self) -> Iterator[tuple[str, str]]:
        yield from self._db.execute("SELECT id, split FROM splits ORDER BY id")

    def macs(self) -> Iterator[tuple[str, str, str, str]]:
        """Kind, id, HMAC as it is now and split of every record, by kind and id; "None" for the HMAC of those without a
        text, "" for the split of all but examples that stand in one."""
        protected = (self._path / "holdout" / "holdout.db").absolute()
        self._db.execute("ATTACH ? AS protected", (f"{protected.as_uri()}?mode=ro",))
        rows = self._db.execute("""
            SELECT one.kind, one.id, coalesce(one.key, other.key), coalesce(one.body, other.body), one.person,
                   CASE one.kind WHEN 'example' THEN coalesce(split, '') ELSE '' END
            FROM main.records AS one LEFT JOIN protected.records AS other USING (kind, id, seq)
                 LEFT JOIN splits ON splits.id = one.id
            ORDER BY one.kind, one.id
        """)
        for kind, id_, key, body, person, split in rows:
            yield kind, id_, "None" if body is None else mac(key, person, body), split


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The ledger's entries as they stand, without looking whether they are right."""
    with (path / "ledger.jsonl").open("rb") as file:
        for line in file:
            yield json.loads(line)
