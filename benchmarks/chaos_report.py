"""What `chaos.py` found: the targets, the tables, the picture."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
from chaos_client import BROKEN, KILLED, LEFT, MISSPELT, OUTCOMES, PROTOCOL, STUCK, TOLD, TRUNCATED, WRONG, Load
from report import Check

if TYPE_CHECKING:
    from chaos import Chaos, Sample

WARM_S = 20.0  # of a worker's life, in which caches fill and the allocator takes what the load needs
GROWTH_KB = 300.0  # a minute. One lost object per request would be several times as much
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)


@dataclass(frozen=True)
class Rest:
    """What is open when all is over. `metrics`: the gateway's last exposition, None if it gave none."""

    in_flight: float
    active: float
    connections: int
    calls: int
    servers: int
    metrics: str | None

    @classmethod
    def of(cls, told: Sequence[Mapping[str, Mapping[str, int]]], metrics: str | None) -> Rest:
        return cls(
            total(metrics, "understudy_in_flight_requests"),
            total(metrics, "understudy_upstream_connections", state="active"),
            sum(one["stats"]["open"] for one in told),
            sum(one["stats"]["busy"] for one in told),
            len(told),
            metrics,
        )

    @property
    def nothing(self) -> bool:
        return self.metrics is not None and not (self.in_flight or self.active or self.connections or self.calls)


def by_labels(metrics: str | None, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """A metric's samples, summed over all labels but these."""
    counts: Counter[tuple[str, ...]] = Counter()
    for found, pairs, value in _SAMPLE.findall(metrics or ""):
        if found == name:
            told = dict(re.findall(r'(\w+)="([^"]*)"', pairs))
            counts[tuple(told.get(label, "") for label in labels)] += float(value)  # type: ignore[assignment]
    return counts


def total(metrics: str | None, name: str, **wanted: str) -> float:
    counts = by_labels(metrics, name, *wanted)
    return sum(count for labels, count in counts.items() if labels == tuple(wanted.values()))


def growth(samples: Sequence[Sample]) -> float | None:
    """Of a worker's memory once it is warm, KB a minute, in the second half of the run; None for too few samples.

    The median slope between two samples of one process (Theil and Sen): a step of the allocator does not tilt it. Only
    samples between which its metrics got no new series are compared. There are as many series as there are ways for a
    request to end, each takes 50 KB, and while ever rarer things happen for the first time they would pass for a leak.
    """
    lives: dict[int, list[tuple[float, int, int]]] = {}
    for sample in samples:
        for pid, kb in sample.workers.items():
            lives.setdefault(pid, []).append((sample.seconds, kb, sample.series.get(pid, 0)))
    half = samples[-1].seconds / 2 if samples else 0.0
    slopes = []
    for life in lives.values():
        warm = [one for one in life if one[0] >= max(half, life[0][0] + WARM_S)]
        pairs = itertools.combinations(warm, 2)
        slopes += [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] - a[0] >= 3 and a[2] == b[2]]
    return statistics.median(slopes) * 60 if len(slopes) >= 100 else None


def check(chaos: Chaos, load: Load, rest: Rest, code: int | None, log: str) -> list[Check]:
    def none(name: str, count: float, known: bool = True) -> Check:
        return Check(name, "0", f"{count:,.0f}" if known else "unknown", count == 0 if known else None)

    lied_to = sum(model.stats["asked_to_continue_what_was_not_said"] for model in chaos.models)
    slowest = load.limit_s - chaos.margin_s
    checks = [
        none("truncated answers shown as success", load.wrongs[TRUNCATED]),
        none("answers with text doubled, missing or of another", load.wrongs[MISSPELT]),
        none("partial answers handed over wrongly", lied_to),
        none(f"requests open longer than {slowest:g} s + {chaos.margin_s:g} s", load.wrongs[STUCK] + load.open),
        none("connections broken without a kill", load.wrongs[BROKEN]),
        none("answers against the protocol", load.wrongs[PROTOCOL]),
    ]
    if chaos.gateway is None:
        return checks
    per_minute = growth(chaos.samples)
    told = "too short a run" if per_minute is None else f"{per_minute:+.0f} KB"
    met = None if per_minute is None else per_minute <= GROWTH_KB
    return [
        *checks,
        none("requests in flight in the gateway afterwards", rest.in_flight, rest.metrics is not None),
        none("calls under way to model servers afterwards", rest.active + rest.calls, rest.metrics is not None),
        none("connections to model servers left open", rest.connections, rest.servers == len(chaos.models)),
        Check("growth of a warm worker's memory in a minute", f"≤ {GROWTH_KB:g} KB", told, met),
        Check("exit code after SIGTERM", "0", str(code), code == 0),
        none("tracebacks in the gateway's log", log.count("Traceback (most recent call last)")),
    ]


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 20:
        return None
    cut = statistics.quantiles(values, n=20)
    return cut[9], cut[18]


