"""A teaching set on disk: a ledger that tells everything and holds no text, and a database that holds the texts.

    SET/ledger.jsonl   the chain (`ledger`): what was added when, why, from what; of a text only its HMAC
    SET/set.db         SQLite: the texts, each with a key of its own, and what steps need to work
    SET/holdout/       the texts of the protected split, in a database of their own that training never opens
    SET/secret         the key of pseudonyms and splits

Dropping a text together with its key leaves an HMAC that nobody can test a guess against: that is how a person is
erased without breaking the chain. Lines are kept in the database, in the transaction of what they tell, until they are
in the file: so the two agree after a kill at any point, once the set is opened again.
"""

import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import msgspec
from msgspec import Struct

from student_train.teachset import ledger
from student_train.teachset.example import Example, Split
from student_train.teachset.ledger import Json
from student_train.teachset.store_file import (
    OWN,
    PROTECTED,
    RECORDS,
    SetError,
    Writing,
    database,
    end_before,
    locked,
    mend,
    private,
    shred,
)

__all__ = ["Entry", "SetError", "TeachingSet"]

_BATCH = 1000
_PAGE = 500
_MADE_OF = "id = ? OR (id > ? AND id < ?)"


class Entry(Struct, frozen=True):
    """Something to add. `about` goes into the ledger as it is: no text, and nothing that tells who somebody is.
    `payload` is kept outside it. `person`: the pseudonym of whom it is about, "" for nobody."""

    id: str
    about: dict[str, Json]
    payload: bytes | None
    person: str = ""


