"""From the records that shadow mode files to what the controller looks at, and through it up and down the ladder."""

import dataclasses
import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gateway.after.sample import Record, Side
from router_policies.checks.check import CheckVerdict, Family, Outcome, Severity
from router_policies.evidence.readings import Verdict
from router_policies.evidence.rules import LOSS, Kind
from router_policies.prices import Usage
from router_policies.rollout.actions import Act, Action, apply
from router_policies.rollout.book import Book, turn
from router_policies.rollout.filed import LEFT_OUT, Order, key_of, read_record
from router_policies.rollout.plan import CANCELS, COST, FALLBACK, RATIO, TTFT, Check, Plan, Step
from router_policies.rollout.state import Phase, SetWeight, State
from router_policies.routes import Role
from router_policies.shadow import Arm, Reason

EVIDENCE = "small/s@1|big/t@1|default.1(json_valid.1,tone.1)"
NOISE = "big/t@1|big/t@1|default.1(json_valid.1,tone.1)"
KEY = key_of(EVIDENCE)
FORMAT = Check("format", 0.05, of=("format",), critical=True)
PLAN = Plan((Step(1), Step(25), Step(100)), (FORMAT,), late_s=60)


def said(check: str, family: Family, student: bool, teacher: bool = True) -> dict[str, object]:
    ours, theirs = (Outcome.PASS if well else Outcome.FAIL for well in (student, teacher))
    verdict = CheckVerdict(check, 1, family, ours, theirs, student is teacher, not student and teacher, Severity.HIGH)
    return dict(msgspec.to_builtins(verdict))


def side(ttft_s: float = 0.2, cost: int = 100) -> Side:
    return Side("small", "s", "1", True, ttft_s, 1.0, Usage(), False, cost)


def record(number: int, well: bool = True, **more: Any) -> bytes:
    """As the gateway files it. Keys that `Record` has not (yet) are added to the JSON."""
    filed = Record(
        **{
            "pair_id": f"a-{number:06d}",
            "arm": Arm.AB,
            "at": 1000.0 + number,
            "route": "chat",
            "route_version": 1,
            "revision": 1,
            "endpoint": "/v1/chat/completions",
            "stream": True,
            "request_id": f"r-{number}",
            "tenant": "default",
            "answered": Role.TEACHER,
            "point": random.Random(number).random(),
            "probability": 0.1,
            "student": side(),
            "teacher": side(0.3, 1000),
            "evidence_key": EVIDENCE,
            "verdicts": (said("json_valid", Family.FORMAT, well),),
            **{name: value for name, value in more.items() if name in Record.__struct_fields__},
        }
    )
    extra = {name: value for name, value in more.items() if name not in Record.__struct_fields__}
    return msgspec.json.encode({**msgspec.to_builtins(filed), **extra})


def lost(number: int, reason: Reason, **more: Any) -> bytes:
    nothing: dict[str, Any] = {"student": None, "teacher": None, "evidence_key": "", "verdicts": ()}
    return record(number, reason=reason, **{**nothing, **more})


def read(records: Sequence[bytes], plan: Plan = PLAN) -> Book:
    book = Book(KEY, plan)
    for number, one in enumerate(records, 1):
        book.observe(number, one)
    return book


def all_of(records: Sequence[bytes], plan: Plan = PLAN) -> Book:
    book = read(records, plan)
    book.rest()
    return book


def reading(book: Book, check: str = "format") -> Any:
    return book.evidence.read()[check].cells[0]


# ---- What counts ----


def test_pairs_that_differ_and_lost_ones_count_against_the_student() -> None:
    book = all_of([record(1), record(2, well=False), lost(3, Reason.QUEUE_FULL), lost(4, Reason.TIMEOUT)])
    assert (reading(book).pairs, reading(book).estimate) == (4, 0.75)
    assert reading(book, LOSS).estimate == 0.5
    assert book.evidence.lost == {"queue_full": 1, "timeout": 1}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_either_lost_or_left_out_and_counted(reason: Reason) -> None:
    book = all_of([lost(1, reason)])
    if reason in LEFT_OUT:
        assert (book.pairs, book.left_out) == (0, {reason: 1})
    else:
        assert (reading(book, LOSS).estimate, book.left_out) == (1.0, {})


