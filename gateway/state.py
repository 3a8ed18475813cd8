"""What a worker serves from: the config's parts in the form the hot path needs them."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from time import monotonic
from typing import Protocol

from gateway.after.captures import Captures
from gateway.after.shadows import Shadows
from gateway.budgets import KeyBudget
from gateway.config import Config
from gateway.exchange import Exchange
from gateway.net import Nets
from gateway.telemetry.capture import CaptureMetrics
from gateway.telemetry.exchange_log import ExchangeLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.opinions import OpinionMetrics
from gateway.telemetry.risk import RiskMetrics
from gateway.telemetry.shadow import ShadowMetrics
from gateway.upstream.upstream import Upstream
from router_policies.budgets import KeyLimits
from router_policies.capabilities import Capabilities
from router_policies.routes import Candidate, Fallback, Routes

TICK_S = 0.05  # how late a deadline may be noticed
_P95_OF, _P95_FROM = 512, 20  # the last first tokens from which p95 is taken, and how many it takes at least
CLIENT_IDLE_S = 75.0  # longer than the 60 s for which load balancers keep an idle connection


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from, and what it may use (None: no limits). With no keys configured everyone is `ANYONE`."""

    name: str
    tenant: str
    admin: bool
    budget: KeyBudget | None = None
    tags: frozenset[str] = frozenset()
    consent: frozenset[str] = frozenset()


ANYONE = Identity("", "", admin=True)


class Keys:
    """API keys, held as SHA-256 digests and found by their digest.

    A look-up takes as long for a key that is nearly right as for any other: what is compared is digests, and nobody can
    make a key whose digest begins as another's does without trying as many keys as there are such digests. So what
    timing could tell of a digest helps nobody to find the key.
    """

    def __init__(self, config: Config, before: "Keys | None" = None) -> None:
        """With the same limits as `before`, a key goes on with what it has used."""
        self._by_digest: dict[bytes, Identity] = {}
        self._budgets: dict[tuple[str, KeyLimits], KeyBudget] = {}
        for key in config.keys:
            limits = key.limits.limits()
            budget = None
            if limits is not None:
                budget = before._budgets.get((key.name, limits)) if before is not None else None
                budget = self._budgets[key.name, limits] = budget or KeyBudget(key.name, limits)
            self._by_digest[key.digest] = Identity(
                key.name, key.tenant, key.role == "admin", budget, frozenset(key.tags), frozenset(key.consent)
            )
        self.open = config.open

    @property
    def budgets(self) -> Iterable[KeyBudget]:
        """Those of the keys that have limits."""
        return self._budgets.values()

    def find(self, key: bytes) -> Identity | None:
        return self._by_digest.get(sha256(key).digest())


class Upstreams(dict[str, Upstream]):
    """The upstreams by name, of one snapshot."""

    def capabilities(self, candidate: Candidate) -> Capabilities:
        return self[candidate.upstream].capabilities


class InFlight(Protocol):
    """A request being served. `due_at` is when the next of its deadlines passes, `began_at` when it came, both in
    monotonic seconds."""

    due_at: float

    @property
    def began_at(self) -> float: ...

    def deadline(self, now: float) -> None: ...
    def shut_down(self) -> None: ...


class ClientConnection(Protocol):
    """A client's connection. `waiting_since` is when it began to wait for a request, None while one is served."""

    waiting_since: float | None

    def close_idle(self) -> None: ...
    def check_pace(self, now: float) -> None: ...


