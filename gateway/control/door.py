"""The door: every change of what is served comes through here, whoever makes it.

The config file is the ground; what was changed live lies over it, a document each for routes, upstreams, keys and the
gateway itself, kept in the store as a trail of changes. A change is decided on all that stands, checked with all of it,
and appended by compare-and-swap: accepted whole or not at all, and durable before it is confirmed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import ParamSpec, TypeVar

from gateway.config import Config, ConfigError
from gateway.control.changes import Ask, Edit, reverted, taken_back
from gateway.control.effective import Effective, build, only_killed, overlays_of
from gateway.control.offload import NotBegun, Offload
from gateway.control.proposals import Proposal, Shown, propose, show
from gateway.control.refusals import InvalidChange, NoSuchVersion, NotPlanned, NotThere
from gateway.control.trail import seal
from gateway.stores.protocols import (
    NO_HASH,
    Change,
    Document,
    HeadMoved,
    Key,
    Member,
    OutcomeUnknown,
    Standing,
    Store,
    StoreError,
    Undo,
)

ANSWER_S = 2.5  # within which a change is made, or refused
_PAUSE_S = 0.01  # at most, before a change is decided anew: several writers should not meet again
_AGAIN_S = 10.0  # what could not be taken back is tried again after so long
_REASON = 1000  # characters
_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A change that was made, and what stands since."""

    proposal: Proposal
    change: Change
    standing: Standing


@dataclass(frozen=True, slots=True)
class _Built:
    ground: Config
    hash: str
    effective: Effective


