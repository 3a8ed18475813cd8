"""What Understudy costs, side by side with nginx and vllm-router: `python benchmarks/speed.py`.

One model server, one load generator, and in turns (A B C D, D C B A, ...) no gateway, nginx, vllm-router, Understudy,
each alone on its core. Every comparison is made within a round, between measurements a few seconds apart, and the
median over the rounds is reported: on a shared machine absolute figures drift, such ratios and differences hardly do.
A competitor that is not installed is left out with a line that says so.

Checks the project's speed targets and exits with 1 if one is missed. `README.md` beside this file explains the figures.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import report
from contenders import BENCH_KEY, NAMES, ROUTE, Contender, start_contenders
from harness import Bench, Measured
from report import Check, shown

Summary = dict[str, dict[str, float | None]]
Ranges = dict[str, dict[str, tuple[float, float]]]

EVENTS_PER_SECOND = 50
STREAM_EVENTS = 100
NOISY = 0.15  # of a core, taken by other programs on our cores: such a measurement is repeated
BASELINE = "vllm-router"


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    options: Mapping[str, object]
    warmup: float = 1.0
    streams: int = 0

    def load_options(self, window: float) -> dict[str, object]:
        run = {"model": ROUTE, "key": BENCH_KEY, "warmup": self.warmup, "duration": self.warmup + window}
        return {**run, **self.options}


def streams(count: int) -> Scenario:
    """Streams of 2 s whose starts are spread over 2 s, so that at any moment they are at all stages of their lives."""
    life = STREAM_EVENTS / EVENTS_PER_SECOND
    mock = f"n={STREAM_EVENTS},itl={1000 / EVENTS_PER_SECOND:g}"
    options = {"stream": 1, "conns": count, "ramp": life, "mock": mock, "expect": STREAM_EVENTS}
    about = f"{count} streams of {EVENTS_PER_SECOND} events/s"
    return Scenario(f"streams_{count}", about, options, warmup=life + 0.5, streams=count)


SCENARIOS = (
    Scenario("requests", "closed loop, 32 connections", {"conns": 32}),
    Scenario("latency", "open loop, 200 requests/s, Poisson", {"rate": 200, "poisson": True, "conns": 16}),
    streams(100),
    streams(500),
)


# ---- measuring ----


def measure(
    bench: Bench, contender: Contender, scenario: Scenario, window: float, patience: int
) -> tuple[Measured, int]:
    """One measurement; if other programs were busy on our cores, again, and the quietest counts.

    The rule looks only at the neighbours, never at the result, and is the same for every contender.
    """
    tries: list[Measured] = []
    while not tries or (tries[-1].neighbours > NOISY and len(tries) <= patience):
        time.sleep(0.3)  # what the last one left behind, closing connections say, is over
        tries.append(bench.load(contender.port, scenario.load_options(window), contender.server))
    return min(tries, key=lambda m: m.neighbours), len(tries)


def figures(scenario: Scenario, measured: Measured) -> dict[str, float | None]:
    """The numbers of one measurement that the report is made of. Times in the unit their name says."""
    load, cpu_us = measured.load, measured.cpu_s * 1e6

    def ms(what: str, quantile: str) -> float | None:
        return load[what][quantile] / 1e3 if load[what]["n"] else None

    if scenario.streams:
        expected = scenario.streams * EVENTS_PER_SECOND * load["window_s"]
        return {
            "cpu_us_per_event": cpu_us / load["events"] if load["events"] else None,
            "delivered": load["events"] / expected,
            "ttft_p50_ms": ms("ttft", "p50"),
            "ttft_p99_ms": ms("ttft", "p99"),
            "transit_p50_ms": ms("transit", "p50"),
            "transit_p99_ms": ms("transit", "p99"),
        }
    return {
        "rps": load["rps"],
        "requests_per_cpu_s": load["ok"] / measured.cpu_s if measured.cpu_s else None,
        "cpu_us_per_request": cpu_us / load["ok"] if load["ok"] else None,
        "p50_ms": ms("ttlt", "p50"),
        "p99_ms": ms("ttlt", "p99"),
        "lag_p99_ms": ms("lag", "p99"),
    }


class Results:
    """All measurements, and the medians, paired ratios and paired differences taken of them."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def add(self, round_: int, scenario: Scenario, name: str, measured: Measured, tries: int) -> None:
        self.runs.append(
            {
                "round": round_,
                "scenario": scenario.name,
                "contender": name,
                "figures": figures(scenario, measured),
                "errors": measured.errors,
                "neighbours": round(measured.neighbours, 3),
                "tries": tries,
                "cpu_s": round(measured.cpu_s, 3),
                "load": {key: value for key, value in measured.load.items() if key not in {"errors", "in_all"}},
            }
        )

    def by_round(self, name: str, scenario: str, figure: str) -> dict[int, float]:
        return {
            run["round"]: run["figures"][figure]
            for run in self.runs
            if (run["contender"], run["scenario"]) == (name, scenario) and run["figures"].get(figure) is not None
        }

    def value(self, name: str, scenario: str, figure: str) -> float | None:
        return median_of(self.by_round(name, scenario, figure).values())

    def ratios(self, name: str, other: str, scenario: str, figure: str) -> list[float]:
        """This one's over the other's, round by round."""
        ours, theirs = self.by_round(name, scenario, figure), self.by_round(other, scenario, figure)
        return [ours[r] / theirs[r] for r in ours if theirs.get(r)]

    def added(self, name: str, scenario: str, figure: str) -> list[float]:
        """What it is above no gateway at all, round by round."""
        ours, direct = self.by_round(name, scenario, figure), self.by_round("direct", scenario, figure)
        return [ours[r] - direct[r] for r in ours if r in direct]

    def errors(self, name: str) -> int:
        return sum(sum(run["errors"].values()) for run in self.runs if run["contender"] == name)