def test_only_worse_counts_if_the_check_says_so() -> None:
    plan = Plan((Step(1),), (Check("format", 0.05, of=("json_valid",), worse_only=True, critical=True),))
    worse, better = ((said("json_valid", Family.FORMAT, ours, not ours),) for ours in (False, True))
    assert reading(all_of([record(1, verdicts=worse), record(2, verdicts=better)], plan)).estimate == 0.5


def test_a_check_with_nothing_to_say_is_not_counted() -> None:
    none = {**said("json_valid", Family.FORMAT, True), "student": "na", "teacher": "na"}
    book = all_of([record(1, verdicts=(none,)), record(2, verdicts=(said("tone", Family.POLICY, False),))])
    assert (reading(book).pairs, reading(book, LOSS).pairs) == (0, 2)


def test_the_teachers_second_answer_is_its_noise() -> None:
    plan = Plan((Step(1),), (FORMAT, Check("excess", 0.05, of=("format",), kind=Kind.EXCESS)), late_s=60)
    differs = (said("json_valid", Family.FORMAT, True, False),)
    noise = {"arm": Arm.AA, "evidence_key": NOISE, "verdicts": differs}
    book = all_of([record(1, well=False), record(1, **noise), record(2), record(3, **noise), record(4)], plan)
    assert book.pairs == 3  # what was sampled for its noise alone is no pair
    assert reading(book).noise[0] == 1
    assert (reading(book, "excess").pairs, reading(book, "excess").estimate) == (1, 0.0)


def test_a_second_answer_that_is_lost_is_no_excuse() -> None:
    plan = Plan((Step(1),), (FORMAT, Check("excess", 0.05, of=("format",), kind=Kind.EXCESS)), late_s=60)
    book = all_of([record(1, well=False, twinned=True)], plan)
    assert reading(book, "excess").estimate == 1


def test_pairs_of_others_are_not_this_students() -> None:
    other = record(2, well=False, evidence_key=EVIDENCE.replace("s@1", "s@2"))
    before = lost(3, Reason.TIMEOUT, revision=0)
    book = Book(KEY, PLAN, revision=1)
    for number, one in enumerate([record(1), other, before], 1):
        book.observe(number, one)
    book.rest()
    assert (book.pairs, book.evidence.others, reading(book).estimate) == (1, 2, 0)


def test_what_cannot_be_read_holds_the_rollout() -> None:
    book = all_of([b"{}", record(2, probability=0.001), record(3)])
    assert (book.pairs, book.refused) == (1, 2)
    assert "2 records cannot be read, the last: pair a-000002" in book.seen(1).problem


def test_pairs_that_another_policy_of_risk_has_sampled_are_not_this_policys() -> None:
    plan = dataclasses.replace(PLAN, strata=("low", "high"))
    book = Book(KEY, plan, revision=2)
    ours = {"revision": 2, "least": 0.1, "evidence_key": EVIDENCE}
    rows = [record(1), record(2, stratum="low", **ours), record(3, stratum="high", probability=1.0, well=False, **ours)]
    for number, one in enumerate([*rows, record(4, **ours)], 1):
        book.observe(number, one)
    book.rest()
    cells = {cell.stratum: (cell.pairs, cell.estimate) for cell in book.evidence.read()["format"].cells}
    assert cells == {"low": (1, 0.0), "high": (1, 1.0)}
    assert (book.evidence.others, book.refused) == (1, 1)
    assert "expected a stratum" in book.problem, "of the time of this policy, and of no stratum of it"


def test_as_few_as_may_be_lost_do_not_hold_it_for_ever() -> None:
    book = all_of([b"{}", *(record(number) for number in range(2, 101))])
    assert (book.refused, book.seen(1).problem) == (1, "")


def test_numbers_have_no_gaps_and_are_taken_in_once() -> None:
    book = read([record(1)])
    assert not book.observe(1, record(1, well=False))
    with pytest.raises(ValueError, match="expected record 2, got 3"):
        book.observe(3, record(3))


def test_what_is_no_longer_kept_is_another_attempt() -> None:
    book = read([record(number) for number in range(1, 100)]).anew(KEY, PLAN, 2, 1, number=500)
    assert (book.pairs, book.waiting, book.evidence.attempt, book.round) == (0, 0, 2, 2)
    assert book.observe(501, record(501))


