"""Places to store things in: a SQLite file, and a prefix of a Redis or Valkey server that all tests share."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.stores.protocols import Store
from gateway.stores.url import make_store
from tests.support.redis import RedisServer, redis_server, valkey_program

_numbers = count()


class Place:
    """Where stores of one test meet."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: list[Store] = []

    def store(self) -> Store:
        """One more store there, as another worker has it."""
        self._opened.append(make_store(self.url))
        return self._opened[-1]

    def close(self) -> None:
        for store in self._opened:
            store.close()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("valkey"), program=valkey_program()) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill or set up as it likes."""
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture(params=["sqlite", "redis", "valkey"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        place = Place(f"sqlite:///{tmp_path / 'understudy.db'}")
    else:
        place = Place(f"{request.getfixturevalue(request.param).url}?prefix=test-{next(_numbers)}")
    yield place
    place.close()


@pytest.fixture
def store(place: Place) -> Store:
    return place.store()
