"""A rehearsal: the requests of a log, decided once more by another config.

- **Who answers** is known, not estimated: a session's point is in the log, and the split is a function of it. The salt
  and what keeps a session together must be as they were; with others all sessions are drawn anew.
- **What it costs, and how often it fails** is estimated from the logged probabilities (`estimates.py`). What the log
  never had an upstream answer cannot be known: such requests are not covered, and left out of the estimates.
- **How often users get an answer that differs from the teacher's** is estimated from the pairs of shadow mode, which
  have both answers whoever was served. A lost pair counts as one that differs.
- **What the gate would say** of these pairs, with other checks or tolerances, is the gate's own fold over them.

- **Bands of risk** are in the log, what they were based on is not: other rules than the log's cannot be tried. Another
  safety net can, or none: who it catches is a function of the band, the session's point on it and the time.

Decisions that the split did not make and that have no band stay as they were. A kill switch of the log is lifted, one
of the new config is on. The same log and config give the same report.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from router_policies.checks.check import Family
from router_policies.decide import KILL_SWITCH, SPLIT
from router_policies.prices import Price, Usage, cost_nano_usd
from router_policies.replay.estimates import Case, Estimates, Means, estimates
from router_policies.risk.net import Placed, place
from router_policies.risk.rules import Band, Risk
from router_policies.rollout.book import Book, values_of
from router_policies.rollout.filed import LEFT_OUT, Filed, key_of
from router_policies.rollout.plan import Check, Plan
from router_policies.rollout.summary import CheckLine, check_lines
from router_policies.routes import Role, Route
from router_policies.shadow import Arm

_FINE = ("ok", "cancelled", "client_error")  # outcomes that are nobody's failure here
FAMILIES = (
    Check("format_disagreement", of=(Family.FORMAT.value,)),
    Check("policy_disagreement", of=(Family.POLICY.value,), worse_only=True),
)
"""What is looked at in pairs if the route has no rollout."""


class JudgedThen(msgspec.Struct, frozen=True):
    """Of a request whose risk was looked at. `point`: of its session on the net; `at`: when, UNIX seconds. `reason`,
    `p_student`, `p_teacher`: of what the net said if the split left it to the student."""

    band: Band
    rules: tuple[str, ...]
    point: float
    at: float
    reason: str
    p_student: float
    p_teacher: float
    pack: str = ""


class Decided(msgspec.Struct, frozen=True):
    role: Role
    upstream: str
    reason: str
    point: float
    propensity: float
    risk: JudgedThen | None = None


class Lost(msgspec.Struct, frozen=True, gc=False):
    upstream: str
    usage: Usage
    cost_nano_usd: int


class Line(msgspec.Struct, frozen=True):
    """What is read of a line of the exchange log (`gateway/telemetry/exchange_log.py`)."""

    request_id: str
    endpoint: str
    route: str
    route_version: int
    decided: Decided
    upstream: str
    role: Role
    stream: bool
    outcome: str
    usage: Usage
    cost_nano_usd: int
    lost: tuple[Lost, ...] = ()

    @property
    def group(self) -> tuple[str, bool]:
        """Like requests, for predictions."""
        return self.endpoint, self.stream


read_line = msgspec.json.Decoder(Line).decode
"""A `Line` of JSON. Raises `msgspec.ValidationError`, a ValueError."""


@dataclass(frozen=True, slots=True)
class Change:
    """A request that would have changed sides."""

    request_id: str
    point: float
    before: Role
    after: Role


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean per request: as it was, over the requests that are covered, and as it would have been."""

    name: str
    before: float
    after: Estimates


@dataclass(frozen=True, slots=True)
class RouteReport:
    """`student_before`, `student_after`: requests that the student was and would have been the first to be asked for.
    `covered`: requests that the log can speak for; `fixed`: that the split did not decide. `changed`: in the order of
    the log, `changed_sessions` in all. `measures`: cost in nano-dollars, and shares. `served_differing`: by check that
    had something to say, the share of requests whose client gets a student's answer that differs. `checks`: what the
    gate says of the pairs."""

    route: str
    requests: int
    sessions: int
    student_before: int
    student_after: int
    covered: int
    fixed: int
    changed: list[Change]
    changed_sessions: int
    measures: list[Measure]
    pairs: int = 0
    served_differing: list[Measure] = field(default_factory=list)
    checks: list[CheckLine] = field(default_factory=list)


