"""A request that was drawn to be compared, from its answer to its record."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gateway.exchange import Exchange, Withheld
from gateway.face.openai import Endpoint, RequestView
from router_policies.decide import SPLIT
from router_policies.opinions import Opinion
from router_policies.prices import Usage
from router_policies.routes import Role
from router_policies.shadow import DEFAULT, Arm, Drawn, Reason, calls, strata


class Tape:
    """What the client was sent of an answer, as it was sent. Mutable state: the pieces and their size; beyond `most`
    bytes nothing is kept, and `full` says so."""

    __slots__ = ("_left", "full", "parts")

    def __init__(self, most: int) -> None:
        self.parts: list[bytes] = []
        self.full = False
        self._left = most

    def add(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self.parts.append(data)
        elif not self.full:
            self.full = True
            self.parts.clear()


@dataclass(frozen=True, slots=True)
class Model:
    """What answers for a role: an upstream by its name in the config, the model that it is asked for, and what the
    config calls that model's version."""

    upstream: str
    model: str
    revision: str


Models = Mapping[Role, Model]


def evidence_key(student: "Model | Side", teacher: "Model | Side", pack: str) -> str:
    """What evidence is of, as records have it. `pack`: the key of the pack with its checks."""
    return "|".join([*(f"{one.upstream}/{one.model}@{one.revision}" for one in (student, teacher)), pack])


@dataclass(frozen=True, slots=True)
class Sample:
    """A request that was drawn, and how its primary ended. `body` is as the client sent it: nothing on the primary's
    way can have changed it. `truncated`: the answer was too large to be kept. `began_at`: seconds since the epoch.
    `models`: those of the route when the request began. `withheld`: what the student had said, if the teacher's answer
    was served instead for that."""

    pair_id: str
    drawn: Drawn
    models: Models
    exchange: Exchange
    endpoint: Endpoint
    query: bytes
    view: RequestView
    body: bytes
    answer: bytes
    truncated: bool
    began_at: float
    revision: int
    withheld: Withheld | None = None

    @property
    def size(self) -> int:
        withheld = self.withheld.answer if self.withheld is not None else None
        return len(self.body) + len(self.answer) + len(withheld or b"")

    @property
    def to_ask(self) -> tuple[Role, ...]:
        """Who is asked again, in order: not the student for an answer that is there."""
        has_pair = self.withheld is not None and self.withheld.answer is not None
        arms = {arm: chance for arm, chance in self.drawn.arms.items() if not (has_pair and arm is Arm.AB)}
        return calls(arms, self.exchange.role)

    def record(self, arm: Arm, reason: Reason | None, detail: str = "") -> "Record":
        """The record of one arm, without a pair as yet."""
        exchange, decision = self.exchange, self.exchange.decision
        route = decision.route
        assert route.shadow is not None
        rates = strata(route.shadow, route.risk.pack if route.risk is not None else None)
        return Record(
            pair_id=self.pair_id,
            arm=arm,
            at=self.began_at,
            route=route.name,
            route_version=route.version,
            revision=self.revision,
            endpoint=self.endpoint.path,
            stream=exchange.stream,
            request_id=exchange.request_id,
            tenant=exchange.tenant,
            answered=exchange.role,
            point=decision.point,
            probability=self.drawn.arms[arm],
            reason=reason,
            detail=detail,
            decided=decision.role,
            by_split=decision.reason == SPLIT,
            stratum=decision.judged.band.value if decision.judged is not None else DEFAULT,
            least=min(rates.values()) if arm is Arm.AB else None,
            twinned=Arm.AA in self.drawn.arms,
        )


class Side(msgspec.Struct, frozen=True):
    """One answer of a pair, and the model that gave it. Times are seconds from the request, or from when the mirror was
    sent; `served`: it is the one that the client got. `sure`: a student's confidence, the `quantile` of its tokens'
    log-probabilities, where the route asks for it."""

    upstream: str
    model: str
    revision: str
    served: bool
    ttft_s: float | None
    ttlt_s: float
    usage: Usage
    estimated: bool
    cost_nano_usd: int
    sure: float | None = None
    quantile: float | None = None


class Record(msgspec.Struct, frozen=True):
    """What became of one arm of a sampled request: a pair, or the reason why there is none. There is exactly one per
    sampled arm. `probability` is that with which the arm was drawn; `point` the session's place on the route.
    `verdicts` are filled in by the scorer; `evidence_key` is what statistics may be pooled by: the models, the pack and
    its checks. `decided`: who was meant to answer; `by_split`: the split alone decided that, no kill switch. `twinned`:
    the teacher was to be asked twice. `stratum`, `least`: see `router_policies.evidence.records.Selection`. `opinions`
    come later than the rest, if any: for people, and no part of any decision."""

    pair_id: str
    arm: Arm
    at: float
    route: str
    route_version: int
    revision: int
    endpoint: str
    stream: bool
    request_id: str
    tenant: str
    answered: Role
    point: float
    probability: float
    reason: Reason | None = None
    detail: str = ""
    student: Side | None = None
    teacher: Side | None = None
    evidence_key: str = ""
    verdicts: tuple[dict[str, object], ...] = ()
    decided: Role | None = None
    by_split: bool = True
    stratum: str = DEFAULT
    least: float | None = None
    twinned: bool | None = None
    opinions: tuple[Opinion, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two whole answers that are to be scored. Of an A/A arm both are the teacher's."""

    record: Record
    packs: tuple[str, ...]
    endpoint: str
    request: bytes
    student: bytes
    teacher: bytes
