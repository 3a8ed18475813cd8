"""Rollouts, carried out: up the ladder and down, whoever leads, and whenever that one is killed."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router_policies.rollout.actions import Act
from router_policies.rollout.state import Phase
from tests.gateway.rollout.world import World


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("gateway.rollout.rollouts.LEASE_S", 0.0)  # whoever is next need not wait
    world = World(tmp_path)
    yield world
    await world.close()


async def climbed(world: World, to: float) -> None:
    await world.lead()
    await world.act(Act.START)
    for _ in range(30):
        await world.second()
        if world.weight == to:
            return
    raise AssertionError(world.said)


async def test_a_good_student_climbs_and_each_step_is_told(world: World) -> None:
    await climbed(world, 100)
    assert world.weights == [0, 1, 5, 25, 100]
    for _ in range(5):
        await world.second()
    summary = await world.leader.rollouts.read("chat")
    assert (summary.phase, summary.weight, summary.checks[0].verdict) == (Phase.PROMOTED, 100, "pass")
    numbers = [int(why.rpartition(" ")[2].rstrip(")")) for _, why in world.said]
    assert numbers == list(range(1, len(numbers) + 1))  # every transition, once
    assert world.said[0][1] == "started by sre: a test (transition 1)"
    assert world.said[-1][1].startswith("100 % for ")


async def test_a_student_that_goes_bad_is_taken_back_and_stays_there(world: World) -> None:
    await climbed(world, 25)
    seconds = 0
    while world.weight == 25:
        await world.second(well=False)
        seconds += 1
    assert seconds <= 4  # 1.5 s that pairs may take, and so many that there is evidence
    assert world.weights == [0, 1, 5, 25, 0]
    assert "format_disagreement" in world.said[-1][1]
    for _ in range(5):
        await world.second()
    assert world.weight == 0
    assert (await world.leader.rollouts.read("chat")).phase is Phase.ROLLED_BACK
    await world.act(Act.ACK)
    for _ in range(24):
        await world.second()
    assert (await world.leader.rollouts.read("chat")).attempt == 2
    assert world.weight == 100


async def test_nothing_happens_before_it_is_started(world: World) -> None:
    for _ in range(5):
        await world.second()
    assert world.trail == []
    summary = await world.leader.rollouts.read("chat")
    assert (summary.phase, summary.weight, summary.wanted) == (Phase.IDLE, 10, 10)
    assert summary.pairs > 50


def told(world: World) -> list[tuple[float | None, str]]:
    """What it has done and why; when it did so may differ by the second in which two led, one after the other."""
    return [(weight, re.sub(r"\d+ (pairs|of the log)", r"so many \1", why)) for weight, why in world.said]


async def story(directory: Path, *dies: int | bool) -> tuple[World, int]:
    """Up to 25 %, down again, and the second attempt."""
    world = World(directory)
    await world.lead()
    await world.act(Act.START)
    await world.replace(*dies)
    for to in (25, 0):
        while world.weight != to:
            await world.second(well=world.weight != 25)
            assert world.filed < 1000, world.said
    for _ in range(5):
        await world.second()
    await world.act(Act.ACK)
    while world.weight != 5:
        await world.second()
        assert world.filed < 2000, world.said
    calls = world.leader.calls
    await world.close()
    return world, calls


async def test_kill_the_leader_at_any_point_and_all_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.rollout.rollouts.LEASE_S", 0.0)
    places = iter(range(10_000))

    def place() -> Path:
        path = tmp_path / str(next(places))
        path.mkdir()
        return path

    whole, calls = await story(place())
    assert whole.weights == [0, 1, 5, 25, 0, 1, 5]
    assert calls > 100
    killed = 0
    for after in (False, True):
        for at in range(1 + after, calls, 4):
            world, _ = await story(place(), at, after)
            killed += world.leader.calls < calls
            assert told(world) == told(whole), (at, after)
            assert abs(world.clock.now - whole.clock.now) <= 1, (at, after)
    assert killed > 40
