"""The rollouts of all routes: one worker of all replicas leads them, the one that holds the lease.

Each second it takes in the records that were filed since, asks the controller, saves what that says, and only then
carries it out: a change of the route through the door, under the version at which its weight was read. So it does not
matter when a leader dies. What was saved and not done is asked for again by the next one, and is the same; what was
done and not noted as done is found in the trail, where each transition has its number; what was not saved is folded
again from the records. And one that was only held up finds that its note, or its change, is refused.

People's actions need no leader: whoever is asked writes them into the same note, and carries out what follows.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gateway.control.changes import Ask, Condition, patched
from gateway.control.door import ANSWER_S, Door, Made
from gateway.control.refusals import Conflict, InvalidChange, NotThere, Refusal
from gateway.control.watch import Watch
from gateway.rollout.saved import Mirrored, Saved, catch_up, load, save
from gateway.rollout.situation import Situation, situation
from gateway.state import Gateway
from gateway.stores.pairs import PairStore
from gateway.stores.protocols import Key, Lease, OutcomeUnknown, Store, StoreError
from gateway.telemetry.rollout import RolloutMetrics
from router_policies.checks.pack import PackError
from router_policies.rollout.actions import Action, apply
from router_policies.rollout.book import turn
from router_policies.rollout.state import Command, SetSample, SetWeight
from router_policies.rollout.step import Seen, commands
from router_policies.rollout.summary import Summary, summarize

TURN_S = 1.0
LEASE_S = 5.0  # how long nobody leads after a leader has died
_LEASE = "rollouts"
_REASON = 900  # characters
_LOOK_BACK = 20  # changes of a route among which the rollout's last one is looked for
_TRIES = 5
_NUMBER = re.compile(r"\(transition (\d+)\)$")
_log = logging.getLogger(__name__)


class NoRollout(LookupError):
    """The route has no rollout block."""


class Rollouts:
    """`lead` about once a second, `leave` at the end. Mutable state: the rollouts that this worker leads. `clock`:
    seconds since the epoch."""

    def __init__(
        self,
        gateway: Gateway,
        door: Door,
        watch: Watch,
        store: Store,
        pairs: PairStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gateway, self._door, self._watch = gateway, door, watch
        self._store, self._pairs = store, pairs
        self._clock = clock
        self._metrics = RolloutMetrics(gateway.metrics.registry)
        self._one = asyncio.Lock()
        self._lease: Lease | None = None
        self._led: dict[str, Saved] = {}
        self._failing: dict[str, str] = {}
        self._left = False

    async def lead(self) -> None:
        """A turn of every rollout, if this worker leads, or can."""
        routes = self._routes()
        if not routes or self._left or not await self._hold():
            self._let_go()
            return
        for route in [route for route in self._led if route not in routes]:
            del self._led[route]
            self._metrics.forget(route)
        for route in routes:
            try:
                summary = await self._turn(route)
            except (StoreError, PackError, Refusal, NoRollout) as error:
                self._say(route, str(error))
                self._metrics.stuck(route)
            else:
                self._say(route, "")
                self._metrics.show(summary)

    async def leave(self) -> None:
        """Let another lead."""
        self._left = True
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(StoreError):
                await self._door.ask(ANSWER_S, self._store.release, lease)

    async def read(self, route: str) -> Summary:
        """How a rollout stands. Raises `NoRollout`, `PackError`, `StoreError`."""
        async with self._one:
            here = await self._situation(route)
            saved = await self._read(here)
            while not await asyncio.to_thread(catch_up, self._pairs, saved, here, self._clock()):
                pass
            return self._summary(saved, here)

    async def read_all(self) -> list[Summary]:
        return [await self.read(route) for route in self._routes()]

    async def act(self, route: str, action: Action) -> Summary:
        """Do what somebody says, and what follows from it. Raises `router_policies.rollout.actions.Refused` besides."""
        try:
            return await self._turn(route, action)
        finally:
            if self._lease is None:
                self._led.pop(route, None)

    def _routes(self) -> list[str]:
        return [name for name, route in self._gateway.config.routes.items() if route.rollout is not None]

    async def _hold(self) -> bool:
        try:
            self._lease = await self._door.ask(ANSWER_S, self._store.acquire, _LEASE, self._watch.replica, LEASE_S)
        except StoreError:
            return False
        return self._lease is not None

    def _let_go(self) -> None:
        self._lease = None
        self._led.clear()
        self._metrics.forget()

    async def _situation(self, route: str) -> Situation:
        standing = await self._door.current()
        effective = await self._door.served(standing)
        found = await self._door.ask(ANSWER_S, situation, route, standing, effective)
        if found is None:
            raise NoRollout(route)
        return found

    async def _read(self, here: Situation) -> Saved:
        """The rollout, and what of it is in the trail."""
        saved = self._led.get(here.route)
        if saved is not None:
            return saved
        saved = await asyncio.to_thread(load, self._store, self._pairs, here, self._clock())
        for change in await self._door.history(Key("route", here.route), None, _LOOK_BACK):
            number = _NUMBER.search(change.draft.reason)
            if change.draft.actor == _actor(here.route) and number is not None:
                saved.announced = max(saved.announced, int(number[1]))
        return saved

    async def _turn(self, route: str, action: Action | None = None) -> Summary:
        async with self._one:
            for _ in range(_TRIES):
                summary = await self._try(route, action)
                if summary is not None:
                    return summary
        raise StoreError(f"the rollout of {route} is being changed by others all the time")

    async def _try(self, route: str, action: Action | None) -> Summary | None:
        """A turn. None if somebody else was faster: nothing was done then."""
        here = await self._situation(route)
        saved = await self._read(here)
        self._led.pop(route, None)  # until all has gone well
        if saved.state.number > saved.announced:  # whoever led before did not come to it
            try:
                if await self._carry_out(saved, here, _owed(saved, here)) is None:
                    return None
                here = await self._situation(route)
            except InvalidChange:
                pass  # it is asked for again below; what else there is to see must not wait for it
        while not await asyncio.to_thread(catch_up, self._pairs, saved, here, self._clock()):
            if not await asyncio.to_thread(save, self._store, route, saved):
                return None
            if self._lease is not None:  # so much takes longer than a lease lasts
                await self._hold()
        wanted = await asyncio.to_thread(_decide, saved, here, action, self._clock())
        try:
            if not await asyncio.to_thread(save, self._store, route, saved):
                return None
        except StoreError as error:
            raise OutcomeUnknown(str(error)) from error
        try:
            weight = await self._carry_out(saved, here, wanted)
        except (StoreError, Refusal) as error:
            if action is None:
                raise
            self._say(route, str(error))  # what was said is saved, and what follows is asked for again in a second
            return self._summary(saved, here)
        self._led[route] = saved
        return self._summary(saved, here if weight is None else replace(here, weight=weight))

    async def _carry_out(self, saved: Saved, here: Situation, wanted: tuple[Command, ...]) -> float | None:
        """Make a change of what is to be done; returns the weight that is live then. None: somebody has changed the
        route since it was looked at, and nothing was done."""
        patch = _patch(wanted, saved.mirrored, here)
        tells = [command for command in wanted if not isinstance(command, SetSample)]
        if not patch and not tells:
            return here.weight
        number = wanted[0].number
        ask = Ask(
            Key("route", here.route),
            "rollout",
            patched(patch),
            _actor(here.route),
            f"{wanted[0].reason[:_REASON]} (transition {number})",
            override=True,
            condition=Condition(frozenset({here.version})),
            named=tuple(patch),
        )
        try:
            made = await self._change(ask, patch, here)
        except (Conflict, NotThere):
            return None
        if tells:
            saved.announced = number
        await self._watch.show(made.standing)
        return float(patch.get("student_percent", here.weight))

    async def _change(self, ask: Ask, patch: dict[str, Any], here: Situation) -> Made:
        """Make it; what lowers the weight also if the config as a whole is not valid any more here: a secret that
        cannot be read, a pack that was spoilt. The rest of it is asked for again."""
        try:
            return await self._door.change(ask)
        except InvalidChange as error:
            lower = {"student_percent": patch.get("student_percent", here.weight)}
            if lower["student_percent"] >= here.weight:
                raise
            _log.error("rollout of %s: lowered, though the config is not valid: %s", here.route, error)
            return await self._door.change(replace(ask, edit=patched(lower), named=tuple(lower), kills=True))

    def _summary(self, saved: Saved, here: Situation) -> Summary:
        return summarize(here.route, saved.state, saved.book, here.plan, here.weight, self._clock())

    def _say(self, route: str, error: str) -> None:
        if error and error != self._failing.get(route):
            _log.error("rollout of %s: it stands still: %s", route, error)
        self._failing[route] = error


def _actor(route: str) -> str:
    return f"rollout:{route}"


def _decide(saved: Saved, here: Situation, action: Action | None, now: float) -> tuple[Command, ...]:
    """What is to be done now. Changes `saved`, which must be saved before it is done."""
    told = saved.state.number
    if action is not None:
        saved.state = apply(saved.state, action, here.plan, now, here.weight)
    said = saved.state
    mirrored = saved.mirrored
    if mirrored is not None and not mirrored.done and here.sample == mirrored.sample:
        mirrored = Mirrored(mirrored.sample, mirrored.before, done=True)
    sample = mirrored.sample if mirrored is not None and mirrored.done else None
    seen = (here.weight, sample, saved.announced)
    saved.state, saved.book, wanted = turn(saved.state, saved.book, here.plan, here.key, seen, now, here.revision)
    for command in wanted:
        if isinstance(command, SetSample):
            mirrored = _mirrored(command.sample, mirrored, here)
    saved.mirrored = mirrored
    if told < said.number < saved.state.number:  # what somebody has done and what came of it are one change
        saved.state = replace(saved.state, why=f"{said.why}; {saved.state.why}")
        wanted = tuple(replace(command, reason=saved.state.why) for command in wanted)
    return wanted


def _owed(saved: Saved, here: Situation) -> tuple[Command, ...]:
    """What tells of the last transition, if that is not in the trail."""
    seen = Seen(saved.book.round, saved.book.pairs, {}, here.weight, None, saved.announced)
    return tuple(one for one in commands(saved.state, seen, here.plan) if not isinstance(one, SetSample))


def _mirrored(sample: float | None, was: Mirrored | None, here: Situation) -> Mirrored | None:
    """What is to be remembered of a probability that is about to be set, or taken back."""
    still = was is not None and here.sample == was.sample
    before = was.before if was is not None and still else here.sample
    if sample is not None:
        return Mirrored(sample, before, done=here.sample == sample)
    return was if still and before != here.sample else None  # until it is seen to be taken back


def _patch(asked: tuple[Command, ...], mirrored: Mirrored | None, here: Situation) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for command in asked:
        if isinstance(command, SetWeight):
            patch["student_percent"] = command.percent
        elif isinstance(command, SetSample):
            sample = command.sample
            if sample is None:  # what people have set meanwhile is theirs
                sample = mirrored.before if mirrored is not None else here.sample
            if sample != here.sample:
                patch["shadow"] = {"sample": {"default": sample}}
    return patch
