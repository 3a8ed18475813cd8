"""Risk and the safety net in gateway.yaml: what is accepted, what is said of the rest, and what files are for."""

import pickle
from array import array
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway import document
from gateway.config import ConfigError, load, parse
from router_policies.risk.deferral import Deferral
from router_policies.risk.judged import RouteRisk
from router_policies.risk.net import Decay, SafetyNet
from router_policies.risk.policy_model import Label, PolicyModel, write

PACK = "risk: own\nversion: 3\nrules:\n  - {rule: threat, when: {model.threat: {above: 0.5}}, band: high}\n"
NET = {"start": "2026-10-05", "end": "2026-11-02T08:00:00+02:00"}


def config(**route: Any) -> dict[str, Any]:
    upstreams = {name: {"base_url": "http://127.0.0.1:9/v1", "model": name} for name in ("big", "small")}
    return {"upstreams": upstreams, "routes": {"r": {"teacher": "big", "student": "small", **route}}}


def risk_of(**route: Any) -> RouteRisk | None:
    return parse(config(**route), "test", {}).build_routes().by_name["r"].risk


def problems(**route: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(config(**route), "test", {})
    return caught.value.problems


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "policy.safetensors"
    labels = tuple(Label(name) for name in ("payment_dispute", "threat"))
    path.write_bytes(write(PolicyModel("tiny", 1, labels, (array("f", [0.5] * 8), array("f", [-0.5] * 8)))))
    return path


def named(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256(path.read_bytes()).hexdigest()}


def test_a_route_without_the_block_has_no_risk() -> None:
    assert risk_of() is None


def test_what_comes_along_is_the_default() -> None:
    risk = risk_of(risk={})
    assert risk is not None
    assert (risk.pack.title, risk.model, risk.trust_header, risk.net) == ("default.1", None, False, None)


def test_a_net_is_what_was_written() -> None:
    cap = {"max_usd_per_day": 1.5, "max_concurrent": 4, "always": ["fraud"], "teacher_down": "refuse"}
    risk = risk_of(risk={}, safety_net={**NET, "decay": "steps", "steps": [0.5, 0.2], **cap})
    assert risk is not None
    assert isinstance(risk.net, SafetyNet)
    assert (risk.net.start_s, risk.net.end_s) == (1_791_158_400, 1_793_599_200)
    assert (risk.net.decay, risk.net.steps, risk.net.max_nano_usd_per_day) == (Decay.STEPS, (0.5, 0.2), 1_500_000_000)
    assert not risk.student_may_stand_in


def test_yaml_makes_dates_of_what_looks_like_one(tmp_path: Path) -> None:
    for start in ("2026-10-05", "2026-10-05T00:00:00Z", '"2026-10-05"'):
        text = f"risk: {{}}\nsafety_net: {{start: {start}, end: 2026-11-02}}\n"
        given = document.read(text)
        assert isinstance(given, dict)
        risk = risk_of(**given)
        assert risk is not None
        assert risk.net is not None
        assert risk.net.start_s == 1_791_158_400


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"safety_net": NET}, "routes.r.safety_net: expected risk too"),
        (
            {"risk": {"pack": "nowhere.yaml"}},
            "routes.r.risk.pack: nowhere.yaml: expected default or a file of YAML; No",
        ),
        ({"risk": {"model": {"path": "m", "sha256": "x"}}}, "routes.r.risk.model.sha256: string should match pattern"),
        (
            {"risk": {"model": {"path": "nowhere", "sha256": "0" * 64}}},
            "routes.r.risk.model: nowhere: expected a file that can be read; No such file",
        ),
        (
            {"risk": {}, "safety_net": {**NET, "always": ["fraud", "frod"]}},
            "routes.r.safety_net.always.1: expected a rule",
        ),
        ({"risk": {}, "safety_net": {**NET, "floor": 0}}, "routes.r.safety_net: floor, p_start: expected 0 < floor"),
        ({"risk": {}, "safety_net": {"start": "2026-10-05"}}, "routes.r.safety_net.end: required, and not there"),
        (
            {"risk": {}, "safety_net": {**NET, "end": "2026-10-05"}},
            "routes.r.safety_net: start, end: expected two times",
        ),
        *(
            ({"risk": {}, "safety_net": {**NET, "start": start}}, "routes.r.safety_net.start: expected a date")
            for start in ("monday", "2026-99-99", "2026-10-05T08:00:00")
        ),
        ({"risk": {}, "safety_net": {**NET, "start": 5}}, "routes.r.safety_net.start: input should be a valid string"),
        (
            {"risk": {}, "safety_net": {**NET, "max_concurrent": 0}},
            "routes.r.safety_net.max_concurrent: input should be",
        ),
    ],
)
def test_what_is_wrong_is_said_by_path(route: dict[str, Any], said: str) -> None:
    got = problems(**route)
    assert any(problem.startswith(said) for problem in got), got


