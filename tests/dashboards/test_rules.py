"""Config and rules, by Prometheus' own checker, and the rules' own unit tests."""

import subprocess

import pytest

from tests.dashboards.promql import DOCS, PROMETHEUS, rules


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "--lint-fatal", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ],
    ids=["config", "rules", "unit tests"],
)
def test_promtool(promtool: str, command: list[str]) -> None:
    done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_unit_test() -> None:
    tests = (PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8")
    for rule in rules():
        name = rule.get("record") or rule["alert"]
        assert name in tests, f"rules_test.yml has no test of {name}"


def test_every_alert_is_explained() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"].keys() == {"summary", "description"}
            assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in page