def found(chaos: Chaos, load: Load, rest: Rest) -> dict[str, Any]:
    """All that is no target."""
    ended = sum(load.outcomes.values())
    entitled = ended - load.outcomes[LEFT] - load.outcomes[KILLED]
    well = entitled - load.outcomes[TOLD] - load.outcomes[WRONG]
    faults: Counter[str] = Counter()
    stats: Counter[str] = Counter()
    for model in chaos.models:
        faults.update(model.faults)
        stats.update(model.stats)
    ttft = _percentiles(load.ttft_s)
    lags = _percentiles(chaos.lags)
    workers = [kb for sample in chaos.samples for kb in sample.workers.values()]
    reasons = by_labels(rest.metrics, "understudy_requests_total", "reason", "outcome")
    legs = by_labels(rest.metrics, "understudy_legs_total", "leg", "outcome")
    refused = by_labels(rest.metrics, "understudy_upstream_refused_total", "kind")
    return {
        "requests": ended,
        "outcomes": {name: load.outcomes[name] for name in OUTCOMES},
        "answered_well": round(well / entitled, 5) if entitled else None,
        "wrongs": dict(load.wrongs),
        "examples": load.examples,
        "errors": dict(load.errors.most_common()),
        "streams_ended_with": dict(load.broken.most_common()),
        "ttft_s": ttft and {"p50": round(ttft[0], 3), "p95": round(ttft[1], 3)},
        "longest_silence_s": round(load.silence_s, 2),
        "calls": stats["calls"],
        "faults": dict(faults.most_common()),
        "model_servers": dict(stats),
        "gateway": {
            "requests": {", ".join(key): round(count) for key, count in sorted(reasons.items()) if count},
            "legs": {", ".join(key): round(count) for key, count in sorted(legs.items()) if count},
            "calls_not_sent": {key[0]: round(count) for key, count in refused.items()},
            "malformed_events": round(total(rest.metrics, "understudy_malformed_events_total")),
        },
        "kills": asdict(chaos.events),
        "peak_worker_mb": round(max(workers) / 1024, 1) if workers else None,
        "busy": round(statistics.mean(s.busy for s in chaos.samples), 3) if chaos.samples else None,
        "busy_by_this": round(chaos.cpu_s / chaos.args.duration / len(chaos.bench.cores.gateway), 3),
        "client_lag_p95_s": lags and round(lags[1], 4),
    }


def _pace(chaos: Chaos, what: Mapping[str, Any]) -> str:
    kills = what["kills"]
    faults = sum(what["faults"].values())
    pace = f"{what['requests']:,} requests, of which {chaos.args.streams} streams were open at any time, in "
    pace += (
        f"{chaos.args.duration:g} s. The gateway made {what['calls']:,} calls, of which {faults:,} were made to fail; "
    )
    pace += f"{len(kills['models'])} model servers and {len(kills['workers'])} of its workers were killed. "
    if what["answered_well"] is not None:
        pace += f"{what['answered_well']:.2%} of those who stayed, and whose worker lived, were answered well. "
    if what["ttft_s"]:
        pace += f"Time to the first token: median {what['ttft_s']['p50']:.2f} s, p95 {what['ttft_s']['p95']:.2f} s; "
    pace += f"longest silence in a stream {what['longest_silence_s']:.1f} s. "
    if what["busy"] is not None and what["client_lag_p95_s"] is not None:
        pace += (
            f"The machine was busy to {what['busy']:.0%}, the client late by {what['client_lag_p95_s']:.3f} s (p95)."
        )
    return pace.strip()