# ---- Their order ----


def order_of(records: Sequence[bytes], late_s: float = 60) -> list[tuple[str, bool]]:
    order = Order(late_s)
    out = [sampled for number, one in enumerate(records, 1) for sampled in order.add(read_record(one), number)]
    return [(next(iter(sampled.arms.values())).pair_id[-2:], sampled.late) for sampled in (*out, *order.rest())]


def test_the_order_is_that_of_the_requests_not_of_the_answers() -> None:
    assert order_of([record(3), record(1), record(2)]) == [("01", False), ("02", False), ("03", False)]


def test_what_comes_after_its_turn_is_late_and_lost() -> None:
    records = [record(5), record(3), record(70), record(4), record(71)]
    assert order_of(records) == [("03", False), ("05", False), ("04", True), ("70", False), ("71", False)]
    book = all_of(records)
    assert (book.evidence.lost, reading(book).estimate) == ({"late": 1}, 0.2)


def test_nothing_is_counted_before_its_turn() -> None:
    book = read([record(number) for number in range(1, 70)])
    assert (book.pairs, book.waiting) == (9, 60)


# ---- A fold ----


def mixed(count: int, seed: int = 1) -> list[bytes]:
    draw = random.Random(seed)
    places = sorted(range(1, count + 1), key=lambda place: place + draw.random() * 80)
    reasons = [Reason.TIMEOUT, Reason.CANCELLED, Reason.QUEUE_FULL]
    records = []
    for place in places:
        times = {"student": side(draw.expovariate(5)), "teacher": side(draw.expovariate(3), 1000)}
        decided = draw.choice([Role.STUDENT, Role.TEACHER])
        more: dict[str, Any] = {"decided": decided, "point": draw.random()}
        if draw.random() < 0.05:
            records.append(lost(place, draw.choice(reasons), **more))
        else:
            records.append(record(place, draw.random() > 0.02, **times, **more))
        if draw.random() < 0.1:
            records.append(record(place, arm=Arm.AA, evidence_key=NOISE))
    return records


TRIPS = tuple(Check(name, 0.05, critical=True) for name in (FALLBACK, CANCELS))
FULL = Plan((Step(1),), (FORMAT, *TRIPS, Check(TTFT, 1.2), Check(COST, 1.0), Check(RATIO)), late_s=60)


@pytest.mark.parametrize("stops", [{0}, {1}, {77}, {399}, {100, 101, 130, 300, 301}])
def test_saved_and_resumed_at_any_record_it_is_the_same_to_the_last_bit(stops: set[int]) -> None:
    records = mixed(400)
    through = Book(KEY, FULL)
    broken = Book(KEY, FULL)
    for book in (through, broken):
        book.live.since(1000.0, 50.0)
    for number, one in enumerate(records, 1):
        through.observe(number, one)
        if number in stops:
            broken = Book.resume(json.loads(json.dumps(broken.plain())), FULL)
        while broken.number < number:
            broken.observe(broken.number + 1, records[broken.number])
            if broken.number in stops and broken.number < number:  # it is stopped again on its way back
                stops = stops - {broken.number}
                broken = Book.resume(json.loads(json.dumps(broken.plain())), FULL)
        broken.observe(number, one)
        assert broken.pairs == through.pairs
    assert json.loads(json.dumps(broken.plain())) == json.loads(json.dumps(through.plain()))
    assert broken.seen(1) == through.seen(1)
    for book in (through, broken):
        book.rest()
    assert broken.evidence.plain() == through.evidence.plain()
    assert through.pairs > 300


def test_what_is_saved_stays_small() -> None:
    book = read([record(number) for number in range(1, 3000)], Plan((Step(1),), (FORMAT,), late_s=1e6))
    assert book.waiting == 2999
    assert len(json.dumps(book.plain())) < 5000


def test_another_plan_keeps_the_evidence_if_it_asks_the_same() -> None:
    book = all_of([record(1), record(2)])
    later = Plan((Step(50),), (FORMAT, Check(COST, 2.0)), late_s=60)
    assert book.changed(KEY, later) == ""
    assert reading(book.under(later)).pairs == 2
    assert "checks changed" in book.changed(KEY, Plan(PLAN.steps, (Check("format", 0.01, ("format",), critical=True),)))
    assert "scorers" in book.changed(KEY, Plan(PLAN.steps, (Check("format", 0.05, ("tone",), critical=True),)))
    assert "student was" in book.changed(key_of(EVIDENCE.replace("s@1", "s@2")), PLAN)


