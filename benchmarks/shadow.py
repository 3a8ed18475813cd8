"""Does mirroring touch those who are served? `python benchmarks/shadow.py`

Two gateways before one model server, alike but for `shadow`: one mirrors nothing, one mirrors every request, on a route
for each way in which the mirrored server can behave. They are asked in turns (off on, on off, ...), a few seconds each,
and every comparison is made within a turn. Afterwards every sample must have come to an end, and be in the store.

Gateways, scoring process, model server and load generator share the machine's cores: a process that scores pairs needs
one that serving does not. The rate is chosen to leave headroom on two.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
import report
from contenders import understudy_command, version_beside
from harness import HERE, Bench, Measured, Server
from report import Check, shown

MODEL = "n=20,itl=5,ttft=30,delay=60"  # as `tools/upstream.c` has it: the primary's
SLOW = "n=20,itl=50,ttft=300,delay=600"
EVENTS = 20
SHADOW: dict[str, Any] = {
    "sample": {"default": 1.0},
    "aa_sample": 0,
    "max_usd_per_day": None,
    "timeout_s": 5,
    "queue": 16,  # a long queue would take minutes to come to its end
}
NOISY = 0.15  # of a core, taken by other programs


@dataclass(frozen=True)
class Kind:
    """How a mirrored server behaves. `profile` is for `tools/upstream.c`, `odd` for `shadow_targets.py`; with neither
    nobody listens. `shadow`: the route's own settings. `quick`: what is mirrored has its end within a second."""

    name: str
    about: str
    profile: str | None = None
    odd: str | None = None
    shadow: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False


KINDS = (
    Kind("well", "as good as the primary", MODEL, quick=True),
    Kind("slow", "ten times as slow", SLOW),
    Kind("hung", "never answers", "ttft=10000000,delay=10000000"),
    Kind("refusing", "nobody listens", quick=True),
    Kind("garbage", "streams no JSON", odd="garbage", quick=True),
    Kind("endless", "a stream without an end, 200 events/s", "n=1000000000,itl=5,delay=10000000"),
    Kind("flood", "a stream without an end, as fast as it is read", odd="flood"),
    Kind("unending", "an event without an end, as fast as it is read", odd="unending"),
    Kind("queue-full", "never answers, and one sample may wait", "ttft=10000000,delay=10000000", shadow={"queue": 1}),
    Kind("budget-spent", "nothing may be spent", MODEL, shadow={"max_usd_per_day": 0}, quick=True),
)


@dataclass
class Turn:
    """What one kind came to in one turn: the load's figures off and on, in ms, and CPU time per request, in us."""

    off: Measured
    on: Measured
    cpu_off_us: float
    cpu_on_us: float
    cpu_scoring_us: float


# ---- the two gateways ----


def start_targets(bench: Bench) -> dict[str, int]:
    """The port of each kind's server, and of the one that always says the same."""
    ports = {kind.name: harness.free_port() for kind in KINDS} | {"fixed": harness.free_port()}
    profiles = [f"{ports[kind.name]}:{kind.profile}" for kind in KINDS if kind.profile]
    first = next(kind for kind in KINDS if kind.profile)
    bench.start("targets", [bench.tools / "upstream", *profiles], ports[first.name], ready="/health", cores=all_cores())
    odd = [f"{ports[kind.name]}:{kind.odd}" for kind in KINDS if kind.odd] + [f"{ports['fixed']}:fixed"]
    argv: list[str | Path] = [sys.executable, HERE / "shadow_targets.py", *odd]
    bench.start("odd-targets", argv, ports["fixed"], ready="/v1/models", cores=all_cores())
    return ports