@dataclass(slots=True)
class Gateway:
    """One worker's state. `config`, `routes`, `keys` and `upstreams` are one snapshot, which the control plane replaces
    whole, between two requests: `revision` is its place in the trail of changes, 0 for the file as it stands."""

    config: Config
    routes: Routes
    keys: Keys
    upstreams: Upstreams
    metrics: Metrics
    shadows: Shadows
    captures: Captures
    nets: Nets
    risk_metrics: RiskMetrics
    revision: int = 0
    in_flight: set[InFlight] = field(default_factory=set)
    clients: set[ClientConnection] = field(default_factory=set)
    default_headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # uvicorn's, and `default_lines` of them
    default_lines: bytes = b""
    ready: bool = False
    draining: bool = False
    draw: Callable[[], float] = field(default_factory=lambda: Random(os.getpid()).random)  # noqa: S311 - jitter
    exchange_log: ExchangeLog | None = None
    _retired: list[tuple[float, Upstream]] = field(default_factory=list)
    _first_tokens: dict[str, deque[float]] = field(default_factory=dict)
    _p95_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def build(cls, config: Config) -> "Gateway":
        upstreams = Upstreams({name: Upstream(name, config) for name in config.upstreams})
        metrics = Metrics()
        random = Random().random  # noqa: S311 - a draw, no secret
        shadows = Shadows(random, ShadowMetrics(metrics.registry), OpinionMetrics(metrics.registry))
        captures = Captures(random, CaptureMetrics(metrics.registry))
        shadows.on_compared = captures.compared
        risk = RiskMetrics(metrics.registry)
        routes, keys = config.build_routes(), Keys(config)
        gateway = cls(config, routes, keys, upstreams, metrics, shadows, captures, Nets(risk), risk)
        if config.exchange_log is not None:
            gateway.exchange_log = ExchangeLog(Path(config.exchange_log))
        gateway.metrics.show_routes(gateway.routes)
        return gateway

    def apply(self, config: Config, versions: Mapping[str, int], revision: int) -> None:
        """Serve new requests by `config`; `versions` are those of its routes. Requests under way keep the snapshot that
        they began with, and an upstream that is in the new one as it was keeps its connections and what is known of it.
        """
        upstreams = Upstreams()
        for name in config.upstreams:
            standing = self.upstreams.get(name)
            same = standing is not None and _same_upstream(name, self.config, config)
            upstreams[name] = standing if standing is not None and same else Upstream(name, config)
        for name, upstream in self.upstreams.items():
            if upstreams.get(name) is not upstream:
                upstream.retire()
                self._retired.append((monotonic(), upstream))
                self.metrics.show_gone(name)
        routes = config.build_routes(versions)
        self.metrics.show_routes(routes, self.routes)
        self.keys = Keys(config, self.keys)
        self.config, self.routes, self.upstreams, self.revision = config, routes, upstreams, revision
        self.shadows.apply(config, routes, upstreams)
        self.captures.apply(config, routes)

    def record(self, exchange: Exchange) -> None:
        """A request has ended."""
        self.metrics.record(exchange)
        if self.exchange_log is not None:
            self.exchange_log.add(exchange)

    def hedge_after_s(self, fallback: Fallback, upstream: str) -> float | None:
        """When a stream from this upstream is late enough to ask another one too; None for never, or not known yet."""
        if not fallback.hedge_p95:
            return fallback.hedge_after_s
        return self._p95_s.get(upstream)

    def first_token_took(self, fallback: Fallback, upstream: str, seconds: float) -> None:
        if fallback.hedge_p95:
            self._first_tokens.setdefault(upstream, deque(maxlen=_P95_OF)).append(seconds)

    def _update_p95(self) -> None:
        for upstream, seconds in self._first_tokens.items():
            if len(seconds) >= _P95_FROM:
                self._p95_s[upstream] = sorted(seconds)[len(seconds) * 95 // 100]

    async def tick(self) -> None:
        """What is looked at every `TICK_S`, since a timer per request costs more than all of this: deadlines, queues,
        health checks."""
        now = monotonic()
        for relay in [relay for relay in self.in_flight if relay.due_at <= now]:
            relay.deadline(now)
        for upstream in self._all_upstreams():
            upstream.tick(now)
        self.metrics.flush()
        self.shadows.tick(TICK_S)
        self.captures.tick()

    async def keep_house(self) -> None:
        """What is done about once a second: close idle connections on both sides, show what is under way."""
        silent_since = monotonic() - CLIENT_IDLE_S
        for client in [client for client in self.clients if (client.waiting_since or silent_since) < silent_since]:
            client.close_idle()
        for client in list(self.clients):
            client.check_pace(monotonic())
        for upstream in self._all_upstreams():
            upstream.sweep()
        await self._close_retired()
        await self.shadows.keep_house()
        self.captures.show()
        self.nets.show(self.routes.by_name.values())
        self._update_p95()
        if self.exchange_log is not None:
            await self.exchange_log.flush()
            self.metrics.show_log(self.exchange_log.dropped)
            self.exchange_log.dropped = 0
        self.metrics.show_load(len(self.in_flight), self.upstreams.values())

    def _all_upstreams(self) -> list[Upstream]:
        return [*self.upstreams.values(), *(upstream for _, upstream in self._retired)]

    async def _close_retired(self) -> None:
        """Those that no request can turn to any more."""
        oldest = min((relay.began_at for relay in self.in_flight), default=math.inf)
        over = [upstream for retired_at, upstream in self._retired if retired_at < oldest]
        self._retired = [(retired_at, upstream) for retired_at, upstream in self._retired if retired_at >= oldest]
        for upstream in over:
            await upstream.close()

    async def close(self) -> None:
        for upstream in self._all_upstreams():
            upstream.stop()
        for relay in list(self.in_flight):
            relay.shut_down()
        for upstream in self._all_upstreams():
            await upstream.close()
        await self.shadows.close()
        await self.captures.close()
        self.metrics.flush()
        if self.exchange_log is not None:
            await self.exchange_log.flush()


def _same_upstream(name: str, before: Config, after: Config) -> bool:
    """Whether an upstream is made of the same settings in both."""
    return before.upstreams[name] == after.upstreams[name] and before.routing_headers is after.routing_headers