class TeachingSet:
    """A set that is open: a context manager, for one process at a time. All its methods raise `SetError`. `holdout`:
    whether what is in the protected split can be read."""

    def __init__(self, path: Path, holdout: bool) -> None:
        self.path = path
        self.holdout = holdout
        self._stale: list[tuple[str, str, int]] = []  # of the holdout, what an entry takes the place of
        self._decode = msgspec.json.Decoder(Example).decode
        self._lock = locked(path / "lock")
        try:
            self._secret = (path / "secret").read_bytes()
            self._db = database(path / "set.db", RECORDS + OWN)
            self._protected = database(path / "holdout" / "holdout.db", RECORDS + PROTECTED)
            mend(self._protected, path / "set.db")
            self._ledger = self._mended()
        except BaseException:
            os.close(self._lock)
            raise

    @staticmethod
    def create(path: Path) -> "TeachingSet":
        """An empty set in a new directory."""
        if (path / "secret").exists() or (path / "set.db").exists():
            raise SetError(f"{path}: expected a place for a new teaching set, found one: open it, or choose another")
        (path / "holdout").mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(path / "secret", "xb", opener=private) as file:
            file.write(secrets.token_bytes(32))
        return TeachingSet(path, holdout=False)

    @staticmethod
    def open(path: Path, holdout: bool = False) -> "TeachingSet":
        """`holdout`: whether what is in the protected split can be read."""
        if not (path / "secret").is_file():
            raise SetError(f"{path}: expected a teaching set, found none: `understudy teachset init {path}` makes one")
        return TeachingSet(path, holdout)

    def __enter__(self) -> "TeachingSet":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()
        self._protected.close()
        self._ledger.close()
        os.close(self._lock)

    @property
    def head(self) -> tuple[int, str]:
        """How many entries the ledger has, and the hash of the last, in hexadecimal."""
        seq, own = self._db.execute("SELECT seq, hash FROM head").fetchone()
        return seq, own.hex()

    def pseudonym(self, what: str) -> str:
        """A name for `what` that says nothing about it to who has not the set's secret: 32 hexadecimal digits."""
        return hmac.digest(self._secret, what.encode(errors="surrogatepass"), "sha256")[:16].hex()

    def person(self, tenant: str, user: str) -> str:
        """The pseudonym of a tenant's end user, as `erase --customer` looks for it; "" for nobody. Two tenants'
        users of one name are two."""
        return self.pseudonym(f"person\0{tenant}\0{user}") if user else ""

    # What is in it.

    def get(self, kind: str, id_: str) -> bytes | None:
        found = self._db.execute("SELECT body, seq FROM records WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
        if found is not None and found[0] is None and self.holdout:
            found = self._held(kind, id_, found[1])
        return None if found is None else found[0]

    def _held(self, kind: str, id_: str, seq: int) -> tuple[bytes | None] | None:
        query = "SELECT body FROM records WHERE kind = ? AND id = ? AND seq = ?"
        found: tuple[bytes | None] | None = self._protected.execute(query, (kind, id_, seq)).fetchone()
        return found

    def has(self, kind: str, id_: str) -> bool:
        return self._db.execute("SELECT 1 FROM records WHERE kind = ? AND id = ?", (kind, id_)).fetchone() is not None

    def payloads(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """All that can be read of a kind, in order of id. The set may be added to meanwhile."""
        query = "SELECT id, body FROM records WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
        last: str | None = ""
        while last is not None:
            rows = self._db.execute(query, (kind, last, _PAGE)).fetchall()
            last = rows[-1][0] if len(rows) == _PAGE else None
            for id_, body in rows:
                found = body if body is not None else self.get(kind, id_)
                if found is not None:
                    yield id_, found

    def examples(self, split: Split | None = None) -> Iterator[Example]:
        """In order of id; of one split, or all that can be read, with a split or without."""
        if split == "holdout" and not self.holdout:
            raise SetError("the holdout is protected: an evaluation opens it, and nothing else does")
        found: Iterable[bytes | None]
        if split is None:
            found = (body for _, body in self.payloads("example"))
        else:
            found = (self.get("example", id_) for id_ in self.ids(split))
        yield from (self._decode(body) for body in found if body is not None)

    def ids(self, split: Split) -> Iterator[str]:
        """Of a split's examples, in order."""
        query = "SELECT id FROM splits WHERE split = ? AND id > ? ORDER BY id LIMIT ?"
        last = ""
        while rows := self._db.execute(query, (split, last, _PAGE)).fetchall():
            for (last,) in rows:
                yield last

    def split_of(self, id_: str) -> Split | None:
        found = self._db.execute("SELECT split FROM splits WHERE id = ?", (id_,)).fetchone()
        return None if found is None else cast(Split, found[0])

    def sizes(self) -> dict[str, int]:
        """How many records there are of each kind, and examples of each split (`split:train`)."""
        kinds = self._db.execute("SELECT kind, count(*) FROM records GROUP BY kind ORDER BY kind").fetchall()
        splits = self._db.execute("SELECT split, count(*) FROM splits GROUP BY split ORDER BY split").fetchall()
        return dict(kinds) | {f"split:{split}": count for split, count in splits}

    def of_person(self, person: str) -> list[str]:
        """The ids of the examples, and of what belongs to none, that are about somebody, by pseudonym."""
        rows = self._db.execute("SELECT id FROM records WHERE person = ? AND id NOT LIKE '%/%' ORDER BY id", (person,))
        return [id_ for (id_,) in rows]

    def was_erased(self, id_: str) -> bool:
        return self._db.execute("SELECT 1 FROM erased WHERE id = ?", (id_,)).fetchone() is not None

    # What is added to it.

    def add(self, kind: str, items: Iterable[Entry], replace: bool = False) -> int:
        """Add what is not there yet, by id; with `replace`, put it in the place of what is there and differs. Whole
        thousands are added or none of them. An `about` of an example that has a `split` puts it there. What was erased
        does not come back, nor does what is made of it. Returns how many were added."""
        added = 0
        items = iter(items)
        while batch := list(islice(items, _BATCH)):
            with self._writing():
                added += sum(self._add_one(kind, item, replace) for item in batch)
        return added

    def assign(self, splits: Iterable[tuple[str, Split]], **about: Json) -> int:
        """Put examples into splits; `about` is told of each. What stands in one already stays there. Returns how many
        were put."""
        put = 0
        items = iter(splits)
        while batch := list(islice(items, _BATCH)):
            with self._writing():
                put += sum(self._assign_one(id_, split, about) for id_, split in batch)
        return put

    def note(self, kind: str, about: dict[str, Json]) -> None:
        """An entry without a text: a run, an evaluation, a release, a model."""
        with self._writing():
            self._tell({"kind": kind, "about": about})

    def erase(self, ids: Sequence[str], about: dict[str, Json], kind: str = "erased") -> int:
        """Drop examples and all that was made of them, or what belongs to none, and leave a tombstone. Nothing of them
        is on disk afterwards. Returns how many records that were."""
        gone = 0
        with Writing(self._db, self._protected, self._settle):  # told of first: `mend` ends what is only told of
            for id_ in ids:
                if self.has("example", id_):
                    self._db.execute("INSERT OR IGNORE INTO erased VALUES (?)", (id_,))
                for db in (self._protected, self._db):
                    made = db.execute(f"DELETE FROM records WHERE {_MADE_OF}", _made_of(id_))  # noqa: S608
                gone += made.rowcount
                self._db.execute("DELETE FROM splits WHERE id = ?", (id_,))
            self._tell({"kind": kind, "about": {**about, "records": gone}, "ids": list(ids)})
        self.shred()
        return gone

    def shred(self) -> None:
        """Take what was dropped off the disk, as far as files go."""
        if not all([shred(self._db), shred(self._protected)]):
            raise SetError(
                f"{self.path}: what was erased is in no table any more, but still in a log, for another process reads "
                "the set: end it, and run this again"
            )

    def _add_one(self, kind: str, item: Entry, replace: bool) -> bool:
        if self.has(kind, item.id) and (not replace or self._same(kind, item)):
            return False
        if self.was_erased(item.id.partition("/")[0]):
            return False
        split = item.about.get("split") if kind == "example" else self.split_of(item.id.partition("/")[0])
        key = secrets.token_bytes(16)
        entry: dict[str, Json] = {"kind": kind, "id": item.id, "about": item.about}
        if item.payload is not None:
            entry["hmac"] = mac(key, item.person, item.payload)
        seq = self._tell(entry)
        row: tuple[object, ...] = (kind, item.id, seq, key, item.payload, item.person)
        if split == "holdout":
            _put(self._protected, row)
            self._stale.append((kind, item.id, seq))
            row = (kind, item.id, seq, None, None, item.person)
        _put(self._db, row)
        if kind == "example" and split is not None and self.split_of(item.id) is None:
            self._db.execute("INSERT INTO splits VALUES (?, ?)", (item.id, split))
        return True

    def _same(self, kind: str, item: Entry) -> bool:
        query = "SELECT body, person, seq FROM records WHERE kind = ? AND id = ?"
        body, person, seq = self._db.execute(query, (kind, item.id)).fetchone()
        held = self._held(kind, item.id, seq) if body is None else None
        return (body if held is None else held[0], person) == (item.payload, item.person)

    def _assign_one(self, id_: str, split: Split, about: dict[str, Json]) -> bool:
        if not self.has("example", id_):
            raise SetError(f"expected the id of an example to put into {split}, got {id_}")
        if self.split_of(id_) is not None:
            return False
        self._tell({"kind": "split", "id": id_, "about": {**about, "split": split}})
        self._db.execute("INSERT INTO splits VALUES (?, ?)", (id_, split))
        if split == "holdout":
            where = _made_of(id_)
            for row in self._db.execute(f"SELECT * FROM records WHERE {_MADE_OF}", where).fetchall():  # noqa: S608
                _put(self._protected, row)
            self._db.execute(f"UPDATE records SET key = NULL, body = NULL WHERE {_MADE_OF}", where)  # noqa: S608
        return True

    # The chain.

    def _tell(self, entry: dict[str, Json]) -> int:
        seq, before = self._db.execute("SELECT seq, hash FROM head").fetchone()
        line, own = ledger.link(before, {**entry, "seq": seq + 1, "at": round(time.time(), 3)})
        self._db.execute("INSERT INTO outbox VALUES (?, ?)", (seq + 1, line + b"\n"))
        self._db.execute("UPDATE head SET seq = ?, hash = ?", (seq + 1, own))
        return int(seq) + 1

    def _writing(self) -> Writing:
        """What is put into the holdout is there before it is told of."""
        return Writing(self._protected, self._db, self._settle)

    def _settle(self) -> None:
        """After a transaction: what it replaced in the holdout goes, and lines into the file."""
        for one in self._stale:
            self._protected.execute("DELETE FROM records WHERE kind = ? AND id = ? AND seq < ?", one)
        self._stale.clear()
        self._flush()

    def _flush(self) -> None:
        """Lines that are in the database only go into the file, and then out of the database."""
        rows = self._db.execute("SELECT seq, line FROM outbox ORDER BY seq").fetchall()
        if rows:
            self._ledger.write(b"".join(line for _, line in rows))
            self._ledger.flush()
            os.fsync(self._ledger.fileno())
            self._db.execute("DELETE FROM outbox WHERE seq <= ?", (rows[-1][0],))

    def _mended(self) -> Any:
        """The ledger's file, at its end, after what a kill may have left has been put right."""
        if self._db.execute("SELECT 1 FROM head").fetchone() is None:
            self._db.execute("INSERT INTO head VALUES (0, ?)", (ledger.GENESIS,))
        file = open(self.path / "ledger.jsonl", "ab+", opener=private)  # noqa: SIM115
        waiting = self._db.execute("SELECT seq, line FROM outbox ORDER BY seq").fetchall()
        if waiting:
            first = waiting[0][1]
            keep = end_before(file, first)
            file.truncate(keep)
            file.seek(0, os.SEEK_END)
        self._ledger = file
        self._flush()
        return file


def mac(key: bytes, person: str, payload: bytes) -> str:
    """What the ledger has of a record: it binds the text, and whom it is about. 64 hexadecimal digits."""
    return hmac.digest(key, person.encode() + b"\0" + payload, "sha256").hex()


def _made_of(id_: str) -> tuple[str, str, str]:
    """For `_MADE_OF`: a record, and those whose id goes on after its id and a slash (the next character is 0)."""
    return id_, f"{id_}/", f"{id_}0"


def _put(db: sqlite3.Connection, row: Sequence[object]) -> None:
    db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
