"""Every metric, declared here and nowhere else.

Label values come from the config or from closed sets of ours, never from clients, so the number of series is bounded.
With several workers prometheus-client keeps the values in files that all workers share (`PROMETHEUS_MULTIPROC_DIR`,
which `understudy serve` sets for the workers it starts), and a scrape of any worker gives the sum.
"""

import math
import os
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway import __version__
from gateway.exchange import Exchange, Outcome
from gateway.upstream.upstream import REFUSALS, REPLICA_STATES, Upstream
from router_policies.attempts import Kind
from router_policies.decide import SPLIT
from router_policies.routes import Role, Routes

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"

# 1 ms to 120 s; denser where chat answers lie. The same for TTFT and TTLT, so that one can be read against the other.
LATENCY_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1,
    1.5,
    2,
    3,
    5,
    7.5,
    10,
    15,
    20,
    30,
    60,
    120,
)
_OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 10, 120)


class _Histogram(Histogram):
    """A histogram that can be told of many observations at once."""

    def observe_many(self, counts: list[int], total: float) -> None:
        """`counts[i]` observations in the i-th bucket, not counting those of lower buckets; `total` is their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class _Pending:
    """Observations that a histogram has not been told of yet."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_total")

    def __init__(self, histogram: _Histogram) -> None:
        self._histogram = histogram
        self._bounds = histogram._upper_bounds
        self._counts = [0] * len(self._bounds)
        self._total = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def flush(self) -> None:
        self._histogram.observe_many(self._counts, self._total)
        self._counts = [0] * len(self._bounds)
        self._total = 0.0


class _Series:
    """One combination of labels: what has been counted in it since the last flush, and where that goes.

    A request touches a dozen values of prometheus-client, each with a lock and, with several workers, a write to a
    file. So a request is counted here in plain numbers, and prometheus-client is told many times a second, not per
    request.
    """

    __slots__ = ("_counters", "_metrics", "overhead", "pending", "ttft", "ttlt")

    def __init__(
        self,
        metrics: "Metrics",
        route: str,
        upstream: str,
        role: str,
        kind: str,
        reason: str,
        outcome: Outcome,
        stream: bool,
    ) -> None:
        timed = (route, upstream, role, "true" if stream else "false", outcome.value)
        self.ttft = _Pending(metrics.ttft.labels(*timed))
        self.ttlt = _Pending(metrics.ttlt.labels(*timed))
        self.overhead = _Pending(metrics.overhead.labels(route))
        counted = (route, upstream, role, reason, outcome.value)
        self._counters = [metrics.requests.labels(*counted)]
        for source in ("reported", "estimated"):
            for tokens in ("input", "cached_input", "output"):
                self._counters.append(metrics.tokens.labels(*counted, tokens, source))
            self._counters.append(metrics.cost.labels(*counted, source))
        self._counters.append(metrics.legs.labels(route, upstream, role, kind, outcome.value))
        self.pending = [0] * len(self._counters)

    def add(self, exchange: Exchange) -> None:
        self.ttlt.add(exchange.ttlt_s)
        self.overhead.add(exchange.overhead_s)
        if exchange.ttft_s is not None:
            self.ttft.add(exchange.ttft_s)
        pending, usage = self.pending, exchange.usage
        pending[0] += 1
        pending[9] += 1
        at = 5 if exchange.estimated else 1
        pending[at] += usage.input
        pending[at + 1] += usage.cached_input
        pending[at + 2] += usage.output
        pending[at + 3] += exchange.cost_nano_usd

    def flush(self) -> None:
        for histogram in (self.ttft, self.ttlt, self.overhead):
            histogram.flush()
        for counter, count in zip(self._counters, self.pending, strict=True):
            if count:
                counter.inc(count)
        self.pending = [0] * len(self._counters)


