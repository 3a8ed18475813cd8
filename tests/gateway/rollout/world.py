"""A route with a rollout, its store, the records of its traffic, and workers that lead it until they are killed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.config import Config, parse
from gateway.control.changes import Ask, patched
from gateway.control.door import Door
from gateway.control.watch import Watch
from gateway.packs import load_pack
from gateway.rollout.rollouts import Rollouts
from gateway.state import Gateway
from gateway.stores.pairs import Caps, Filed, PairStore
from gateway.stores.protocols import Change, Key, Store
from gateway.stores.sqlite_pairs import SqlitePairs
from router_policies.rollout.actions import Act, Action
from router_policies.rollout.summary import Summary
from router_policies.routes import Role
from router_policies.shadow import Reason
from tests.gateway.control.conftest import Clock
from tests.router_policies.test_rollout_book import lost, record
from tests.support.memory_store import MemoryStore

CHAT = Key("route", "chat")
EVIDENCE = f"small/m@|big/m@|{load_pack('default').key}"
CHECK = {"name": "format_disagreement", "tolerance": 0.2, "critical": True}
ROLLOUT: dict[str, Any] = {
    "steps": [{"weight": weight, "min_bake": 3, "min_n": 0} for weight in (1, 5, 25, 100)],
    "checks": [CHECK, {"name": "shadow_loss", "tolerance": 0.2, "critical": True}],
    "decision": {"rollback_arl": 1000},
    "rollback": {"cooldown": 2, "require_ack": True},
    "late": 1.5,
}


def config(rollout: dict[str, Any] | None = None, upstream: dict[str, Any] | None = None, **route: Any) -> Config:
    upstream = {"base_url": "http://127.0.0.1:1/v1", "model": "m", **(upstream or {})}
    chat = {
        "teacher": "big",
        "student": "small",
        "student_percent": 10,
        "shadow": {"timeout_s": 1},
        "rollout": {**ROLLOUT, **(rollout or {})},
        **route,
    }
    return parse({"upstreams": {"big": upstream, "small": upstream}, "routes": {"chat": chat}}, "test", {})


class Killed(Exception):
    """The worker is no more, in the middle of what it did."""


class Mortal:
    """A store, or a pair store, of a worker that dies at its `at`-th call: before it is made, or after."""

    def __init__(self, store: object, at: Callable[[bool], None]) -> None:
        self._store, self._at = store, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._at(False)
            answer = found(*args, **kwargs)
            self._at(True)
            return answer

        return call if callable(found) else found


class Worker:
    """As `gateway.app` wires it. Dies at its `dies_at`-th call of a store, `after` it is done or before."""

    def __init__(self, world: "World", dies_at: int | None = None, after: bool = False) -> None:
        def at(done: bool) -> None:
            self.calls += done is after
            if dies_at is not None and (self.dead or (self.calls == dies_at and done is after)):
                self.dead = True
                raise Killed

        self.calls, self.dead = 0, False
        store = cast(Store, Mortal(world.store, at))
        pairs = cast(PairStore, Mortal(world.pairs, at))
        self.gateway = Gateway.build(world.config)
        self.door = Door(world.config, store, world.clock)
        self.watch = Watch(self.gateway, self.door, store, world.clock)
        self.rollouts = Rollouts(self.gateway, self.door, self.watch, store, pairs, world.clock)

    async def close(self) -> None:
        self.door.close()
        await self.gateway.close()


class World:
    def __init__(self, directory: Path, file: Config | None = None) -> None:
        self.config = file or config()
        self.store, self.pairs = MemoryStore(), SqlitePairs(directory / "pairs")
        self.clock = Clock()
        self.filed = 0
        self.caps = Caps()
        self.leader = Worker(self)

    async def replace(self, *args: Any) -> None:
        """Another worker leads from here on."""
        await self.leader.close()
        self.leader = Worker(self, *args)

    async def lead(self) -> None:
        """A turn of whoever leads; if that one dies, of the next."""
        try:
            await self.leader.rollouts.lead()
        except Killed:
            await self.replace()
            await self.leader.rollouts.lead()

    async def act(self, act: Act, **more: Any) -> Summary:
        """By a worker that does not lead."""
        other = Worker(self)
        try:
            return await other.rollouts.act("chat", Action(act, "sre", "a test", **more))
        finally:
            await other.close()

    async def second(self, pairs: int = 30, *, well: bool = True, reason: Reason | None = None) -> None:
        """A second of traffic, and a turn."""
        self.clock.now += 1
        self.file(pairs, well=well, reason=reason)
        await self.lead()

    def file(self, pairs: int, *, well: bool = True, reason: Reason | None = None) -> None:
        filed = []
        for _ in range(pairs):
            self.filed += 1
            at = self.clock.now - 1 + len(filed) / pairs
            more = {"at": at, "route": "chat", "evidence_key": EVIDENCE, "decided": Role.TEACHER, "revision": 1000}
            number = self.filed
            text = record(number, well, **more) if reason is None else lost(number, reason, at=at, revision=1000)
            filed.append(Filed(f"a-{number}", "chat", at, text.decode(), None))
        self.pairs.file(filed, self.caps)

    async def change(self, **document: Any) -> None:
        """By a person."""
        door = Door(self.config, self.store, self.clock)
        await door.change(Ask(CHAT, "change", patched(document), "sre", "a test", override=True))
        door.close()

    @property
    def trail(self) -> list[Change]:
        return self.store.entries(0, 10**6)

    @property
    def said(self) -> list[tuple[float | None, str]]:
        """What the rollout has changed: the weight since then, and why."""
        mine = [change.draft for change in self.trail if change.draft.actor == "rollout:chat"]
        return [(draft.document.get("student_percent"), draft.reason) for draft in mine]

    @property
    def weights(self) -> list[float | None]:
        """Each once."""
        weights = [weight for weight, _ in self.said]
        return [weight for at, weight in enumerate(weights) if not at or weights[at - 1] != weight]

    @property
    def weight(self) -> float:
        return next((weight for weight, _ in reversed(self.said) if weight is not None), 10.0)

    @property
    def note(self) -> dict[str, Any]:
        text: dict[str, Any] = msgspec.json.decode(self.store.notes["rollout:chat"].text)
        return text

    async def close(self) -> None:
        await self.leader.close()
        self.pairs.close()
