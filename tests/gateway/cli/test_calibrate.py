"""`understudy calibrate` over records as shadow mode files them."""

import random
import re
from math import log
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.risk import DeferralConfig
from router_policies.checks.check import Family
from router_policies.replay.thresholds import thresholds
from router_policies.risk.deferral import calibrate
from router_policies.rollout.filed import read_record
from router_policies.shadow import Reason
from tests.router_policies.test_rollout_book import lost, record, said, side


def pair(number: int, sure: float | None, bad: bool, **more: Any) -> bytes:
    student = msgspec.structs.replace(side(), sure=sure, quantile=more.pop("quantile", 0.1))
    verdicts = (said("json_valid", Family.FORMAT, not bad),)
    return record(number, student=student, verdicts=more.pop("verdicts", verdicts), probability=1.0, **more)


def made(count: int, **more: Any) -> list[bytes]:
    """Of sure answers hardly any is bad, of others a third."""
    draw = random.Random(7)
    rows = []
    for number in range(count):
        sure = log(draw.uniform(0.05, 1.0))
        rows.append(pair(number, sure, draw.random() < (0.002 if sure >= log(0.6) else 0.3), **more))
    return rows


def write(path: Path, rows: list[bytes]) -> str:
    path.write_bytes(b"\n".join(rows))
    return str(path)


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["calibrate", *words], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_it_prints_what_to_set_and_that_is_what_keeps_the_promise(tmp_path: Path) -> None:
    rows = made(1500)
    code, told = run("--pairs", write(tmp_path / "pairs.jsonl", [*rows, lost(9000, Reason.TIMEOUT)]))
    assert code == 0, told
    known = [(one.student.sure, one.verdicts[0].student_worse) for one in map(read_record, rows) if one.student]
    found = calibrate([(sure, bad) for sure, bad in known if sure is not None], bad_rate=0.05)
    assert found.threshold is not None
    assert log(0.4) < found.threshold < log(0.7)
    written = re.search(r"^ +deferral: .*$", told, re.MULTILINE)
    assert written is not None
    policy = DeferralConfig.model_validate(yaml.safe_load(written[0])["deferral"]).deferral()
    assert (policy.quantile, policy.threshold) == (0.1, pytest.approx(found.threshold, abs=1e-4))
    assert f"{found.served:,} of 1,500 served" in told
    assert f"at most {100 * found.bound:.2f} %" in told
    assert "1 samples were lost" in told


def test_a_stricter_promise_serves_less_and_one_too_strict_nothing(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", made(1500))
    strict = re.search(r"threshold: (-[0-9.]+)", run("--pairs", pairs, "--bad-rate", "0.02")[1])
    loose = re.search(r"threshold: (-[0-9.]+)", run("--pairs", pairs, "--bad-rate", "0.1")[1])
    assert strict is not None
    assert loose is not None
    assert float(strict[1]) > float(loose[1])
    code, told = run("--pairs", pairs, "--bad-rate", "0.0005")
    assert (code, "no threshold keeps the promise" in told) == (1, True)


def test_other_checks_other_labels(tmp_path: Path) -> None:
    code, told = run("--pairs", write(tmp_path / "pairs.jsonl", made(300)), "--of", "tone")
    assert (code, "0 pairs that tell" in told, "300 left out" in told) == (1, True, True)


def test_what_does_not_tell_is_left_out_and_counted() -> None:
    none = {**said("json_valid", Family.FORMAT, True), "student": "na", "teacher": "na"}
    odd = [pair(1001, None, False), pair(1002, -0.1, True, quantile=0.5), pair(1003, -0.1, False, verdicts=(none,))]
    rows = [*odd, *made(200)]
    (found,) = thresholds(map(read_record, rows), ["format"], bad_rate=0.05, delta=0.05)
    assert (found.untold, found.found.pairs, found.quantile) == (3, 200, 0.1)


def test_pairs_that_were_mirrored_more_often_count_for_no_more() -> None:
    """Risky requests, all of them bad, are 5 % of the traffic and mirrored always, others with 10 %."""
    draw, rows = random.Random(3), []
    for number in range(20_000):
        risky = number % 20 == 0
        if risky or draw.random() < 0.1:
            one = msgspec.structs.replace(read_record(pair(number, -0.01, risky)), probability=1.0 if risky else 0.1)
            rows.append(one)
    assert sum(one.probability == 1.0 for one in rows) / len(rows) > 0.3
    (found,) = thresholds(rows, ["format"], bad_rate=0.2, delta=0.05)
    assert found.thinned > 800
    assert found.found.bad / found.found.served == pytest.approx(0.05, abs=0.015)


def test_without_pairs_that_tell_it_says_what_to_do(tmp_path: Path) -> None:
    code, told = run("--pairs", write(tmp_path / "pairs.jsonl", [record(1), b"{}"]))
    assert code == 1
    assert "set `deferral: {}` on the route" in told
    assert "line 2" in told
