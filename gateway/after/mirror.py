"""A route's mirror: a bounded queue and a fixed set of workers.

Offering a sample takes a few microseconds and never waits; what there is no room for is counted and let go. Nothing
that happens here reaches the primaries: not a connection, not a limit, not a breaker is shared with them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.after.asking import INLINE_BYTES, asked
from gateway.after.call import Answered, call
from gateway.after.sample import Models, Pair, Record, Sample, Side
from gateway.after.scorer import ScorerError
from gateway.exchange import Outcome, Withheld
from gateway.face.logprobs import Logprobs, can_be_judged, to_ask
from gateway.face.openai import EMBEDDINGS, Endpoint
from gateway.upstream.upstream import Upstream
from router_policies.attempts import Kind
from router_policies.risk.deferral import Deferral
from router_policies.routes import Role, Route
from router_policies.shadow import Arm, Reason, Shadow

_log = logging.getLogger(__name__)
_CHANGED = "the route's models were changed before it could be compared"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a mirror works by: one snapshot. `upstreams` are its own, by role; `usable` says whether the primaries'
    upstream of a role may be asked at all."""

    route: Route
    shadow: Shadow
    upstreams: Mapping[Role, Upstream]
    models: Models
    packs: tuple[str, ...]
    usable: Callable[[Role], bool]


class Ear(Protocol):
    """Who hears of what came of samples."""

    def told(self, record: Record) -> None:
        """An arm has no pair."""

    async def paired(self, pair: Pair) -> None:
        """An arm has one. Returns when it is scored: whoever cannot keep up makes the queue long, and so is seen."""

    def spent(self, route: str, upstream: str, answered: Answered) -> None:
        """A call was made and is to be paid, whatever came of it."""

    def within_budget(self, route: str, most_nano_usd: int | None) -> bool:
        """Whether a route may spend more today."""

    async def asked(self, endpoint: Endpoint, body: bytes, model: str, *, stream: bool) -> bytes | None:
        """`asking.asked` of a large body, done elsewhere. Raises `ScorerError`."""