def test_every_problem_of_a_pack_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "risk: own\nversion: 1\nrules: [{rule: a, when: {topics: moeny}, weight: 1}, {rule: b, when: {}}]\n"
    )
    got = problems(risk={"pack": str(path)})
    assert len(got) > 1
    assert all(problem.startswith(f"routes.r.risk.pack: {path}: rules.") for problem in got), got


def test_labels_must_be_the_models(tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(PACK)
    risk = risk_of(risk={"pack": str(path), "model": named(model_file)})
    assert risk is not None
    assert risk.model is not None
    assert problems(risk={"pack": str(path)}) == ["routes.r.risk.pack: its rules read model.threat; there is no model"]
    path.write_text(PACK.replace("model.threat", "model.theft"))
    (said,) = problems(risk={"pack": str(path), "model": named(model_file)})
    assert said.startswith("routes.r.risk.pack: its rules read model.theft; the model has payment_dispute, ")


def test_another_model_than_the_pinned_one_is_refused(tmp_path: Path, model_file: Path) -> None:
    pinned = named(model_file)
    other = tmp_path / "other.safetensors"
    other.write_bytes(model_file.read_bytes()[:-1] + b"x")
    (said,) = problems(risk={"model": {**pinned, "path": str(other)}})
    assert f"expected a file with SHA-256 {pinned['sha256']}" in said


def test_what_was_checked_is_what_is_served(tmp_path: Path, model_file: Path) -> None:
    """Workers get the config, not the files, and a kill switch must hold though the files are gone."""
    pack, model = tmp_path / "own.yaml", tmp_path / "own.safetensors"
    pack.write_text(PACK)
    model.write_bytes(model_file.read_bytes())
    read = parse(config(risk={"pack": str(pack), "model": named(model)}), "test", {})
    pack.unlink()
    model.write_bytes(b"another")
    sent = pickle.loads(pickle.dumps(read))
    killed = sent.routes["r"].model_copy(update={"force": "teacher"}).route("r")
    assert killed.risk is not None
    assert killed.risk.pack.title == "own.3"
    assert killed.risk.model is not None


def test_a_key_has_tags() -> None:
    keys = [{"name": "a", "role": "admin", "key": "a-key-123", "tags": ["vip"]}]
    assert parse({**config(), "keys": keys}, "test", {}).keys[0].tags == ["vip"]
    with pytest.raises(ConfigError, match=r"keys.0.tags.0: string should match"):
        parse({**config(), "keys": [{**keys[0], "tags": ["with space"]}]}, "test", {})


def test_check_says_it(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from gateway.cli import app

    path = tmp_path / "gateway.yaml"
    path.write_text(str(config(risk={}, safety_net={**NET, "max_concurrent": 4, "always": ["fraud"]})))
    load(path, {})
    said = " ".join(CliRunner().invoke(app, ["check", "-c", str(path)], env={"COLUMNS": "200"}).output.split())
    assert "rules of default.1, no policy model, nothing that callers say" in said
    assert (
        "100 % of high risk to the teacher until 2026-10-05 00:00 UTC, 5 % from 2026-11-02 06:00 UTC (linear)" in said
    )
    assert "2 % of sessions held out; always: fraud" in said
    assert "calls: 4 at once per worker; a day: no limit; with the teacher down: the student answers" in said


def test_deferral_is_off_and_then_only_notes() -> None:
    routes = [parse(config(**route), "test", {}).build_routes().by_name["r"] for route in ({}, {"deferral": {}})]
    assert routes[0].deferral is None
    assert routes[1].deferral == Deferral(quantile=0.1, threshold=None, min_tokens=1, max_concurrent=16)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"threshold": 0.5}, "deferral.threshold: input should be less than 0, got 0.5"),
        ({"quantile": 1.0}, "deferral.quantile: input should be less than 1, got 1.0"),
        ({"min_tokens": 0}, "deferral.min_tokens: input should be greater than or equal to 1, got 0"),
        ({"max_concurrent": 0}, "deferral.max_concurrent: input should be greater than or equal to 1, got 0"),
    ],
)
def test_what_is_no_deferral(written: dict[str, Any], problem: str) -> None:
    (said,) = problems(deferral=written)
    assert said == f"routes.r.{problem}"
