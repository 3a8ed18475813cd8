"""The watch: what is live never goes back, and says when the store is down."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.control.door import Door
from gateway.control.watch import Watch
from gateway.state import Gateway
from gateway.stores.protocols import StoredRoute
from gateway.stores.sqlite import SqliteStore


class HeldBack(SqliteStore):
    """Its first read of the routes is taken at once, and handed over only when `go` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        self.read = threading.Event()
        self.go = threading.Event()

    def routes(self) -> dict[str, StoredRoute]:
        found = super().routes()
        self.reads += 1
        if self.reads == 1:
            self.read.set()
            self.go.wait(5)
        return found


@pytest.fixture
def config() -> Config:
    upstream = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    routes = {"chat": {"teacher": "big", "student": "small", "student_percent": 10}}
    return parse({"upstreams": {"big": upstream, "small": upstream}, "routes": routes}, "test", {})


async def test_a_snapshot_read_first_is_not_applied_last(config: Config, tmp_path: Path) -> None:
    store = HeldBack(tmp_path / "understudy.db")
    gateway = Gateway.build(config)
    live: list[float] = []
    apply = gateway.apply

    class Seen:
        metrics = gateway.metrics

        def apply(self, routes: Any) -> None:
            apply(routes)
            live.append(routes.by_name["chat"].student_percent)

    watch = Watch(Seen(), Door(config, store))  # type: ignore[arg-type]
    slow = asyncio.create_task(watch.look())
    await asyncio.to_thread(store.read.wait, 5)
    store.write("chat", 0, {"student_percent": 50}, "sre", "why")
    fast = asyncio.create_task(watch.look())
    await asyncio.sleep(0.1)
    store.go.set()
    await asyncio.gather(slow, fast)
    assert live == [10, 50]
    assert gateway.routes.by_name["chat"].student_percent == 50
    store.close()
    await gateway.close()
