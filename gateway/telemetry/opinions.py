"""The metrics of second opinions on pairs."""

from prometheus_client import CollectorRegistry, Counter

from gateway.after.call import Answered
from router_policies.opinions import Kind, Outcome


class OpinionMetrics:
    """`samples` = the sum of `outcomes`, once nothing is under way any more."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = Counter(
            "understudy_opinion_samples",
            "Pairs drawn for a second opinion, by kind: judge or embedding.",
            ("route", "kind"),
            registry=registry,
        )
        self._outcomes = Counter(
            "understudy_opinion_outcomes",
            "What came of asking for a second opinion.",
            ("route", "kind", "outcome"),
            registry=registry,
        )
        self._cost = Counter(
            "understudy_opinion_cost_nano_usd",
            "Cost of second opinions in nano-dollars: in no tenant's budget, and in no other series.",
            ("route", "kind", "upstream"),
            registry=registry,
        )
        self._tokens = Counter(
            "understudy_opinion_tokens",
            "Tokens of second opinions, by kind of token: input or output.",
            ("route", "kind", "upstream", "tokens"),
            registry=registry,
        )

    def sampled(self, route: str, kind: Kind) -> None:
        self._samples.labels(route, kind.value).inc()

    def ended(self, route: str, kind: Kind, outcome: Outcome) -> None:
        self._outcomes.labels(route, kind.value, outcome.value).inc()

    def spent(self, route: str, kind: Kind, upstream: str, answered: Answered) -> None:
        self._cost.labels(route, kind.value, upstream).inc(answered.cost_nano_usd)
        for tokens, count in (("input", answered.usage.input), ("output", answered.usage.output)):
            self._tokens.labels(route, kind.value, upstream, tokens).inc(count)
