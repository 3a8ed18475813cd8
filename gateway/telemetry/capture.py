"""The metrics of capturing: what became of each request of a route that captures, and whether it can be written."""

from collections import Counter as Tallies
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge


class Fate(StrEnum):
    """What became of a request, one for each. `KEPT`: it is on the disk. `TOO_LARGE`, `UNSUPPORTED`: it is none that
    could be kept. `FULL`: its route has `max_bytes`. `DISABLED`: capturing was switched off while it was under way.
    `SHUTDOWN`: the gateway ended before it was known whether to keep it. `KILLED`: it would have been written, or might
    have been, when its worker was killed. `FAILED`: a defect of ours, which the log tells."""

    KEPT = "kept"
    NOT_DRAWN = "not_drawn"
    NO_CONSENT = "no_consent"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    QUEUE_FULL = "queue_full"
    WRITE_FAILED = "write_failed"
    FULL = "full"
    DISABLED = "disabled"
    SHUTDOWN = "shutdown"
    KILLED = "killed"
    FAILED = "failed"


class CaptureMetrics:
    """Counted in plain numbers, of which prometheus-client is told now and then: see `metrics._Series`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counted: Tallies[tuple[str, Fate]] = Tallies()
        self._fates = Counter(
            "understudy_capture",
            "Requests of routes that capture, by what became of them: kept, or why not.",
            ("route", "outcome"),
            registry=registry,
        )
        self._waiting = Gauge(
            "understudy_capture_waiting",
            "Captured requests that wait to be written, or for the verdict on their pair.",
            ("route",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting_bytes = Gauge(
            "understudy_capture_waiting_bytes",
            "What they hold of memory.",
            ("route",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._failing = Gauge(
            "understudy_capture_failing",
            "1 while some worker cannot write what is captured.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemax",
        )

    def count(self, route: str, fate: Fate, requests: int = 1) -> None:
        self._counted[route, fate] += requests

    def flush(self) -> None:
        counted, self._counted = self._counted, Tallies()
        for (route, fate), requests in counted.items():
            self._fates.labels(route, fate.value).inc(requests)

    def begin(self, route: str) -> None:
        """Let the series be there, at 0: a rate cannot see the increment with which one appears."""
        for fate in Fate:
            self._fates.labels(route, fate.value)

    def show(self, route: str, waiting: int, waiting_bytes: int, failing: bool) -> None:
        self._waiting.labels(route).set(waiting)
        self._waiting_bytes.labels(route).set(waiting_bytes)
        self._failing.labels(route).set(1 if failing else 0)
