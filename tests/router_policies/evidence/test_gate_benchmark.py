"""The short form of `benchmarks/gate.py`: its targets hold, and its shortcuts are the gateway's own verdicts."""

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from router_policies.evidence.evidence import Evidence
from router_policies.evidence.readings import Verdict
from router_policies.evidence.rules import Key, Rule, Rules, alpha_of
from tests.router_policies.evidence.test_evidence import fed

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gate_trials")


def test_the_line_is_the_verdict_at_every_pair(trials: ModuleType) -> None:
    key = Key("student@1", "teacher@1", "prompts@1", "policies@1", ("format@1",))
    rules = Rules((Rule("format", 0.05),), run_length=1e12)
    line = trials.gate_line(0.05, alpha_of(1, 0.05), 700)
    rng, passed = random.Random("line"), 0
    for rate in (0.01, 0.03):
        evidence, at = Evidence(key, rules), trials.disagreements(rate, 700, rng)
        for n in range(1, 701):
            fed(evidence, [float(n in at)])
            differ = sum(one <= n for one in at)
            is_pass = evidence.read()["format"].verdict is Verdict.PASS
            assert is_pass is (differ <= line[n])
            passed += is_pass
        first = next((n for n in range(1, 701) if sum(one <= n for one in at) <= line[n]), None)
        assert trials.first_pass(at, line) == first
    assert passed


def test_exact_chances_are_the_simulated(trials: ModuleType) -> None:
    line = trials.wilson_line(0.05, 800, every=100)
    rng, runs = random.Random("chances"), 3000
    hits = sum(trials.first_pass(trials.disagreements(0.05, 800, rng), line, 100) is not None for _ in range(runs))
    assert hits / runs == pytest.approx(trials.chances(0.05, line)[-1], abs=4 * (0.1 * 0.9 / runs) ** 0.5)


def test_its_targets_are_met_in_the_short_form(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "gate.py", "--quick", "--out", tmp_path / "gate.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gate.json").read_text())
    assert len(found["checks"]) == 16
    assert {check["result"] for check in found["checks"]} == {"met"}
