"""Does capturing touch those who are served? `python benchmarks/capture.py`

Three gateways before one model server, alike but for `capture`: one keeps nothing, one keeps every request, one keeps
every request encrypted. They are asked in turns, forwards and back, a few seconds each, and every comparison is made
within a turn. Afterwards every request must be in the files, or be counted as something else, and every line be read.

Each gateway has one core, on which it also writes; the model server and the load generator share another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import report
from contenders import understudy_command, version_beside
from harness import HERE, Bench, Measured, Server
from report import Check, shown

MODEL = "n=20,itl=5,ttft=30,delay=0"  # as `tools/upstream.c` has it
EVENTS = 20
KEY = "capture-benchmark-key"
SEALED_BY = "5a" * 32
CAPTURE: dict[str, Any] = {"sample": 1.0, "dir": "captured", "max_bytes": None}
KINDS: dict[str, dict[str, Any] | None] = {
    "off": None,
    "on": CAPTURE,
    "sealed": {**CAPTURE, "encrypt_key": SEALED_BY},
}
NOISY = 0.15  # of a core, taken by other programs
WITHIN = 1.10


@dataclass(frozen=True)
class Scenario:
    """A load, and what is read from it: keys of `FIGURES`."""

    name: str
    about: str
    options: Mapping[str, object]
    figures: tuple[str, ...]


SCENARIOS = (
    Scenario(
        "requests",
        "32 connections, one request after the other",
        {"conns": 32, "stream": 0},
        ("per_core", "per_second", "ttlt_p50", "ttlt_p99"),
    ),
    Scenario(
        "latency",
        "200 requests/s at random times",
        {"rate": 200, "poisson": True, "stream": 0},
        ("ttlt_p50", "ttlt_p99"),
    ),
    Scenario(
        "streams",
        f"40 streams of {EVENTS} events begun per second at random times",
        {"rate": 40, "poisson": True, "stream": 1, "expect": EVENTS},
        ("ttft_p50", "ttft_p99"),
    ),
)
FIGURES = {
    "per_core": "requests/s of a core",
    "per_second": "requests/s by the clock",
    "ttlt_p50": "whole answer, p50",
    "ttlt_p99": "whole answer, p99",
    "ttft_p50": "time to first token, p50",
    "ttft_p99": "time to first token, p99",
}
MORE_IS_BETTER = ("per_core", "per_second")


def start_gateway(bench: Bench, name: str, upstream: int) -> Server:
    """In a folder of its own. Everybody's consent is standing."""
    port = harness.free_port()
    folder = bench.folder / name
    folder.mkdir()
    capture = KINDS[name]
    if capture is not None:
        capture = {**capture, "dir": str(folder / capture["dir"])}
    config = {
        "listen": f"127.0.0.1:{port}",
        "store": f"sqlite:///{folder / 'understudy.db'}",
        "keys": [{"name": "bench", "key": KEY, "role": "admin", "consent": ["train"]}],
        "upstreams": {"model": {"base_url": f"http://127.0.0.1:{upstream}/v1", "model": "m"}},
        "routes": {"m": {"teacher": "model", "student": "model", "student_percent": 100, "capture": capture}},
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))
    return bench.start(name, [understudy_command(), "serve", "-c", path], port, ready="/readyz")


def figures(measured: Measured) -> dict[str, float]:
    """Times in ms."""
    load = measured.load
    found = {"per_core": load["ok"] / max(measured.cpu_s, 1e-9), "per_second": load["ok"] / load["window_s"]}
    for what in ("ttlt", "ttft"):
        for quantile in ("p50", "p99"):
            if quantile in load[what]:  # not all loads have streams
                found[f"{what}_{quantile}"] = load[what][quantile] / 1e3
    return found


@dataclass
class Turn:
    """Of one scenario: what each gateway came to."""

    measured: dict[str, Measured]

    @property
    def noise(self) -> float:
        return max(one.neighbours for one in self.measured.values())


def turn(bench: Bench, servers: Sequence[Server], scenario: Scenario, args: argparse.Namespace) -> Turn:
    """One measurement of each; again, if other programs were busy: the quietest turn counts."""
    tries: list[Turn] = []
    options = {**scenario.options, "model": "m", "key": KEY, "warmup": 1, "duration": 1 + args.window}
    while not tries or (tries[-1].noise > NOISY and len(tries) <= args.patience):
        measured = {}
        for server in servers:
            time.sleep(1.5)  # what the last one left to be written is written
            measured[server.name] = bench.load(server.port, options, server)
        tries.append(Turn(measured))
    return min(tries, key=lambda one: one.noise)


def ratio(turns: Sequence[Turn], kind: str, figure: str) -> float:
    """How many times as much as without, or as little: over 1 is a cost."""
    found = []
    for one in turns:
        off, on = (figures(one.measured[name])[figure] for name in ("off", kind))
        found.append(off / on if figure in MORE_IS_BETTER else on / off)
    return statistics.median(found)


def fates(server: Server) -> dict[str, int]:
    """Requests by what became of them, once nothing waits."""
    deadline = time.monotonic() + 20
    while True:
        text = server.get("/metrics", timeout=30)[1].splitlines()
        told = {line.partition(" ")[0]: float(line.rpartition(" ")[2]) for line in text if not line.startswith("#")}
        if not told.get('understudy_capture_waiting{route="m"}') or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    served = sum(int(count) for name, count in told.items() if name.startswith("understudy_requests_total{"))
    found = {"requests": served}
    for name, count in told.items():
        if name.startswith("understudy_capture_total{") and count:
            found[name.partition('outcome="')[2].partition('"')[0]] = int(count)
    return found


