"""The metrics of shadow mode. Told of a sample or a pair at a time, of which there are far fewer than of requests."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.after.sample import Record, Side
from gateway.telemetry.metrics import LATENCY_BUCKETS
from router_policies.shadow import Arm, Reason


class ShadowMetrics:
    """`samples` = `pairs` + the sum of `lost` over its reasons, once nothing is under way any more."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = Counter(
            "understudy_shadow_samples",
            "Requests drawn to be compared, by arm: ab, student and teacher; aa, the teacher with itself.",
            ("route", "arm"),
            registry=registry,
        )
        self._pairs = Counter(
            "understudy_shadow_pairs", "Samples that became a scored pair.", ("route", "arm"), registry=registry
        )
        self._lost = Counter(
            "understudy_shadow_lost", "Samples without a pair, by why.", ("route", "arm", "reason"), registry=registry
        )
        self._cost = Counter(
            "understudy_shadow_cost_nano_usd",
            "Cost of mirrored calls in nano-dollars: in no tenant's budget, and in no other series.",
            ("route", "upstream"),
            registry=registry,
        )
        self._verdicts = Counter(
            "understudy_verdicts",
            "Verdicts on pairs, by check: what each side's answer was found to be, pass, fail or na.",
            ("route", "arm", "check", "family", "student", "teacher", "agree"),
            registry=registry,
        )
        self._ttft = Histogram(
            "understudy_shadow_time_to_first_token_seconds",
            "Of both answers of a pair: to be read against each other.",
            ("route", "upstream", "served"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._ttlt = Histogram(
            "understudy_shadow_time_to_last_token_seconds",
            "Of both answers of a pair: to be read against each other.",
            ("route", "upstream", "served"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._queue = Gauge(
            "understudy_shadow_queue_length",
            "Samples that wait to be mirrored.",
            ("route",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._queue_bytes = Gauge(
            "understudy_shadow_queue_bytes",
            "What they hold of memory.",
            ("route",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._budget = Gauge(
            "understudy_shadow_budget_nano_usd",
            "What mirroring may cost in a day; no number if there is no limit, or nothing is mirrored.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._dropped = Counter(
            "understudy_shadow_records_dropped",
            "Records of samples that are not kept, because the store could not be written for too long.",
            registry=registry,
        )
        self._paused = Gauge(
            "understudy_shadow_paused",
            "1 while mirroring has stopped itself in some worker, which is too busy.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemax",
        )

    def sampled(self, route: str, arm: Arm) -> None:
        self._samples.labels(route, arm.value).inc()

    def lost(self, route: str, arm: Arm, reason: Reason) -> None:
        self._lost.labels(route, arm.value, reason.value).inc()

    def paired(self, record: Record) -> None:
        route, arm = record.route, record.arm.value
        self._pairs.labels(route, arm).inc()
        for one in record.verdicts:
            found = (str(one[key]) for key in ("check", "family", "student", "teacher"))
            self._verdicts.labels(route, arm, *found, "true" if one["agree"] else "false").inc()
        if record.arm is Arm.AB:
            for side in (record.student, record.teacher):
                assert side is not None
                self._timed(route, side)

    def _timed(self, route: str, side: Side) -> None:
        labels = (route, side.upstream, "true" if side.served else "false")
        self._ttlt.labels(*labels).observe(side.ttlt_s)
        if side.ttft_s is not None:
            self._ttft.labels(*labels).observe(side.ttft_s)

    def spent(self, route: str, upstream: str, nano_usd: int) -> None:
        self._cost.labels(route, upstream).inc(nano_usd)

    def dropped(self, records: int) -> None:
        self._dropped.inc(records)

    def show(self, route: str, waiting: int, waiting_bytes: int, paused: bool, budget_nano_usd: int | None) -> None:
        self._queue.labels(route).set(waiting)
        self._queue_bytes.labels(route).set(waiting_bytes)
        self._paused.labels(route).set(1 if paused else 0)
        self._budget.labels(route).set(math.nan if budget_nano_usd is None else budget_nano_usd)
