"""Shadow mode of one worker: what is drawn, who is asked, what it costs, and what came of it.

Records are kept in batches by whoever takes them out of `waiting`. While they cannot be kept they wait, up to a limit.
"""

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import count
from time import monotonic, time
from typing import TYPE_CHECKING

import msgspec

from gateway.after.call import Answered
from gateway.after.mirror import Mirror, Setting
from gateway.after.opinions import Opinions
from gateway.after.outbox import Outbox
from gateway.after.sample import Model, Models, Pair, Record, Sample, Tape, evidence_key
from gateway.after.scorer import Scorer, ScorerError
from gateway.after.spending import Spending
from gateway.after.upstreams import OwnUpstreams
from gateway.config import Config
from gateway.exchange import Exchange, Withheld
from gateway.face.openai import Endpoint
from gateway.stores.pairs import Caps
from gateway.telemetry.opinions import OpinionMetrics
from gateway.telemetry.shadow import ShadowMetrics
from gateway.upstream.upstream import Upstream
from router_policies.routes import Role, Route, Routes
from router_policies.shadow import Arm, Drawn, Reason, draw

if TYPE_CHECKING:
    from gateway.intake import Admitted

HEADER = b"x-understudy-shadow"
LAG_S = 0.1  # an event loop that is late by so much has more to do than it can
PAUSE_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request under way that was drawn, and what its client gets of the answer. `models`: the route's when it began:
    they may be others by the time that it ends."""

    pair_id: str
    drawn: Drawn
    models: Models
    tape: Tape

    @property
    def compared_as(self) -> str | None:
        """The pair that student and teacher are to be compared in, None if only the teacher with itself."""
        return self.pair_id if Arm.AB in self.drawn.arms else None


class Shadows:
    """Mutable state: a mirror per route, the upstreams that they ask, what was spent today, in `opinions` what is asked
    of pairs, and in `outbox` the records that wait to be kept. `on_compared` is told once of every request drawn to be
    compared with the other side: whether the answers are known to differ."""

    def __init__(self, random: Callable[[], float], metrics: ShadowMetrics, opinion_metrics: OpinionMetrics) -> None:
        self._random = random
        self._metrics = metrics
        self._scorer = Scorer()
        self._boot = secrets.token_hex(8)
        self._number = count()
        self._secret = b""
        self._mirrors: dict[str, Mirror] = {}
        self._upstreams = OwnUpstreams()
        self._spending = Spending("shadow")
        self._ticked_at = 0.0
        self._paused_until = 0.0
        self.caps = Caps()
        self.outbox = Outbox()
        self.on_compared: Callable[[str, bool], None] = lambda pair_id, differ: None
        self.opinions = Opinions(random, opinion_metrics, self.signed, partial(self.outbox.put, amends=True))

    # From the control plane.

    def apply(self, config: Config, routes: Routes, primaries: Mapping[str, Upstream]) -> None:
        """Mirror by this config from now on. `primaries`: the upstreams that requests are served by."""
        self._secret = _secret(config)
        self.caps = config.pairs.caps()
        asked = (
            name
            for route in routes.by_name.values()
            if route.shadow is not None
            for name in (route.student, route.teacher)
        )
        self._upstreams.use(asked, config)
        self.opinions.apply(config, routes, primaries, self._secret)
        for name, mirror in self._mirrors.items():
            if name not in routes.by_name:
                mirror.set(None)
        for name, route in routes.by_name.items():
            setting = self._setting(route, config, primaries)
            if setting is not None and name not in self._mirrors:
                self._mirrors[name] = Mirror(self, self.signed)
            if name in self._mirrors:
                self._mirrors[name].set(setting)

    def _setting(self, route: Route, config: Config, primaries: Mapping[str, Upstream]) -> Setting | None:
        if route.shadow is None:
            return None
        names = {role: route.upstream(role) for role in Role}

        def usable(role: Role) -> bool:
            return any(replica.usable for replica in primaries[names[role]].replicas)

        return Setting(
            route=route,
            shadow=route.shadow,
            upstreams={role: self._upstreams[name] for role, name in names.items()},
            models={
                role: Model(name, config.upstreams[name].model, config.upstreams[name].revision)
                for role, name in names.items()
            },
            packs=tuple(config.routes[route.name].packs),
            usable=usable,
        )

    # From the requests.

    def sample(self, request: "Admitted") -> Sampled | None:
        """Draw a request of a route that mirrors; None if it is not mirrored."""
        route = request.decision.route
        shadow = route.shadow
        if shadow is None or self.is_mirror(request.headers.get(HEADER)):
            return None
        judged = request.decision.judged
        high_risk = judged is not None and judged.placed.mirror
        drawn = draw(shadow, high_risk=high_risk, one=self._random(), other=self._random())
        mirror = self._mirrors.get(route.name)
        setting = mirror.setting if mirror is not None else None
        if drawn is None or setting is None:
            return None
        return Sampled(f"{self._boot}-{next(self._number)}", drawn, setting.models, Tape(shadow.max_body_bytes))

    def offer(
        self,
        sampled: Sampled,
        request: "Admitted",
        exchange: Exchange,
        revision: int,
        withheld: Withheld | None = None,
    ) -> None:
        """A drawn request has ended, however. Never waits, never raises: its client has nothing to do with this."""
        try:
            self._offer(sampled, request, exchange, revision, withheld)
        except Exception:
            _log.exception("request %s could not be mirrored", exchange.request_id)
            self.on_compared(sampled.pair_id, False)

    def _offer(
        self,
        sampled: Sampled,
        request: "Admitted",
        exchange: Exchange,
        revision: int,
        withheld: Withheld | None,
    ) -> None:
        route = exchange.decision.route.name
        sample = Sample(
            pair_id=sampled.pair_id,
            drawn=sampled.drawn,
            models=sampled.models,
            exchange=exchange,
            endpoint=request.endpoint,
            query=request.query,
            view=request.view,
            body=request.body,
            answer=b"".join(sampled.tape.parts),
            truncated=sampled.tape.full,
            began_at=time() - exchange.ttlt_s,
            revision=revision,
            withheld=withheld,
        )
        for arm in sampled.drawn.arms:
            self._metrics.sampled(route, arm)
        self._mirrors[route].offer(sample)

    def signed(self, pair_id: str) -> bytes:
        """What marks a mirrored call. Clients cannot make one: who could would keep requests from being compared."""
        return f"{pair_id}.{self._mac(pair_id)}".encode()

    def is_mirror(self, mark: bytes | None) -> bool:
        """Whether a request is a mirrored call of this gateway's or a replica's: one of those is not mirrored again."""
        if mark is None:
            return False
        pair_id, _, mac = mark.decode("latin-1").rpartition(".")
        return hmac.compare_digest(mac.encode("latin-1"), self._mac(pair_id).encode())

    def _mac(self, pair_id: str) -> str:
        return hmac.new(self._secret, pair_id.encode("latin-1", "replace"), sha256).hexdigest()[:32]

    # `mirror.Ear`.

    def told(self, record: Record) -> None:
        assert record.reason is not None
        self._metrics.lost(record.route, record.arm, record.reason)
        self.outbox.put(record, None)
        if record.arm is Arm.AB:
            self.on_compared(record.pair_id, False)

    async def paired(self, pair: Pair) -> None:
        try:
            scored = await self._scorer.score(pair)
        except ScorerError as error:
            self.told(msgspec.structs.replace(pair.record, reason=Reason.SHADOW_FAILED, detail=str(error)))
            return
        record = msgspec.structs.replace(
            pair.record, evidence_key=_evidence_key(pair.record, scored.pack), verdicts=scored.verdicts
        )
        record, hearings = self.opinions.drawn(record)
        self._metrics.paired(record)
        self.outbox.put(record, scored.texts)
        if record.arm is Arm.AB:
            self.on_compared(record.pair_id, not all(one["agree"] for one in record.verdicts))
        if hearings:
            self.opinions.hear(record, scored.texts, hearings)

    async def asked(self, endpoint: Endpoint, body: bytes, model: str, *, stream: bool) -> bytes | None:
        return await self._scorer.asked(endpoint, body, model, stream=stream)

    def spent(self, route: str, upstream: str, answered: Answered) -> None:
        self._spending.add(route, answered.cost_nano_usd)
        self._metrics.spent(route, upstream, answered.cost_nano_usd)

    def within_budget(self, route: str, most_nano_usd: int | None) -> bool:
        return self._spending.within(route, most_nano_usd)

    # For people.

    def spent_today_on(self, route: str) -> int:
        """By all replicas, nano-dollars."""
        return self._spending.today(route)

    def unusable(self, route: str) -> list[str]:
        """The upstreams of a route that are not asked now, as their servers fail."""
        mirror = self._mirrors.get(route)
        setting = mirror.setting if mirror is not None else None
        if setting is None:
            return []
        own = {role: any(replica.usable for replica in setting.upstreams[role].replicas) for role in setting.models}
        return [model.upstream for role, model in setting.models.items() if not (setting.usable(role) and own[role])]

    # From the worker.

    def spent_today(self) -> dict[str, int]:
        """Nano-dollars per route and UTC day, for the other replicas."""
        return self._spending.told(self._mirrors) | self.opinions.spent_today()

    def heard(self, others: Mapping[str, int]) -> None:
        """What the other replicas have spent, by the names of `spent_today`."""
        self._spending.heard(others)
        self.opinions.heard(others)

    def tick(self, every_s: float) -> None:
        """Call it every `every_s`: that it is called late shows that this process is too busy to mirror."""
        now = monotonic()
        if self._ticked_at and now - self._ticked_at - every_s > LAG_S:
            self._paused_until = now + PAUSE_S
        self._ticked_at = now
        paused = now < self._paused_until
        for mirror in self._mirrors.values():
            mirror.paused = paused
        self._upstreams.tick()
        self.opinions.tick(paused=paused)

    async def keep_house(self) -> None:
        """Call it about once a second."""
        await self._upstreams.keep_house()
        await self.opinions.keep_house()
        paused = monotonic() < self._paused_until
        for name, mirror in self._mirrors.items():
            setting = mirror.setting
            budget = setting.shadow.max_nano_usd_per_day if setting is not None else None
            self._metrics.show(name, mirror.waiting, mirror.waiting_bytes, paused and setting is not None, budget)
        self._metrics.dropped(self.outbox.dropped)
        self.outbox.dropped = 0

    async def close(self) -> None:
        """What is not done by now is not done: it is told, so that no sample is without a record."""
        for mirror in self._mirrors.values():
            await mirror.close()
        await self._scorer.close()
        await self.opinions.close()
        await self._upstreams.close()


def _secret(config: Config) -> bytes:
    """The same on every replica, and nothing that a client knows: all keys' digests together, or where the store is."""
    digests = b"".join(sorted(key.digest for key in config.keys))
    return sha256(b"understudy shadow" + (digests or config.store.encode())).digest()


def _evidence_key(record: Record, pack: str) -> str:
    """Records may be pooled if they are of the same models, and were scored by the same checks."""
    assert record.student is not None
    assert record.teacher is not None
    return evidence_key(record.student, record.teacher, pack)
