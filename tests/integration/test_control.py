"""The short form of `benchmarks/control.py`: what a live change promises, on real processes, while Redis fails.

How long things take depends on what else the machine does; that is for the benchmark.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def test_no_history_but_that_of_one_store_while_redis_is_killed(tmp_path: Path) -> None:
    results, parts = _asked(tmp_path, "writers", "--seconds", "7", "--writers", "20", "--gateways", "3")
    assert results.pop("kills of Redis that writers met") == "met", parts
    assert results == dict.fromkeys(
        (
            "the hash chain is whole",
            "accepted changes lost",
            "changes made twice",
            "refused changes made",
            "changes made on another version than named, or by nobody",
            "reads of what never was",
            "versions for which no moment explains what was told (linearizable)",
            "all replicas serve the head afterwards",
            "tracebacks in the gateways' logs",
        ),
        "met",
    ), parts
    assert parts["writers"]["writes"]["made"] > 10


def test_changes_reach_every_replica_and_no_request_notices(tmp_path: Path) -> None:
    few = ("--changes", "20", "--sessions", "150", "--gateways", "2")
    results, parts = _asked(tmp_path, "convergence", "flips", "ramp", *few)
    assert parts["convergence"]["swallowed"] > 0
    promised = {name: result for name, result in results.items() if not name.startswith(("p99", "longest"))}
    assert promised == dict.fromkeys(
        (
            "changes that a replica did not serve within 10 s",
            "replicas that went back to an older version",
            "requests that failed during 20 flips",
            "lines of the exchange log that do not fit their version",
            "answers whose pieces are not all of the model that the header names",
            "requests that the log lacks, or tells otherwise than the client",
            "requests under way while their route was changed",
            "tracebacks in the gateways' logs during flips",
            "sessions that moved back to the teacher on the way up",
            "lines of the ramp that do not fit their version",
            "requests that failed during the ramp",
            "every session asked under every version",
        ),
        "met",
    ), parts


def test_serving_goes_on_whatever_redis_does(tmp_path: Path) -> None:
    kinds = ("refused", "black-holed", "reset", "slow (2 s)")
    results, parts = _asked(tmp_path, "faults", "--faults", *kinds, "--fault-s", "1")
    assert {name: result for name, result in results.items() if "p99" not in name} == dict.fromkeys(
        (
            *(f"{kind}: what is said" for kind in kinds),
            "requests that failed during Redis's faults",
            "changes that were refused as not made, and were",
            "faults after which the gateway did not catch up by itself",
            "tracebacks in the gateways' logs during faults",
        ),
        "met",
    ), parts


def _asked(folder: Path, *options: str) -> tuple[dict[str, str], dict[str, Any]]:
    """What became of each target, and the figures of each part."""
    out = folder / "control.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "control.py"), "--no-picture", "--out", str(out), "--only"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it started
            raise
    assert out.exists(), said
    found = json.loads(out.read_text())
    return {check["name"]: check["result"] for check in found["checks"]}, found["parts"]
