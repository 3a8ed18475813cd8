"""What every config store promises."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.stores.protocols import ConfigStore, StoreError, VersionConflict
from gateway.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "understudy.db"


@pytest.fixture
def store(path: Path) -> Iterator[ConfigStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def test_it_begins_empty(store: ConfigStore) -> None:
    assert store.revision() == 0
    assert store.routes() == {}


def test_what_is_written_is_read(store: ConfigStore) -> None:
    store.write("a", 0, {"student_percent": 5}, "sre", "first")
    written = store.write("a", 1, {"student_percent": 25, "deep": {"é": [1.5, None]}}, "sre", "second")
    store.write("b", 0, {}, "bot", "other")
    assert store.routes()["a"] == written
    assert (written.version, written.actor, written.reason) == (2, "sre", "second")
    assert written.overrides == {"student_percent": 25, "deep": {"é": [1.5, None]}}
    assert store.routes()["b"].version == 1


def test_the_revision_grows_with_every_change(store: ConfigStore) -> None:
    seen = [store.revision()]
    for version, route in ((0, "a"), (1, "a"), (0, "b")):
        store.write(route, version, {}, "x", "y")
        seen.append(store.revision())
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("expected", [0, 2, 7])
def test_a_write_over_another_version_is_refused(store: ConfigStore, expected: int) -> None:
    store.write("a", 0, {"student_percent": 5}, "x", "y")
    with pytest.raises(VersionConflict) as caught:
        store.write("a", expected, {"student_percent": 99}, "x", "y")
    assert caught.value.current == 1
    assert store.routes()["a"].overrides == {"student_percent": 5}


def test_of_many_writers_one_wins_each_version(path: Path) -> None:
    wins: list[int] = []

    def write() -> None:
        mine = SqliteStore(path)
        done = 0
        while done < 10:
            current = mine.routes().get("a")
            version = current.version if current else 0
            try:
                mine.write("a", version, {"n": version}, "x", "y")
            except VersionConflict:
                continue
            wins.append(version + 1)
            done += 1
        mine.close()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(wins) == list(range(1, 41))


def test_changes_outlive_the_process(path: Path) -> None:
    first = SqliteStore(path)
    first.write("a", 0, {"student_percent": 5}, "x", "y")
    first.close()
    second = SqliteStore(path)
    assert second.routes()["a"].overrides == {"student_percent": 5}
    second.close()


def test_a_locked_file_is_a_store_error_and_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.sqlite._BUSY_S", 0.1)
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        store.write("a", 0, {}, "x", "y")
    other.execute("ROLLBACK")
    assert store.routes() == {}
    store.close()


@pytest.mark.parametrize("content", [b"this is no database, it is a text file of some length" * 50])
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(path).open()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
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
            together.wait()
            try:
                SqliteStore(path).revision()
            except StoreError as error:
                failed.append(error)

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
    assert SqliteStore(path).revision() == 0
    writer.close()


def test_a_store_that_comes_later_or_comes_back_needs_no_restart(path: Path) -> None:
    away = path.with_name("copy")
    path.mkdir()
    store = SqliteStore(path)
    with pytest.raises(StoreError):
        store.revision()
    path.rmdir()
    store.write("a", 0, {"student_percent": 5}, "x", "y")
    original, copy = sqlite3.connect(path), sqlite3.connect(away)
    original.backup(copy)
    original.close()
    copy.close()
    for file in path.parent.glob("understudy.db*"):
        file.write_bytes(b"corrupt" * 2000)
    with pytest.raises(StoreError):
        store.routes()
    for file in path.parent.glob("understudy.db*"):
        file.unlink()
    away.rename(path)
    assert store.routes()["a"].overrides == {"student_percent": 5}
    store.close()