class Door:
    """Reads and changes documents. Raises `Refusal`, `StoreError`, and `OutcomeUnknown` when nobody can say whether a
    change was made. `clock`: seconds since the epoch."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._ground = config
        self._store = store
        self._clock = clock
        self._io = Offload()
        self._one = asyncio.Lock()  # of this process's writers only one contends with those of others
        self._jitter = Random()  # noqa: S311
        self._last: _Built | None = None
        self._good: dict[Key, tuple[int, Document]] = {}
        self._stuck: dict[tuple[Key, int], float] = {}  # until when each is left alone
        self.standing = Standing(0, NO_HASH, {})  # the newest that was read

    @property
    def ground(self) -> Config:
        return self._ground

    def close(self) -> None:
        """Wait for nothing any more."""
        self._io.close()

    async def ask(self, within_s: float, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """What a reading method of the store, or other blocking work, returns. Raises `StoreError` if that takes
        longer."""
        try:
            return await self._io.run(within_s, work, *args, **kwargs)
        except TimeoutError:
            raise StoreError(f"it did not answer within {ANSWER_S:g} s") from None

    async def current(self) -> Standing:
        self.standing = await self.ask(ANSWER_S, self._store.current)
        return self.standing

    def effective(self, standing: Standing) -> Effective:
        """What is to be served. Reads secrets: not for the event loop's thread. Raises `ConfigError` if not even the
        file can be served as it stands, and never could."""
        last = self._last
        if last is not None and (last.ground is self._ground and last.hash == standing.hash):
            return last.effective
        overlays = overlays_of(standing)
        try:
            effective = build(self._ground, standing, overlays, self._good)
        except ConfigError as error:
            if last is None:
                raise
            return only_killed(self._ground, last.effective, standing.revision, overlays, error.problems)
        self._last = _Built(self._ground, standing.hash, effective)
        if not effective.problems:
            self._good = {
                key: (change.draft.version, change.draft.document) for key, change in standing.changes.items()
            }
        return effective

    async def reground(self, config: Config) -> None:
        """Let the live documents lie over another config. Raises `ConfigError`, and stays with the one that it has, if
        the two do not go together."""
        made = await self.ask(ANSWER_S, build, config, self.standing, overlays_of(self.standing), {})
        if made.problems:
            raise ConfigError("the config file with the live changes over it", list(made.problems))
        self._ground = config

    async def read(self, key: Key) -> Shown:
        """A document as it is live. Raises `NotThere`."""
        standing = await self.current()
        shown = await self.ask(ANSWER_S, self._shown, standing, key)
        if shown.document is None:
            raise NotThere(key, shown.version, shown.changed_by or "")
        return shown

    async def read_all(self, kind: str) -> list[Shown]:
        standing = await self.current()
        return await self.ask(ANSWER_S, self._shown_all, standing, kind)

    async def head(self) -> tuple[int, str]:
        return await self.ask(ANSWER_S, self._store.head)

    async def members(self) -> list[Member]:
        return await self.ask(ANSWER_S, self._store.members)

    async def warnings(self) -> list[str]:
        return await self.ask(ANSWER_S, self._store.warnings)

    async def served(self, standing: Standing) -> Effective:
        """`effective`, from the event loop's thread."""
        return await self.ask(ANSWER_S, self.effective, standing)

    async def shown(self, standing: Standing, key: Key) -> Shown:
        return await self.ask(ANSWER_S, self._shown, standing, key)

    def _shown_all(self, standing: Standing, kind: str) -> list[Shown]:
        config = self.effective(standing).config
        names = {"route": [*config.routes], "upstream": [*config.upstreams], "key": [key.name for key in config.keys]}
        return [self._shown(standing, Key(kind, name)) for name in names[kind]]

    def _shown(self, standing: Standing, key: Key) -> Shown:
        return show(self._ground, standing, self.effective(standing), key)

    async def history(self, key: Key, before_version: int | None = None, limit: int = 100) -> list[Change]:
        """A document's changes, newest first."""
        return await self.ask(ANSWER_S, self._store.history, key, before_version=before_version, limit=limit)

    async def entries(self, after: int, limit: int) -> list[Change]:
        """The trail, oldest first."""
        return await self.ask(ANSWER_S, self._store.entries, after, limit)

    async def propose(self, ask: Ask) -> Proposal:
        """What a change would come to. Nothing is changed."""
        return (await self.ask(ANSWER_S, self._decide, ask))[1]

    async def change(self, ask: Ask) -> Made:
        """Make a change, whatever others are made at the same time."""
        until = time.monotonic() + ANSWER_S
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._one.acquire()
        except TimeoutError:
            raise StoreError(f"it did not answer others within {ANSWER_S:g} s") from None
        try:
            while True:
                standing, proposal = await self.ask(until - time.monotonic(), self._decide, ask)
                change = seal(proposal.draft, standing.revision + 1, standing.hash)
                try:
                    await self._append(change, until - time.monotonic())
                    break
                except HeadMoved:
                    await asyncio.sleep(self._jitter.uniform(0, _PAUSE_S))
        finally:
            self._one.release()
        self.standing = Standing(change.revision, change.hash, {**standing.changes, ask.key: change})
        _tell(change, proposal)
        return Made(proposal, change, self.standing)

    def _decide(self, ask: Ask) -> tuple[Standing, Proposal]:
        standing = self._store.current()
        try:
            effective = self.effective(standing)
        except ConfigError as error:
            raise InvalidChange(error.problems) from None
        return standing, propose(self._ground, standing, effective, ask, self._clock())

    async def _append(self, change: Change, within_s: float) -> None:
        try:
            await self._io.run(within_s, self._store.append, change)
        except NotBegun:
            raise StoreError(f"it did not answer within {ANSWER_S:g} s") from None
        except TimeoutError:
            raise OutcomeUnknown(f"it did not say within {ANSWER_S:g} s whether it has the change") from None

    async def to_version(self, key: Key, version: int) -> Edit:
        """The edit that has a document be what it was at a version, 0 for what the file says. Raises
        `NoSuchVersion`."""
        if version == 0:
            return reverted({})
        found = await self.history(key, version + 1, 1)
        if not found or found[0].draft.version != version:
            newest = await self.history(key, None, 1)
            raise NoSuchVersion(version, newest[0].draft.version if newest else 0)
        return reverted(found[0].draft.document)

    async def expire(self, now: float) -> None:
        """Take back what was to end by itself by `now`, seconds since the epoch.

        Every worker does so; it happens once, since it is not planned any more for those who come second. Raises
        `StoreError`.
        """
        for key, undo in list(_due(self.standing, now)):
            if self._stuck.get((key, undo.version), 0.0) > now:
                continue
            why = await self.history(key, undo.version + 1, 1)
            reason = f"ttl of version {undo.version} is over: {why[0].draft.reason if why else ''}"[:_REASON]
            kills = set(undo.patch) == {"/force"}
            try:
                await self.change(
                    Ask(key, "expire", taken_back(undo), "ttl", reason, revives=True, ends=undo, kills=kills)
                )
            except NotPlanned:
                await self.current()
            except InvalidChange as error:
                if (key, undo.version) not in self._stuck:
                    _log.error("%s: what its ttl takes back is not valid any more: %s", _name(key), error)
                self._stuck[key, undo.version] = now + _AGAIN_S


def _due(standing: Standing, now: float) -> Iterator[tuple[Key, Undo]]:
    """What is to be taken back by now, what was to be first coming first."""
    planned = [(key, undo) for key, change in standing.changes.items() for undo in change.draft.undo if undo.at <= now]
    yield from sorted(planned, key=lambda one: one[1].at)


def _name(key: Key) -> str:
    return f"{key.kind} {key.name}".strip()


def _tell(change: Change, proposal: Proposal) -> None:
    draft = change.draft
    what = ", ".join(str(one) for one in proposal.diff[:5]) + (", ..." if len(proposal.diff) > 5 else "")
    _log.info(
        "revision %d, hash %.12s: %s of %s by %r, version %d, because %r: %s",
        *(change.revision, change.hash, draft.action, _name(draft.key), draft.actor, draft.version, draft.reason),
        what or "no difference",
    )