class Mirror:
    """Mutable state: the queue and its size, the workers and who of them has work. `setting`: what new work is done by,
    None if it is switched off. `paused`: this process is too busy to mirror."""

    def __init__(self, ear: Ear, sign: Callable[[str], bytes]) -> None:
        self._ear = ear
        self._sign = sign
        self._queue: asyncio.Queue[Sample] = asyncio.Queue()
        self._bytes = 0
        self._workers: dict[int, asyncio.Task[None]] = {}
        self._busy: set[int] = set()
        self._closing = False
        self.setting: Setting | None = None
        self.paused = False

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    @property
    def under_way(self) -> int:
        """Samples that are being mirrored or scored."""
        return len(self._busy)

    def set(self, setting: Setting | None) -> None:
        """Work by this from now on. What waits is worked off by it too, or let go of if there is none; workers that are
        too many end once they have done what they have begun."""
        if self._closing:
            return
        self.setting = setting
        wanted = self._wanted
        for number in [number for number in self._workers if number >= wanted]:
            if setting is None or number not in self._busy:
                self._workers.pop(number).cancel()
        for number in range(wanted):
            if number not in self._workers:
                self._workers[number] = asyncio.get_running_loop().create_task(self._work(number))
        if setting is None:
            self._let_go(Reason.DISABLED)

    @property
    def _wanted(self) -> int:
        return self.setting.shadow.workers if self.setting is not None else 0

    def offer(self, sample: Sample) -> None:
        """Take a sample, or say why not. Never waits."""
        reason = self._refusal(sample)
        if reason is not None:
            self._lose(sample, reason)
            return
        self._bytes += sample.size
        self._queue.put_nowait(sample)

    async def close(self) -> None:
        self._closing = True
        workers = list(self._workers.values())
        self._workers.clear()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._let_go(Reason.SHUTDOWN)

    # What is taken.

    def _refusal(self, sample: Sample) -> Reason | None:
        setting, exchange = self.setting, sample.exchange
        if self._closing:
            return Reason.SHUTDOWN
        if setting is None:
            return Reason.DISABLED
        if exchange.outcome is Outcome.CANCELLED:
            return Reason.CANCELLED
        if exchange.outcome is not Outcome.OK or exchange.kind in (Kind.FALLBACK, Kind.RESCUE):
            return Reason.PRIMARY_FAILED  # who was meant to answer did not: asked once more, it would hide that
        if exchange.upstream != sample.models[exchange.role].upstream or sample.endpoint is EMBEDDINGS:
            return Reason.UNSUPPORTED
        shadow = setting.shadow
        if sample.truncated or sample.size > shadow.max_body_bytes:
            return Reason.BODY_TOO_LARGE
        if self.paused:
            return Reason.DISABLED
        if not all(setting.usable(role) for role in sample.to_ask):
            return Reason.CIRCUIT_OPEN
        if not self._ear.within_budget(setting.route.name, shadow.max_nano_usd_per_day):
            return Reason.BUDGET
        if self._queue.qsize() >= shadow.queue:
            return Reason.QUEUE_FULL
        if self._bytes + sample.size > shadow.queue_bytes:
            return Reason.QUEUE_BYTES
        return None

    def _lose(self, sample: Sample, reason: Reason, detail: str = "") -> None:
        for arm in sample.drawn.arms:
            self._ear.told(sample.record(arm, reason, detail))

    def _let_go(self, reason: Reason) -> None:
        while not self._queue.empty():
            sample = self._queue.get_nowait()
            self._bytes -= sample.size
            self._lose(sample, reason)

    # What is done with it.

    async def _work(self, number: int) -> None:
        me = asyncio.current_task()
        while self._workers.get(number) is me and number < self._wanted:
            sample = await self._queue.get()
            self._bytes -= sample.size
            self._busy.add(number)
            try:
                await self._settle(sample)
            except Exception:  # a defect of ours may cost a record, never the worker
                _log.exception("request %s: what came of mirroring it cannot be told", sample.exchange.request_id)
            finally:
                self._busy.discard(number)
        if self._workers.get(number) is me:
            del self._workers[number]

    async def _settle(self, sample: Sample) -> None:
        """Mirror a sample, and see to it that each of its arms comes to an end, exactly once."""
        arms = dict(sample.drawn.arms)
        left, detail = Reason.DISABLED, ""
        try:
            left = await self._mirror(sample, arms)
        except asyncio.CancelledError:
            left = Reason.SHUTDOWN if self._closing else Reason.DISABLED
            raise
        except Exception:  # a defect of ours may cost a pair, never the worker
            _log.exception("mirroring request %s failed inside the gateway", sample.exchange.request_id)
            left, detail = Reason.SHADOW_FAILED, "the gateway failed on it; its log says why"
        finally:
            for arm in arms:
                self._ear.told(sample.record(arm, left, detail))

    async def _mirror(self, sample: Sample, arms: dict[Arm, float]) -> Reason:
        """Ask who is to be asked, and take the arms that have come to an end out of `arms`. Returns why the others have
        none."""
        served = sample.exchange.role
        had: dict[Role, list[tuple[Side, bytes]]] = {Role.STUDENT: [], Role.TEACHER: []}
        had[served].append((_served(sample), sample.answer))
        if sample.withheld is not None and sample.withheld.answer is not None:
            had[Role.STUDENT].append((_withheld(sample, sample.withheld), sample.withheld.answer))
            if Arm.AB in arms:  # the pair is there, without a call
                await self._end(sample, Arm.AB, had)
                del arms[Arm.AB]
        for role in sample.to_ask:
            if not arms:
                break
            answered = await self._ask(sample, role)
            if answered.failed is None:
                had[role].append(_mirrored(sample, answered, role))
            for arm in _over(arms, had, answered, role):
                await self._end(sample, arm, had, answered.failed, answered.detail)
                del arms[arm]
        return Reason.SHADOW_FAILED

    async def _ask(self, sample: Sample, role: Role) -> Answered:
        setting = self.setting
        if setting is None:
            return Answered.none(Reason.DISABLED)
        if setting.models != sample.models:
            return Answered.none(Reason.DISABLED, _CHANGED)
        if not setting.usable(role):
            return Answered.none(Reason.CIRCUIT_OPEN)
        if not self._ear.within_budget(setting.route.name, setting.shadow.max_nano_usd_per_day):
            return Answered.none(Reason.BUDGET)
        upstream = setting.upstreams[role]
        endpoint, stream = sample.endpoint, bool(sample.view.stream)
        if len(sample.body) <= INLINE_BYTES:
            measured = role is Role.STUDENT and _policy(sample) is not None
            logprobs = to_ask(endpoint, sample.view) if measured else None
            body = asked(endpoint, sample.body, upstream.model, stream=stream, logprobs=logprobs)
        else:
            try:
                body = await self._ear.asked(endpoint, sample.body, upstream.model, stream=stream)
            except ScorerError as error:
                return Answered.none(Reason.SHADOW_FAILED, str(error))
            if self.setting is not setting:  # its upstreams may be closed by now
                return await self._ask(sample, role)
        if body is None:
            return Answered.none(Reason.UNSUPPORTED)

        def spent(answered: Answered) -> None:
            self._ear.spent(setting.route.name, upstream.name, answered)

        return await call(
            upstream,
            endpoint,
            sample.query,
            b"x-understudy-shadow: %b\r\n" % self._sign(sample.pair_id),
            body,
            spent,
            stream=stream,
            choices=sample.view.choices,
            timeout_s=setting.shadow.timeout_s,
            most_bytes=setting.shadow.max_body_bytes,
        )

    async def _end(
        self,
        sample: Sample,
        arm: Arm,
        had: Mapping[Role, list[tuple[Side, bytes]]],
        failed: Reason | None = None,
        detail: str = "",
    ) -> None:
        record = sample.record(arm, failed, detail)
        if failed is not None:
            self._ear.told(record)
            return
        first = had[Role.TEACHER if arm is Arm.AA else Role.STUDENT][0]
        second = had[Role.TEACHER][1 if arm is Arm.AA else 0]
        record = msgspec.structs.replace(record, student=first[0], teacher=second[0])
        packs = self.setting.packs if self.setting is not None else ()
        await self._ear.paired(Pair(record, packs, sample.endpoint.path, sample.body, first[1], second[1]))