# ---- Speed, failures, money ----


def live(records: Sequence[bytes], check: Check, weight: float = 50.0) -> tuple[Verdict, str]:
    plan = Plan((Step(1),), (FORMAT, check), late_s=60)
    book = Book(KEY, plan)
    book.live.since(900.0, weight)
    for number, one in enumerate(records, 1):
        book.observe(number, one)
    book.rest()
    found = book.seen(weight).checks[check.name]
    return found.verdict, found.why


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.5, Verdict.PASS), (1.0, Verdict.PASS), (2.0, Verdict.FAIL), (1.2, Verdict.UNDECIDED)]
)
def test_the_students_p95_is_held_against_the_teachers(factor: float, verdict: Verdict) -> None:
    draw = random.Random(7)
    records = [
        record(number, student=side(factor * draw.expovariate(3)), teacher=side(draw.expovariate(3)))
        for number in range(1, 1500)
    ]
    found, why = live(records, Check(TTFT, 1.2))
    assert found is verdict, why
    assert "at most 1.2 times" in why


def test_a_mirrored_student_that_times_out_is_slow() -> None:
    records = [record(number) for number in range(1, 150)]
    records += [lost(number, Reason.TIMEOUT) for number in range(150, 260)]
    assert live(records, Check(TTFT, 1.2))[0] is Verdict.FAIL


@pytest.mark.parametrize(
    ("check", "reason"), [(FALLBACK, Reason.PRIMARY_FAILED), (CANCELS, Reason.CANCELLED), (FALLBACK, None)]
)
def test_what_the_student_was_to_answer(check: str, reason: Reason | None) -> None:
    def one(number: int) -> bytes:
        told = {"decided": Role.STUDENT if number % 2 else Role.TEACHER}
        fails = reason is not None and (number % 10 == 1 or not number % 2)  # the teacher's own are not the student's
        return lost(number, reason, **told) if fails and reason else record(number, **told)

    found, why = live([one(number) for number in range(1, 1000)], Check(check, 0.05))
    assert found is (Verdict.FAIL if reason else Verdict.PASS), why


def test_cost_is_what_was_paid() -> None:
    records = [record(number, student=side(cost=300), teacher=side(cost=1000)) for number in range(1, 200)]
    assert live(records, Check(COST, 0.5))[0] is Verdict.PASS
    assert live(records, Check(COST, 0.2)) == (Verdict.FAIL, "cost: 0.3 times the teacher's, at most 0.2 times")
    assert live(records[:50], Check(COST, 0.5))[0] is Verdict.UNDECIDED


def test_the_realised_split_is_counted_in_sessions() -> None:
    def sessions(share: float, seed: int) -> list[bytes]:
        draw = random.Random(seed)
        points = [draw.random() for _ in range(400)]
        heavy = points[0]  # one session with half of all requests: no reason for alarm
        drawn = [heavy if draw.random() < 0.5 else draw.choice(points) for _ in range(2000)]
        return [
            record(number, point=point, decided=Role.STUDENT if point < share else Role.TEACHER)
            for number, point in enumerate(drawn, 1)
        ]

    for seed in range(5):
        found, why = live(sessions(0.25, seed), Check(RATIO), weight=25)
        assert found is Verdict.PASS, why
    found, why = live(sessions(0.1, 1), Check(RATIO), weight=25)
    assert (found, "at a weight of 25 %" in why) == (Verdict.FAIL, True)
    assert live(sessions(0.25, 1)[:40], Check(RATIO), weight=25)[0] is Verdict.UNDECIDED


def test_what_the_split_did_not_decide_says_nothing_of_the_split() -> None:
    records = [record(number, decided=Role.TEACHER, by_split=False) for number in range(1, 300)]
    assert live(records, Check(RATIO), weight=50) == (Verdict.UNDECIDED, "sample_ratio: 0 of 100 sessions")