def lines(folder: Path, *, sealed: bool) -> tuple[int, int]:
    """How many lines there are that can be read, and in how many bytes of files."""
    sys.path.insert(0, str(HERE.parent))
    from gateway.after.sealing import Seal  # only here: the rest of this needs nothing but the standard library

    count = size = 0
    for path in folder.rglob("*.jsonl*"):
        size += path.stat().st_size
        with path.open("rb") as file:
            for line in Seal(bytes.fromhex(SEALED_BY)).lines(file) if sealed else file:
                trace = json.loads(line)
                count += bool(trace["request"]["messages"]) and bool(trace["answer"] or trace["outcome"] != "ok")
    return count, size


def summarise(turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for scenario in SCENARIOS:
        listed = turns[scenario.name]
        summary[scenario.name] = {
            figure: {
                "off": round(statistics.median(figures(one.measured["off"])[figure] for one in listed), 3),
                **{kind: round(ratio(listed, kind, figure), 4) for kind in KINDS if kind != "off"},
            }
            for figure in scenario.figures
        }
    return summary


def check(summary: Mapping[str, Any], books: Mapping[str, Mapping[str, int]], failed: int) -> list[Check]:
    checks = []
    for scenario in SCENARIOS:
        for figure, found in summary[scenario.name].items():
            if figure == "per_second":  # of a core that is shared with others, the clock says less than its books
                continue
            name = f"{scenario.name}: {FIGURES[figure]}, capturing ÷ not, as a cost"
            checks.append(Check(name, f"≤ {WITHIN}", f"{found['on']:.3f}", found["on"] <= WITHIN))
    for kind, told in books.items():
        whole = told["requests"] == told["lines"] == told.get("kept", 0)
        checks.append(Check(f"requests, kept, and lines that can be read ({kind})", "all the same", str(told), whole))
    return [*checks, Check("requests that failed", "0", str(failed), failed == 0)]


COLUMNS = ("figure", "without", "capturing ÷", "encrypted ÷")


def rows(summary: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            f"{scenario.name}: {FIGURES[figure]}",
            shown(found["off"], 0 if figure in MORE_IS_BETTER else 2) + ("" if figure in MORE_IS_BETTER else " ms"),
            shown(found["on"], 3),
            shown(found["sealed"], 3),
        ]
        for scenario in SCENARIOS
        for figure, found in summary[scenario.name].items()
    ]


def write(out: Path, head: dict[str, Any], args: argparse.Namespace, whole: dict[str, Any], found: list[Check]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    checks = [{"name": one.name, "target": one.target, "figure": one.figure, "result": one.word} for one in found]
    whole = {**head, "rounds": args.rounds, "window_s": args.window, "checks": checks, **whole}
    out.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    loads = "; ".join(f"*{one.name}*: {one.about}" for one in SCENARIOS)
    text = (
        f"{report.header_markdown(head)}\nEvery request is captured: 1.3 KB in, 0.5 KB out, or a stream of {EVENTS} "
        f"events. {loads}. {args.rounds} rounds of {args.window:g} s, in turns with a gateway that captures none. "
        "Figures are medians; ratios are medians of those within a turn, and over 1 is a cost: slower, or fewer "
        f"requests. Other programs took over {NOISY:.0%} of a core in {whole['noisy']} of {whole['turns']} turns.\n\n"
    )
    text += report.markdown_table(COLUMNS, rows(whole["summary"])) + "\n"
    text += report.markdown_table(
        ["target", "wanted", "measured", "result"], [[one.name, one.target, one.figure, one.word] for one in found]
    )
    out.with_suffix(".md").write_text(text)
    print(f"Written: {out}, {out.with_suffix('.md')}")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=float, default=6.0, help="seconds of each measurement")
    parser.add_argument("--patience", type=int, default=2, help="repeats of a turn that other programs disturbed")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "capture.json")
    return parser.parse_args(argv)


def main() -> int:
    args = parse()
    turns: dict[str, list[Turn]] = {scenario.name: [] for scenario in SCENARIOS}
    with Bench() as bench:
        upstream = bench.start_upstream(MODEL)
        servers = [start_gateway(bench, name, upstream.port) for name in KINDS]
        for round_ in range(args.rounds):
            ordered = servers if round_ % 2 == 0 else servers[::-1]
            for scenario in SCENARIOS:
                with report.told(f"round {round_ + 1}/{args.rounds}, {scenario.about}"):
                    turns[scenario.name].append(turn(bench, ordered, scenario, args))
        books = {}
        for server in servers[1:]:
            told = fates(server)
            told["lines"], told["bytes"] = lines(bench.folder / server.name, sealed=server.name == "sealed")
            books[server.name] = told
    summary = summarise(turns)
    head = report.header(sys.argv, {"understudy": version_beside(understudy_command(), "understudy")})
    report.print_table("Served as if nothing was captured?", COLUMNS, rows(summary))
    listed = [one for of_it in turns.values() for one in of_it]
    failed = sum(sum(side.errors.values()) for one in listed for side in one.measured.values())
    found = check(summary, books, failed)
    code = report.settle_checks(found)
    noisy = sum(one.noise > NOISY for one in listed)
    write(args.out, head, args, {"summary": summary, "books": books, "noisy": noisy, "turns": len(listed)}, found)
    return code


if __name__ == "__main__":
    sys.exit(main())
