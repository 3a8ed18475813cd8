"""An upstream: one model on one or several servers, with limits on how much it is asked at once.

Calls beyond `limits.concurrency` wait in a queue, first come first served, and are refused when the queue is full or
they waited too long: a model server that is asked more than it can do gets slower for everyone, and a refusal that
comes at once can still be served elsewhere.

Mutable state: `_waiting` (legs in the queue, oldest first), `_in_flight` (calls that were sent and did not end), and
what is known of the replicas (`_best`, good until `_best_until`). There is no task and no timer here: what is due is
looked at in `tick`.
"""

import math
import random as random_numbers
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

from gateway.config import Config
from gateway.upstream.connection import ResponseSink
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.pool import Leg
from gateway.upstream.replica import Replica
from router_policies.balance import best, choose, choose_near
from router_policies.breaker import State
from router_policies.capabilities import Capabilities, Continues
from router_policies.failures import FailureKind
from router_policies.prices import Price

_OPEN = State.OPEN  # a module's name is read faster than an enum's member
REPLICA_STATES = ("well", "unwell", "open")
REFUSALS = ("busy", "queue_timeout", "breaker")


class Unavailable(Exception):
    """An upstream that was not asked. `kind`: BREAKER, none of its servers may be used; BUSY, as many calls as it may
    have are under way, and as many as may are waiting. `retry_after_s`: when it may be otherwise, seconds."""

    def __init__(self, kind: FailureKind, retry_after_s: float) -> None:
        super().__init__(f"{kind.value}: try again in {retry_after_s:g} s")
        self.kind = kind
        self.retry_after_s = retry_after_s


class _Waiting(NamedTuple):
    """What is needed to send a leg that waits. `until` is when it has waited too long, monotonic seconds."""

    until: float
    path: str
    query: bytes
    rest: Sequence[bytes]
    affinity: int | None