def start_gateway(bench: Bench, name: str, primary: int, targets: Mapping[str, int], *, mirrors: bool) -> Server:
    """A route per kind, and one per kind whose primary always says the same (`bytes-KIND`)."""
    port = harness.free_port()
    price = {"input": 0.1, "output": 0.4}
    upstreams: dict[str, Any] = {
        "primary": {"base_url": f"http://127.0.0.1:{primary}/v1", "model": "m"},
        "fixed": {"base_url": f"http://127.0.0.1:{targets['fixed']}/v1", "model": "m"},
    }
    routes: dict[str, Any] = {}
    for kind in KINDS:
        upstreams[kind.name] = {
            "base_url": f"http://127.0.0.1:{targets[kind.name]}/v1",
            "model": "m",
            "price": price,
            "health": {"every_s": None},  # nobody is served by it
            "breaker": {"min_requests": 100_000},  # it is to go on failing
        }
        shadow = {**SHADOW, **kind.shadow} if mirrors else None
        route = {"teacher": kind.name, "student_percent": 100, "fallback": {"order": [], "retries": 0}}
        routes[kind.name] = {**route, "student": "primary", "shadow": shadow}
        routes[f"bytes-{kind.name}"] = {**route, "student": "fixed", "shadow": shadow}
    config = {
        "listen": f"127.0.0.1:{port}",
        "store": f"sqlite:///{bench.folder / name}.db",
        "upstreams": upstreams,
        "routes": routes,
    }
    path = bench.folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    return bench.start(name, [understudy_command(), "serve", "-c", path], port, ready="/readyz", cores=all_cores())


def all_cores() -> frozenset[int]:
    cores = harness.Cores.choose()
    return cores.tools | cores.gateway


def get_json(server: Server, path: str) -> Any:
    return json.loads(server.get(path, timeout=30)[1])


def counts(server: Server, route: str) -> dict[str, Any]:
    counted: dict[str, Any] = get_json(server, f"/admin/shadow/{route}?newest=1")["here"]["ab"]
    return counted


def settled(server: Server, route: str, within_s: float = 60) -> dict[str, Any]:
    """What came of a route's samples, once nothing is under way any more."""
    deadline = time.monotonic() + within_s
    while (counted := counts(server, route))["under_way"] and time.monotonic() < deadline:
        time.sleep(0.5)
    return counted


# ---- measuring ----


def measure(bench: Bench, server: Server, kind: Kind, args: argparse.Namespace) -> tuple[Measured, float, float]:
    """A run of the load generator, and the CPU time per request in microseconds of the gateway and of its scoring
    process, with what they have to do afterwards: 5 s at most, the time that a mirrored call has."""
    options = {"model": kind.name, "rate": args.rate, "poisson": True, "stream": 1, "expect": EVENTS, "conns": 16}
    own, scoring = harness.cpu_seconds([server.process.pid]), scoring_s(server)
    measured = bench.load(server.port, {**options, "warmup": 1, "duration": 1 + args.window}, server)
    time.sleep(1.0 if kind.quick or server.name == "off" else SHADOW["timeout_s"] + 1.5)
    own, scoring = harness.cpu_seconds([server.process.pid]) - own, scoring_s(server) - scoring
    requests = max(1, measured.load["in_all"]["ok"])
    settled(server, kind.name)
    return measured, own / requests * 1e6, scoring / requests * 1e6


def scoring_s(server: Server) -> float:
    return harness.cpu_seconds([pid for pid in server.pids() if pid != server.process.pid])


def turn(bench: Bench, off: Server, on: Server, kind: Kind, args: argparse.Namespace, *, on_first: bool) -> Turn:
    """One measurement of each; again, if other programs were busy: the quietest turn counts."""
    tries: list[Turn] = []
    while not tries or (noise(tries[-1]) > NOISY and len(tries) <= args.patience):
        found = {}
        for server in (on, off) if on_first else (off, on):
            time.sleep(0.3)
            found[server.name] = measure(bench, server, kind, args)
        (first, first_us, _), (second, second_us, scoring_us) = found[off.name], found[on.name]
        tries.append(Turn(first, second, first_us, second_us, scoring_us))
    return min(tries, key=noise)


def noise(one: Turn) -> float:
    return max(one.off.neighbours, one.on.neighbours)


def answers(server: Server, route: str, count: int) -> set[str]:
    """Digests of all that clients get, but for names and times of their own."""
    found = set()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for number in range(count):
        body = {"model": route, "stream": number % 2 == 0, "messages": [{"role": "user", "content": "Hi"}]}
        head = {"content-type": "application/json", "x-request-id": "same"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body, separators=(",", ":")), head)
        response = connection.getresponse()
        told = [pair for pair in response.getheaders() if pair[0].lower() != "date"]
        found.add(hashlib.sha256(repr((response.status, told, response.read())).encode()).hexdigest())
    connection.close()
    return found


