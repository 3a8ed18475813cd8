"""The metrics of rollouts, shown by the worker that leads them."""

import math

from prometheus_client import CollectorRegistry, Gauge

from router_policies.rollout.state import Phase
from router_policies.rollout.summary import Summary

_VERDICTS = {"pass": 1.0, "undecided": 0.0, "fail": -1.0}


class RolloutMetrics:
    """Gauges. A worker that leads no longer shows no number: of several workers on a host the last that said one
    counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(
                f"understudy_rollout_{name}",
                text,
                ("route", *labels),
                registry=registry,
                multiprocess_mode="livemostrecent",
            )

        self._phase = gauge("phase", "1 for the phase that a route's rollout is in, else 0.", "phase")
        self._percent = gauge("percent", "The student's share as the rollout would have it, 0 to 100.")
        self._pairs = gauge("pairs", "Pairs that the evidence of this student rests on, lost ones too.")
        self._stuck = gauge("stuck", "1 while the worker that leads a route's rollout cannot go on: its log says why.")
        checked = ("check", "stratum")
        self._verdict = gauge("check_verdict", "1 for a check that passes, -1 for one that fails, else 0.", *checked)
        self._e_value = gauge("check_e_value", "Evidence that the student is within the check's tolerance.", *checked)
        self._needed = gauge(
            "check_needed_pairs",
            "Pairs until a check passes if they go on like this; 0 if it does, +Inf if it never will.",
            *checked,
        )
        self._shown: set[tuple[Gauge, tuple[str, ...]]] = set()

    def show(self, summary: Summary) -> None:
        route = summary.route
        before, self._shown = self._shown, {one for one in self._shown if one[1][0] != route}
        for phase in Phase:
            self._set(self._phase, float(phase is summary.phase), route, phase.value)
        self._set(self._stuck, 0.0, route)
        self._set(self._percent, summary.wanted, route)
        self._set(self._pairs, summary.pairs, route)
        for check in summary.checks:
            labels = (route, check.name, check.stratum)
            self._set(self._verdict, _VERDICTS[check.verdict], *labels)
            self._set(self._e_value, math.nan if check.e_value is None else check.e_value, *labels)
            needed = 0.0 if check.verdict == "pass" else math.inf if check.needed is None else check.needed
            self._set(self._needed, needed, *labels)
        self._forget(before - self._shown)

    def stuck(self, route: str) -> None:
        """What is shown of it is not news any more."""
        self._set(self._stuck, 1.0, route)

    def forget(self, route: str | None = None) -> None:
        """Another worker leads; or this route's rollout is no more."""
        self._forget({one for one in self._shown if route in (None, one[1][0])})

    def _forget(self, gone: set[tuple[Gauge, tuple[str, ...]]]) -> None:
        for gauge, labels in gone:
            gauge.labels(*labels).set(math.nan)
        self._shown -= gone

    def _set(self, gauge: Gauge, value: float, *labels: str) -> None:
        gauge.labels(*labels).set(value)
        self._shown.add((gauge, labels))
