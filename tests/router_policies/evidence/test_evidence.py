"""The promises at the top of `evidence.py`, one by one."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.evidence.evidence import Evidence
from router_policies.evidence.readings import CheckReading, Verdict
from router_policies.evidence.records import Lost, Pair, Record, Selection
from router_policies.evidence.rules import LOSS, Key, Kind, Over, Rule, Rules, alpha_of

KEY = Key("student@1", "teacher@1", "prompts@1", "policies@1", ("format@1",))
RULES = Rules((Rule("format", 0.05),))
STRATA = Rules((Rule("format", 0.05),), ("default", "high_risk"))
SECOND = {"format": 0.0}  # the teacher's second answer agrees with its first


def record(
    position: int,
    outcome: Pair | Lost | float = 0.0,
    stratum: str = "default",
    probability: float = 1.0,
    least: float | None = None,
    twinned: bool = False,
    key: Key = KEY,
) -> Record:
    selection = Selection(
        f"pair-{position}", 0.0, key.id, stratum, probability, probability if least is None else least, twinned
    )
    return Record(position, selection, Pair({"format": outcome}) if isinstance(outcome, float) else outcome)


def fed(evidence: Evidence, outcomes: Sequence[Pair | Lost | float], **options: Any) -> Evidence:
    for outcome in outcomes:
        evidence.observe(record(evidence.position + 1, outcome, **options))
    return evidence


def read(evidence: Evidence, check: str = "format") -> CheckReading:
    return evidence.read()[check]


# ---- certified, and at which pair ----


def of_none(pairs: int) -> float:
    """The evidence of pairs that all agree, in closed form: the mean of ((1-p)/0.95)^n over p from 0 to 0.05."""
    return float((1 - 0.95 ** (pairs + 1)) / (pairs + 1) / 0.05 / 0.95**pairs)


@pytest.mark.parametrize("attempt", [1, 2, 20])
def test_a_perfect_student_is_certified_after_so_many_pairs(attempt: int) -> None:
    pairs = next(n for n in range(1000) if of_none(n) >= 1 / alpha_of(attempt, 0.05))
    evidence = Evidence(KEY, RULES, attempt)
    assert read(evidence).weakest.needed == pairs
    fed(evidence, [0.0] * (pairs - 1))
    assert (read(evidence).verdict, read(evidence).weakest.needed) == (Verdict.UNDECIDED, 1)
    fed(evidence, [0.0])
    assert (read(evidence).verdict, read(evidence).weakest.needed) == (Verdict.PASS, 0)


def test_a_pass_is_of_now_and_can_be_lost() -> None:
    evidence = fed(Evidence(KEY, RULES), [0.0] * 100)
    assert read(evidence).verdict is Verdict.PASS
    assert read(fed(evidence, [1.0])).verdict is Verdict.UNDECIDED


def test_a_student_that_is_worse_fails() -> None:
    patient = replace(RULES, run_length=1e12)  # so that no alarm comes first
    evidence = fed(Evidence(KEY, patient), [1.0, 0.0, 0.0, 0.0] * 25)
    cell = read(evidence).weakest
    assert (cell.verdict, cell.alarmed_at, cell.needed) == (Verdict.FAIL, None, None)
    assert cell.low > 0.05
    assert cell.why == "above the tolerance"


def test_more_checks_share_the_error_of_failing_a_good_student() -> None:
    alone = replace(RULES, run_length=1e12)
    many = replace(alone, checks=(*RULES.checks, *(Rule(f"other {i}", 0.05) for i in range(18))))
    one, twenty = Evidence(KEY, alone), Evidence(KEY, many)
    while read(one).verdict is not Verdict.FAIL:
        for evidence in (one, twenty):
            fed(evidence, [float(evidence.position % 4 == 3)])
    assert read(twenty).verdict is Verdict.UNDECIDED
    fed(twenty, [1.0] * 3)
    assert read(twenty).verdict is Verdict.FAIL


def test_a_student_at_the_tolerance_is_undecided_for_long() -> None:
    evidence = fed(Evidence(KEY, RULES), [float(i % 20 == 0) for i in range(1, 2001)])
    assert read(evidence).verdict is Verdict.UNDECIDED
    assert read(evidence).weakest.estimate == 0.05


def test_no_pairs_is_undecided() -> None:
    for over, kind in ((over, kind) for over in Over for kind in Kind):
        rules = Rules((Rule("format", 0.05, kind),), over=over)
        cell = read(Evidence(KEY, rules)).weakest
        assert (cell.verdict, cell.pairs, cell.estimate) == (Verdict.UNDECIDED, 0, None)
        assert cell.needed is not None
        assert cell.needed > 50
        assert (cell.low, cell.high) == ((-1 if kind is Kind.EXCESS else 0), 1)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("over", list(Over))
def test_every_kind_certifies_the_good_and_fails_the_bad(kind: Kind, over: Over) -> None:
    rules = Rules((Rule("format", 0.05, kind),), over=over, run_length=1e12)
    value = 0.5 if kind is Kind.SCORE else 1.0
    good = [Pair({"format": value if i % 100 == 0 else 0.0}, SECOND) for i in range(1, 1001)]
    bad = [Pair({"format": value if i % 2 == 0 else 0.0}, SECOND) for i in range(1, 1001)]
    for pairs, verdict in ((good, Verdict.PASS), (bad, Verdict.FAIL)):
        evidence = fed(Evidence(KEY, rules), pairs, twinned=True)
        cell = read(evidence).weakest
        assert cell.verdict is verdict
        assert cell.estimate is not None
        assert cell.low < cell.estimate < cell.high
        assert (cell.high < 0.05) if verdict is Verdict.PASS else (cell.low > 0.05)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("over", list(Over))
def test_pairs_still_needed_are_met_if_it_goes_on_like_this(kind: Kind, over: Over) -> None:
    rules = Rules((Rule("format", 0.05, kind),), over=over)
    turn = [Pair({"format": float(i == 25)}, SECOND) for i in range(50)]
    evidence = fed(Evidence(KEY, rules), turn * 4, twinned=True)
    needed = read(evidence).weakest.needed
    assert needed
    fed(evidence, turn * (needed // 50), twinned=True)
    short = read(evidence).weakest
    assert short.verdict is Verdict.UNDECIDED or needed < 60
    fed(evidence, turn * (6 if kind is Kind.SCORE else 2), twinned=True)  # the bets on scores shrink with time
    assert read(evidence).verdict is Verdict.PASS


# ---- strata and weights ----


def test_every_stratum_must_pass() -> None:
    evidence = fed(Evidence(KEY, STRATA), [0.0] * 200)
    assert read(evidence).verdict is Verdict.UNDECIDED
    assert read(evidence).weakest.stratum == "high_risk"
    assert "in stratum high_risk: no pairs yet" in read(evidence).why
    fed(evidence, [0.0] * 200, stratum="high_risk")
    assert read(evidence).verdict is Verdict.PASS
    fed(evidence, [1.0] * 20, stratum="high_risk")
    assert read(evidence).verdict is Verdict.FAIL
    assert [cell.verdict for cell in read(evidence).cells] == [Verdict.PASS, Verdict.FAIL]


def test_over_all_traffic_the_often_selected_weigh_less() -> None:
    """A tenth of the traffic, all selected, differs in 40 %; of the rest a tenth is selected and differs in none: 4 %,
    where the pairs as they come say 21 %."""
    evidence = Evidence(KEY, replace(STRATA, over=Over.ALL_TRAFFIC))
    for i in range(1000):
        fed(evidence, [float(i % 5 < 2)], stratum="high_risk", probability=1.0, least=0.1)
        fed(evidence, [0.0] * (9 if i % 10 == 0 else 0), stratum="default", probability=0.1)
    cell = read(evidence).weakest
    assert cell.estimate == pytest.approx(0.04)
    assert cell.pairs == 1900


def test_alarms_and_noise_are_weighed_too() -> None:
    """Of the traffic 4 % differs always, the student's answer and the teacher's second one, and is always selected; of
    the rest a tenth is selected and nothing differs. The pairs as they come differ in 29 %."""
    evidence = Evidence(KEY, replace(STRATA, over=Over.ALL_TRAFFIC))
    differ, same = Pair({"format": 1.0}, {"format": 1.0}), Pair({"format": 0.0}, {"format": 0.0})
    for _ in range(500):
        fed(evidence, [differ] * 4, stratum="high_risk", probability=1.0, least=0.1, twinned=True)
        fed(evidence, [same] * 10, probability=0.1, twinned=True)
    assert evidence.alarms == []
    cell = read(evidence).weakest
    assert cell.noise is not None
    assert cell.estimate == cell.noise[0] == pytest.approx(0.4 / 10.4)


def test_weights_do_not_depend_on_the_scale_of_the_probabilities() -> None:
    rules = replace(RULES, over=Over.ALL_TRAFFIC)
    one = fed(Evidence(KEY, rules), [0.0, 1.0, 0.0], probability=1.0)
    other = fed(Evidence(KEY, rules), [0.0, 1.0, 0.0], probability=0.05)
    assert one.read() == other.read()


# ---- what is missing ----


def test_a_lost_pair_differs_in_every_check_and_is_counted() -> None:
    rules = Rules((Rule("format", 0.05), Rule("tone", 0.1, Kind.SCORE), Rule("facts", 0.1, Kind.EXCESS)))
    evidence = fed(Evidence(KEY, rules), [Lost("timeout"), Lost("queue_full"), Lost("timeout")], twinned=True)
    assert {name: one.weakest.estimate for name, one in evidence.read().items()} == {
        "format": 1,
        "tone": 1,
        "facts": 1,
        LOSS: 1,
    }
    assert evidence.lost == {"timeout": 2, "queue_full": 1}


def test_losses_alone_fail_a_student_that_never_differs() -> None:
    rules = replace(RULES, checks=(Rule("format", 0.5),), run_length=1e12)
    evidence = fed(Evidence(KEY, rules), ([0.0] * 9 + [Lost("timeout")]) * 40)
    assert read(evidence).verdict is Verdict.PASS
    assert read(evidence, LOSS).verdict is Verdict.FAIL


def test_a_check_with_nothing_to_say_counts_nothing() -> None:
    evidence = fed(Evidence(KEY, RULES), [Pair({}), Pair({"other": 1.0}), 0.0])
    assert read(evidence).weakest.pairs == 1
    assert read(evidence, LOSS).weakest.pairs == 3


# ---- the teacher's own noise ----

EXCESS = Rules((Rule("format", 0.05, Kind.EXCESS),))


@pytest.mark.parametrize(
    ("outcome", "twinned", "excess"),
    [
        (Pair({"format": 1.0}, {"format": 1.0}), True, 0),
        (Pair({"format": 1.0}, {"format": 0.0}), True, 1),
        (Pair({"format": 0.0}, {"format": 1.0}), True, -1),
        (Pair({}, {"format": 1.0}), True, -1),
        (Pair({"format": 1.0}, {}), True, 1),
        (Pair({}, {}), True, None),
        (Pair({"format": 1.0}), True, 1),  # the second answer is lost: no excuse
        (Pair({"format": 1.0}), False, None),
        (Lost("timeout", {"format": 1.0}), True, 0),
        (Lost("timeout"), True, 1),
        (Lost("timeout"), False, None),
    ],
)
def test_excess(outcome: Pair | Lost, twinned: bool, excess: float | None) -> None:
    assert read(fed(Evidence(KEY, EXCESS), [outcome], twinned=twinned)).weakest.estimate == excess


def noisy(pairs: int, student: float, teacher: float) -> list[Pair]:
    rng = random.Random("noisy")
    return [
        Pair({"format": float(rng.random() < student)}, {"format": float(rng.random() < teacher)}) for _ in range(pairs)
    ]


@pytest.mark.parametrize("over", list(Over))
def test_a_tolerance_below_the_teachers_noise_is_refused(over: Over) -> None:
    """Even for a student that keeps it; and its excess is certified."""
    plain = fed(Evidence(KEY, replace(RULES, over=over)), noisy(1500, 0.01, 0.15), twinned=True)
    cell = read(plain).weakest
    assert cell.log_e > cell.log_enough
    assert cell.verdict is Verdict.UNDECIDED
    assert cell.noise is not None
    assert cell.noise[1] > 0.05
    assert "tolerance 0.05 is below the teacher's own noise: it differs from itself by 0.1" in read(plain).why
    excess = fed(Evidence(KEY, replace(EXCESS, over=over)), noisy(4000, 0.15, 0.15), twinned=True)
    assert read(excess).verdict is Verdict.PASS
    assert read(excess).weakest.refused == ""


def test_a_little_noise_is_not_refused() -> None:
    evidence = fed(Evidence(KEY, RULES), noisy(1500, 0.01, 0.02), twinned=True)
    assert read(evidence).verdict is Verdict.PASS
    assert read(evidence).weakest.noise is not None


# ---- alarms ----


def test_an_alarm_stays_until_evidence_starts_anew() -> None:
    evidence = fed(Evidence(KEY, RULES), [0.0] * 3000)
    assert evidence.alarms == []
    fed(evidence, [1.0] * 10)
    assert len(evidence.alarms) == 1
    check, stratum, position = evidence.alarms[0]
    assert (check, stratum) == ("format", "default")
    assert 3000 < position <= 3010
    fed(evidence, [0.0] * 3000)
    assert evidence.alarms == [("format", "default", position)]
    assert read(evidence).verdict is Verdict.FAIL
    assert read(evidence).alarmed_at == position
    assert f"as of pair {position:,}" in read(evidence).why
    assert evidence.anew(KEY, RULES).alarms == []


def test_alarms_share_their_run_length() -> None:
    """Of more detectors each needs more pairs: here the losses and nine other checks, in two strata."""

    def alarmed(rules: Rules) -> int:
        evidence = Evidence(KEY, rules)
        while not evidence.alarms:
            fed(evidence, [float(evidence.position % 3 == 2)])
        return evidence.position

    more = tuple(Rule(f"other {i}", 0.05) for i in range(8))
    assert alarmed(RULES) < alarmed(replace(STRATA, checks=RULES.checks + more))
    twenty = replace(RULES, run_length=RULES.run_length * 10)  # twice as many detectors already share it
    assert alarmed(replace(STRATA, checks=RULES.checks + more)) == alarmed(twenty)


# ---- keys and attempts ----


def test_pairs_of_another_key_are_passed_over() -> None:
    evidence = fed(Evidence(KEY, RULES), [1.0, 1.0], key=replace(KEY, student="student@0"))
    assert (evidence.position, evidence.others) == (2, 2)
    assert read(evidence).weakest.pairs == 0


def test_a_change_is_told_and_is_another_attempt() -> None:
    evidence = fed(Evidence(KEY, RULES), [0.0] * 500)
    assert evidence.changed(KEY, RULES) == ""
    newer = replace(KEY, student="student@2")
    assert evidence.changed(newer, RULES) == "student was 'student@1', is 'student@2'"
    assert evidence.changed(KEY, replace(RULES, checks=(Rule("format", 0.06),))) == "checks changed"
    again = evidence.anew(newer, RULES)
    assert (again.attempt, again.since, again.position) == (2, 500, 500)
    assert read(again).weakest.log_enough == -log(alpha_of(2, 0.05))
    assert read(again).weakest.pairs == 0
    assert again.observe(record(501, key=newer))


# ---- the log ----


def test_records_are_taken_in_once_and_in_their_order() -> None:
    evidence = fed(Evidence(KEY, RULES), [0.0, 0.0])
    assert not evidence.observe(record(2, 1.0))
    with pytest.raises(ValueError, match="expected record 3 of the log, got 4: read from there"):
        evidence.observe(record(4))
    assert evidence.observe(record(3))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (record(1, stratum="vip"), "expected a stratum of .*'default'.*, got 'vip'"),
        (record(1, probability=0.01), "least 0.01, probability 0.01"),
        (record(1, probability=0.1, least=0.2), "least 0.2, probability 0.1"),
        (record(1, probability=1.5, least=0.1), "probability 1.5"),
        (record(1, 0.5), "check format: expected 0 or 1, got 0.5"),
        (record(1, float("nan")), "got nan"),
        (record(1, Pair({"format": 0.0}, {"format": 2.0}), twinned=True), "got 2.0"),
        (record(1, Lost("timeout", {"format": -1.0}), twinned=True), "got -1.0"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(wrong: Record, says: str) -> None:
    evidence = Evidence(KEY, RULES)
    before = evidence.plain()
    with pytest.raises(ValueError, match=f"record 1: .*{says}"):
        evidence.observe(wrong)
    assert evidence.plain() == before


MANY = Rules(
    (Rule("format", 0.05), Rule("policy", 0.01), Rule("tone", 0.2, Kind.SCORE), Rule("facts", 0.1, Kind.EXCESS)),
    ("default", "high_risk"),
)
values = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from((0.0, 1.0)),
        "policy": st.sampled_from((0.0, 1.0)),
        "tone": st.floats(0, 1),
        "facts": st.floats(0, 1),
    },
)
outcomes = st.one_of(
    st.builds(Pair, values, st.none() | values),
    st.builds(Lost, st.sampled_from(("timeout", "queue_full", "late")), st.none() | values),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    rows = draw(st.lists(st.tuples(outcomes, st.floats(0.05, 1), st.booleans(), st.integers(0, 9)), max_size=40))
    return [
        record(
            position,
            outcome,
            stratum="high_risk" if high else "default",
            probability=1.0 if high else probability,
            least=probability,
            twinned=outcome.twin is not None,
            key=replace(KEY, student="student@0") if other == 0 else KEY,
        )
        for position, (outcome, probability, high, other) in enumerate(rows, 1)
    ]


@settings(max_examples=40)
@given(logs(), st.lists(st.integers(0, 40), max_size=3), st.sampled_from(Over))
def test_resumed_anywhere_it_is_the_same_to_the_last_bit(log: list[Record], stops: list[int], over: Over) -> None:
    """Through JSON of two makes; and folding the log again gives it too."""
    rules = replace(MANY, over=over)
    straight, resumed = Evidence(KEY, rules), Evidence(KEY, rules)
    for one in log:
        straight.observe(one)
        if one.position in stops:
            resumed = Evidence.resume(json.loads(json.dumps(resumed.plain(), allow_nan=False)))
            resumed = Evidence.resume(msgspec.json.decode(msgspec.json.encode(resumed.plain())))
        resumed.observe(one)
    assert resumed.plain() == straight.plain()
    assert resumed.read() == straight.read()
    again = Evidence(straight.key, straight.rules, straight.attempt, straight.since)
    for one in log:
        again.observe(one)
    assert again.plain() == straight.plain()


def test_the_state_does_not_grow() -> None:
    def size(pairs: int) -> int:
        return len(json.dumps(fed(Evidence(KEY, RULES), [float(i % 30 == 0) for i in range(pairs)]).plain()))

    assert size(5000) - size(500) < 60  # digits


def test_state_of_another_format_is_refused() -> None:
    plain: Mapping[str, Any] = Evidence(KEY, RULES).plain() | {"format": 99}
    with pytest.raises(ValueError, match="expected state of format 1, got 99: fold the log again"):
        Evidence.resume(plain)


# ---- words ----


def test_words() -> None:
    evidence = Evidence(KEY, RULES)
    assert read(evidence).why == "format (tolerance 0.05) in stratum default: no pairs yet; 100 if none differs"
    fed(evidence, [0.0] * 50)
    assert read(evidence).why.endswith(
        f": evidence {of_none(50):.3g} of 32.9: 50 more pairs if they are like the 50 so far"
    )
    fed(evidence, [1.0] * 4)
    assert read(evidence).why.endswith("will not pass if it goes on like this")
    fed(evidence, [0.0] * 400)
    assert read(evidence).why.endswith("of 32.9: below the tolerance")
    scored = Evidence(KEY, replace(RULES, checks=(Rule("format", 0.05, Kind.SCORE),), over=Over.ALL_TRAFFIC))
    assert read(scored).why.startswith("format (score tolerance 0.05): no pairs yet")