# ---- telling ----

FIGURES = (("ttft", "p50"), ("ttft", "p99"), ("ttlt", "p50"), ("ttlt", "p99"))


def ratios(turns: Sequence[Turn], what: str, quantile: str) -> list[float]:
    return [one.on.load[what][quantile] / one.off.load[what][quantile] for one in turns]


def summarise(turns: Sequence[Turn], counted: Mapping[str, Any]) -> dict[str, Any]:
    """Medians over the turns. `cpu_us`: per request, of the gateway when it mirrors and when not, and of scoring."""

    def median(values: Sequence[float]) -> float:
        return round(statistics.median(values), 4)

    return {
        **{f"{what}_{q}_ratio": median(ratios(turns, what, q)) for what, q in FIGURES},
        **{f"{what}_{q}_off_ms": median([one.off.load[what][q] / 1e3 for one in turns]) for what, q in FIGURES},
        "cpu_off_us": median([one.cpu_off_us for one in turns]),
        "cpu_on_us": median([one.cpu_on_us for one in turns]),
        "cpu_scoring_us": median([one.cpu_scoring_us for one in turns]),
        "failed": sum(sum(side.errors.values()) for one in turns for side in (one.off, one.on)),
        **counted,
    }


def check(summary: Mapping[str, Any], memory: Sequence[float], accounts: Sequence[str], changed: int) -> list[Check]:
    checks = []
    for quantile, limit in (("p50", 1.05), ("p99", 1.10)):
        for what, name in (("ttft", "time to first token"), ("ttlt", "whole answer")):
            worst = max(summary, key=lambda kind: summary[kind][f"{what}_{quantile}_ratio"])
            value = summary[worst][f"{what}_{quantile}_ratio"]
            title = f"{name}, {quantile}, mirroring ÷ not"
            checks.append(Check(title, f"≤ {limit}", f"{value:.3f} at most ({worst})", value <= limit))
    failed = sum(one["failed"] for one in summary.values())
    grown = memory[-1] - memory[0]
    return [
        *checks,
        Check("requests that failed", "0", str(failed), failed == 0),
        Check("answers that are not byte for byte the same", "0", str(changed), changed == 0),
        Check("routes whose pairs and losses are not all samples", "0", str(len(accounts)), not accounts),
        Check("memory of gateway and scoring, last round − first", "≤ 16 MB", f"{grown:.1f} MB", grown <= 16),
    ]


COLUMNS = (
    *("mirrored server", "TTFT p50 ÷", "TTFT p99 ÷", "whole p50 ÷", "whole p99 ÷"),
    *("CPU off, µs", "CPU on, µs", "scoring, µs", "samples", "pairs", "lost"),
)


def rows(summary: Mapping[str, Any]) -> list[list[str]]:
    listed = []
    for kind in KINDS:
        if (one := summary.get(kind.name)) is None:
            continue
        told = [shown(one[f"{what}_{q}_ratio"], 3) for what, q in FIGURES]
        cpu = [shown(one[key], 0) for key in ("cpu_off_us", "cpu_on_us", "cpu_scoring_us")]
        lost = ", ".join(f"{count:,} {reason}" for reason, count in one["lost"].items()) or "none"
        listed.append([f"{kind.name}: {kind.about}", *told, *cpu, f"{one['sampled']:,}", f"{one['pairs']:,}", lost])
    return listed