def _tables(what: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    def rows(counts: Mapping[str, int]) -> list[tuple[str, str]]:
        return [(name, f"{count:,}") for name, count in counts.items()]

    return [
        ("What became of the requests", rows(what["outcomes"])),
        ("Errors in place of an answer", rows(what["errors"])),
        ("Errors inside a stream", rows(what["streams_ended_with"])),
        ("The gateway's own books: reason, outcome", rows(what["gateway"]["requests"])),
        ("Calls to model servers: leg, outcome", rows(what["gateway"]["legs"])),
        ("Faults", rows(what["faults"])),
    ]


def tell(head: Mapping[str, Any], path: Path, chaos: Chaos, load: Load, rest: Rest, code: int | None, log: str) -> int:
    """Prints and writes it all; returns the exit code."""
    what = found(chaos, load, rest)
    checks = check(chaos, load, rest, code, log)
    pace = _pace(chaos, what)
    print(pace)
    for title, rows in _tables(what)[:3]:
        report.print_table(title, ["", "requests"], rows)
    for example in load.examples[:5]:
        print(f"\n{example}")
    result = report.settle_checks(checks)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **head,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
        "growth_kb_per_minute": growth(chaos.samples),
        **what,
        "afterwards": {key: value for key, value in asdict(rest).items() if key != "metrics"},
        "samples": [asdict(sample) for sample in chaos.samples],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    text = f"{report.header_markdown(head)}\n{pace}\n\n"
    text += report.markdown_table(
        ["", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in checks]
    )
    text += f"\n![memory and outcomes over time]({path.stem}.png)\n"
    for title, rows in _tables(what):
        if rows:
            text += f"\n{report.markdown_table([title, ''], rows)}"
    path.with_suffix(".md").write_text(text)
    print(f"Written: {path}, {path.with_suffix('.md')}")
    if not chaos.args.no_picture:
        picture(path.with_suffix(".png"), chaos, load, f"{head['machine']['cpu']}, {head['date'][:10]}")
    return result


COLOURS = {
    "answered": "#9cc5a1",
    "answered by another": "#49a078",
    "answered by a hedge": "#7fb7be",
    "rescued": "#2a6f97",
    "told of an error": "#e09f3e",
    "left by the client": "#d8dee4",
    "broken by a kill": "#8d99ae",
    "wrong": "#c1121f",
}


def picture(path: Path, chaos: Chaos, load: Load, caption: str) -> None:
    samples = chaos.samples
    if len(samples) < 5 or (plt := report.pyplot()) is None:
        print("No picture.")
        return
    figure, (memory, rate) = plt.subplots(2, 1, figsize=(10, 6.5), sharex=True, layout="constrained")
    lives: dict[int, list[tuple[float, float]]] = {}
    for sample in samples:
        for pid, kb in sample.workers.items():
            lives.setdefault(pid, []).append((sample.seconds, kb / 1024))
    for number, life in enumerate(lives.values()):
        told = "a worker" if not number else None
        memory.plot(*zip(*life, strict=True), color="#2a6f97", linewidth=1.5, label=told)
    seconds = [sample.seconds for sample in samples]
    memory.plot(seconds, [s.parent / 1024 for s in samples], color="#5c6670", linewidth=1, label="their parent")
    per_model = [s.models / 1024 / len(chaos.models) for s in samples]
    memory.plot(seconds, per_model, color="#c9ada7", linewidth=1, label="a model server, on average")
    memory.set_title("Memory (RSS, MB)", loc="left", fontsize=11)
    memory.set_ylim(0, max(max((kb for _, kb in life), default=0) for life in lives.values()) * 1.35 if lives else None)
    memory.legend(frameon=False, ncols=3, fontsize=8, loc="upper right")
    width = max(1, round(seconds[-1] / 120))
    bins = range(int(seconds[-1]) // width + 1)
    stacks = {
        name: [sum(load.timeline[at * width + second, name] for second in range(width)) / width for at in bins]
        for name in OUTCOMES
    }
    x = [(at + 0.5) * width for at in bins]
    shown = {name: values for name, values in stacks.items() if any(values)}
    rate.stackplot(x, *shown.values(), labels=list(shown), colors=[COLOURS[name] for name in shown], linewidth=0)
    rate.set_title("Requests that ended, per second", loc="left", fontsize=11)
    rate.set_ylim(0, max(map(sum, zip(*stacks.values(), strict=True))) * 1.3)
    rate.legend(frameon=False, ncols=4, fontsize=8, loc="upper right")
    for axis in (memory, rate):
        for events, colour, style in ((chaos.events.workers, "#c1121f", "-"), (chaos.events.models, "#5c6670", ":")):
            for at in events:
                axis.axvline(at, color=colour, linestyle=style, linewidth=0.7, alpha=0.6, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    rate.set_xlim(0, seconds[-1])
    marks = "red: a worker of the gateway is killed; dotted: a model server is"
    rate.set_xlabel(f"seconds ({marks})\n{caption}", color="#5c6670", fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")
