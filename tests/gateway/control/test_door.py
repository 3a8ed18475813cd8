"""The door: accepted whole or not at all, by whoever came first, and undone when it is time."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, ConfigError, parse
from gateway.control.changes import Ask, Condition, deleted, forced, patched, replaced
from gateway.control.documents import MASK, SET
from gateway.control.door import ANSWER_S, Door
from gateway.control.refusals import Conflict, InvalidChange, NeedsOverride, NoSuchVersion, NotThere
from gateway.control.trail import verify
from gateway.stores.protocols import Change, Draft, HeadMoved, Key, OutcomeUnknown, Store, StoreError
from tests.gateway.control.conftest import CHAT, Clock, change, content
from tests.support.memory_store import MemoryStore


def put(key: Key, document: dict[str, Any], **options: Any) -> Ask:
    return Ask(key, "replace", replaced(document), "sre", "why", named=tuple(document), revives=True, **options)


def drop(key: Key, **options: Any) -> Ask:
    return Ask(key, "delete", deleted, "sre", "why", **options)


def kill(to: str | None, key: Key = CHAT, ttl_s: float | None = None) -> Ask:
    return Ask(key, "kill", forced(to), "sre", "why", ttl_s, kills=True)


async def percent(door: Door) -> float:
    return door.effective(await door.current()).config.routes["chat"].student_percent


async def revert(door: Door, key: Key, version: int, **options: Any) -> Any:
    edit = await door.to_version(key, version)
    return await door.change(Ask(key, "revert", edit, "sre", "why", revives=True, **options))


async def test_a_route_begins_as_the_file_says(door: Door) -> None:
    shown = await door.read(CHAT)
    assert shown.document is not None
    assert (shown.version, shown.document["student_percent"], shown.changed_by) == (0, 10, None)
    assert (shown.sources["student_percent"], shown.sources["salt"]) == ("file", "default")


async def test_a_change_is_there_and_says_where_it_comes_from(door: Door) -> None:
    made = await change(door, {"student_percent": 55.5})
    assert (made.change.revision, made.proposal.consequences) == (
        1,
        ("About 45.5 % of sessions move from teacher to student; nobody moves back.",),
    )
    shown = await door.read(CHAT)
    assert shown.document is not None
    assert (shown.version, shown.document["student_percent"], shown.changed_by) == (1, 55.5, "sre")
    assert [name for name, source in shown.sources.items() if source == "live"] == ["student_percent"]
    effective = door.effective(await door.current())
    assert (effective.config.routes["chat"].student_percent, effective.versions["chat"], effective.revision) == (
        *(55.5, 1, 1),
    )
    assert await door.read_all("route") == [shown]


async def test_null_falls_back_to_the_file(door: Door) -> None:
    await change(door, {"student_percent": 55, "deadlines": {"ttft_s": 5}})
    made = await change(door, {"student_percent": None})
    assert made.change.draft.document == {"deadlines": {"ttft_s": 5}}
    assert await percent(door) == 10


@pytest.mark.parametrize(
    ("patch", "said", "param"),
    [
        ({"student_percent": 101}, "student_percent: input should be less than or equal to 100, got 101", None),
        ({"student_percent": True}, "student_percent: input should be a valid number, got True", None),
        ({"student_percent": "50"}, "student_percent: input should be a valid number, got '50'", None),
        ({"teacher": "x"}, "teacher: expected one of big, small, got 'x'", None),
        ({"deadlines": {"ttft_s": -1}}, "deadlines.ttft_s: input should be greater than 0, got -1", "deadlines"),
        ({"nonsense": 1}, "nonsense: not a key of its; expected teacher, student", None),
        ({"deleted": True}, "deleted: not a key of its", None),
        ({"a: b": 1}, "a: b: not a key of its", None),
        ({"salt": "${HOME}"}, "salt: expected no ${...}", None),
        ({"x" * 1000: 1}, "x" * 128 + "…: not a key of its", "x" * 128 + "…"),
    ],
)
async def test_an_invalid_change_changes_nothing_and_names_the_key(
    door: Door, store: Store, patch: dict[str, Any], said: str, param: str | None
) -> None:
    with pytest.raises(InvalidChange) as caught:
        await change(door, patch)
    assert caught.value.problems[0].startswith(said)
    assert caught.value.param == (param or next(iter(patch)))
    assert len(str(caught.value)) < 400
    assert store.head()[0] == 0


async def test_all_problems_at_once_and_those_of_others_by_their_whole_path(door: Door) -> None:
    with pytest.raises(InvalidChange) as caught:
        await change(door, {"student_percent": 101, "deadlines": {"ttft_s": "x"}, "sticky": ["cookie"]})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        *("student_percent", "sticky", "deadlines.ttft_s"),
    ]
    with pytest.raises(InvalidChange) as caught:
        await door.change(drop(Key("upstream", "small")))
    assert caught.value.problems == ["routes.chat.student: expected one of big, got 'small'"]


async def test_the_last_of_a_kind_and_the_last_admin_stay(door: Door) -> None:
    with pytest.raises(InvalidChange, match="routes: expected one to stay"):
        await door.change(drop(CHAT, override=True))
    with pytest.raises(InvalidChange, match="at least one with role: admin"):
        await door.change(drop(Key("key", "sre")))
    await door.change(drop(Key("key", "app")))
    with pytest.raises(InvalidChange, match="would be open to anyone"):
        await door.change(drop(Key("key", "sre")))


async def test_the_first_key_must_be_an_admins(store: Store) -> None:
    door = Door(parse(content(keys=[]), "test", {}), store)
    with pytest.raises(InvalidChange, match="role: admin"):
        await door.change(put(Key("key", "app"), {"key_sha256": "ab" * 32}))
    await door.change(put(Key("key", "boss"), {"key_sha256": "ab" * 32, "role": "admin"}))
    assert [key.name for key in door.effective(await door.current()).config.keys] == ["boss"]
    door.close()


async def test_secrets_are_not_sent_and_not_shown(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Key("upstream", "small")
    with pytest.raises(InvalidChange, match=r"api_key: expected a reference.*not shown") as caught:
        await change(door, {"api_key": "my-secret"}, key=small)
    assert "my-secret" not in str(caught.value)
    with pytest.raises(InvalidChange, match="key: expected a reference"):
        await change(door, {"key": "my-secret-key"}, key=Key("key", "app"))
    with pytest.raises(InvalidChange, match="DOOR_TEST is not set"):
        await change(door, {"api_key": "${DOOR_TEST}"}, key=small)
    shown = await door.read(small)
    assert shown.document is not None
    assert shown.document["api_key"] == MASK
    monkeypatch.setenv("DOOR_TEST", "from-the-environment")
    made = await change(door, {"api_key": "${DOOR_TEST}"}, key=small)
    assert str(made.proposal.diff[0]) == f"api_key {MASK} -> ${{DOOR_TEST}}"
    config = door.effective(made.standing).config
    assert config.upstreams["small"].api_key is not None
    assert config.upstreams["small"].api_key.get_secret_value() == "from-the-environment"
    for name, where, mask in (("app", "key", MASK), ("sre", "key_sha256", SET)):
        shown = await door.read(Key("key", name))
        assert shown.document is not None
        assert shown.document[where] == mask


async def test_what_is_shown_can_be_put_back_and_is_no_change(door: Door) -> None:
    for key in (CHAT, Key("upstream", "small"), Key("upstream", "big"), Key("key", "app"), Key("key", "sre")):
        shown = await door.read(key)
        assert shown.document is not None
        document = {name: value for name, value in shown.document.items() if (key.kind, name) != ("key", "name")}
        made = await door.change(put(key, document))
        assert (made.change.draft.document, made.proposal.consequences) == ({}, ("Nothing changes.",)), key


async def test_put_makes_exactly_that_whatever_the_file_says(door: Door) -> None:
    await change(door, {"deadlines": {"ttft_s": 5}, "salt": "x"})
    made = await door.change(put(CHAT, {"teacher": "small", "student": "big", "salt": "y"}))
    route = door.effective(made.standing).config.routes["chat"]
    assert (route.teacher, route.student, route.student_percent, route.salt) == ("small", "big", 0.0, "y")
    assert route.deadlines.ttft_s == 20.0
    with pytest.raises(InvalidChange, match="teacher: required, and not there"):
        await door.change(put(CHAT, {"student": "big"}))


async def test_a_new_route_can_be_made_deleted_and_brought_back(door: Door) -> None:
    new = Key("route", "team/new.v2")
    with pytest.raises(NotThere):
        await change(door, {"student_percent": 1}, key=new)
    with pytest.raises(InvalidChange, match="expected a name of letters"):
        await door.change(put(Key("route", "no spaces"), {"teacher": "big", "student": "small"}))
    await door.change(put(new, {"teacher": "big", "student": "small"}, condition=Condition(exists=False)))
    with pytest.raises(Conflict):
        await door.change(put(new, {"teacher": "big", "student": "big"}, condition=Condition(exists=False)))
    with pytest.raises(NeedsOverride, match="is being served"):
        await door.change(drop(new))
    await door.change(drop(new, override=True))
    with pytest.raises(NotThere) as caught:
        await door.read(new)
    assert (caught.value.version, caught.value.by) == (2, "sre")
    assert [shown.key.name for shown in await door.read_all("route")] == ["chat"]
    await revert(door, new, 1)
    assert "team/new.v2" in door.effective(await door.current()).config.routes
    with pytest.raises(NoSuchVersion, match=r"version 9: expected one from 0 .* to 3"):
        await revert(door, new, 9)


async def test_a_route_of_the_file_can_be_deleted_too(door: Door) -> None:
    await door.change(put(Key("route", "other"), {"teacher": "big", "student": "small"}))
    made = await door.change(drop(CHAT, override=True, ttl_s=60))
    assert made.proposal.document is None
    assert list(door.effective(made.standing).config.routes) == ["other"]
    await door.expire(made.change.draft.changed_at + 61)
    assert await percent(door) == 10


async def test_a_stale_version_is_refused(door: Door) -> None:
    await change(door, {"student_percent": 20}, condition=Condition(frozenset({0})))
    with pytest.raises(Conflict) as caught:
        await change(door, {"student_percent": 30}, condition=Condition(frozenset({0})))
    assert (caught.value.version, caught.value.exists) == (1, True)
    assert await percent(door) == 20
    await change(door, {"student_percent": 30}, condition=Condition(exists=True))


async def test_a_large_step_has_to_be_meant(door: Door) -> None:
    with pytest.raises(NeedsOverride, match="a step of 80 points, from 10 to 90, and max_step is 50"):
        await change(door, {"student_percent": 90})
    with pytest.raises(NeedsOverride):  # what it allows from then on does not allow itself
        await change(door, {"student_percent": 90, "max_step": 100})
    await change(door, {"student_percent": 60})
    await change(door, {"student_percent": 90, "max_step": 1})
    with pytest.raises(NeedsOverride, match="a step of 2 points"):
        await change(door, {"student_percent": 92})
    await change(door, {"student_percent": 0})  # down is always possible
    with pytest.raises(NeedsOverride):
        await revert(door, CHAT, 2)
    await revert(door, CHAT, 2, override=True)
    assert await percent(door) == 90


# The kill switch.


async def test_a_kill_switch_outlives_what_others_do_to_the_route(door: Door, clock: Clock) -> None:
    await door.change(kill("teacher", ttl_s=600))
    await change(door, {"student_percent": 40})
    await revert(door, CHAT, 0)
    with pytest.raises(NeedsOverride, match="The kill switch of chat is on"):
        await door.change(put(CHAT, {"teacher": "big", "student": "small"}))
    assert door.effective(await door.current()).config.routes["chat"].force == "teacher"
    clock.now += 601
    await door.expire(clock.now)
    route = door.effective(await door.current()).config.routes["chat"]
    assert (route.force, route.student_percent) == (None, 10)


async def test_it_ends_also_if_the_file_has_it_on(store: Store) -> None:
    routes = {"chat": {"teacher": "big", "student": "small", "force": "teacher"}}
    door = Door(parse(content(routes=routes, force="student"), "test", {}), store)
    for key in (CHAT, Key("gateway", "")):
        await door.change(kill(None, key))
    config = door.effective(await door.current()).config
    assert (config.force, config.routes["chat"].force) == (None, None)
    door.close()


async def test_the_kill_switch_of_all(door: Door) -> None:
    made = await door.change(kill("student", Key("gateway", "")))
    assert door.effective(made.standing).config.force == "student"
    made = await door.change(kill(None, Key("gateway", "")))
    assert door.effective(made.standing).config.force is None
    with pytest.raises(NotThere):
        await door.change(kill("teacher", Key("route", "nope")))


async def test_a_secret_that_went_away_keeps_nobody_from_the_teacher(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the-teachers-key")
    upstream = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "api_key": f"${{file:{secret}}}"}
    door = Door(parse(content(upstreams={"big": upstream, "small": upstream}), "test", {}), store)
    door.effective(await door.current())
    secret.unlink()
    with pytest.raises(InvalidChange, match="secret cannot be read"):
        await change(door, {"student_percent": 20})
    made = await door.change(kill("teacher"))
    effective = door.effective(made.standing)
    assert (effective.config.routes["chat"].force, effective.revision) == ("teacher", 1)
    assert any("cannot be read" in problem for problem in effective.problems)
    secret.write_text("the-teachers-key")
    await door.change(kill(None))
    effective = door.effective(await door.current())
    assert (effective.config.routes["chat"].force, effective.problems) == (None, ())
    door.close()


# What ends by itself.


async def test_a_ttl_takes_back_once_whoever_is_asked(config: Config, store: Store, clock: Clock) -> None:
    doors = [Door(config, store, clock) for _ in range(4)]
    await change(doors[0], {"student_percent": 40, "salt": "x"}, ttl_s=60)
    await change(doors[1], {"student_percent": 30})  # an explicit later decision stands
    for door in doors:
        await door.current()
        await door.expire(clock.now + 59)
    assert store.head()[0] == 2
    clock.now += 60
    await asyncio.gather(*(door.expire(clock.now) for door in doors))
    found = await doors[2].history(CHAT)
    assert [(one.draft.action, one.draft.actor) for one in found[:2]] == [("expire", "ttl"), ("change", "sre")]
    assert (len(found), found[0].draft.reason) == (3, "ttl of version 1 is over: a test")
    assert (found[0].draft.document, found[0].draft.undo) == ({"student_percent": 30}, ())
    for door in doors:
        door.close()


async def test_what_cannot_be_taken_back_is_left_and_tried_again(
    door: Door, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    new = Key("upstream", "new")
    await door.change(put(new, {"base_url": "http://127.0.0.1:1/v1", "model": "m"}))
    await change(door, {"student": "new"})
    await change(door, {"student": "small"}, ttl_s=60)
    await door.change(drop(new))
    clock.now += 61
    for _ in range(3):
        await door.expire(clock.now)
    assert caplog.text.count("not valid any more") == 1
    await door.change(put(new, {"base_url": "http://127.0.0.1:2/v1", "model": "m"}))
    clock.now += 11
    await door.expire(clock.now)
    assert door.effective(await door.current()).config.routes["chat"].student == "new"


# Several at once, and a store that fails.


async def test_many_writers_each_come_through_once(config: Config, store: Store) -> None:
    doors = [Door(config, store) for _ in range(4)]

    async def write(door: Door, number: int) -> None:
        await change(door, {"deadlines": {"ttft_s": number}})

    await asyncio.gather(*(write(door, 1 + number) for number in range(10) for door in doors))
    trail = store.entries(0, 1000)
    assert verify(trail) == store.head()
    assert [change.draft.version for change in trail] == list(range(1, 41))
    assert sorted(change.draft.document["deadlines"]["ttft_s"] for change in trail) == sorted([*range(1, 11)] * 4)
    for door in doors:
        door.close()


async def test_one_version_is_given_to_one_writer(config: Config, store: Store) -> None:
    doors = [Door(config, store) for _ in range(4)]
    wanted = Condition(frozenset({0}))
    done = await asyncio.gather(
        *(change(door, {"student_percent": 20}, condition=wanted) for door in doors), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in done) == ["Conflict", "Conflict", "Conflict", "Made"]
    for door in doors:
        door.close()


async def test_a_change_is_decided_anew_on_what_stands_then(config: Config) -> None:
    class Overtaken(MemoryStore):
        """Somebody else's change comes between the first reading and the first writing."""

        def append(self, change: Change) -> None:
            if not self.trail:
                other = Door(config, self)
                asyncio.run(other.change(Ask(CHAT, "change", patched({"salt": "other"}), "other", "why")))
                other.close()
                raise HeadMoved
            super().append(change)

    class Inner(Overtaken):
        busy = False

        def append(self, change: Change) -> None:
            if self.busy:
                MemoryStore.append(self, change)
                return
            self.busy = True
            super().append(change)

    store = Inner()
    door = Door(config, store)
    made = await change(door, {"student_percent": 20})
    assert made.change.draft.document == {"salt": "other", "student_percent": 20}
    assert (made.change.revision, made.change.draft.version) == (2, 2)
    door.close()


