"""What people write about a rollout, and what is refused of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.config.rollout import CheckConfig, RolloutConfig, StepConfig
from router_policies.evidence.rules import LOSS, Kind, Over
from router_policies.rollout.plan import Gate, Step

WRITTEN = """
steps:
  - {weight: 1, min_bake: 30m, min_n: 200, gate: manual}
  - {weight: 5, min_bake: 2h}
  - {weight: 100, min_bake: 90, gate: manual}
checks:
  - {name: format_disagreement, tolerance: 0.02, critical: true}
  - {name: brand, of: [tone, phrases], tolerance: 0.005, direction: student_worse}
  - {name: content_disagreement, tolerance: 0.03, noise_floor: paired, dry_run: true}
  - {name: ttft_p95, tolerance: 1.2, must_have_data: false}
  - {name: sample_ratio}
decision: {alpha_promote: 0.01, rollback_arl: 50000, over: all_traffic}
rollback: {to_weight: 0.5, cooldown: 1d, require_ack: false}
patience: null
watch_sample: 0.05
late: 3m
"""


def test_it_means_what_it_says() -> None:
    plan = RolloutConfig.model_validate(yaml.safe_load(WRITTEN)).plan(("default", "high_risk"))
    assert plan.steps == (Step(1, 1800, 200, Gate.MANUAL), Step(5, 7200), Step(100, 90, gate=Gate.MANUAL))
    checks = plan.by_name
    assert (checks["format_disagreement"].of, checks["format_disagreement"].critical) == (("format",), True)
    assert (checks["brand"].of, checks["brand"].worse_only) == (("tone", "phrases"), True)
    assert (checks["content_disagreement"].kind, checks["content_disagreement"].dry_run) == (Kind.EXCESS, True)
    assert (checks["ttft_p95"].tolerance, checks["ttft_p95"].must_have_data) == (1.2, False)
    assert (checks[LOSS].critical, checks[LOSS].tolerance) == (True, 0.02)
    assert [rule.check for rule in plan.rules.checks] == ["format_disagreement", "brand", "content_disagreement"]
    assert (plan.rules.strata, plan.rules.over, plan.rules.alpha) == (("default", "high_risk"), Over.ALL_TRAFFIC, 0.01)
    assert (plan.rollback_to, plan.cooldown_s, plan.require_ack, plan.patience_s) == (0.5, 86_400, False, None)
    assert (plan.watch_sample, plan.late_s) == (0.05, 180)


def test_the_defaults_make_sense_and_can_be_written_back() -> None:
    config = RolloutConfig()
    assert config.plan().steps[0].gate is config.plan().steps[-1].gate is Gate.MANUAL
    assert RolloutConfig.model_validate(config.model_dump(mode="json")) == config


def test_the_page_has_every_key_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rollout.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    written = yaml.safe_load(block)["rollout"]
    assert RolloutConfig.model_validate(written) == RolloutConfig()
    assert set(written) == set(RolloutConfig.model_fields)
    assert all(set(step) == set(StepConfig.model_fields) for step in written["steps"])
    for key in CheckConfig.model_fields:
        assert f"`{key}`" in page


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"steps": []}, "at least 1"),
        ({"steps": [{"weight": 5}, {"weight": 1}]}, "higher weight than the last"),
        ({"steps": [{"weight": 0}]}, "greater than 0"),
        ({"steps": [{"weight": 1, "min_bake": "3 weeks"}]}, "30m"),
        ({"rollback": {"to_weight": 1}}, "below the first step"),
        ({"checks": [{"name": "brand", "tolerance": 0.1}]}, "`of`"),
        ({"checks": [{"name": "shadow_loss", "tolerance": 0.1, "of": ["format"]}]}, "no `of`"),
        ({"checks": [{"name": "ttft_p95"}]}, "expected a tolerance"),
        ({"checks": [{"name": "format_disagreement", "tolerance": 1.5}]}, "below 1"),
        ({"checks": [{"name": "format_disagreement", "tolerance": 0.1}]}, "to be critical"),
        ({"checks": [{"name": "format_disagreement", "tolerance": 0.1, "critical": True}] * 2}, "once"),
        ({"watch_sample": 0.01}, "0.05"),
        ({"percent": 5}, "percent"),
    ],
)
def test_what_makes_no_sense_is_refused(written: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        RolloutConfig.model_validate(written)


def test_what_does_not_fit_the_route() -> None:
    config = RolloutConfig.model_validate(yaml.safe_load(WRITTEN))
    assert config.problems({"tone", "phrases"}, {"default": 0.1}, 60) == []
    told = config.problems({"tone"}, {"default": 0.01}, 200)
    assert [problem.split(":")[0] for problem in told] == ["checks.1.of", "late", "steps"]
    assert "got 'phrases'" in told[0]