def test_requests_from_before_the_weight_was_live_say_nothing_of_it() -> None:
    records = [record(number, decided=Role.TEACHER) for number in range(1, 150)]
    plan = Plan((Step(1),), (FORMAT, Check(RATIO)), late_s=60)
    book = Book(KEY, plan)
    book.live.since(1100.0, 50.0)
    for number, one in enumerate(records, 1):
        book.observe(number, one)
    book.rest()
    assert book.seen(50).checks[RATIO].pairs == 40


# ---- Up and down the ladder ----


class Route:
    """A route that serves and mirrors a request a second, a controller that turns every ten, and a door that works."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.key = plan, KEY
        self.state = apply(State(), Action(Act.START, "ana", "go"), plan, 1000.0, 0.0)
        self.book = Book(KEY, plan)
        self.weight, self.number, self.announced = 0.0, 0, 0
        self.weights: list[float] = []
        self.filed: list[bytes] = []
        self.draw = random.Random(3)

    def run(self, seconds: int, fails: float, restart: bool = False) -> None:
        for _ in range(seconds):
            self.number += 1
            self.filed.append(record(self.number, self.draw.random() >= fails))
            self.book.observe(self.number, self.filed[-1])
            if self.number % 10 == 0:
                self.turn(restart)

    def turn(self, restart: bool) -> None:
        if restart:
            saved = json.loads(json.dumps([self.state.plain(), self.book.plain()]))
            self.state, self.book = State.resume(saved[0]), Book.resume(saved[1], self.plan)
            while self.book.number < self.number:
                self.book.observe(self.book.number + 1, self.filed[self.book.number])
        seen = (self.weight, None, self.announced)
        now = 1000.0 + self.number
        self.state, self.book, commands = turn(self.state, self.book, self.plan, self.key, seen, now, 1)
        for command in commands:
            self.announced = command.number
            if isinstance(command, SetWeight):
                self.weight = command.percent
                self.weights.append(command.percent)


LADDER = Plan((Step(1, 100, 50), Step(5, 100, 50), Step(25, 100, 50), Step(100, 100)), (FORMAT,), late_s=30)


@pytest.mark.parametrize("restart", [False, True])
def test_a_good_student_climbs_and_one_that_breaks_json_falls(restart: bool) -> None:
    route = Route(LADDER)
    while route.weight < 25:
        assert route.number < 3000
        route.run(10, 0.01, restart)
    assert route.weights == [1, 5, 25]
    broke_at = route.number
    while route.weight == 25:
        route.run(10, 0.5, restart)
    assert route.weights == [1, 5, 25, 0]
    assert route.number - broke_at <= 30 + 10 + 60  # the order, a turn, and some pairs until the alarm
    assert route.state.phase is Phase.ROLLED_BACK
    assert "format" in route.state.why
    route.run(4000, 0.0, restart)
    assert route.weights == [1, 5, 25, 0]


def test_restarts_change_nothing() -> None:
    one, other = Route(LADDER), Route(LADDER)
    for fails in (0.01, 0.01, 0.2):
        one.run(400, fails)
        other.run(400, fails, restart=True)
        assert (one.state, one.weights) == (other.state, other.weights)
        assert one.book.plain() == other.book.plain()


def test_after_acknowledgement_it_is_another_attempt_with_less_to_spend() -> None:
    route = Route(LADDER)
    route.run(600, 0.5)
    assert route.state.phase is Phase.ROLLED_BACK
    route.state = apply(route.state, Action(Act.ACK, "ana", "fixed"), LADDER, 2000.0, 0.0)
    route.run(4400, 0.0)
    assert route.book.evidence.attempt == 2
    assert route.book.round == route.state.round
    assert route.weights[-1] == 100


def test_another_student_begins_anew_at_zero() -> None:
    route = Route(LADDER)
    while route.weight < 25:
        route.run(10, 0.0)
    route.key = key_of(EVIDENCE.replace("s@1", "s@2"))
    route.run(10, 0.0)
    assert (route.weight, route.state.phase, route.book.pairs) == (0, Phase.SHADOW, 0)
    assert "student was 'small/s@1'" in route.state.why
    route.run(600, 0.0)  # pairs of the old one are no evidence of the new one
    assert (route.weight, route.book.pairs) == (0, 0)