class Upstream:
    """`capabilities.continues` is `NO` until the servers have said otherwise, where the config leaves it to them.

    `refused` counts calls that were not sent, by why, since somebody last took the counts.
    """

    def __init__(self, name: str, config: Config, random: Callable[[], float] = random_numbers.random) -> None:
        settings = config.upstreams[name]
        self.name = name
        self.model = settings.model
        self.price: Price = settings.price.price()
        self.capabilities: Capabilities = settings.capabilities()
        self.replicas = [Replica(url, settings, self, random) for url in settings.urls]
        self.needs_affinity = settings.affinity == "prefix" and len(self.replicas) > 1
        self.refused = dict.fromkeys(REFUSALS, 0)
        self._detects = settings.continues == "auto"
        self._concurrency = settings.limits.concurrency
        self._queue, self._queue_s = settings.limits.queue, settings.limits.queue_s
        self._only = self.replicas[0] if len(self.replicas) == 1 else None
        self._random = random
        self._best: list[Replica] = []
        self._best_until = -math.inf
        self._in_flight = 0
        self._waiting: OrderedDict[Leg, _Waiting] = OrderedDict()
        self._stopped = self._retired = False
        self._shown = config.routing_headers
        self._routing: dict[str, bytes] = {}

    @property
    def busy(self) -> bool:
        """Whether calls are under way, or wait."""
        return self._in_flight > 0 or bool(self._waiting)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def send(
        self,
        path: str,
        query: bytes,
        rest: Sequence[bytes],
        sink: ResponseSink,
        connect_s: float,
        *,
        affinity: int | None = None,
    ) -> Leg:
        """Ask the endpoint at `path`, now or when it is the call's turn; the answer goes to `sink`, never before this
        returns.

        `rest` is what follows the gateway's own headers: header lines, each ending in CRLF, an empty line, the body.
        A call that has waited in vain hears of it by a fault of the kind `BUSY`. Raises `Unavailable`.
        """
        replica = self._only
        if replica is None:
            replica = self._choose(affinity)
        elif replica.breaker.state is _OPEN:
            replica = None
        if replica is None:
            raise self._refusal(FailureKind.BREAKER, self.retry_after_s())
        if self._in_flight >= self._concurrency:
            if len(self._waiting) >= self._queue:
                raise self._refusal(FailureKind.BUSY, self._queue_s)
            leg = Leg(self, sink, connect_s)
            self._waiting[leg] = _Waiting(monotonic() + self._queue_s, path, query, rest, affinity)
            return leg
        leg = Leg(replica, sink, connect_s)
        self._start(leg, replica, path, query, rest)
        return leg

    def routing_headers(self, reason: str) -> bytes:
        """What an answer says of who served it, and why; reasons are a closed set."""
        lines = self._routing.get(reason)
        if lines is None:
            lines = b""
            if self._shown:
                lines = f"x-understudy-upstream: {self.name}\r\nx-understudy-reason: {reason}\r\n".encode()
            self._routing[reason] = lines
        return lines

    @property
    def up(self) -> bool:
        """Whether any of its servers may be used."""
        return any(replica.usable for replica in self.replicas)

    def retry_after_s(self) -> float:
        """When the first of the servers may be used again, at the earliest."""
        return max(0.0, min(replica.breaker.probe_at for replica in self.replicas) - monotonic())

    # `Host` of the legs that wait.

    def over(self, leg: Leg) -> None:
        del self._waiting[leg]

    def outcome(self, leg: Leg, ok: bool) -> None: ...

    # From the worker.

    def tick(self, now: float) -> None:
        """Call it many times a second: tells those who waited too long, and looks after the health checks."""
        if self._stopped:
            return
        if not self._retired:
            for replica in self.replicas:
                replica.tick(now)
        if self._waiting:
            self._expire(now)

    def sweep(self) -> None:
        """Call it about once a second: closes connections that are idle too long."""
        for replica in self.replicas:
            replica.sweep()

    def retire(self) -> None:
        """Its place is another's: it serves those who turn to it still, and its health is nobody's concern."""
        self._retired = True
        for replica in self.replicas:
            replica.stop()

    def stop(self) -> None:
        """Nobody who waits is sent any more, and no health is checked: the worker is about to close."""
        self._stopped = True
        for replica in self.replicas:
            replica.stop()

    async def close(self) -> None:
        self.stop()
        for leg in list(self._waiting):
            leg.cancel()
        for replica in self.replicas:
            await replica.close()

    # From the replicas.

    def freed(self) -> None:
        self._in_flight -= 1
        if self._waiting and not self._stopped:
            self._send_next()

    def changed(self) -> None:
        self._best_until = -math.inf
        if self._detects:
            said = {replica.continues for replica in self.replicas if replica.continues is not None}
            continues = said.pop() if len(said) == 1 else Continues.NO
            if continues is not self.capabilities.continues:
                self.capabilities = replace(self.capabilities, continues=continues)

    # Sending.

    def _start(self, leg: Leg, replica: Replica, path: str, query: bytes, rest: Sequence[bytes]) -> None:
        self._in_flight += 1
        replica.in_flight += 1
        leg.host = replica
        leg.admitted = replica.breaker.openings
        replica.pool.start(leg, b"".join((replica.targets[path], query, replica.fixed, *rest)))

    def _choose(self, affinity: int | None) -> Replica | None:
        now = monotonic()
        if now >= self._best_until:
            self._best, self._best_until = best(self.replicas, now)
        if not self._best:
            return None
        if affinity is not None and self.needs_affinity:
            return choose_near(self._best, now, affinity)
        return choose(self._best, now, self._random)

    def _send_next(self) -> None:
        """Send the one that waits longest. If no server may be used, `tick` tells those who wait: not here, where the
        stack belongs to another call."""
        leg, waiting = next(iter(self._waiting.items()))
        replica = self._choose(waiting.affinity)
        if replica is not None:
            del self._waiting[leg]
            self._start(leg, replica, waiting.path, waiting.query, waiting.rest)

    def _expire(self, now: float) -> None:
        if not self.up:
            for leg in list(self._waiting):
                self.refused["breaker"] += 1
                leg.not_sent(UpstreamFault(FaultKind.BUSY, "while it waited, every server of the upstream failed"))
            return
        while self._waiting and self._in_flight < self._concurrency:  # a breaker that was open when calls ended
            self._send_next()
        while self._waiting:
            leg, waiting = next(iter(self._waiting.items()))
            if waiting.until > now:
                return
            self.refused["queue_timeout"] += 1
            under_way = f"{self._in_flight} calls were under way"
            leg.not_sent(UpstreamFault(FaultKind.BUSY, f"it waited {self._queue_s:g} s, and {under_way}"))

    def _refusal(self, kind: FailureKind, retry_after_s: float) -> Unavailable:
        self.refused[kind.value] += 1
        return Unavailable(kind, retry_after_s)
