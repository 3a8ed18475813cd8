"""The metrics of risk. What became of a request for its risk is the label `reason` of `understudy_requests_total`."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from router_policies.risk.deferral import Deferred
from router_policies.risk.rules import Band


class RiskMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._judged = Counter(
            "understudy_risk_requests",
            "Requests by their band of risk, low, medium or high, on routes that look at it.",
            ("route", "band"),
            registry=registry,
        )
        self._refused = Counter(
            "understudy_risk_refused",
            "Requests answered with 503: the teacher's for their risk, while it was down.",
            ("route",),
            registry=registry,
        )
        self._cost = Counter(
            "understudy_net_cost_nano_usd",
            "Cost of what the safety net and deferral sent to the teacher, nano-dollars; part of the requests' cost.",
            ("route",),
            registry=registry,
        )
        self._share = Gauge(
            "understudy_net_probability",
            "The share of sessions with high risk that the safety net sends to the teacher now.",
            ("route",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._in_flight = Gauge(
            "understudy_net_in_flight_requests",
            "Requests at the teacher because of the safety net or deferral.",
            ("route",),
            registry=registry,
            multiprocess_mode="livesum",
        )

        self._deferral = Counter(
            "understudy_deferral",
            "Student's answers whose confidence was looked at: sure, deferred to the teacher, or served though unsure, "
            "and why.",
            ("route", "became"),
            registry=registry,
        )

    def deferral(self, route: str, became: Deferred) -> None:
        self._deferral.labels(route, became.value).inc()

    def judged(self, route: str, band: Band) -> None:
        self._judged.labels(route, band.value).inc()

    def refused(self, route: str) -> None:
        self._refused.labels(route).inc()

    def net_cost(self, route: str, nano_usd: int) -> None:
        self._cost.labels(route).inc(nano_usd)

    def show_net(self, route: str, share: float, in_flight: int) -> None:
        self._share.labels(route).set(share)
        self._in_flight.labels(route).set(in_flight)
