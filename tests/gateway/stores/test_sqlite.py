"""What is the SQLite file's own: how it comes to be, how it fails, and that it comes back."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from gateway.control.trail import verify
from gateway.stores.protocols import Bucket, Key, StoreError
from gateway.stores.sqlite import SqliteStore
from tests.gateway.stores.writing import ROUTE, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "understudy.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def test_what_routes_had_become_before_there_was_a_trail_is_carried_over(path: Path) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(
        "CREATE TABLE route_versions (seq INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL,"
        " version INTEGER NOT NULL, overrides TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,"
        " changed_at REAL NOT NULL, UNIQUE (route, version))"
    )
    rows = [
        ("a", 1, {"student_percent": 5}, "sre", "first", 1_700_000_000.25),
        ("b", 1, {}, "bot", "é", 1_700_000_001.0),
        ("a", 2, {"student_percent": 25, "deep": [1.5, None]}, "sre", "second", 1_700_000_002.0),
    ]
    for route, version, overrides, *rest in rows:
        old.execute(
            "INSERT INTO route_versions (route, version, overrides, actor, reason, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (route, version, json.dumps(overrides), *rest),
        )
    old.execute("PRAGMA user_version = 1")
    old.close()
    store = SqliteStore(path)
    found = store.entries(0, 10)
    assert verify(found) == store.head()
    said = [
        (d.key.name, d.version, d.document, d.actor, d.reason, d.changed_at) for d in (change.draft for change in found)
    ]
    assert said == rows
    assert {(change.draft.key.kind, change.draft.action, change.draft.undo) for change in found} == {
        ("route", "change", ())
    }
    assert store.current().changes[Key("route", "a")] == found[2]
    assert write(store, Key("route", "a")).draft.version == 3
    store.close()
    assert SqliteStore(path).head()[0] == 4  # and once only


def test_a_locked_file_is_a_store_error_and_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.sqlite._BUSY_S", 0.1)
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"understudy\.db: locked by another process"):
        write(store)
    other.execute("ROLLBACK")
    assert store.head()[0] == 0
    write(store)
    store.close()


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    content = b"this is no database, it is a text file of some length" * 50
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"understudy\.db: damaged, or no store .* Move it away together with"):
        SqliteStore(path).open()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="The folder must be there"):
        SqliteStore(tmp_path / "nowhere" / "understudy.db").open()


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    SqliteStore(path).open()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="newer Understudy"):
        SqliteStore(path).open()


def test_of_many_that_open_a_new_file_at_once_all_get_in(tmp_path: Path) -> None:
    failed: list[Exception] = []
    for number in range(20):
        path = tmp_path / f"{number}.db"
        together = threading.Barrier(6)

        def open_it(path: Path = path, together: threading.Barrier = together) -> None:
            store = SqliteStore(path)
            together.wait()
            try:
                store.head()
                store.share("r", [Bucket("b", 1, 1, 1)], {"b": 1}, 5)
            except StoreError as error:
                failed.append(error)
            store.close()

        openers = [threading.Thread(target=open_it) for _ in range(6)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
    assert failed == []


def test_opening_waits_for_no_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.sqlite._BUSY_S", 0.1)
    SqliteStore(path).open()
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert SqliteStore(path).head()[0] == 0
    writer.close()


def test_a_store_that_comes_later_or_comes_back_needs_no_restart(path: Path) -> None:
    away = path.with_name("copy")
    path.mkdir()
    store = SqliteStore(path)
    with pytest.raises(StoreError):
        store.head()
    path.rmdir()
    change = write(store)
    original, copy = sqlite3.connect(path), sqlite3.connect(away)
    original.backup(copy)
    original.close()
    copy.close()
    for file in path.parent.glob("understudy.db*"):
        file.write_bytes(b"corrupt" * 2000)
    with pytest.raises(StoreError, match=r"understudy\.db: (damaged|disk I/O error)"):
        store.current()
    with pytest.raises(StoreError):
        write(store)
    for file in path.parent.glob("understudy.db*"):
        file.unlink()
    away.rename(path)
    assert store.entries(0, 10) == [change]
    write(store)
    store.close()


def test_a_page_that_was_overwritten_is_found_and_nothing_is_served_of_it(path: Path) -> None:
    store = SqliteStore(path)
    for _ in range(200):
        write(store, ROUTE, {"text": "x" * 200})
    store.close()
    with path.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xaa" * 4096 * 20)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="damaged"):
        store.entries(0, 1000)
    store.close()


def test_an_entry_that_is_no_entry_is_damage(path: Path) -> None:
    store = SqliteStore(path)
    change = write(store)
    other = sqlite3.connect(path)
    other.execute("UPDATE trail SET entry = json_remove(entry, '$.actor')")
    other.commit()
    with pytest.raises(StoreError, match=r"damaged.*actor"):
        store.current()
    other.execute("UPDATE trail SET entry = json_set(entry, '$.actor', 'sre')")
    other.commit()
    other.close()
    assert store.current().hash == change.hash
    store.close()


def test_a_file_that_was_put_in_its_place_is_used_at_once(path: Path) -> None:
    other = SqliteStore(path.with_name("other.db"))
    for _ in range(3):
        write(other)
    expected = other.entries(0, 10)
    other.close()
    store = SqliteStore(path)
    write(store)
    store.share("r", [Bucket("b", 10, 1e-6, 1)], {}, 5)
    for file in path.parent.glob("understudy.db-*"):
        file.unlink()
    path.with_name("other.db").replace(path)
    assert store.entries(0, 10) == expected
    assert store.share("r", [Bucket("b", 10, 1e-6, 0)], {}, 5)[0]["b"] == pytest.approx(10)
    store.close()


FILL = """
import resource, signal, sys
from pathlib import Path
from gateway.stores.protocols import Bucket, StoreError
from gateway.stores.sqlite import SqliteStore
from tests.gateway.stores.writing import ROUTE, write

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(Path(sys.argv[1]))
accepted = refused = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
while refused < 3:
    try:
        write(store, ROUTE, {"text": "x" * 2000})
        accepted, refused = accepted + 1, 0
    except StoreError as error:
        refused, said = refused + 1, error
        assert store.head()[0] == accepted