def replay(
    lines: Iterable[Line],
    pairs: Iterable[Filed],
    routes: Mapping[str, Route],
    prices: Mapping[str, Price],
    plans: Mapping[str, Plan],
    force: Role | None = None,
) -> list[RouteReport]:
    """A report for each route that is in the log and in `routes`, by name. `prices`: by upstream; one that is not there
    costs what it cost. `plans`: of the routes that have a rollout. `force`: the kill switch of all routes."""
    of_route: dict[str, list[Line]] = {}
    for line in lines:
        of_route.setdefault(line.route, []).append(line)
    filed: dict[str, list[Filed]] = {}
    for pair in pairs:
        filed.setdefault(pair.route, []).append(pair)
    return [
        _route(routes[name], of_route[name], filed.get(name, []), prices, plans.get(name), force or routes[name].force)
        for name in sorted(of_route)
        if name in routes
    ]


def _route(
    route: Route,
    lines: list[Line],
    pairs: list[Filed],
    prices: Mapping[str, Price],
    plan: Plan | None,
    force: Role | None,
) -> RouteReport:
    after = [_role_after(line, route, force) for line in lines]
    changed = [
        Change(line.request_id, line.decided.point, line.decided.role, role)
        for line, role in zip(lines, after, strict=True)
        if role is not line.decided.role
    ]
    covered = _covered(lines, route, force)
    checks = tuple(check for check in plan.checks if check.of) if plan is not None else FAMILIES
    compared = [pair for pair in pairs if pair.arm is Arm.AB and pair.reason not in LEFT_OUT]
    return RouteReport(
        route=route.name,
        requests=len(lines),
        sessions=len({line.decided.point for line in lines}),
        student_before=sum(line.decided.role is Role.STUDENT for line in lines),
        student_after=sum(role is Role.STUDENT for role in after),
        covered=len(covered),
        fixed=sum(_fixed(line) for line in lines),
        changed=changed,
        changed_sessions=len({change.point for change in changed}),
        measures=_measures(covered, prices),
        pairs=len(compared),
        served_differing=[_served(check, lines, after, compared) for check in checks if _looked_at(check, compared)],
        checks=_gate(pairs, plan) if plan is not None and compared else [],
    )


def _fixed(line: Line) -> bool:
    return line.decided.reason not in (SPLIT, KILL_SWITCH) and line.decided.risk is None


def _role_after(line: Line, route: Route, force: Role | None) -> Role:
    if force is not None:
        return force
    if _fixed(line):
        return line.decided.role
    if line.decided.point >= route.student_percent / 100:
        return Role.TEACHER
    placed = _placed(line, route)
    return Role.STUDENT if placed is None else placed.role or Role.TEACHER


def _placed(line: Line, route: Route) -> Placed | None:
    """What the new config's net says of the request; None if one of the two configs does not look at its risk. A
    teacher that could not be asked then, being down or for a full net, cannot be now."""
    then = line.decided.risk
    if then is None or route.risk is None:
        return None
    if then.band is Band.HIGH and not then.p_teacher:
        return Placed(Role.STUDENT, then.reason, then.band, then.rules, then.p_student, 0.0, True, True)
    return place(Risk(then.band, then.rules, 0.0, then.pack), route.risk.net, at=then.point, now=then.at)


# What it would have cost, and how often it would have failed.


@dataclass(frozen=True, slots=True)
class _Covered:
    """`chances`: of each upstream under the new config, over all sessions. `weight`: of what was observed."""

    line: Line
    chances: Mapping[str, float]
    weight: float


def _covered(lines: list[Line], route: Route, force: Role | None) -> list[_Covered]:
    """The requests for which each upstream that the new config might ask could have been asked then, too."""
    asked = {(line.route_version, line.decided.role): line.decided.upstream for line in lines}
    found = []
    for line in lines:
        decided = line.decided
        chances = _chances(line, route, force)
        possible = {decided.upstream}
        if not _fixed(line) and decided.propensity < 1:
            other = Role.TEACHER if decided.role is Role.STUDENT else Role.STUDENT
            possible.add(asked.get((line.route_version, other), ""))
        if possible.issuperset(chances):
            found.append(_Covered(line, chances, chances.get(decided.upstream, 0.0) / decided.propensity))
    return found