def _over(
    arms: Mapping[Arm, float], had: Mapping[Role, list[tuple[Side, bytes]]], answered: Answered, role: Role
) -> list[Arm]:
    """The arms that this call was the last one for: it has all it needs, or will never have."""
    students, teachers = len(had[Role.STUDENT]), len(had[Role.TEACHER])
    over = []
    for arm in arms:
        complete = (students >= 1 and teachers >= 1) if arm is Arm.AB else teachers >= 2
        lost = answered.failed is not None and (role is Role.TEACHER or arm is Arm.AB)
        if complete or lost:
            over.append(arm)
    return over


def _policy(sample: Sample) -> Deferral | None:
    """By which the student's confidence is measured, None if it is not."""
    route = sample.exchange.decision.route
    return route.deferral if can_be_judged(route, sample.endpoint, sample.view) else None


def _served(sample: Sample) -> Side:
    exchange = sample.exchange
    began_s = sample.withheld.after_s if sample.withheld is not None else 0.0  # before that somebody else was asked
    students = exchange.role is Role.STUDENT
    return Side(
        upstream=exchange.upstream,
        model=sample.models[exchange.role].model,
        revision=sample.models[exchange.role].revision,
        served=True,
        ttft_s=None if exchange.ttft_s is None else exchange.ttft_s - began_s,
        ttlt_s=exchange.ttlt_s - began_s,
        usage=exchange.usage,
        estimated=exchange.estimated,
        cost_nano_usd=exchange.cost_nano_usd,
        **(_confidence(sample, exchange.sure) if students else {}),
    )


def _withheld(sample: Sample, withheld: Withheld) -> Side:
    model = sample.models[Role.STUDENT]
    return Side(
        upstream=model.upstream,
        model=model.model,
        revision=model.revision,
        served=False,
        ttft_s=withheld.after_s,
        ttlt_s=withheld.after_s,
        usage=withheld.usage,
        estimated=withheld.estimated,
        cost_nano_usd=withheld.cost_nano_usd,
        **_confidence(sample, sample.exchange.sure),
    )


def _mirrored(sample: Sample, answered: Answered, role: Role) -> tuple[Side, bytes]:
    """The answer of a mirrored call, as the client would have got it."""
    body, sure = answered.body, None
    policy = _policy(sample) if role is Role.STUDENT else None
    if policy is not None:
        logprobs = Logprobs(sample.endpoint, strips=to_ask(sample.endpoint, sample.view) is not None)
        body = logprobs.events(body) if sample.view.stream else logprobs.whole(body)
        held = sample.exchange.decision.route.fallback.hold + 1 if sample.view.stream else None
        sure = policy.confidence(logprobs.values[:held])
    model = sample.models[role]
    side = Side(
        upstream=model.upstream,
        model=model.model,
        revision=model.revision,
        served=False,
        ttft_s=answered.ttft_s,
        ttlt_s=answered.ttlt_s,
        usage=answered.usage,
        estimated=answered.estimated,
        cost_nano_usd=answered.cost_nano_usd,
        **_confidence(sample, sure),
    )
    return side, body


def _confidence(sample: Sample, sure: float | None) -> dict[str, float]:
    policy = sample.exchange.decision.route.deferral
    return {"sure": sure, "quantile": policy.quantile} if sure is not None and policy is not None else {}