print(accepted, said, sep="|")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(write(store).revision)
"""


def test_a_file_that_cannot_grow_keeps_what_was_accepted_and_goes_on_when_it_can(path: Path) -> None:
    """The kernel refuses to make any of the process's files larger, as it does when a quota is used up."""
    done = subprocess.run([sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    refused, mended = done.stdout.splitlines()
    accepted, _, said = refused.partition("|")
    assert int(accepted) > 50
    assert said.startswith(f"{path}: the disk cannot be used (disk I/O error)")
    assert int(mended) == int(accepted) + 1
    store = SqliteStore(path)
    assert verify(store.entries(0, 1000)) == store.head()
    assert store.head()[0] == int(mended)
    store.close()


def test_a_full_disk_is_said_and_nothing_accepted_is_lost(path: Path, store: SqliteStore) -> None:
    """SQLite's own limit to a file's size fails as a full disk does, with the same code."""
    changes = [write(store) for _ in range(3)]
    assert store._trail._db is not None
    pages = store._trail._db.execute("PRAGMA page_count").fetchone()[0]
    store._trail._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=rf"{path}: the disk is full, so nothing was written\. Free some space"):
        write(store, ROUTE, {"text": "x" * 20_000})
    assert store.entries(0, 10) == changes
    assert write(store, ROUTE, {"text": "x" * 20_000}).revision == 4


def test_only_the_trail_waits_for_the_disk(store: SqliteStore) -> None:
    write(store)
    store.share("r", [Bucket("b", 10, 1, 1)], {"b": 1}, 5)
    assert store._trail._db is not None
    assert store._shared._db is not None
    synchronous = [db.execute("PRAGMA synchronous").fetchone()[0] for db in (store._trail._db, store._shared._db)]
    assert synchronous == [2, 1]  # FULL, NORMAL


def test_workers_with_nothing_to_tell_write_nothing(path: Path, store: SqliteStore) -> None:
    store.share("r", [Bucket("b", 10, 1, 1)], {"b": 0}, 5)
    log = path.with_name("understudy.db-wal")
    before = os.stat(log).st_size
    for _ in range(50):
        store.share("r", [Bucket("b", 10, 1, 0)], {"b": 0}, 5)
    assert os.stat(log).st_size == before
    store.share("r", [Bucket("b", 10, 1, 1)], {"b": 0}, 5)
    assert os.stat(log).st_size > before


def test_a_budget_does_not_wait_long_for_a_writer(path: Path, store: SqliteStore) -> None:
    store.share("r", [Bucket("b", 10, 1e-6, 1)], {}, 5)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    began = monotonic()
    with pytest.raises(StoreError, match="locked"):
        store.share("r", [Bucket("b", 10, 1e-6, 1)], {}, 5)
    assert monotonic() - began < 1
    writer.execute("ROLLBACK")
    writer.close()
    assert store.share("r", [Bucket("b", 10, 1e-6, 1)], {}, 5)[0]["b"] == pytest.approx(8)


def test_a_file_that_was_moved_away_is_not_made_again_behind_its_owners_back(path: Path, store: SqliteStore) -> None:
    change = write(store)
    store.close()
    path.rename(path.with_name("moved.db"))
    for use in (store.head, lambda: write(store), lambda: store.share("r", [Bucket("b", 1, 1, 1)], {}, 5)):
        with pytest.raises(StoreError, match="gone"):
            use()
    assert [file.name for file in path.parent.iterdir()] == ["moved.db"]
    path.with_name("moved.db").rename(path)
    assert store.entries(0, 10) == [change]


def test_what_dead_replicas_held_is_cleaned_up(path: Path, store: SqliteStore) -> None:
    for number in range(20):
        store.share(f"r{number}", [], {"a": 1}, 0.01)
    sleep(0.05)
    store.share("last", [], {"a": 1}, 5)
    other = sqlite3.connect(path)
    assert other.execute("SELECT replica FROM held").fetchall() == [("last",)]
    other.close()