class Silent(MemoryStore):
    """A store that takes what it is sent, and says nothing until `speak` is set."""

    def __init__(self, *calls: str) -> None:
        super().__init__()
        self.calls = calls
        self.speak = threading.Event()

    def current(self) -> Any:
        if "current" in self.calls:
            self.speak.wait(20)
        return super().current()

    def append(self, change: Change) -> None:
        super().append(change)
        if "append" in self.calls:
            self.speak.wait(20)


@pytest.mark.parametrize(("call", "error"), [("current", StoreError), ("append", OutcomeUnknown)])
async def test_a_silent_store_is_not_waited_for_for_long(config: Config, call: str, error: type[Exception]) -> None:
    store = Silent(call)
    door = Door(config, store)
    began = asyncio.get_running_loop().time()
    asked = [asyncio.create_task(change(door, {"student_percent": 20})) for _ in range(20)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < ANSWER_S + 1
    assert all(isinstance(one, StoreError) for one in done)
    assert type(done[0]) is error
    assert [one for one in done if isinstance(one, OutcomeUnknown)] == done[:1] if call == "append" else True
    store.speak.set()
    door.close()


async def test_a_store_that_is_down_refuses(config: Config) -> None:
    store = MemoryStore()
    door = Door(config, store)
    store.down = "it is away"
    for work in (door.current(), door.read(CHAT), change(door, {"student_percent": 1}), door.history(CHAT)):
        with pytest.raises(StoreError, match="it is away"):
            await work
    door.close()


# What others left behind.


def stored(store: Store, *documents: tuple[Key, dict[str, Any]]) -> None:
    """Overlays in the trail as if they had been valid once."""
    from gateway.control.trail import seal

    for key, document in documents:
        head = store.head()
        store.append(seal(Draft(key, 1, "change", document, (), "old", "why", 1.0), head[0] + 1, head[1]))


async def test_only_what_cannot_be_served_is_not_live_and_can_be_repaired(door: Door, store: Store) -> None:
    other = Key("route", "other")
    await door.change(put(other, {"teacher": "big", "student": "small"}))
    head = store.head()
    stored(store, (CHAT, {"student_percent": 77, "teacher": "gone", "force": "teacher"}))
    await change(door, {"student_percent": 33}, key=other)
    effective = door.effective(await door.current())
    chat = effective.config.routes["chat"]
    assert (chat.student_percent, chat.teacher, chat.force) == (10, "big", "teacher")
    assert effective.config.routes["other"].student_percent == 33
    assert (effective.versions, effective.revision) == ({"chat": 0, "other": 2}, head[0] + 2)
    shown = await door.read(CHAT)
    assert (shown.version, shown.problems) == (1, ("routes.chat.teacher: expected one of big, small, got 'gone'",))
    with pytest.raises(NeedsOverride, match="from 10 to 77"):  # which is what becomes live by this
        await change(door, {"teacher": None})
    await change(door, {"teacher": None}, override=True)
    effective = door.effective(await door.current())
    assert (effective.config.routes["chat"].student_percent, effective.problems) == (77, ())


async def test_a_version_that_another_replica_took_leaves_the_one_before_live(
    door: Door, store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a secret that is missing here."""
    await change(door, {"student_percent": 42})
    door.effective(await door.current())
    there = Door(config, store)
    monkeypatch.setenv("ONLY_THERE", "secret-over-there")
    upstream = Key("upstream", "new")
    await there.change(put(upstream, {"base_url": "http://127.0.0.1:1/v1", "model": "m", "api_key": "${ONLY_THERE}"}))
    await change(there, {"student": "new"})
    monkeypatch.delenv("ONLY_THERE")
    effective = door.effective(await door.current())
    chat = effective.config.routes["chat"]
    assert (chat.student, chat.student_percent, effective.versions["chat"]) == ("small", 42, 1)
    assert "ONLY_THERE is not set" in effective.problems[0]
    there.close()


async def test_another_file_goes_under_the_live_changes_or_not_at_all(door: Door) -> None:
    await change(door, {"student": "small", "student_percent": 42})
    await door.reground(parse(content(drain_s=7), "again", {}))
    effective = door.effective(await door.current())
    assert (effective.config.drain_s, effective.config.routes["chat"].student_percent) == (7, 42)
    one = content(upstreams={"big": content()["upstreams"]["big"]})
    one["routes"] = {"chat": {"teacher": "big", "student": "big"}}
    with pytest.raises(ConfigError, match=r"routes.chat.student: expected one of big, got 'small'"):
        await door.reground(parse(one, "again", {}))
    assert door.effective(await door.current()) == replace(effective)
