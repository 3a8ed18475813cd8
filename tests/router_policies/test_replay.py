"""Replay over made-up logs of which the truth is known: what each side would have answered to every request."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

import msgspec
import pytest

from router_policies.checks.check import CheckVerdict, Family, Outcome, Severity
from router_policies.evidence.rules import LOSS
from router_policies.prices import Price, Usage, cost_nano_usd
from router_policies.replay.estimates import Case, Estimate, Estimates, Means, estimates
from router_policies.replay.replay import Decided, JudgedThen, Line, RouteReport, read_line, replay
from router_policies.risk.judged import RouteRisk
from router_policies.risk.net import WELL, SafetyNet, Teacher, place
from router_policies.risk.rules import Band, Risk, read_risk_pack
from router_policies.rollout.filed import Filed, Side
from router_policies.rollout.plan import Check, Plan, Step
from router_policies.routes import Role, Route
from router_policies.shadow import Arm, Reason

STUDENT, TEACHER = Role.STUDENT, Role.TEACHER
UPSTREAM = {STUDENT: "small", TEACHER: "big"}
PRICES = {"small": Price(100_000, 400_000), "big": Price(2_500_000, 10_000_000)}
FAILS = {(STUDENT, True): 0.2, (STUDENT, False): 0.02, (TEACHER, True): 0.03, (TEACHER, False): 0.01}
DIFFERS = {True: 0.15, False: 0.03}
SAMPLE = 0.2


@dataclass(frozen=True)
class Made:
    """A log and what would have been, for each request and side: (failed, cost)."""

    lines: list[Line]
    pairs: list[Filed]
    truth: list[dict[Role, tuple[bool, int]]]
    differs: list[bool]

    def mean(self, weight: float, what: int) -> float:
        return fmean((1 - weight) * one[TEACHER][what] + weight * one[STUDENT][what] for one in self.truth)

    def served(self, weight: float) -> float:
        return fmean(
            line.decided.point < weight and differs for line, differs in zip(self.lines, self.differs, strict=True)
        )


def made(seed: int, sessions: int = 400, weight: float = 0.2) -> Made:
    draw = random.Random(seed)
    lines: list[Line] = []
    pairs: list[Filed] = []
    truth: list[dict[Role, tuple[bool, int]]] = []
    differing: list[bool] = []
    for _ in range(sessions):
        point, stream = draw.random(), draw.random() < 0.3
        role = STUDENT if point < weight else TEACHER
        for _ in range(draw.choice([1, 2, 6])):
            number = len(lines)
            usage = Usage(draw.randrange(50, 500), draw.randrange(10, 900))
            would = {
                side: (draw.random() < FAILS[side, stream], cost_nano_usd(PRICES[UPSTREAM[side]], usage))
                for side in Role
            }
            differs = draw.random() < DIFFERS[stream]
            truth.append(would)
            differing.append(differs)
            lines.append(line(number, role, point, weight, would[role][0], usage, stream))
            if draw.random() < SAMPLE:
                pairs.append(pair(number, role, point, differs))
    return Made(lines, pairs, truth, differing)


def line(
    number: int,
    role: Role = TEACHER,
    point: float = 0.5,
    weight: float = 0.2,
    failed: bool = False,
    usage: Usage = Usage(100, 100),  # noqa: B008 - frozen
    stream: bool = False,
    reason: str = "split",
    propensity: float | None = None,
) -> Line:
    chance = (weight if role is STUDENT else 1 - weight) if propensity is None else propensity
    decided = Decided(role, UPSTREAM[role], reason, point, chance)
    outcome = "upstream_error" if failed else "ok"
    return Line(
        f"r{number}", "/v1/chat/completions", "chat", 1, decided, UPSTREAM[role], role, stream, outcome, usage, 1
    )


def pair(number: int, role: Role, point: float, differs: bool = False, reason: Reason | None = None) -> Filed:
    worse = Outcome.FAIL if differs else Outcome.PASS
    verdict = CheckVerdict("json_valid", 1, Family.FORMAT, worse, Outcome.PASS, not differs, differs, Severity.HIGH)
    told: dict[str, object] = {"student": Side(), "teacher": Side(), "evidence_key": "s|t|p", "verdicts": (verdict,)}
    return Filed(
        f"p{number}", Arm.AB, 1000.0 + number, 1, role, point, SAMPLE, f"r{number}", "chat", reason,
        **(told if reason is None else {}),  # type: ignore[arg-type]
    )  # fmt: skip


def run(log: Made | list[Line], percent: float, pairs: list[Filed] | None = None, **more: object) -> RouteReport:
    lines = log.lines if isinstance(log, Made) else log
    given = log.pairs if isinstance(log, Made) else pairs or []
    route = Route("chat", "big", "small", percent)
    (report,) = replay(lines, given, {"chat": route}, PRICES, more.pop("plans", {}), **more)  # type: ignore[arg-type]
    return report


def measure(report: RouteReport, name: str) -> Estimates:
    return next(one.after for one in (*report.measures, *report.served_differing) if one.name == name)


# ---- Who answers ----


def test_who_answers_is_known_and_who_changes_sides() -> None:
    lines = [line(1, STUDENT, 0.1), line(2, TEACHER, 0.3), line(3, TEACHER, 0.3), line(4, TEACHER, 0.9)]
    report = run(lines, 50)
    assert (report.student_before, report.student_after, report.requests, report.sessions) == (1, 3, 4, 3)
    assert [(change.request_id, change.before, change.after) for change in report.changed] == [
        ("r2", TEACHER, STUDENT),
        ("r3", TEACHER, STUDENT),
    ]
    assert report.changed_sessions == 1
    assert [change.request_id for change in run(lines, 5).changed] == ["r1"]
    assert run(lines, 20).changed == []


def test_kill_switches() -> None:
    lines = [line(1, TEACHER, 0.1, reason="kill_switch", propensity=1.0), line(2, TEACHER, 0.9)]
    assert [change.request_id for change in run(lines, 20).changed] == ["r1"]
    assert run(lines, 20, force=TEACHER).changed == []
    assert run(lines, 20, force=STUDENT).student_after == 2


def test_what_the_split_did_not_decide_stays() -> None:
    lines = [line(1, TEACHER, 0.1, reason="risk", propensity=1.0), line(2, STUDENT, 0.15)]
    report = run(lines, 100)
    assert (report.fixed, report.student_after, report.changed) == (1, 1, [])
    assert report.covered == 2


def test_other_routes_are_left_alone() -> None:
    assert replay([line(1)], [], {"other": Route("other", "big", "small")}, {}, {}) == []


# ---- What cannot be known ----


def test_what_the_log_has_never_seen_is_not_covered() -> None:
    only_teacher = [line(number, TEACHER, 0.01 * number, weight=0.0) for number in range(100)]
    report = run(only_teacher, 50)
    assert (report.covered, report.measures) == (0, [])
    assert run(only_teacher, 0).covered == 100


def test_another_student_is_not_the_one_in_the_log() -> None:
    log = made(1)
    (report,) = replay(log.lines, [], {"chat": Route("chat", "big", "newer", 50)}, PRICES, {})
    assert report.covered == 0


def test_without_any_split_the_estimate_is_what_was() -> None:
    log = made(2)
    report = run(log, 20)
    failed = measure(report, "failed")
    assert failed.ips is not None
    assert failed.ips.value == pytest.approx(fmean(line.outcome != "ok" for line in log.lines))


# ---- What is estimated ----

KINDS: list[Callable[[Estimates], Estimate | None]] = [lambda e: e.ips, lambda e: e.snips, lambda e: e.dr]


@pytest.mark.parametrize("percent", [5, 60, 100])
def test_the_truth_is_in_most_intervals(percent: float) -> None:
    """95 % of them if the normal approximation is right; of 60, 51 or more with probability 0.998."""
    held = dict.fromkeys(((name, at) for name in ("failed", "cost", "format_disagreement") for at in range(3)), 0)
    for seed in range(60):
        log = made(seed)
        report = run(log, percent)
        weight = percent / 100
        truths = {"failed": log.mean(weight, 0), "cost": log.mean(weight, 1), "format_disagreement": log.served(weight)}
        for name, truth in truths.items():
            for at, kind in enumerate(KINDS):
                found = kind(measure(report, name))
                assert found is not None
                held[name, at] += found.low <= truth <= found.high
    assert min(held.values()) >= 51, held


def test_doubly_robust_is_the_least_noisy_where_cases_are_alike() -> None:
    """Costs of the two sides are far apart, which the predictions know."""
    errors: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for seed in range(40):
        log = made(seed)
        after = measure(run(log, 60), "cost")
        for at, kind in enumerate(KINDS):
            found = kind(after)
            assert found is not None
            errors[at].append((found.value - log.mean(0.6, 1)) ** 2)
    ips, snips, dr = (fmean(errors[at]) for at in range(3))
    assert dr < min(ips, snips) / 2


def test_naive_means_would_be_wrong() -> None:
    """The student of a log answers few; the mean over all requests is the old split's, not the new one's."""
    log = made(5, sessions=3000)
    report = run(log, 100)
    failed = next(one for one in report.measures if one.name == "failed")
    assert failed.after.snips is not None
    assert failed.after.snips.low > failed.before
    assert abs(failed.after.snips.value - log.mean(1.0, 0)) < 0.02


def test_new_prices_count() -> None:
    log = made(3)
    cheaper = {**PRICES, "big": PRICES["small"]}
    (report,) = replay(log.lines, [], {"chat": Route("chat", "big", "small", 20)}, cheaper, {})
    now = measure(report, "cost").ips
    assert now is not None
    assert now.value == pytest.approx(fmean(cost_nano_usd(PRICES["small"], line.usage) for line in log.lines))


def test_nothing_bad_seen_is_no_proof_that_nothing_is() -> None:
    lines = [line(number, TEACHER if number % 5 else STUDENT, (number * 37 % 100) / 100) for number in range(100)]
    dr = measure(run(lines, 60), "failed").dr
    assert dr is not None
    assert (dr.value, dr.low) == (0, 0)
    assert 0.03 < dr.high < 0.3


def test_lost_pairs_count_as_differing_and_those_left_out_not_at_all() -> None:
    lines = [line(number, STUDENT, 0.1 + number / 100) for number in range(4)]
    pairs = [pair(0, STUDENT, 0.1), pair(1, STUDENT, 0.11, reason=Reason.TIMEOUT), pair(2, STUDENT, 0.12)]
    pairs.append(pair(3, STUDENT, 0.13, reason=Reason.CANCELLED))
    report = run(lines, 100, pairs)
    found = measure(report, "format_disagreement").snips
    assert found is not None
    assert (report.pairs, found.value) == (3, pytest.approx(1 / 3))


def test_the_gate_with_another_tolerance() -> None:
    log = made(4, sessions=2000)

    def verdicts(tolerance: float) -> dict[str, str]:
        check = Check("format", tolerance, of=("format",), critical=True)
        plans = {"chat": Plan((Step(1),), (check,))}
        return {one.name: one.verdict for one in run(log, 20, plans=plans).checks}

    assert verdicts(0.2) == {"format": "pass", LOSS: "pass"}
    assert verdicts(0.02) == {"format": "fail", LOSS: "pass"}


def test_the_same_gives_the_same() -> None:
    log = made(6)
    assert run(log, 60) == run(log, 60)
    assert run(log, 60) != run(replace(log, lines=log.lines[:-1]), 60)


# ---- By hand ----


def test_estimates_by_hand() -> None:
    """Two sessions; weights 2 and 0.5; values 1 and 0; predictions 0.5."""
    found = estimates([Case(0.1, 2.0, 1.0, 0.5, 0.5), Case(0.2, 0.5, 0.0, 0.5, 0.5)], None)
    assert found.ips is not None
    assert found.snips is not None
    assert found.dr is not None
    assert found.ips.value == pytest.approx((2 * 1 + 0.5 * 0) / 2)
    assert found.snips.value == pytest.approx(2 / 2.5)
    assert found.dr.value == pytest.approx(((0.5 + 2 * 0.5) + (0.5 - 0.5 * 0.5)) / 2)
    assert found.ips.high - found.ips.value == pytest.approx(1.959964 * (2 * (1 + 1)) ** 0.5 / 2)


def test_a_session_of_many_requests_is_one_observation() -> None:
    once = estimates([Case(k / 10, 1.0, float(k % 2), 0.0, 0.0) for k in range(10)])
    often = estimates([Case(k / 10, 1.0, float(k % 2), 0.0, 0.0) for k in range(10) for _ in range(7)])
    assert once.ips is not None
    assert often.ips is not None
    assert often.ips.high == pytest.approx(once.ips.high)


def test_no_weight_is_no_estimate() -> None:
    assert estimates([Case(0.1, 0.0, 1.0, 0.0, 0.0)]) == Estimates(None, None, None)


def test_a_case_does_not_predict_itself() -> None:
    means = Means()
    means.add(0.5, ("like", ""), 1.0)
    assert means.predict(0.5, ("like", "")) == 0
    assert means.predict(0.5 + 2**-24, ("like", "")) == 1
    assert means.predict(0.5 + 2**-24, ("unlike", "")) == 1


def judged_line(number: int, weight: float, net: SafetyNet, band: Band = Band.HIGH, teacher: Teacher = WELL) -> Line:
    """As the gateway would log it, of a session of its own."""
    draw = random.Random(number)
    split, at = draw.random(), draw.random()
    placed = place(Risk(band, ("danger",), 0.0, "own.1"), net, at=at, now=10.0, teacher=teacher)
    p_student, p_teacher = placed.overall(weight)
    role, reason = (placed.role or TEACHER, placed.reason) if split < weight else (TEACHER, "split")
    then = JudgedThen(band, ("danger",), at, 10.0, placed.reason, placed.p_student, placed.p_teacher)
    made = line(number, role, split, reason=reason, propensity=p_student if role is STUDENT else p_teacher)
    return msgspec.structs.replace(made, decided=msgspec.structs.replace(made.decided, risk=then))


def risky(weight: float, net: SafetyNet | None) -> Route:
    pack = read_risk_pack(
        {"risk": "own", "version": 1, "rules": [{"rule": "danger", "when": {"json": True}, "weight": 1}]}
    )
    return Route("chat", "big", "small", 100 * weight, risk=RouteRisk(pack, net=net))


NET = SafetyNet(0, 1, p_start=0.5, floor=0.5, holdout=0.1)


@pytest.mark.parametrize("teacher", [WELL, Teacher(up=False)])
def test_the_same_net_decides_the_same(teacher: Teacher) -> None:
    lines = [judged_line(number, 0.6, NET, teacher=teacher) for number in range(300)]
    (report,) = replay(lines, [], {"chat": risky(0.6, NET)}, PRICES, {})
    assert (report.changed, report.fixed, report.covered) == ([], 0, 300)
    assert report.student_before == report.student_after > 0
    cost = next(measure for measure in report.measures if measure.name == "cost")
    assert cost.after.ips is not None
    assert cost.after.ips.value == pytest.approx(cost.before)


def test_another_net_moves_those_that_it_does_not_catch() -> None:
    lines = [judged_line(number, 1.0, NET) for number in range(300)]
    less = SafetyNet(0, 1, p_start=0.2, floor=0.2, holdout=0.1)
    (report,) = replay(lines, [], {"chat": risky(1.0, less)}, PRICES, {})
    points = {line.request_id: line.decided.risk.point for line in lines if line.decided.risk is not None}
    assert {change.request_id for change in report.changed} == {
        name for name, point in points.items() if 0.2 <= point < 0.5
    }
    assert {change.after for change in report.changed} == {STUDENT}
    (none,) = replay(lines, [], {"chat": risky(1.0, None)}, PRICES, {})
    assert none.student_after == 0
    (off,) = replay(lines, [], {"chat": Route("chat", "big", "small", 100)}, PRICES, {})
    assert off.student_after == 300


def test_a_band_that_is_not_high_is_the_splits() -> None:
    lines = [judged_line(number, 0.3, NET, Band.MEDIUM) for number in range(200)]
    (report,) = replay(lines, [], {"chat": risky(0.6, NET)}, PRICES, {})
    assert report.fixed == 0
    assert report.student_after == sum(one.decided.point < 0.6 for one in lines)


def test_a_line_of_the_exchange_log_has_its_risk() -> None:
    made = msgspec.json.decode(msgspec.json.encode(judged_line(1, 1.0, NET)))
    made["decided"]["risk"] |= {"pack": "own.1", "weight": 2.0, "role": "student"}
    found = read_line(msgspec.json.encode(made)).decided.risk
    assert found is not None
    assert (found.band, found.rules, found.pack) == (Band.HIGH, ("danger",), "own.1")