def median_of(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def summarise(
    results: Results, contenders: Sequence[Contender], peak_mb: Mapping[str, float]
) -> tuple[Summary, Ranges]:
    """The median of every figure, and of those paired by round also the lowest and the highest."""
    summary: Summary = {}
    ranges: Ranges = {}
    for contender in contenders:
        name = contender.name
        summary[name] = {
            "rps": results.value(name, "requests", "rps"),
            "p50_ms": results.value(name, "latency", "p50_ms"),
            "p99_ms": results.value(name, "latency", "p99_ms"),
            "ttft_p50_ms_100": results.value(name, "streams_100", "ttft_p50_ms"),
            "delivered_500": results.value(name, "streams_500", "delivered"),
            "transit_p50_ms_500": results.value(name, "streams_500", "transit_p50_ms"),
            "transit_p99_ms_500": results.value(name, "streams_500", "transit_p99_ms"),
            "errors": results.errors(name),
        }
        if contender.server is None:  # without a gateway there is nothing that the others could be about
            continue
        paired = {
            "requests_over_nginx": results.ratios(name, "nginx", "requests", "requests_per_cpu_s"),
            "requests_over_vllm_router": results.ratios(name, BASELINE, "requests", "requests_per_cpu_s"),
            "requests_over_sticky": results.ratios(name, f"{BASELINE}, sticky", "requests", "requests_per_cpu_s"),
            "requests_over_default": results.ratios(name, f"{BASELINE}, default", "requests", "requests_per_cpu_s"),
            "cpu_per_event_over_vllm_router": results.ratios(name, BASELINE, "streams_100", "cpu_us_per_event"),
            "added_p50_ms": results.added(name, "latency", "p50_ms"),
            "added_p99_ms": results.added(name, "latency", "p99_ms"),
            "added_ttft_p50_ms": results.added(name, "streams_100", "ttft_p50_ms"),
        }
        ranges[name] = {key: (min(values), max(values)) for key, values in paired.items() if values}
        summary[name] |= {key: median_of(values) for key, values in paired.items()}
        summary[name] |= {
            "requests_per_cpu_s": results.value(name, "requests", "requests_per_cpu_s"),
            "cpu_us_per_request": results.value(name, "requests", "cpu_us_per_request"),
            "cpu_us_per_event_100": results.value(name, "streams_100", "cpu_us_per_event"),
            "cpu_us_per_event_500": results.value(name, "streams_500", "cpu_us_per_event"),
            "peak_rss_mb": peak_mb.get(name),
            "cold_start_s": contender.cold_start_s,
        }
    return summary, ranges


AT_LEAST, AT_MOST = "≥", "≤"
SPEED_TARGETS = (
    ("requests per second of a core, against vllm-router", "requests_over_vllm_router", AT_LEAST, 1.3, " ×", 2),
    ("… against vllm-router keeping users sticky, as Understudy does", "requests_over_sticky", AT_LEAST, 1.3, " ×", 2),
    ("… against vllm-router as it is without options", "requests_over_default", AT_LEAST, 1.3, " ×", 2),
    ("CPU per event against vllm-router, 100 streams", "cpu_per_event_over_vllm_router", AT_MOST, 1.3, " ×", 2),
    ("events delivered, 500 streams × 50/s", "delivered_500", AT_LEAST, 0.99, "", 4),
    ("latency added at 200 requests/s, p50", "added_p50_ms", AT_MOST, 1.0, " ms", 2),
    ("latency added at 200 requests/s, p99", "added_p99_ms", AT_MOST, 5.0, " ms", 2),
    ("TTFT added at 100 streams, p50", "added_ttft_p50_ms", AT_MOST, 1.0, " ms", 2),
    ("peak RSS", "peak_rss_mb", AT_MOST, 100, " MB", 0),
    ("cold start", "cold_start_s", AT_MOST, 2.0, " s", 2),
    ("requests and streams that failed", "errors", AT_MOST, 0, "", 0),
)


def check_targets(summary: Summary, ranges: Ranges) -> list[Check]:
    """Understudy's medians against the targets; the range over the rounds stands beside those taken round by round."""
    checks = []
    for name, key, sign, limit, unit, digits in SPEED_TARGETS:
        value = summary.get("understudy", {}).get(key)
        figure = shown(value, digits, unit)
        if key in ranges.get("understudy", {}):
            low, high = ranges["understudy"][key]
            figure += f" ({shown(low, digits)} to {shown(high, digits)})"
        met = None if value is None else value >= limit if sign == AT_LEAST else value <= limit
        checks.append(Check(name, f"{sign} {limit:g}{unit}", figure, met))
    return checks


# ---- reporting ----


ROWS: tuple[tuple[str, str, int], ...] = (
    ("requests per second of a core", "requests_per_cpu_s", 0),
    ("… ÷ nginx's", "requests_over_nginx", 2),
    ("… ÷ vllm-router's", "requests_over_vllm_router", 2),
    ("requests/s by the clock", "rps", 0),
    ("CPU per request, µs", "cpu_us_per_request", 0),
    ("latency added at 200/s, p50, ms", "added_p50_ms", 2),
    ("latency added at 200/s, p99, ms", "added_p99_ms", 2),
    ("TTFT added at 100 streams, p50, ms", "added_ttft_p50_ms", 2),
    ("CPU per event, 100 streams × 50/s, µs", "cpu_us_per_event_100", 1),
    ("… ÷ vllm-router's", "cpu_per_event_over_vllm_router", 2),
    ("CPU per event, 500 streams × 50/s, µs", "cpu_us_per_event_500", 1),
    ("events delivered, 500 streams × 50/s", "delivered_500", 4),
    ("event under way, 500 streams, p50, ms", "transit_p50_ms_500", 2),
    ("event under way, 500 streams, p99, ms", "transit_p99_ms_500", 1),
    ("peak RSS, MB", "peak_rss_mb", 0),
    ("cold start, s", "cold_start_s", 2),
    ("requests and streams that failed", "errors", 0),
)


def table_rows(summary: Summary) -> list[list[str]]:
    return [[title, *(shown(values.get(key), digits) for values in summary.values())] for title, key, digits in ROWS]


def picture(path: Path, summary: Summary, caption: str) -> None:
    if (plt := report.pyplot()) is None:
        return
    panels = (
        ("Requests per second of a core", "requests_per_cpu_s", "more is better", 0),
        ("CPU per streamed event, 100 streams × 50/s (µs)", "cpu_us_per_event_100", "less is better", 1),
        ("Latency added at 200 requests/s, median (ms)", "added_p50_ms", "less is better", 2),
        ("Time to first token added, 100 streams, median (ms)", "added_ttft_p50_ms", "less is better", 2),
    )
    gateways = [name for name in summary if name != "direct"]
    figure, axes = plt.subplots(2, 2, figsize=(11, 1.6 + 1.1 * len(gateways)), layout="constrained")
    for axis, (title, key, better, digits) in zip(axes.flat, panels, strict=True):
        known = {name: value for name in gateways if (value := summary[name].get(key)) is not None}
        values = list(known.values())
        colours = ["#2a6f97" if name == "understudy" else "#c3ccd5" for name in known]
        bars = axis.barh(list(known), values, color=colours, height=0.62)
        axis.bar_label(bars, [shown(value, digits) for value in values], padding=4, fontsize=10)
        axis.set_title(title, fontsize=11, loc="left")
        axis.set_xlabel(better, fontsize=9, color="#5c6670", loc="left")
        axis.set_xlim(right=max([*values, 1e-9]) * 1.15)
        axis.invert_yaxis()
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(length=0, labelsize=10)
        axis.set_xticks([])
    figure.supxlabel(caption, fontsize=8, color="#5c6670")
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")


def write(
    out: Path,
    head: dict[str, Any],
    summary: Summary,
    ranges: Ranges,
    checks: Sequence[Check],
    results: Results,
    args: argparse.Namespace,
) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **head,
        "rounds": args.rounds,
        "window_s": args.window,
        "scenarios": {s.name: s.about for s in SCENARIOS},
        "summary": summary,
        "ranges": ranges,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
        "runs": results.runs,
    }
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    noisy = sum(run["neighbours"] > NOISY for run in results.runs)
    text = report.header_markdown(head)
    text += (
        f"\nMedians of {args.rounds} rounds in turn; ratios and differences paired by round. Other programs took more "
        f"than {NOISY:.0%} of a core during {noisy} of {len(results.runs)} measurements.\n\n"
    )
    text += report.markdown_table(["", *summary], table_rows(summary)) + "\n"
    text += report.markdown_table(
        ["target", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in checks]
    )
    out.with_suffix(".md").write_text(text)
    print(f"Written: {out}, {out.with_suffix('.md')}")
    machine = head["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    caption = (
        f"{machine['cpu']}, one core for the gateway; {versions}; {head['date'][:10]}; medians of {args.rounds} rounds"
    )
    picture(out.with_suffix(".png"), summary, caption)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=0, help="rounds of turns (default 5; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a first look in three minutes, noisier")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "speed.json")
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--nginx", metavar="PATH", help="the nginx to use (default: from PATH)")
    parser.add_argument(
        "--vllm-router", metavar="PATH", help="the vllm-router to use (default: PATH, this Python's bin)"
    )
    parser.add_argument(
        "--patience", type=int, default=2, help="repeats of a measurement that other programs disturbed"
    )
    args = parser.parse_args(argv)
    args.rounds = args.rounds or (2 if args.quick else 5)
    args.window = 2.0 if args.quick else 5.0
    args.only = re.split(r"[, ]+", args.only)
    if unknown := set(args.only) - set(NAMES):
        parser.error(f"expected some of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    return args


def main() -> int:
    args = parse()
    results = Results()
    with Bench() as bench:
        upstream = bench.start_upstream()
        contenders = start_contenders(bench, upstream, args.only, nginx=args.nginx, vllm_router=args.vllm_router)
        if bench.cores.tools == bench.cores.gateway:
            print("One core only: the tools share it with the gateways. The figures then say little.")
        for round_ in range(args.rounds):
            for scenario in SCENARIOS:
                for contender in contenders if round_ % 2 == 0 else reversed(contenders):
                    if contender.requests_only and scenario.name != "requests":
                        continue
                    with report.told(f"round {round_ + 1}/{args.rounds}, {scenario.about}: {contender.name}"):
                        measured, tries = measure(bench, contender, scenario, args.window, args.patience)
                    results.add(round_, scenario, contender.name, measured, tries)
                    if measured.errors:
                        print(f"  errors: {measured.errors}; {' / '.join(measured.said)}", file=sys.stderr)
        peak_mb = {c.name: harness.memory_kb(c.server.pids(), "VmHWM") / 1024 for c in contenders if c.server}
    summary, ranges = summarise(results, contenders, peak_mb)
    head = report.header(sys.argv, {c.name: c.version for c in contenders if c.version and not c.requests_only})
    report.print_table("Each gateway on a core of its own", ["", *summary], table_rows(summary))
    checks = check_targets(summary, ranges)
    code = report.settle_checks(checks)
    write(args.out, head, summary, ranges, checks, results, args)
    return code


if __name__ == "__main__":
    sys.exit(main())
