"""Makes changes live: every worker waits for the trail's head to move, and swaps its snapshot.

With the store down, serving goes on with the last snapshot, a gauge says so, and all catches up when it is back.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from gateway import __version__
from gateway.config import ConfigError
from gateway.control.door import ANSWER_S, Door
from gateway.control.last import note, noted
from gateway.state import Gateway
from gateway.stores.protocols import NO_HASH, Member, Standing, Store, StoreError

REPORT_S = 1.0
MEMBER_TTL_S = 5.0
_WAIT_S = 1.0  # how long one question whether there is news may take: a lost message costs no more
_DOWN_S = 0.2  # between two tries of a store that does not answer
_SHOW_S = 1.0
_log = logging.getLogger(__name__)


class Watch:
    """What is live in this worker. `start` once; `follow`, `report` and `expire` again and again, each from a task of
    its own; `leave` at the end. What is live never goes back to an older snapshot, save where the store does.

    `up` and `error` say whether the store answers, `problems` what is not live as it was changed.
    """

    def __init__(self, gateway: Gateway, door: Door, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._gateway = gateway
        self._door = door
        self._store = store
        self._clock = clock
        self._host = socket.gethostname()
        self.replica = f"{self._host}-{os.getpid()}-{secrets.token_hex(2)}"
        self._started_at = self._live_at = clock()
        self._live = Standing(0, NO_HASH, {})
        self._ground = door.ground  # with which that is live
        self._applying = asyncio.Lock()  # a snapshot that was read first must not be applied last
        self.up = True
        self.error = ""
        self.problems: tuple[str, ...] = ()
        self.lost = ""

    @property
    def live_hash(self) -> str:
        """Of the trail's head that is live."""
        return self._live.hash

    @property
    def warnings(self) -> list[str]:
        """What people should know of the store, seen from here."""
        return [self.lost] if self.lost else []

    async def start(self) -> None:
        """Begin with what stands, or, with the store down, with what stood last for a worker of this host."""
        await self.look()
        if not self.up and (last := await asyncio.to_thread(noted)) is not None:
            async with self._applying:
                await self._apply(last)
        await self.report()

    async def follow(self) -> None:
        """Wait for news for about a second at most, and make it live."""
        try:
            await self._door.ask(_WAIT_S + ANSWER_S, self._store.wait, self._live.revision, _WAIT_S)
        except StoreError as error:
            self._show_store(str(error))
            await asyncio.sleep(_DOWN_S)
        before = self._live
        await self.look()
        if self._live is not before:
            await self.report()

    async def look(self) -> None:
        """Make live what stands."""
        async with self._applying:
            try:
                head = await self._door.head()
                if head != (self._live.revision, self._live.hash) or self._ground is not self._door.ground:
                    await self._check_kept()
                    await self._apply(await self._door.current())
            except StoreError as error:
                self._show_store(str(error))
            else:
                self._show_store("")

    async def show(self, standing: Standing) -> None:
        """Make live what this worker just changed, if that is news. It will be soon, if it takes longer now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SHOW_S):
                async with self._applying:
                    if standing.revision > self._live.revision:
                        await self._apply(standing)
                await self.report()

    async def _apply(self, standing: Standing) -> None:
        ground = self._door.ground
        try:
            effective = await self._door.served(standing)
        except ConfigError as error:
            self._show_problems(tuple(error.problems))
            return
        self._gateway.apply(effective.config, effective.versions, effective.revision)
        was = self._live
        self._live, self._ground, self._live_at = standing, ground, self._clock()
        news = [
            f"{key.kind} {key.name} version {change.draft.version}".replace("  ", " ")
            for key, change in standing.changes.items()
            if was.changes.get(key) != change
        ]
        what = ", ".join(news) or "no changes"
        _log.info("revision %d is live, hash %.12s: %s", standing.revision, standing.hash, what)
        self._show_problems(effective.problems)
        await self._door.ask(ANSWER_S, note, standing)

    async def _check_kept(self) -> None:
        """Whether the trail still has what is live: a store that was put back from a copy, or failed over to a server
        that had not all of it, lost what it had confirmed."""
        live = self._live
        if live.revision == 0:
            return
        found = await self._door.entries(live.revision - 1, 1)
        if not found or found[0].hash != live.hash:
            self.lost = (
                f"the store no longer has revision {live.revision} ({live.hash:.12}), which was live: "
                "it was put back from an older copy, or lost changes that it had confirmed"
            )
            _log.error("%s", self.lost)

    async def expire(self) -> None:
        """Take back what was to end by itself by now, and make that live."""
        with suppress(StoreError):  # it is tried again, and `look` says that the store is down
            before = self._door.standing
            await self._door.expire(self._clock())
            if self._door.standing is not before:
                await self.show(self._door.standing)

    def member(self) -> Member:
        """What this worker says of itself."""
        return Member(
            replica=self.replica,
            host=self._host,
            software=__version__,
            started_at=self._started_at,
            revision=self._live.revision,
            live_at=self._live_at,
            draining=self._gateway.draining,
            in_flight=len(self._gateway.in_flight),
            seen_at=self._clock(),
        )

    async def report(self) -> None:
        with suppress(StoreError):
            await self._door.ask(ANSWER_S, self._store.report, self.member(), MEMBER_TTL_S)

    async def leave(self) -> None:
        with suppress(StoreError):
            await self._door.ask(_SHOW_S, self._store.leave, self.replica)

    def _show_problems(self, problems: tuple[str, ...]) -> None:
        if problems != self.problems:
            for problem in problems:
                _log.error("not live as it was changed: %s", problem)
            self.problems = problems

    def _show_store(self, error: str) -> None:
        self._gateway.metrics.show_store(not error)
        up, self.error = not error, error
        if up is not self.up:
            self.up = up
            if up:
                _log.warning("the store answers again")
            else:
                _log.error("the store is down, serving goes on with the last snapshot: %s", error)
