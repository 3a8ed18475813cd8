"""Playbooks for the rollout controller: what is seen when, and what it asks for; and what holds whatever happens."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.evidence.readings import Verdict
from router_policies.rollout.actions import Act, Action, Refused, apply
from router_policies.rollout.plan import FALLBACK, Check, Gate, Plan, Step
from router_policies.rollout.state import Announce, Command, Pause, Phase, SetSample, SetWeight, State
from router_policies.rollout.step import Found, Seen, changed, duration, holds, step

PASS, FAIL, UNDECIDED = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED
HOUR = 3600.0
STEPS = (Step(1, HOUR, 200), Step(5, 2 * HOUR), Step(25, 6 * HOUR), Step(100, HOUR, gate=Gate.MANUAL))
CHECKS = (
    Check("format", 0.02, of=("format",), critical=True),
    Check("tone", 0.05, of=("tone",)),
    Check("try", 0.05, of=("leak",), dry_run=True, critical=True),
    Check(FALLBACK, 0.02, critical=True),
    Check("rare", 0.05, of=("tool_calls",), must_have_data=False, critical=True),
)
PLAN = Plan(STEPS, CHECKS)
GOOD = {"format": PASS, "tone": PASS, "shadow_loss": PASS, FALLBACK: PASS}


class Play:
    """`play(after, pairs, format=FAIL, ...)`: a step so many seconds later, with so many more pairs. The door carries
    out what is asked for, unless `door` is False."""

    def __init__(self, plan: Plan = PLAN, weight: float = 0.0) -> None:
        self.plan, self.weight = plan, weight
        self.sample: float | None = None
        self.state, self.now, self.pairs, self.announced = State(), 1_000_000.0, 0, 0
        self.door = True
        self.commands: tuple[Command, ...] = ()

    def __call__(self, after: float = 10.0, pairs: int = 10, **verdicts: Verdict | None) -> Phase:
        self.now += after
        self.pairs += pairs
        self.state, self.commands = step(self.state, self.seen(**verdicts), self.plan, self.now)
        for command in self.commands if self.door else ():
            match command:
                case SetWeight():
                    self.weight = command.percent
                case SetSample():
                    self.sample = command.sample
            self.announced = command.number
        return self.state.phase

    def seen(self, **verdicts: Verdict | None) -> Seen:
        told = {name: verdict for name, verdict in {**GOOD, **verdicts}.items() if verdict is not None}
        checks = {name: Found(verdict, f"{name} is {verdict}", self.pairs) for name, verdict in told.items()}
        return Seen(self.state.round, self.pairs, checks, self.weight, self.sample, self.announced)

    def act(self, act: Act, **more: Any) -> State:
        action = Action(act, "ana", "because", **more)
        self.state = apply(self.state, action, self.plan, self.now, self.weight)
        return self.state

    def at(self, weight: float) -> "Play":
        """Has climbed to this step, and it is live."""
        self.act(Act.START)
        for _ in range(50):
            if self.state.live and self.state.weight == weight:
                return self
            if self.state.at_gate:
                self.act(Act.PROMOTE)
            self(6 * HOUR, 200)
        raise AssertionError(self.state)

    @property
    def set_to(self) -> list[float]:
        return [command.percent for command in self.commands if isinstance(command, SetWeight)]


def test_a_good_student_climbs_by_itself_to_the_manual_gate() -> None:
    play = Play()
    play.act(Act.START)
    assert play(format=None) is Phase.SHADOW
    assert play(tone=UNDECIDED) is Phase.SHADOW
    assert play() is Phase.READY
    assert play.weight == 0
    assert (play(), play.set_to) == (Phase.RAMPING, [1])
    assert (play(), play.set_to, play.state.live) == (Phase.RAMPING, [], True)
    play(HOUR - 1, 200)
    assert (play.set_to, play.state.weight) == ([], 1)
    play(1, 0)
    assert play.set_to == [5]
    play(1)
    play(2 * HOUR)
    assert play.set_to == [25]
    play(1)
    play(6 * HOUR)
    assert (play.set_to, play.state.at_gate, play.weight) == ([], True, 25)
    play.act(Act.PROMOTE)
    play()
    assert play.set_to == [100]
    assert "25 % -> 100 %" in play.state.why
    assert "approved by ana: because" in play.state.why
    play(1)
    assert play(HOUR - 1) is Phase.RAMPING
    assert play(1) is Phase.PROMOTED
    assert play.weight == 100


def test_pairs_are_waited_for_too() -> None:
    play = Play().at(1)
    play(5 * HOUR, 199)
    assert play.set_to == []
    assert holds(play.state, play.seen(), PLAN, play.now) == ["1 more pairs on this step, of 200"]
    play(0, 1)
    assert play.set_to == [5]


def test_bake_time_counts_from_when_the_weight_is_live() -> None:
    play = Play().at(1)
    play.door = False
    play(6 * HOUR, 200)
    for _ in range(3):
        play(6 * HOUR, 200)
        assert play.set_to == [5]
    play.door = True
    play(6 * HOUR)
    play(6 * HOUR)
    assert (play.set_to, play.state.live) == ([], True)
    play(2 * HOUR)
    assert play.set_to == [25]


@pytest.mark.parametrize("verdict", [UNDECIDED, None])
def test_no_data_holds(verdict: Verdict | None) -> None:
    play = Play().at(5)
    for _ in range(5):
        assert play(6 * HOUR, 1000, format=verdict) is Phase.RAMPING
    assert play.weight == 5


def test_a_pass_from_no_pairs_is_no_pass() -> None:
    play = Play()
    play.act(Act.START)
    play()
    seen = replace(play.seen(), checks={name: Found(PASS) for name in GOOD})
    assert step(play.state, seen, PLAN, play.now)[0].phase is Phase.SHADOW


def test_evidence_of_another_round_is_not_read() -> None:
    play = Play()
    play.act(Act.START)
    play()
    for verdict in (PASS, FAIL):
        seen = replace(play.seen(format=verdict), round=play.state.round - 1)
        state, _ = step(replace(play.state, phase=Phase.SHADOW), seen, PLAN, play.now)
        assert state.phase is Phase.SHADOW


def test_a_problem_holds() -> None:
    play = Play().at(1)
    seen = replace(play.seen(), problem="3 records cannot be read", pairs=play.pairs + 1000)
    state, commands = step(play.state, seen, PLAN, play.now + 6 * HOUR)
    assert (state.weight, commands) == (1, ())
    assert holds(state, seen, PLAN, play.now + 6 * HOUR) == ["3 records cannot be read"]


def test_what_only_served_traffic_shows_is_not_asked_of_a_shadow_and_is_from_then_on() -> None:
    play = Play()
    play.act(Act.START)
    play(**{FALLBACK: UNDECIDED})
    play(**{FALLBACK: UNDECIDED})
    play(**{FALLBACK: UNDECIDED})
    assert play.weight == 1
    play(6 * HOUR, 1000, **{FALLBACK: UNDECIDED})
    assert play.weight == 1
    play(1)
    assert play.weight == 5


def test_a_check_that_need_not_have_data_holds_nothing_but_fails() -> None:
    play = Play().at(5)
    play(6 * HOUR, rare=UNDECIDED)
    assert play.weight == 25
    assert play(rare=FAIL) is Phase.ROLLED_BACK


def test_a_dry_run_does_nothing() -> None:
    play = Play().at(5)
    play(6 * HOUR, **{"try": FAIL})
    assert (play.weight, play.state.phase) == (25, Phase.RAMPING)


@pytest.mark.parametrize("weight", [1, 5, 25, 100])
def test_a_critical_failure_rolls_back_at_once(weight: float) -> None:
    play = Play().at(weight)
    assert play(1, format=FAIL) is Phase.ROLLED_BACK
    assert play.set_to == [0]
    assert play.commands[0] == SetWeight(0.0, "format is fail", play.state.number)


def test_a_student_that_fails_in_shadow_is_refused() -> None:
    play = Play()
    play.act(Act.START)
    assert play(format=FAIL) is Phase.ROLLED_BACK
    assert play.commands == (Announce(Phase.ROLLED_BACK, "format is fail", play.state.number),)


def test_a_rollback_stays_until_the_cooldown_is_over_and_somebody_has_looked() -> None:
    play = Play().at(25)
    play(1, format=FAIL)
    failed = play.state.round
    for _ in range(10):
        assert play(HOUR) is Phase.ROLLED_BACK
    play.act(Act.ACK)
    assert play(1, format=FAIL) is Phase.SHADOW
    assert play.state.round == failed + 1
    assert play.weight == 0

    early = Play().at(25)
    early(1, format=FAIL)
    early.act(Act.ACK)
    assert early(HOUR - 1) is Phase.ROLLED_BACK
    assert early(1) is Phase.SHADOW


def test_each_rollback_is_acknowledged_by_itself() -> None:
    play = Play().at(25)
    play(1, format=FAIL)
    play.act(Act.ACK)
    assert play(HOUR) is Phase.SHADOW
    play(1, format=FAIL)
    assert play(9 * HOUR) is Phase.ROLLED_BACK
    assert play(9 * HOUR) is Phase.ROLLED_BACK


def test_without_require_ack_the_cooldown_is_enough() -> None:
    play = Play(replace(PLAN, require_ack=False)).at(25)
    play(1, format=FAIL)
    assert play(HOUR - 1) is Phase.ROLLED_BACK
    assert play(1) is Phase.SHADOW


def test_a_rollback_leaves_its_weight_and_never_raises_one() -> None:
    plan = replace(PLAN, rollback_to=0.5)
    play = Play(plan).at(25)
    play(1, format=FAIL)
    assert play.weight == 0.5
    shadow = Play(plan)
    shadow.act(Act.START)
    shadow(1, format=FAIL)
    assert (shadow.weight, shadow.set_to) == (0, [])


def test_a_failure_that_is_not_critical_pauses_where_it_is() -> None:
    play = Play().at(25)
    assert play(1, tone=FAIL) is Phase.PAUSED
    assert (play.weight, play.state.pause, play.state.why) == (25, Pause.INCONCLUSIVE, "tone is fail")
    assert isinstance(play.commands[0], Announce)
    for _ in range(3):
        assert play(HOUR * 9) is Phase.PAUSED
    play.act(Act.RESUME)
    play(1)
    assert play.state.phase is Phase.RAMPING
    play(6 * HOUR - 1)
    assert not play.state.at_gate
    play(1)
    assert play.state.at_gate
    assert play(1, tone=FAIL) is Phase.PAUSED
    assert play(1, tone=FAIL, format=FAIL) is Phase.ROLLED_BACK


def test_undecided_for_too_long_is_for_people() -> None:
    play = Play(replace(PLAN, patience_s=10 * HOUR)).at(5)
    play(9 * HOUR, tone=UNDECIDED)
    assert play.state.phase is Phase.RAMPING
    play(2 * HOUR, tone=UNDECIDED)
    assert (play.state.phase, play.weight) == (Phase.PAUSED, 5)
    assert "undecided for 10 h: tone is undecided" in play.state.why


def test_waiting_at_a_gate_is_not_undecided() -> None:
    play = Play(replace(PLAN, patience_s=10 * HOUR)).at(25)
    for _ in range(10):
        play(9 * HOUR)
    assert (play.state.phase, play.state.at_gate) == (Phase.RAMPING, True)


def test_what_is_no_longer_ready_goes_back_to_shadow() -> None:
    plan = replace(PLAN, steps=(Step(1, gate=Gate.MANUAL), *STEPS[1:]))
    play = Play(plan)
    play.act(Act.START)
    play()
    play()
    assert (play(), play.state.at_gate) == (Phase.READY, True)
    assert play(tone=UNDECIDED) is Phase.SHADOW
    with pytest.raises(Refused, match="not waiting at a gate"):
        play.act(Act.PROMOTE)
    play()
    play()
    play.act(Act.PROMOTE)
    play(tone=UNDECIDED)
    assert (play.weight, play.state.approved) == (0, "")


def test_people_pause_and_resume() -> None:
    play = Play().at(5)
    play.act(Act.PAUSE)
    for _ in range(3):
        assert play(9 * HOUR) is Phase.PAUSED
    assert play.state.pause is Pause.SUSPENDED
    play.act(Act.RESUME)
    play(1)
    assert play(2 * HOUR - 1) is Phase.RAMPING
    assert play.weight == 5
    play(1)
    assert play.weight == 25


def test_paused_it_still_rolls_back() -> None:
    play = Play().at(25)
    play.act(Act.PAUSE)
    assert play(1, format=FAIL) is Phase.ROLLED_BACK
    assert play.weight == 0


def test_a_weight_that_somebody_else_sets_is_left_alone() -> None:
    play = Play().at(5)
    play.weight = 50
    for _ in range(3):
        play(9 * HOUR)
        assert (play.commands, play.weight) == ((), 50)
    assert "set by somebody else" in holds(play.state, play.seen(), PLAN, play.now)[0]
    play.weight = 5
    play(1)
    play(2 * HOUR - 2)
    assert play.weight == 5
    play(2)
    assert play.weight == 25


def test_resume_puts_the_ladders_weight_back() -> None:
    play = Play().at(5)
    play.weight = 50
    play(1)
    play.act(Act.RESUME)
    play(1)
    assert (play.weight, play.set_to) == (5, [5])


def test_a_critical_failure_rolls_back_whoever_set_the_weight() -> None:
    play = Play().at(5)
    play.weight = 50
    play(1)
    play(1, format=FAIL)
    assert play.weight == 0


def test_forced_for_a_time() -> None:
    play = Play().at(5)
    play.act(Act.FORCE, weight=40.0, ttl_s=2 * HOUR)
    play(1)
    assert (play.weight, play.state.phase) == (40, Phase.RAMPING)
    assert "40 % is forced for 2 h by ana: because" in play.state.why
    play(2 * HOUR - 2, 5000)
    assert play.weight == 40
    play(1)
    assert play.weight == 5
    play(1)
    play(2 * HOUR - 1)
    assert play.weight == 5
    play(1)
    assert play.weight == 25


def test_a_force_can_be_ended_and_ends_with_a_rollback() -> None:
    play = Play().at(5)
    play.act(Act.FORCE, weight=40.0, ttl_s=2 * HOUR)
    play(1)
    play.act(Act.UNFORCE)
    play(1)
    assert play.weight == 5
    play.act(Act.FORCE, weight=40.0, ttl_s=2 * HOUR)
    play(1)
    play(1, format=FAIL)
    assert (play.weight, play.state.forced) == (0, None)
    play(3 * HOUR)
    assert play.weight == 0


def test_a_pause_outlives_a_force() -> None:
    play = Play().at(5)
    play.act(Act.PAUSE)
    play.act(Act.FORCE, weight=40.0, ttl_s=HOUR)
    play(1)
    assert play(2 * HOUR) is Phase.PAUSED
    assert (play.weight, play.state.pause) == (5, Pause.SUSPENDED)


def test_another_student_begins_anew() -> None:
    play = Play().at(25)
    play.state = changed(play.state, "student was 'a', is now 'b'", play.now)
    seen = replace(play.seen(), round=1)
    play.state, commands = step(play.state, seen, PLAN, play.now)
    assert (play.state.phase, play.state.round) == (Phase.SHADOW, 2)
    assert commands == (SetWeight(0.0, "evidence begins anew: student was 'a', is now 'b'", play.state.number),)


def test_another_student_is_no_way_out_of_a_rollback() -> None:
    play = Play().at(25)
    play(1, format=FAIL)
    play.state = changed(play.state, "student changed", play.now)
    assert play(10 * HOUR) is Phase.ROLLED_BACK


def test_after_the_last_step_it_is_watched_at_a_lower_rate() -> None:
    play = Play(replace(PLAN, watch_sample=0.05)).at(100)
    assert play(HOUR) is Phase.PROMOTED
    assert play.sample == 0.05
    play(HOUR)
    assert play.commands == ()
    play(1, format=FAIL)
    assert (play.weight, play.sample) == (0, None)


def test_idle_asks_for_nothing() -> None:
    play = Play(weight=40)
    assert play(format=FAIL) is Phase.IDLE
    assert (play.commands, play.weight) == ((), 40)
    play.act(Act.START)
    play()
    assert play.weight == 0


def test_rollback_by_hand() -> None:
    play = Play().at(25)
    play.act(Act.ROLLBACK)
    play(1)
    assert (play.weight, play.state.phase) == (0, Phase.ROLLED_BACK)
    assert play.commands[0].reason == "rolled back by ana: because"


def test_what_changes_no_weight_is_announced_until_it_is_in_the_trail() -> None:
    play = Play()
    play.act(Act.START)
    play.door = False
    plan = replace(PLAN, steps=(Step(1, gate=Gate.MANUAL),))
    play.plan = plan
    assert play() is Phase.READY
    ready = play.commands
    assert ready == (Announce(Phase.READY, play.state.why, play.state.number),)
    play()
    assert play.commands == ready
    play.announced = play.state.number
    play()
    assert play.commands == ()


@pytest.mark.parametrize(
    ("phase", "act", "more", "says"),
    [
        (Phase.SHADOW, Act.START, {}, "started"),
        (Phase.IDLE, Act.PAUSE, {}, "nothing to pause"),
        (Phase.PAUSED, Act.PAUSE, {}, "nothing to pause"),
        (Phase.RAMPING, Act.RESUME, {}, "not paused"),
        (Phase.ROLLED_BACK, Act.RESUME, {}, "nothing to resume"),
        (Phase.RAMPING, Act.PROMOTE, {}, "gate"),
        (Phase.ROLLED_BACK, Act.ROLLBACK, {}, "nothing to roll back"),
        (Phase.RAMPING, Act.ACK, {}, "no rollback"),
        (Phase.ROLLED_BACK, Act.FORCE, {"weight": 5.0, "ttl_s": 60.0}, "acknowledge"),
        (Phase.RAMPING, Act.FORCE, {"weight": 101.0, "ttl_s": 60.0}, "0 to 100"),
        (Phase.RAMPING, Act.FORCE, {"weight": 50.0}, "ttl"),
        (Phase.RAMPING, Act.UNFORCE, {}, "no weight is forced"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(phase: Phase, act: Act, more: dict[str, float], says: str) -> None:
    with pytest.raises(Refused, match=says):
        apply(State(phase=phase), Action(act, "ana", "because", **more), PLAN, 0.0, 0.0)


def test_durations_read_well() -> None:
    assert [duration(s) for s in (5, 90, 1800, 6 * HOUR, 60 * HOUR)] == ["5 s", "90 s", "30 min", "6 h", "2.5 d"]


# ---- Whatever happens ----

verdicts = st.sampled_from([PASS, PASS, PASS, UNDECIDED, FAIL, None])
rarely = st.sampled_from([None] * 6 + list(Act))


@dataclass(frozen=True)
class Event:
    after: float
    pairs: int
    found: dict[str, Verdict | None]
    act: Act | None
    human: float | None
    door: bool


events = st.lists(
    st.builds(
        Event,
        st.sampled_from([1.0, 600.0, HOUR, 3 * HOUR, 7 * HOUR]),
        st.integers(0, 300),
        st.fixed_dictionaries({}, optional={"format": verdicts, "tone": verdicts, "shadow_loss": verdicts}),
        rarely,
        st.sampled_from([None] * 12 + [0.0, 50.0]),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=60,
)


def happen(play: Play, event: Event) -> None:
    play.door = event.door
    if event.human is not None:
        play.weight = event.human
    if event.act is not None:
        more = {"weight": 40.0, "ttl_s": HOUR} if event.act is Act.FORCE else {}
        with suppress(Refused):
            play.act(event.act, **more)
    play(event.after, event.pairs, **event.found)


@given(events)
@settings(max_examples=300, deadline=None)
def test_it_never_climbs_without_evidence_and_bake_time_and_falls_at_once(what: list[Event]) -> None:
    play = Play()
    play.act(Act.START)
    lately, since, pairs = -1.0, 0.0, 0  # the weight that was seen last, and from when and which pair on
    for event in what:
        before = play.state
        looked = play.weight if event.human is None else event.human
        happen(play, event)
        after = play.state
        if looked != lately:
            lately, since, pairs = looked, play.now, play.pairs
        failing = FAIL in (event.found.get("format"), event.found.get("shadow_loss"))
        if failing and before.phase is not Phase.ROLLED_BACK:
            assert (after.phase, after.wanted) == (Phase.ROLLED_BACK, 0)
            assert play.set_to == ([0] if looked else [])
        if after.weight > before.weight:
            found = {**GOOD, **event.found}
            assert all(found[name] is PASS for name in ("format", "tone", "shadow_loss"))
            climbing = (Phase.READY, Phase.RAMPING, Phase.PROMOTED)
            assert before.phase in climbing or (before.phase is Phase.PAUSED and event.act is Act.RESUME)
            assert play.pairs > 0
            assert looked == before.weight
            assert after.weight == min(s.weight for s in STEPS if s.weight > before.weight)
            assert after.weight < 100 or before.approved or event.act is Act.PROMOTE
            for on in STEPS:
                if on.weight == before.weight:
                    assert play.now - since >= on.min_bake_s
                    assert play.pairs - pairs >= on.min_pairs


@given(events)
@settings(max_examples=150, deadline=None)
def test_a_leader_that_dies_between_two_steps_makes_no_difference(what: list[Event]) -> None:
    """One leader for all steps; and a new one for each, which has nothing but what was saved."""
    one, many = Play(), Play()
    one.act(Act.START)
    many.act(Act.START)
    for event in what:
        happen(one, event)
        many.state = State.resume(json.loads(json.dumps(many.state.plain())))
        happen(many, event)
        assert many.state == one.state
        assert many.commands == one.commands


@given(events)
@settings(max_examples=150, deadline=None)
def test_a_leader_that_dies_with_its_commands_in_hand_makes_no_difference(what: list[Event]) -> None:
    """What it saved asks for the same again, whatever is seen meanwhile, until it is live; then for nothing more."""
    play = Play()
    play.act(Act.START)
    for event in what:
        happen(play, event)
    play.door = False
    play(7 * HOUR, 300)
    asked = [command for command in play.commands if isinstance(command, SetWeight)]
    for _ in range(3):
        play(1, 0, format=UNDECIDED)
        for command in asked:
            assert command in play.commands or play.state.number > command.number
        asked = [command for command in play.commands if isinstance(command, SetWeight)]
    play.door = True
    play(1, 0, format=UNDECIDED)
    play(1, 0, format=UNDECIDED)
    assert play.set_to == []
    assert play.weight == play.state.wanted or play.state.live


@given(events)
@settings(max_examples=100, deadline=None)
def test_the_same_gives_the_same_and_json_carries_it(what: list[Event]) -> None:
    one, other = Play(), Play()
    for play in (one, other):
        play.act(Act.START)
        for event in what:
            happen(play, event)
    assert one.state == other.state
    assert State.resume(json.loads(json.dumps(one.state.plain()))) == one.state