def _chances(line: Line, route: Route, force: Role | None) -> dict[str, float]:
    if force is not None:
        return {route.upstream(force): 1.0}
    if _fixed(line):  # 1 over its own propensity: it is decided as it was
        return {line.decided.upstream: line.decided.propensity}
    weight = route.student_percent / 100
    if route.student == route.teacher:
        return {route.student: 1.0}
    placed = _placed(line, route)
    student, teacher = (weight, 1 - weight) if placed is None else placed.overall(weight)
    both = {route.student: student, route.teacher: teacher}
    return {upstream: chance for upstream, chance in both.items() if chance > 0}


def _measures(covered: list[_Covered], prices: Mapping[str, Price]) -> list[Measure]:
    if not covered:
        return []
    costs = [float(_cost(one.line, prices)) for one in covered]
    failed = [float(one.line.outcome not in _FINE) for one in covered]
    fell_back = [float(one.line.upstream != one.line.decided.upstream) for one in covered]
    return [
        _measure("cost", covered, costs, None),
        _measure("failed", covered, failed, 1.0),
        _measure("fell_back", covered, fell_back, 1.0),
    ]


def _measure(name: str, covered: list[_Covered], values: Sequence[float], most: float | None) -> Measure:
    means = Means()
    for one, value in zip(covered, values, strict=True):
        upstream = one.line.decided.upstream
        means.add(one.line.decided.point, ((upstream, one.line.group), upstream), value)
    cases = []
    for one, value in zip(covered, values, strict=True):
        at, group = one.line.decided.point, one.line.group
        total = sum(one.chances.values())
        predicted = {to: means.predict(at, ((to, group), to)) for to in {*one.chances, one.line.decided.upstream}}
        base = sum(chance * predicted[to] for to, chance in one.chances.items()) / total
        cases.append(Case(at, one.weight, value, predicted[one.line.decided.upstream], base))
    return Measure(name, sum(values) / len(values), estimates(cases, most))


def _cost(line: Line, prices: Mapping[str, Price]) -> int:
    answered = (line.upstream, line.usage, line.cost_nano_usd)
    legs = (answered, *((leg.upstream, leg.usage, leg.cost_nano_usd) for leg in line.lost))
    return sum(cost_nano_usd(prices[to], usage) if to in prices else cost for to, usage, cost in legs)


# What users would have got.


def _served(check: Check, lines: list[Line], after: list[Role], pairs: list[Filed]) -> Measure:
    """Over the requests of the log; pairs of other requests are not looked at."""
    by_id = {pair.request_id: pair for pair in pairs}
    differs = {name: _differs(check, pair) for name, pair in by_id.items()}
    means = Means()
    for line in lines:
        if line.request_id in by_id:
            weight = 1 / by_id[line.request_id].probability
            means.add(line.decided.point, (line.group, ""), differs[line.request_id], weight)
    cases, was = [], [0.0, 0.0]
    for line, role in zip(lines, after, strict=True):
        student = float(role is Role.STUDENT)
        pair = by_id.get(line.request_id)
        weight, value = (1 / pair.probability, differs[line.request_id]) if pair is not None else (0.0, 0.0)
        was[0] += weight * value * (line.decided.role is Role.STUDENT)
        was[1] += weight
        fit = student * means.predict(line.decided.point, (line.group, ""))
        cases.append(Case(line.decided.point, weight, student * value, fit, fit))
    return Measure(check.name, was[0] / was[1] if was[1] else 0.0, estimates(cases, 1.0))


def _looked_at(check: Check, pairs: list[Filed]) -> bool:
    """Whether it had something to say of any of them."""
    return any(values_of(pair.verdicts, (check,)) for pair in pairs)


def _differs(check: Check, pair: Filed) -> float:
    if pair.reason is not None:
        return 1.0
    return values_of(pair.verdicts, (check,)).get(check.name, 0.0)


def _gate(pairs: list[Filed], plan: Plan) -> list[CheckLine]:
    """Of the newest key in the pairs, whose evidence is all that a rollout would look at."""
    key = next((pair.evidence_key for pair in reversed(pairs) if pair.arm is Arm.AB and pair.evidence_key), None)
    if key is None:
        return []
    seen = {pair.stratum for pair in pairs if pair.arm is Arm.AB}
    if not seen.issubset(plan.strata):  # these were sampled by another policy, which is not rehearsed
        plan = dataclasses.replace(plan, strata=tuple(sorted(seen)))
    book = Book(key_of(key), plan)
    for pair in pairs:
        book.take(pair)
    book.rest()
    return list(check_lines(book, plan))
