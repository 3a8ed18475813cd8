"""A config, the two stores that a door is tested on, and a clock that is moved by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.control.changes import Ask, patched
from gateway.control.door import Door, Made
from gateway.stores.protocols import Key, Store
from gateway.stores.sqlite import SqliteStore
from tests.support.memory_store import MemoryStore

CHAT = Key("route", "chat")


def content(**changed: Any) -> dict[str, Any]:
    upstream = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    return {
        "upstreams": {"big": upstream, "small": {**upstream, "api_key": "literal-secret"}},
        "routes": {"chat": {"teacher": "big", "student": "small", "student_percent": 10}},
        "keys": [
            {"name": "app", "key": "app-literal-1"},
            {"name": "sre", "role": "admin", "key_sha256": "5e" * 32},
        ],
        **changed,
    }


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def config() -> Config:
    return parse(content(), "test", {})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "understudy.db")
    yield store
    store.close()


@pytest.fixture
def door(config: Config, store: Store, clock: Clock) -> Iterator[Door]:
    door = Door(config, store, clock)
    yield door
    door.close()


async def change(door: Door, patch: dict[str, Any], *, key: Key = CHAT, **options: Any) -> Made:
    ask = Ask(key, "change", patched(patch), "sre", "a test", named=tuple(patch), **options)
    return await door.change(ask)
