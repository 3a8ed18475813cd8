"""Workers that share their keys' budgets through a real store."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from gateway.budgets import KeyBudget, Reservation
from gateway.control import shares
from gateway.control.shares import Shares
from gateway.face.errors import ApiError
from gateway.stores.protocols import Bucket
from gateway.stores.sqlite import SqliteStore
from router_policies.budgets import KeyLimits
from tests.gateway.stores.conftest import Place

BODY = b'{"max_tokens": 10}'


class Worker:
    """What a worker has of a key."""

    def __init__(self, place: Place, name: str, limits: KeyLimits) -> None:
        self.shares = Shares(place.store(), name)
        self.budget = KeyBudget("app", limits)

    async def sync(self) -> None:
        await self.shares.sync([self.budget])

    def ask(self) -> Reservation | None:
        try:
            return self.budget.reserve(BODY, generates=True, now=monotonic())
        except ApiError:
            return None


def passed(worker: Worker, at_most: int) -> int:
    return sum(worker.ask() is not None for _ in range(at_most))


async def test_what_one_used_is_used_for_the_other(place: Place) -> None:
    one, two = (Worker(place, name, KeyLimits(requests_per_minute=10)) for name in ("one", "two"))
    assert passed(one, 7) == 7
    await one.sync()
    await two.sync()
    assert passed(two, 10) == 3
    assert passed(one, 10) == 3  # it does not know yet
    await two.sync()
    await one.sync()
    await two.sync()
    assert passed(one, 10) == passed(two, 10) == 0
    level = place.store().share("test", [Bucket("app/requests_per_minute", 10, 1 / 6, 0)], {}, 5)[0]
    assert level["app/requests_per_minute"] == pytest.approx(-3, abs=0.5)


async def test_what_is_used_while_it_is_told_is_not_forgotten(place: Place) -> None:
    one, two = (Worker(place, name, KeyLimits(requests_per_minute=10)) for name in ("one", "two"))
    assert passed(one, 4) == 4
    telling = asyncio.create_task(one.sync())
    await asyncio.sleep(0)  # it has begun
    assert passed(one, 3) == 3
    await telling
    assert passed(one, 10) == 3
    await one.sync()
    await two.sync()
    assert passed(two, 10) == 0


async def test_tokens_that_were_not_used_are_given_back_to_all(place: Place) -> None:
    one, two = (Worker(place, name, KeyLimits(tokens_per_minute=100)) for name in ("one", "two"))
    reserved = [one.ask() for _ in range(7)]  # 14 each
    await one.sync()
    await two.sync()
    assert two.ask() is None
    for each in reserved:
        assert each is not None
        each.settle(1)
    await one.sync()
    await two.sync()
    assert passed(two, 10) == 6


async def test_requests_at_once_are_counted_everywhere(place: Place) -> None:
    one, two = (Worker(place, name, KeyLimits(concurrency=3)) for name in ("one", "two"))
    under_way = [one.ask(), one.ask()]
    await one.sync()
    await two.sync()
    assert passed(two, 5) == 1
    for each in under_way:
        assert each is not None
        each.settle(0)
    await one.sync()
    await two.sync()
    assert passed(two, 5) == 2


async def test_a_worker_that_died_holds_nothing_for_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_FORGOTTEN_S", 0.3)
    one, two = (Worker(place, name, KeyLimits(concurrency=1)) for name in ("one", "two"))
    assert one.ask() is not None
    await one.sync()
    await two.sync()
    assert two.ask() is None
    await asyncio.sleep(0.4)
    await two.sync()
    assert two.ask() is not None


async def test_four_workers_let_through_what_one_would_and_what_comes_in_two_intervals(place: Place) -> None:
    """A thousand requests a second, of which five are allowed, after the first three hundred."""
    interval_s, most, lasts_s = 0.1, 300, 3.0
    workers = [Worker(place, f"w{n}", KeyLimits(requests_per_minute=most)) for n in range(4)]
    admitted: list[float] = []
    gaps = [0.0]
    began = monotonic()

    async def serve(worker: Worker) -> None:
        while monotonic() - began < lasts_s:
            admitted.extend(monotonic() for _ in range(passed(worker, 1)))
            await asyncio.sleep(0.004)

    async def share(worker: Worker) -> None:
        while monotonic() - began < lasts_s:
            last = monotonic()
            await asyncio.sleep(interval_s)
            await worker.sync()
            gaps.append(monotonic() - last)

    await asyncio.gather(*map(serve, workers), *map(share, workers))
    took = monotonic() - began
    window = 2 * max(gaps)  # until it is told, and until the others have learned it
    ends = [sum(1 for later in admitted if at <= later <= at + window) for at in admitted]
    alone = most + most / 60 * took
    print(f"{len(admitted)} of {alone:.0f} allowed; at most {max(ends)} came within {window * 1000:.0f} ms")
    assert most <= len(admitted) <= alone + max(ends)
    assert len(admitted) < 2 * most  # each by itself would have let through four times as many
    for worker in workers:
        await worker.sync()
    level = place.store().share("test", [Bucket("app/requests_per_minute", most, most / 60, 0)], {}, 5)[0]
    left = most + most / 60 * (monotonic() - began) - len(admitted)
    assert level["app/requests_per_minute"] == pytest.approx(left, abs=2)  # none was forgotten, none counted twice


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where a store cannot be: a folder."""
    path = tmp_path / "understudy.db"
    path.mkdir()
    return path


def make_room(path: Path) -> None:
    """Now it can be there."""
    path.rmdir()


async def test_with_the_store_down_each_goes_on_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shares, "_FORGOTTEN_S", 0.3)
    caplog.set_level(logging.WARNING)
    limits = KeyLimits(requests_per_minute=10, concurrency=8)
    budgets = [KeyBudget("app", limits) for _ in range(2)]
    each = [Shares(SqliteStore(path), f"r{n}") for n in range(2)]

    def admitted(budget: KeyBudget) -> int:
        count = 0
        for _ in range(20):
            try:
                budget.reserve(BODY, generates=True, now=monotonic()).settle(1)
            except ApiError:
                continue
            count += 1
        return count

    await each[0].sync(budgets[:1])
    budgets[0].budget.in_use_elsewhere = 8
    assert admitted(budgets[0]) == 0  # for as long as what the others had may still be
    await asyncio.sleep(0.4)
    for _ in range(3):
        await each[0].sync(budgets[:1])
        await each[1].sync(budgets[1:])
    assert [admitted(budget) for budget in budgets] == [10, 10]
    assert sum("budgets of its own" in record.message for record in caplog.records) == 2
    await each[0].sync(budgets[:1])
    make_room(path)
    for _ in range(2):
        await each[0].sync(budgets[:1])
        await each[1].sync(budgets[1:])
    assert sum("shared with the other workers again" in record.message for record in caplog.records) == 2
    # what the first used meanwhile was told in vain and is not made up for; what the second used was not told yet
    assert admitted(budgets[0]) + admitted(budgets[1]) == 0


async def test_with_no_limits_the_store_is_left_alone(path: Path) -> None:
    await Shares(SqliteStore(path), "r").sync([])
    make_room(path)
    await Shares(SqliteStore(path), "r").sync([])
    assert list(path.parent.iterdir()) == []
