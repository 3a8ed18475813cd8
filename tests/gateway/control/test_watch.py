"""The watch: what is live never goes back, follows the store in no time, and goes on without it."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.control.changes import Ask, patched
from gateway.control.door import Door
from gateway.control.last import LAST_FILE
from gateway.control.watch import Watch
from gateway.state import Gateway
from gateway.stores.protocols import Key, Standing, Store
from gateway.supervisor import Supervisor
from tests.gateway.control.conftest import CHAT, Clock, change, content
from tests.support.memory_store import MemoryStore


class Worker:
    """A gateway that follows a store, as `gateway.app` wires it."""

    def __init__(self, config: Config, store: Store, clock: Clock | None = None) -> None:
        self.gateway = Gateway.build(config)
        self.door = Door(config, store, clock) if clock else Door(config, store)
        self.watch = Watch(self.gateway, self.door, store, clock) if clock else Watch(self.gateway, self.door, store)

    @property
    def percent(self) -> float:
        return self.gateway.routes.by_name["chat"].student_percent

    async def run(self, supervisor: Supervisor) -> None:
        await self.watch.start()
        supervisor.every(0.0, "follow", self.watch.follow)

    async def close(self) -> None:
        self.door.close()
        await self.gateway.close()


@pytest.fixture
async def workers(config: Config, store: Store) -> AsyncIterator[list[Worker]]:
    workers = [Worker(config, store) for _ in range(3)]
    async with Supervisor() as supervisor:
        for worker in workers:
            await worker.run(supervisor)
        yield workers
    for worker in workers:
        await worker.close()


async def until(condition: Any, timeout_s: float = 5.0) -> float:
    began = monotonic()
    while not condition():
        assert monotonic() - began < timeout_s, "it did not happen in time"
        await asyncio.sleep(0.005)
    return monotonic() - began


async def test_a_change_is_live_everywhere_well_within_a_second(workers: list[Worker]) -> None:
    took = []
    for percent in range(20, 40):
        await change(workers[0].door, {"student_percent": percent})
        took.append(await until(lambda percent=percent: all(worker.percent == percent for worker in workers)))
    assert max(took) < 0.5
    assert {worker.gateway.revision for worker in workers} == {20}
    assert {worker.gateway.routes.by_name["chat"].version for worker in workers} == {20}


async def test_everyone_is_listed_with_what_is_live_there(workers: list[Worker], store: Store) -> None:
    await change(workers[0].door, {"student_percent": 20})
    await until(lambda: [member.revision for member in store.members()] == [1, 1, 1])
    assert {member.replica for member in store.members()} == {worker.watch.replica for worker in workers}
    await workers[0].watch.leave()
    assert workers[0].watch.replica not in {member.replica for member in store.members()}


async def test_what_was_read_first_is_not_applied_last(config: Config) -> None:
    class HeldBack(MemoryStore):
        """Its first reading is taken at once, and handed over only when `go` is set."""

        read = threading.Event()
        go = threading.Event()

        def current(self) -> Standing:
            found = super().current()
            if not self.read.is_set():
                self.read.set()
                self.go.wait(5)
            return found

    store = HeldBack()
    store.read.set()
    other = Door(config, store)
    await change(other, {"student_percent": 20})
    store.read.clear()
    worker = Worker(config, store)
    live: list[float] = []
    apply = worker.gateway.apply

    class Seen:
        metrics, in_flight, draining = worker.gateway.metrics, worker.gateway.in_flight, False

        def apply(self, config: Config, versions: dict[str, int], revision: int) -> None:
            apply(config, versions, revision)
            live.append(worker.percent)

    watch = Watch(Seen(), worker.door, store)  # type: ignore[arg-type]
    slow = asyncio.create_task(watch.look())
    await asyncio.to_thread(store.read.wait, 5)
    made = await change(other, {"student_percent": 50})
    fast = [asyncio.create_task(watch.look()), asyncio.create_task(watch.show(made.standing))]
    await asyncio.sleep(0.1)
    store.go.set()
    await asyncio.gather(slow, *fast)
    assert live == [20, 50]
    other.close()
    await worker.close()


async def test_it_goes_on_without_the_store_and_catches_up(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    worker, other = Worker(config, store), Door(config, store)
    async with Supervisor() as supervisor:
        await worker.run(supervisor)
        await change(other, {"student_percent": 20})
        await until(lambda: worker.percent == 20)
        store.down = "it is away"
        await until(lambda: not worker.watch.up)
        assert (worker.percent, worker.watch.error) == (20, "it is away")
        assert b"understudy_store_up 0.0" in worker.gateway.metrics.exposition()
        await worker.watch.report()  # which nobody hears
        await worker.watch.expire()
        store.down = ""
        await change(other, {"student_percent": 30})
        await until(lambda: worker.watch.up and worker.percent == 30)
        assert b"understudy_store_up 1.0" in worker.gateway.metrics.exposition()
    assert (caplog.text.count("the store is down"), caplog.text.count("answers again")) == (1, 1)
    other.close()
    await worker.close()


async def test_what_ends_by_itself_is_live_at_once_in_the_worker_that_ends_it(config: Config, clock: Clock) -> None:
    store = MemoryStore()
    worker = Worker(config, store, clock)
    await worker.watch.start()
    made = await change(worker.door, {"student_percent": 20}, ttl_s=60)
    await worker.watch.show(made.standing)
    assert worker.percent == 20
    clock.now += 61
    await worker.watch.expire()
    assert (worker.percent, worker.gateway.revision) == (10, 2)
    await worker.close()


async def test_a_worker_that_starts_without_the_store_begins_with_what_was_live(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAST_FILE, str(tmp_path / "last"))
    store = MemoryStore()
    first = Worker(config, store)
    await first.watch.start()
    made = await change(first.door, {"student_percent": 20})
    await first.watch.show(made.standing)
    store.down = "it is away"
    second = Worker(config, store)
    await second.watch.start()
    assert (second.percent, second.watch.up, second.gateway.revision) == (20, False, 1)
    for worker in (first, second):
        await worker.close()


async def test_another_file_is_live_at_the_next_look(config: Config, store: Store) -> None:
    worker = Worker(config, store)
    await worker.watch.start()
    made = await change(worker.door, {"salt": "x"})
    await worker.watch.show(made.standing)
    routes = {"chat": {"teacher": "big", "student": "small", "student_percent": 33}}
    await worker.door.reground(parse(content(routes=routes), "again", {}))
    await worker.watch.look()
    assert (worker.percent, worker.gateway.routes.by_name["chat"].salt, worker.gateway.revision) == (33, "x", 1)
    await worker.close()


async def test_a_store_that_lost_what_it_had_confirmed_is_told(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    worker, other = Worker(config, store), Door(config, store)
    await change(other, {"student_percent": 20})
    await change(other, {"student_percent": 30})
    await worker.watch.start()
    assert (worker.percent, worker.watch.warnings) == (30, [])
    lost = store.trail.pop()
    await change(other, {"salt": "a"})
    await change(other, {"salt": "b"})
    await worker.watch.look()
    assert (worker.percent, worker.gateway.revision) == (20, 3)
    assert worker.watch.warnings[0].startswith(f"the store no longer has revision 2 ({lost.hash[:12]})")
    assert "no longer has revision 2" in caplog.text
    other.close()
    await worker.close()


async def test_changes_and_what_is_live_are_logged(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.control")
    store = MemoryStore()
    worker = Worker(config, store)
    ask = Ask(Key("route", "chat"), "change", patched({"student_percent": 20}), "sre", "two\nlines", named=())
    made = await worker.door.change(ask)
    await worker.watch.show(made.standing)
    digest = made.change.hash[:12]
    assert [record.getMessage() for record in caplog.records] == [
        f"revision 1, hash {digest}: change of route chat by 'sre', version 1, because 'two\\nlines': "
        "student_percent 10.0 -> 20.0",
        f"revision 1 is live, hash {digest}: route chat version 1",
    ]
    assert made.change.draft.key == CHAT
    await worker.close()
