"""The short form of `benchmarks/chaos.py`: everything fails at once, and nothing wrong is shown to a user."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = (
    "truncated answers shown as success",
    "answers with text doubled, missing or of another",
    "partial answers handed over wrongly",
    "connections broken without a kill",
    "answers against the protocol",
    "requests in flight in the gateway afterwards",
    "calls under way to model servers afterwards",
    "connections to model servers left open",
    "tracebacks in the gateway's log",
)


def test_nothing_wrong_is_shown_while_everything_fails(tmp_path: Path) -> None:
    kills = ("--kill-worker-s", "3", "--kill-model-s", "1.5")
    code, found = _chaos(tmp_path, "--duration", "5", "--streams", "60", "--faults", "0.3", *kills)
    results = {check["name"]: check["result"] for check in found["checks"]}
    assert code == 0, found
    assert {name: results[name] for name in PROMISES} == dict.fromkeys(PROMISES, "met")
    assert found["kills"]["workers"]
    assert found["kills"]["models"]
    assert found["outcomes"]["answered"] > 50
    assert found["outcomes"]["answered by another"] > 0
    assert found["outcomes"]["rescued"] > 0


def test_the_client_notices_what_a_gateway_has_to_prevent(tmp_path: Path) -> None:
    """The same load and the same faults, and nothing between them."""
    code, found = _chaos(tmp_path, "--without-gateway", "--duration", "2", "--streams", "80", "--faults", "0.8")
    results = {check["name"]: check["result"] for check in found["checks"]}
    assert code == 1
    assert results["truncated answers shown as success"] == "MISSED", found
    assert results["connections broken without a kill"] == "MISSED", found
    assert results["answers against the protocol"] == "MISSED", found


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda text: text, ""),
        (lambda text: text[:-1], "truncated, shown as success"),
        (lambda text: "", "truncated, shown as success"),
        (lambda text: text[:40] + text[41:], "text doubled, missing or of another answer"),
        (lambda text: text[:40] + text[30:], "text doubled, missing or of another answer"),
        (lambda text: text + " ", "text doubled, missing or of another answer"),
    ],
)
def test_the_client_knows_every_character(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str], wrong: str
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    client, texts = importlib.import_module("chaos_client"), importlib.import_module("chaos_text")
    ask = client.Ask(prompt=7, stream=True, tool=False, usage=False, leave_s=None)
    reply = client.Reply(0.0, status=200, whole=True, done=True, finish="stop", roles=1)
    reply.text.append(change(texts.answer(7)))
    assert client.judge(ask, reply, left=False, stuck=False, killed=lambda at: False).wrong == wrong
    reply.error, reply.done = {"message": "it broke off"}, False  # nothing but the end may be missing then
    expected = wrong if wrong.startswith("text") else ""
    assert client.judge(ask, reply, left=False, stuck=False, killed=lambda at: False).wrong == expected


def _chaos(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    out = folder / "chaos.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), *options, "--no-picture", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it started
            raise
    assert out.exists(), said
    found: dict[str, Any] = json.loads(out.read_text())
    return process.returncode, found
