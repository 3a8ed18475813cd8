"""What a worker serves from: the config's parts in the form the hot path needs them."""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from time import monotonic
from typing import Protocol

from gateway.budgets import KeyBudget
from gateway.config import Config
from gateway.telemetry.metrics import Metrics
from gateway.upstream.upstream import Upstream
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


ANYONE = Identity("", "", admin=True)


class Keys:
    """API keys, held as SHA-256 digests and found by their digest.

    A look-up takes as long for a key that is nearly right as for any other: what is compared is digests, and nobody can
    make a key whose digest begins as another's does without trying as many keys as there are such digests. So what
    timing could tell of a digest helps nobody to find the key.
    """

    def __init__(self, config: Config) -> None:
        self._by_digest: dict[bytes, Identity] = {}
        for key in config.keys:
            limits = key.limits.limits()
            budget = None if limits is None else KeyBudget(key.name, limits)
            self._by_digest[key.digest] = Identity(key.name, key.tenant, key.role == "admin", budget)
        self.open = config.open

    def find(self, key: bytes) -> Identity | None:
        return self._by_digest.get(sha256(key).digest())


class InFlight(Protocol):
    """A request being served. `due_at` is when the next of its deadlines passes, monotonic seconds."""

    due_at: float

    def deadline(self, now: float) -> None: ...
    def shut_down(self) -> None: ...


class ClientConnection(Protocol):
    """A client's connection. `waiting_since` is when it began to wait for a request, None while one is served."""

    waiting_since: float | None

    def close_idle(self) -> None: ...
    def check_pace(self, now: float) -> None: ...


@dataclass(slots=True)
class Gateway:
    """One worker's state. `routes` is replaced whole by the control plane; everything else is fixed at start."""

    config: Config
    routes: Routes
    keys: Keys
    upstreams: dict[str, Upstream]
    metrics: Metrics
    in_flight: set[InFlight] = field(default_factory=set)
    clients: set[ClientConnection] = field(default_factory=set)
    default_headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # uvicorn's, and `default_lines` of them
    default_lines: bytes = b""
    ready: bool = False
    draining: bool = False
    draw: Callable[[], float] = field(default_factory=lambda: Random(os.getpid()).random)  # noqa: S311 - jitter
    _first_tokens: dict[str, deque[float]] = field(default_factory=dict)
    _p95_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def build(cls, config: Config) -> "Gateway":
        upstreams = {name: Upstream(name, config) for name in config.upstreams}
        return cls(config, config.build_routes(), Keys(config), upstreams, Metrics())

    def apply(self, routes: Routes) -> None:
        """Serve new requests by `routes`. Those under way keep the snapshot they began with."""
        self.routes = routes
        self.metrics.show_routes(routes)

    def capabilities(self, candidate: Candidate) -> Capabilities:
        return self.upstreams[candidate.upstream].capabilities

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
        for upstream in self.upstreams.values():
            upstream.tick(now)
        self.metrics.flush()

    async def keep_house(self) -> None:
        """What is done about once a second: close idle connections on both sides, show what is under way."""
        silent_since = monotonic() - CLIENT_IDLE_S
        for client in [client for client in self.clients if (client.waiting_since or silent_since) < silent_since]:
            client.close_idle()
        for client in list(self.clients):
            client.check_pace(monotonic())
        for upstream in self.upstreams.values():
            upstream.sweep()
        self._update_p95()
        self.metrics.show_load(len(self.in_flight), self.upstreams.values())

    async def close(self) -> None:
        for upstream in self.upstreams.values():
            upstream.stop()
        for relay in list(self.in_flight):
            relay.shut_down()
        for upstream in self.upstreams.values():
            await upstream.close()
        self.metrics.flush()
