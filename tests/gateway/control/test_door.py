"""The door: accepted whole or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.control.door import Door, InvalidChange, UnknownRouteName
from gateway.stores.protocols import StoreError, VersionConflict
from gateway.stores.sqlite import SqliteStore


@pytest.fixture
def config() -> Config:
    upstream = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    routes = {"chat": {"teacher": "big", "student": "small", "student_percent": 10}}
    return parse({"upstreams": {"big": upstream, "small": upstream}, "routes": routes}, "test", {})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "understudy.db")
    yield store
    store.close()


@pytest.fixture
def door(config: Config, store: SqliteStore) -> Door:
    return Door(config, store)


async def change(door: Door, patch: dict[str, Any], **options: Any) -> Any:
    return await door.change("chat", patch, actor="sre", reason="a test", **options)


async def test_a_route_begins_as_the_file_says(door: Door) -> None:
    live = await door.read("chat")
    assert (live.version, live.document["student_percent"], live.sources["student_percent"]) == (0, 10, "file")
    assert live.changed_by is None


async def test_a_change_is_live_and_says_where_it_comes_from(door: Door) -> None:
    live = await change(door, {"student_percent": 55.5})
    assert (live.version, live.document["student_percent"], live.changed_by) == (1, 55.5, "sre")
    assert live.sources == {**dict.fromkeys(live.sources, "file"), "student_percent": "live, version 1"}
    assert (await door.snapshot()).by_name["chat"].student_percent == 55.5
    assert (await door.read_all()) == [await door.read("chat")]


async def test_null_falls_back_to_the_file(door: Door) -> None:
    await change(door, {"student_percent": 55})
    live = await change(door, {"student_percent": None})
    assert (live.version, live.document["student_percent"], live.sources["student_percent"]) == (2, 10, "file")


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"student_percent": 101}, "student_percent: input should be less than or equal to 100, got 101"),
        ({"student_percent": "lots"}, "student_percent: input should be a valid number"),
        ({"student_percent": True}, "student_percent: input should be a valid number, got True"),
        ({"student_percent": "50"}, "student_percent: input should be a valid number, got '50'"),
        ({"student_percent": 10, "teacher": "x"}, "teacher: cannot be changed while serving"),
        ({"nonsense": 1}, "nonsense: cannot be changed while serving"),
        ({}, "expected at least one of student_percent"),
    ],
)
async def test_an_invalid_change_changes_nothing(
    door: Door, store: SqliteStore, patch: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidChange) as caught:
        await change(door, patch)
    assert caught.value.problems[0].startswith(said)
    assert store.revision() == 0


@pytest.mark.parametrize(
    ("patch", "key"),
    [
        ({"student_percent": 101}, "student_percent"),
        ({"a: b": 1}, "a: b"),
        ({"x" * 1000: 1}, "x" * 128 + "…"),
        ({}, None),
    ],
)
async def test_an_invalid_change_names_the_key(door: Door, patch: dict[str, Any], key: str | None) -> None:
    with pytest.raises(InvalidChange) as caught:
        await change(door, patch)
    assert caught.value.key == key
    assert len(str(caught.value)) < 300


async def test_what_is_stored_but_not_valid_is_the_stores_fault_and_can_be_changed(
    door: Door, store: SqliteStore
) -> None:
    store.write("chat", 0, {"student_percent": "50"}, "a", "b")
    with pytest.raises(StoreError, match="version 1 of route chat is not valid"):
        await door.snapshot()
    with pytest.raises(StoreError, match="got '50'"):
        await door.read("chat")
    assert (await change(door, {"student_percent": 40})).version == 2
    assert (await door.snapshot()).by_name["chat"].student_percent == 40


async def test_a_stale_version_is_refused(door: Door) -> None:
    await change(door, {"student_percent": 20}, expected_version=0)
    with pytest.raises(VersionConflict) as caught:
        await change(door, {"student_percent": 30}, expected_version=0)
    assert caught.value.current == 1
    assert (await door.read("chat")).document["student_percent"] == 20


async def test_an_unknown_route(door: Door) -> None:
    with pytest.raises(UnknownRouteName):
        await door.read("nope")
    with pytest.raises(UnknownRouteName):
        await door.change("nope", {"student_percent": 1}, actor="a", reason="b")


async def test_stored_routes_that_the_file_no_longer_has_are_ignored(door: Door, store: SqliteStore) -> None:
    store.write("gone", 0, {"student_percent": 1}, "a", "b")
    assert list((await door.snapshot()).by_name) == ["chat"]
