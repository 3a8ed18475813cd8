from dataclasses import fields, replace
from math import pi

import pytest

from router_policies.evidence.rules import LOSS, Key, Over, Rule, Rules, alpha_of

KEY = Key("student", "teacher", "prompts", "policies", ("json@1", "refusal@2"))


@pytest.mark.parametrize("name", [field.name for field in fields(Key)])
def test_any_change_makes_another_key(name: str) -> None:
    changed = ("json@1", "refusal@3") if name == "scorers" else "another"
    assert replace(KEY, **{name: changed}).id != KEY.id  # type: ignore[arg-type]


def test_what_stands_where_matters() -> None:
    assert Key("a", "b").id != Key("b", "a").id
    assert Key("a", "b", "c").id != Key("a", "b", "", "c").id


def test_all_attempts_together_spend_alpha() -> None:
    spent = sum(alpha_of(k, 0.05) for k in range(1, 200_001))
    assert 0.05 - 0.05 * 6 / pi**2 / 200_000 == pytest.approx(spent, abs=1e-9)
    with pytest.raises(ValueError, match="expected 1 or more, got 0"):
        alpha_of(0, 0.05)


def test_losses_are_a_check_of_every_route() -> None:
    assert Rules((), loss_tolerance=0.03).all_checks == (Rule(LOSS, 0.03),)


def test_cells() -> None:
    strata = ("high_risk", "default")
    assert Rules((), strata).cells == strata
    assert Rules((), strata, Over.ALL_TRAFFIC).cells == ("",)
    assert Rules((Rule("a", 0.1), Rule("b", 0.1)), strata).judged == 6


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Rule("format", 0), "check format: expected a tolerance above 0 and below 1, got 0"),
        (lambda: Rule("format", 1.0), "got 1.0"),
        (lambda: Rules((Rule("format", 0.1), Rule("format", 0.2))), "each name once"),
        (lambda: Rules((Rule(LOSS, 0.1),)), "shadow_loss, which is always there"),
        (lambda: Rules((), strata=()), "at least one"),
        (lambda: Rules((), strata=("a", "a")), "each once"),
        (lambda: Rules((), alpha=0.6), "alpha: expected a probability above 0, at most 0.5, got 0.6"),
        (lambda: Rules((), run_length=0), "run_length: expected a number of pairs"),
        (lambda: Rules((), loss_tolerance=0), "check shadow_loss: expected a tolerance"),
    ],
)
def test_what_is_refused_says_why(make: type, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_every_stratum_must_be_looked_at_enough() -> None:
    rules = Rules((), ("default", "high_risk", "rare"))
    assert rules.problems({"default": 0.05, "high_risk": 1.0, "rare": 0.5, "other": 0.0}) == []
    assert rules.problems({"default": 0.01, "high_risk": 1.0}) == [
        "stratum default: selected with probability 0.01, expected at least 0.05: "
        "what is hardly looked at proves nothing",
        "stratum rare: no probability of being selected is given",
    ]