def write(out: Path, head: dict[str, Any], args: argparse.Namespace, whole: dict[str, Any], found: list[Check]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    checks = [{"name": one.name, "target": one.target, "figure": one.figure, "result": one.word} for one in found]
    whole = {**head, "rounds": args.rounds, "window_s": args.window, "rate": args.rate, "checks": checks, **whole}
    out.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    well = next(iter(whole["summary"].values()))
    text = (
        f"{report.header_markdown(head)}\nStreams of {EVENTS} events, {args.rate:g} begun per second at random times, "
        f"all of them mirrored. {args.rounds} rounds of {args.window:g} s, in turns with a gateway that mirrors none; "
        f"medians of ratios within a turn. Without mirroring TTFT is {well['ttft_p50_off_ms']:.1f} ms at p50 and "
        f"{well['ttft_p99_off_ms']:.1f} ms at p99, a whole answer takes {well['ttlt_p50_off_ms']:.1f} and "
        f"{well['ttlt_p99_off_ms']:.1f} ms. CPU is per request that was served, of the gateway and of its scoring "
        f"process. Other programs took over {NOISY:.0%} of a core in {whole['noisy']} of {whole['turns']} turns.\n\n"
    )
    text += report.markdown_table(COLUMNS, rows(whole["summary"])) + "\n"
    text += report.markdown_table(
        ["target", "wanted", "measured", "result"], [[one.name, one.target, one.figure, one.word] for one in found]
    )
    out.with_suffix(".md").write_text(text)
    print(f"Written: {out}, {out.with_suffix('.md')}")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=float, default=8.0, help="seconds of each measurement")
    parser.add_argument("--rate", type=float, default=40, help="streams begun per second")
    parser.add_argument("--patience", type=int, default=2, help="repeats of a turn that other programs disturbed")
    parser.add_argument("--only", default=",".join(kind.name for kind in KINDS), help="some of the kinds")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "shadow.json")
    return parser.parse_args(argv)


def main() -> int:
    args = parse()
    kinds = [kind for kind in KINDS if kind.name in args.only.split(",")]
    turns: dict[str, list[Turn]] = {kind.name: [] for kind in kinds}
    memory: list[float] = []
    with Bench() as bench:
        upstream = bench.start_upstream(MODEL)
        targets = start_targets(bench)
        off = start_gateway(bench, "off", upstream.port, targets, mirrors=False)
        on = start_gateway(bench, "on", upstream.port, targets, mirrors=True)
        changed = 0
        for kind in kinds:
            route = f"bytes-{kind.name}"
            changed += len(answers(on, route, 40) ^ answers(off, route, 40))
        for round_ in range(args.rounds):
            for kind in kinds:
                with report.told(f"round {round_ + 1}/{args.rounds}, mirroring to a server that is {kind.name}"):
                    turns[kind.name].append(turn(bench, off, on, kind, args, on_first=round_ % 2 == 1))
            memory.append(harness.memory_kb(on.pids()) / 1024)
        time.sleep(2)  # what was found is filed every half second
        counted = {kind.name: settled(on, kind.name) for kind in kinds}
        accounts = [problem for kind in kinds for problem in disputes(on, kind.name, counted[kind.name])]
    summary = {name: summarise(of_it, counted[name]) for name, of_it in turns.items()}
    for problem in accounts:
        print(problem, file=sys.stderr)
    head = report.header(sys.argv, {"understudy": version_beside(understudy_command(), "understudy")})
    report.print_table("Served as if nothing was mirrored?", COLUMNS, rows(summary))
    found = check(summary, memory, accounts, changed)
    code = report.settle_checks(found)
    listed = [one for of_it in turns.values() for one in of_it]
    noisy = sum(noise(one) > NOISY for one in listed)
    whole = {"summary": summary, "memory_mb": memory, "accounts": accounts, "noisy": noisy, "turns": len(listed)}
    write(args.out, head, args, whole, found)
    return code


def disputes(server: Server, route: str, counted: Mapping[str, Any]) -> list[str]:
    """Where the books do not agree: requests, samples, pairs and losses, and records in the store."""
    served = 0
    for line in server.get("/metrics")[1].splitlines():
        if line.startswith("understudy_requests_total{") and f'route="{route}"' in line:
            served += int(float(line.rpartition(" ")[2]))
    ended = counted["pairs"] + sum(counted["lost"].values())
    newest = get_json(server, f"/admin/shadow/{route}?newest=10000")["newest"]["ab"]
    kept = newest["pairs"] + sum(newest["lost"].values())
    told = {"requests": served, "sampled": counted["sampled"], "pairs and lost": ended, "records": kept}
    if kept == 10_000:  # there are more than can be asked for
        del told["records"]
    return [] if len(set(told.values())) == 1 else [f"{route}: {told}"]


if __name__ == "__main__":
    sys.exit(main())
