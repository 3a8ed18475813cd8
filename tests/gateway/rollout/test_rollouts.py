"""Rollouts, carried out: up the ladder and down, whoever leads, and whenever that one is killed."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.rollout.rollouts import NoRollout
from gateway.stores.pairs import Caps
from gateway.stores.protocols import Note
from router_policies.rollout.actions import Act, Refused
from router_policies.rollout.state import Phase
from tests.gateway.rollout.world import CHAT, Worker, World, config


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


async def test_a_config_that_is_no_longer_valid_keeps_nobody_from_going_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.rollout.rollouts.LEASE_S", 0.0)
    secret = tmp_path / "secret"
    secret.write_text("the-teachers-key")
    world = World(tmp_path, config(upstream={"api_key": f"${{file:{secret}}}"}))
    try:
        await climbed(world, 25)
        secret.unlink()
        for _ in range(4):
            await world.second()
        assert world.weight == 25, "what is not valid is not gone up with"
        for _ in range(5):
            await world.second(well=False)
        assert world.weights == [0, 1, 5, 25, 0]
        assert "format_disagreement" in world.said[-1][1]
        await world.leader.watch.show(await world.leader.door.current())
        assert world.leader.gateway.routes.by_name["chat"].student_percent == 0
    finally:
        await world.close()


async def test_nothing_happens_before_it_is_started(world: World) -> None:
    for _ in range(5):
        await world.second()
    assert world.trail == []
    summary = await world.leader.rollouts.read("chat")
    assert (summary.phase, summary.weight, summary.wanted) == (Phase.IDLE, 10, 10)
    assert summary.pairs > 50


async def test_who_was_held_up_is_fenced_off(world: World) -> None:
    await climbed(world, 5)
    old = world.leader
    world.leader = Worker(world)  # leads on, while the old one thinks that it does
    for _ in range(3):
        await world.second()
        await old.rollouts.lead()
    numbers = [int(why.rpartition(" ")[2].rstrip(")")) for _, why in world.said]
    assert numbers == list(range(1, len(numbers) + 1))
    assert world.note["state"]["number"] == numbers[-1]
    await old.close()


async def test_another_does_not_lead_while_one_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.rollout.rollouts.LEASE_S", 30.0)
    await world.lead()
    before = world.store.notes["rollout:chat"]
    await world.act(Act.START)  # though it can be told to act
    after = world.store.notes["rollout:chat"]
    assert after.version == before.version + 1
    other = Worker(world)
    world.clock.now += 1
    world.file(30)
    await other.rollouts.lead()
    assert world.store.notes["rollout:chat"] == after
    await world.leader.rollouts.leave()
    await other.rollouts.lead()
    assert world.store.notes["rollout:chat"].version > after.version
    await other.close()


async def test_a_leader_without_news_hears_what_others_were_told(world: World) -> None:
    await world.lead()
    await world.lead()
    await world.act(Act.START)
    await world.lead()
    before = world.note["state"]
    assert before["phase"] == "shadow"
    await world.act(Act.PAUSE)
    world.clock.now += 1
    await world.lead()
    assert world.leader.rollouts._led["chat"].state.phase is Phase.PAUSED


async def test_what_people_do_to_the_weight_is_left_alone(world: World) -> None:
    await climbed(world, 5)
    await world.second()
    await world.change(student_percent=40)
    for _ in range(8):
        await world.second()
    summary = await world.leader.rollouts.read("chat")
    assert (summary.weight, summary.wanted, world.weights[-1]) == (40, 5, 5)
    assert any("set by somebody else" in one for one in summary.waits_for)
    assert (await world.act(Act.RESUME)).weight == 5
    await world.change(student_percent=40)
    for _ in range(4):
        await world.second(well=False)
    assert world.weights[-1] == 0  # a critical failure rolls back all the same


async def test_what_is_said_is_done_at_once_and_by_whom(world: World) -> None:
    await climbed(world, 5)
    assert (await world.act(Act.FORCE, weight=60.0, ttl_s=10.0)).weight == 60
    assert (await world.act(Act.UNFORCE)).weight == 5
    assert (await world.act(Act.PAUSE)).phase is Phase.PAUSED
    with pytest.raises(Refused, match="nothing to pause"):
        await world.act(Act.PAUSE)
    rolled = await world.act(Act.ROLLBACK)
    assert (rolled.phase, rolled.weight, rolled.acknowledged) == (Phase.ROLLED_BACK, 0, False)
    world.clock.now += 5
    await world.act(Act.ACK)
    assert "acknowledged by sre: a test; acknowledged: it begins anew" in world.said[-1][1]
    assert all("sre: a test" in why for _, why in world.said[-5:])


async def test_records_that_are_no_longer_kept_begin_evidence_anew(world: World) -> None:
    await climbed(world, 5)
    world.caps = Caps(records=20)
    world.clock.now += 5
    world.file(100)
    await world.lead()
    assert world.weight == 0
    assert "are no longer kept" in world.said[-1][1]
    assert (await world.leader.rollouts.read("chat")).attempt == 2


async def test_another_student_begins_at_0(world: World) -> None:
    await climbed(world, 25)
    await world.change(student="big", teacher="small")
    await world.second()
    assert world.weight == 0
    assert "begins anew" in world.said[-1][1]


async def test_after_the_last_step_less_is_mirrored_until_it_is_not_promoted(tmp_path: Path) -> None:
    world = World(tmp_path, config({"watch_sample": 0.05}))

    def sample() -> float | None:
        overlay = world.store.current().changes[CHAT].draft.document
        found: float | None = overlay.get("shadow", {}).get("sample", {}).get("default")
        return found

    await world.lead()
    await world.change(shadow={"sample": {"default": 0.5}})
    await climbed(world, 100)
    for _ in range(6):
        await world.second()
    assert sample() == 0.05
    changes = len(world.trail)
    for _ in range(3):
        await world.second()
    assert len(world.trail) == changes  # it is set once
    for _ in range(4):
        await world.second(well=False)
    assert (world.weight, sample()) == (0, 0.5)
    assert world.note["mirrored"] is None
    await world.close()


async def test_what_is_known_is_kept_while_the_block_is_away(world: World) -> None:
    await climbed(world, 5)
    note = world.store.notes["rollout:chat"]
    await world.change(rollout={"deleted": True})
    await world.leader.watch.look()
    await world.second()
    with pytest.raises(NoRollout):
        await world.leader.rollouts.read("chat")
    assert world.store.notes["rollout:chat"] == note


async def test_while_the_store_is_down_nothing_happens_and_then_all_goes_on(world: World) -> None:
    await climbed(world, 5)
    world.store.down = "down"
    for _ in range(3):
        await world.second()
    world.store.down = ""
    for _ in range(5):
        await world.second()
    assert world.weights == [0, 1, 5, 25]


async def test_a_note_of_another_format_begins_anew(world: World) -> None:
    await climbed(world, 5)
    note = world.store.notes["rollout:chat"]
    document = msgspec.json.decode(note.text)
    document["book"]["format"] = 99
    world.store.notes["rollout:chat"] = Note(note.version + 1, msgspec.json.encode(document).decode())
    await world.replace()
    await world.second()
    assert world.weight == 0
    assert "format" in world.said[-1][1]
    assert (await world.leader.rollouts.read("chat")).attempt == 2


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