class Metrics:
    """The metrics of one process (or, with several workers, this worker's part of them)."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        common = ("route", "upstream", "role")
        timed = (*common, "stream", "outcome")
        counted = (*common, "reason", "outcome")
        self.requests = Counter(
            "understudy_requests",
            "Requests, by who served them, why, and how they ended.",
            counted,
            registry=registry,
        )
        self.ttft = _Histogram(
            "understudy_time_to_first_token_seconds",
            "From the request's last byte in to the first content, reasoning or tool-call delta relayed.",
            timed,
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.ttlt = _Histogram(
            "understudy_time_to_last_token_seconds",
            "From the request's last byte in to the answer's last byte out.",
            timed,
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.overhead = _Histogram(
            "understudy_gateway_overhead_seconds",
            "The part of a request's time that was the gateway's own: until it was sent on, and after the last byte.",
            ("route",),
            buckets=_OVERHEAD_BUCKETS,
            registry=registry,
        )
        self.tokens = Counter(
            "understudy_tokens",
            "Tokens by kind (cached_input is part of input), as reported or estimated.",
            (*counted, "kind", "source"),
            registry=registry,
        )
        self.cost = Counter(
            "understudy_cost_nano_usd",
            "Cost in nano-dollars: whole numbers, exact up to 9 million dollars.",
            (*counted, "source"),
            registry=registry,
        )
        self.legs = Counter(
            "understudy_legs",
            "Calls to upstreams, by what they were for and how they ended; an answer takes one or more.",
            (*common, "leg", "outcome"),
            registry=registry,
        )
        self._lost_cost = Counter(
            "understudy_fallback_cost_nano_usd",
            "Cost of calls that failed, broke off or lost a race, in nano-dollars: paid, and in no other series.",
            (*common, "leg", "outcome", "source"),
            registry=registry,
        )
        self._failed_checks = Counter(
            "understudy_failed_checks",
            "Whole answers that were not what their request asked for, found before they were served.",
            ("route", "upstream", "check"),
            registry=registry,
        )
        self._refused = Counter(
            "understudy_refused",
            "Requests refused before they were routed, by error code.",
            ("code",),
            registry=registry,
        )
        self._malformed = Counter(
            "understudy_malformed_events",
            "Events of an upstream's stream that were not what they should be.",
            ("upstream",),
            registry=registry,
        )
        self._in_flight = Gauge(
            "understudy_in_flight_requests",
            "Requests being served now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._connections = Gauge(
            "understudy_upstream_connections",
            "Connections to an upstream: active carry a call, idle wait for one.",
            ("upstream", "state"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._replicas = Gauge(
            "understudy_upstream_replicas",
            "Servers of an upstream, as each worker sees them: well, unwell (fails health checks), open (its breaker).",
            ("upstream", "state"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._queue_length = Gauge(
            "understudy_upstream_queue_length",
            "Calls that wait because an upstream has as many as it may.",
            ("upstream",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._not_sent = Counter(
            "understudy_upstream_refused",
            "Calls that were not sent: the queue was full, they waited too long in it, or every breaker is open.",
            ("upstream", "kind"),
            registry=registry,
        )
        self._unlogged = Counter(
            "understudy_exchange_log_dropped",
            "Requests that are not in the exchange log, because it could not be written for too long.",
            registry=registry,
        )
        self._student_percent = Gauge(
            "understudy_student_percent",
            "The share of a route's sessions that goes to the student.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._route_version = Gauge(
            "understudy_route_version",
            "The version of a route that is live, in the worker that is furthest behind.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._store_up = Gauge(
            "understudy_store_up",
            "1 if the config store answers, 0 if serving goes on with the last snapshot.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        Gauge(
            "understudy_build_info",
            "Always 1; the version is the label.",
            ("version",),
            registry=registry,
            multiprocess_mode="livemax",
        ).labels(__version__).set(1)
        self._series: dict[tuple[object, ...], _Series] = {}
        self._touched: list[_Series] = []

    def record(self, exchange: Exchange) -> None:
        """Count a finished exchange. It shows after the next `flush`."""
        series = self._of(
            exchange.decision.route.name,
            exchange.upstream,
            exchange.role,
            exchange.kind,
            exchange.reason,
            exchange.outcome,
            exchange.stream,
        )
        if not series.pending[0]:
            self._touched.append(series)
        series.add(exchange)
        for leg in exchange.lost:
            labels = (exchange.decision.route.name, leg.upstream, leg.role.value, leg.kind.value, leg.outcome.value)
            self.legs.labels(*labels).inc()
            if leg.cost_nano_usd:
                source = "estimated" if leg.estimated else "reported"
                self._lost_cost.labels(*labels, source).inc(leg.cost_nano_usd)

    def flush(self) -> None:
        """Tell prometheus-client what was counted since the last time. From the event loop's thread only."""
        touched, self._touched = self._touched, []
        for series in touched:
            series.flush()

    def _of(
        self, route: str, upstream: str, role: Role, kind: Kind, reason: str, outcome: Outcome, stream: bool
    ) -> _Series:
        key = (route, upstream, role, reason, outcome, stream)  # the reason tells the kind
        series = self._series.get(key)
        if series is None:
            series = _Series(self, route, upstream, role.value, kind.value, reason, outcome, stream)
            self._series[key] = series
        return series

    def failed_check(self, route: str, upstream: str, check: str) -> None:
        self._failed_checks.labels(route, upstream, check).inc()

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def malformed(self, upstream: str, events: int) -> None:
        self._malformed.labels(upstream).inc(events)

    def show_load(self, in_flight: int, upstreams: Iterable[Upstream]) -> None:
        """Set the gauges that are read now and then rather than kept up to date at every request, and take what the
        upstreams have counted since the last time."""
        self._in_flight.set(in_flight)
        for upstream in upstreams:
            name, replicas = upstream.name, upstream.replicas
            self._connections.labels(name, "active").set(sum(replica.pool.active_count for replica in replicas))
            self._connections.labels(name, "idle").set(sum(replica.pool.idle_count for replica in replicas))
            self._queue_length.labels(name).set(upstream.waiting_count)
            for state in REPLICA_STATES:
                self._replicas.labels(name, state).set(sum(replica.state == state for replica in replicas))
            for kind in REFUSALS:
                self._not_sent.labels(name, kind).inc(upstream.refused[kind])
                upstream.refused[kind] = 0

    def show_gone(self, upstream: str) -> None:
        """An upstream is no more, or its place is taken: nothing is under way to what it was."""
        for state in ("active", "idle"):
            self._connections.labels(upstream, state).set(0)
        self._queue_length.labels(upstream).set(0)
        for state in REPLICA_STATES:
            self._replicas.labels(upstream, state).set(0)

    def show_routes(self, routes: Routes, before: Routes | None = None) -> None:
        """Set the gauges of the routes, and let the series of their good answers be there, at 0, before the first one:
        a rate cannot see the increment with which a series appears."""
        for name in before.by_name if before is not None else ():
            if name not in routes.by_name:  # several workers' values cannot be taken away, only be no number
                self._student_percent.labels(name).set(math.nan)
                self._route_version.labels(name).set(math.nan)
        for name, route in routes.by_name.items():
            for upstream, role in ((route.student, Role.STUDENT), (route.teacher, Role.TEACHER)):
                for stream in (False, True):
                    self._of(name, upstream, role, Kind.PRIMARY, SPLIT, Outcome.OK, stream)
            self._student_percent.labels(name).set(route.student_percent)
            self._route_version.labels(name).set(route.version)

    def show_log(self, dropped: int) -> None:
        self._unlogged.inc(dropped)

    def show_store(self, up: bool) -> None:
        self._store_up.set(1 if up else 0)

    def exposition(self) -> bytes:
        """The text format 0.0.4. Reads files when there are several workers: not for the event loop's thread."""
        shared = os.environ.get(MULTIPROC_DIR)
        if not shared:
            return generate_latest(self.registry)
        _forget_dead_workers(Path(shared))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead_workers(shared: Path) -> None:
    """A worker that was killed leaves its gauges behind; its counters stay, they happened."""
    for path in shared.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # two scrapes at once
                mark_process_dead(pid, str(shared))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass
