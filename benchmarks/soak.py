"""A hundred thousand requests through one Understudy process, and nothing left behind: `python benchmarks/soak.py`.

Half of the requests are streams, and a fifth of the streams are abandoned by the client in the middle, as people do
who close a tab. While they run, the process's memory is sampled; when they are over, the books must balance:

- memory does not grow with the number of requests (the slope of a line through the samples after a warm-up);
- no connection is left open on the clients' side, and on the model server's side both ends agree on how many idle
  ones there are, not more in a pool than there were clients;
- every request is in `understudy_requests_total`, those abandoned as `cancelled`, and a client that left ended the
  call to the model server too;
- no request that was not abandoned failed, and no stream lost, repeated or reordered an event.

Exit code 1 if one of these does not hold.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
import report
from contenders import BENCH_KEY, ROUTE, start_understudy, understudy_command, version_beside
from harness import Bench, Measured, NotReady, Server
from report import Check

CONNECTIONS = 128
STREAM_EVENTS = 20
EVENT_GAP_MS = 5
SLOPE_KB = 20.0  # per 1000 requests. One lost object per request is 50 or more: the smallest dict of Python has 64 B
NOTICED = 0.8  # of the abandoned streams; the others had been read to their end when the client's leaving was noticed
SETTLE_S = 20.0


@dataclass(frozen=True)
class Sample:
    seconds: float
    requests: int
    rss_kb: int
    client_sockets: int
    upstream_sockets: int


def sample(gateway: Server, upstream: Server, requests: int, began: float) -> Sample:
    pids = gateway.pids()
    return Sample(
        round(time.monotonic() - began, 2),
        requests,
        harness.memory_kb(pids),
        harness.tcp_sockets(pids, local_port=gateway.port),
        harness.tcp_sockets(pids, remote_port=upstream.port),
    )


def run(bench: Bench, gateway: Server, upstream: Server, args: argparse.Namespace) -> tuple[Measured, list[Sample]]:
    """Drives the load while a thread samples twice a second; the model server's count says how far it has come."""
    samples: list[Sample] = []
    over = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not over.wait(0.5):
            samples.append(sample(gateway, upstream, upstream_stats(upstream)["requests"], began))

    options = {
        "model": ROUTE,
        "key": BENCH_KEY,
        "requests": args.warmup + args.requests,
        "duration": args.limit,
        "conns": CONNECTIONS,
        "stream": args.streams,
        "abandon": args.abandon,
        "expect": STREAM_EVENTS,
        "mock": f"n={STREAM_EVENTS},itl={EVENT_GAP_MS}",
    }
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        measured = bench.load(gateway.port, options, gateway)
    finally:
        over.set()
        watcher.join()
    return measured, samples


def upstream_stats(upstream: Server) -> dict[str, int]:
    stats: dict[str, int] = json.loads(upstream.get("/__stats")[1])
    stats["open"] -= 1  # the one that asked
    return stats


def requests_by_outcome(gateway: Server) -> dict[str, int]:
    """`understudy_requests_total`, summed over all labels but the outcome."""
    counts: dict[str, int] = {}
    for labels, value in re.findall(r"^understudy_requests_total\{(.*)\} (\S+)$", gateway.get("/metrics")[1], re.M):
        outcome = re.search(r'outcome="([^"]*)"', labels)
        key = outcome[1] if outcome else ""
        counts[key] = counts.get(key, 0) + int(float(value))
    return counts


def settle(gateway: Server, upstream: Server) -> Sample:
    """Waits until connections have closed, or have had long enough to; returns what is then open."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = sample(gateway, upstream, 0, 0)
        if now.client_sockets == 0 and now.upstream_sockets == upstream_stats(upstream)["open"]:
            return now
        if time.monotonic() > deadline:
            return now
        time.sleep(0.25)


def fit(samples: Sequence[Sample]) -> tuple[float, float]:
    """A line through RSS over requests, by Theil and Sen: KB per 1000 requests, and KB at 0.

    Its slope is the median of the slopes between all pairs of samples. The allocator takes memory in steps of a
    megabyte; least squares would call one of them growth. What every request loses tilts all pairs alike.
    """
    slopes = [
        (b.rss_kb - a.rss_kb) / (b.requests - a.requests)
        for a, b in itertools.combinations(samples, 2)
        if b.requests > a.requests
    ]
    slope = statistics.median(slopes)
    return slope * 1000, statistics.median(s.rss_kb - slope * s.requests for s in samples)


def check(
    load: Mapping[str, Any], slope: float | None, end: Sample, stats: Mapping[str, int], outcomes: Mapping[str, int]
) -> list[Check]:
    sent, abandoned = load["in_all"]["started"], load["in_all"]["abandoned"]
    failed = {kind: count for kind, count in load["errors"].items() if count}
    counted, cancelled = sum(outcomes.values()), outcomes.get("cancelled", 0)
    least = int(NOTICED * abandoned)
    growth = "too few samples" if slope is None else f"{slope:+.1f} KB"
    idle = f"{end.upstream_sockets} here, {stats['open']} there"
    agree = end.upstream_sockets == stats["open"] <= 2 * CONNECTIONS  # the teacher's pool and the student's
    noticed = f"{least:,} to {abandoned:,}"
    return [
        Check(
            "RSS growth per 1000 requests after warm-up",
            f"≤ {SLOPE_KB:g} KB",
            growth,
            None if slope is None else slope <= SLOPE_KB,
        ),
        Check("client connections left open", "0", f"{end.client_sockets}", end.client_sockets == 0),
        Check("idle connections to the model server", f"agreed, ≤ {2 * CONNECTIONS}", idle, agree),
        Check("requests in /metrics", f"{sent:,}", f"{counted:,}", counted == sent),
        Check("… counted as cancelled", noticed, f"{cancelled:,}", least <= cancelled <= abandoned),
        Check(
            "calls ended at the model server",
            noticed,
            f"{stats['streams_abandoned']:,}",
            least <= stats["streams_abandoned"] <= abandoned,
        ),
        Check("requests and streams that failed", "0", f"{failed or 0}", not failed),
    ]


def picture(path: Path, samples: Sequence[Sample], line: tuple[float, float] | None, warm: int, caption: str) -> None:
    if len(samples) < 2 or samples[0].requests == samples[-1].requests:
        print("No picture: too few samples.")
        return
    if (plt := report.pyplot()) is None:
        return
    figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
    axis.plot([s.requests for s in samples], [s.rss_kb / 1024 for s in samples], color="#2a6f97", linewidth=1.8)
    if line is not None:
        slope, base = line
        ends = (warm, samples[-1].requests)
        axis.plot(
            ends, [(base + slope * x / 1000) / 1024 for x in ends], color="#c8553d", linewidth=1.2, linestyle="--"
        )
        axis.annotate(
            f"{slope:+.1f} KB per 1000 requests",
            (ends[1], (base + slope * ends[1] / 1000) / 1024),
            xytext=(0, -16),
            textcoords="offset points",
            ha="right",
            color="#c8553d",
        )
    axis.axvspan(0, warm, color="#e9edf1", zorder=0)
    axis.text(warm / 2, 0.04, "warm-up", transform=axis.get_xaxis_transform(), ha="center", color="#5c6670")
    axis.set_title("Memory of one Understudy process (RSS, MB)", loc="left", fontsize=11)
    axis.set_xlabel(f"requests\n{caption}", color="#5c6670", fontsize=9)
    axis.set_ylim(0, max(s.rss_kb for s in samples) / 1024 * 1.25)
    axis.set_xlim(0, samples[-1].requests)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--warmup", type=int, default=50_000, help="requests before those, while caches fill")
    parser.add_argument("--streams", type=float, default=0.5, help="share of the requests that ask for a stream")
    parser.add_argument("--abandon", type=float, default=0.2, help="share of the streams that the client abandons")
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which no more requests are begun")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "soak.json")
    args = parser.parse_args(argv)
    if args.requests < 1000:
        parser.error(f"expected at least 1000 requests, got {args.requests}")
    return args


def main() -> int:
    args = parse()
    with Bench() as bench:
        upstream = bench.start_upstream()
        try:
            gateway, _ = start_understudy(bench, upstream)
        except NotReady as error:
            raise SystemExit(str(error)) from error
        with report.told(f"{args.warmup:,} requests to warm up and {args.requests:,} that count"):
            measured, samples = run(bench, gateway, upstream, args)
        end = settle(gateway, upstream)
        stats, outcomes = upstream_stats(upstream), requests_by_outcome(gateway)
        peak_mb = harness.memory_kb(gateway.pids(), "VmHWM") / 1024
    load = measured.load
    steady = [s for s in samples if s.requests >= args.warmup]
    line = fit(steady) if len(steady) >= 10 else None
    checks = check(load, line and line[0], end, stats, outcomes)
    head = report.header(sys.argv, {"understudy": version_beside(understudy_command(), "understudy")})
    pace = (
        f"{load['in_all']['started']:,} requests in {load['window_s']:.0f} s over {CONNECTIONS} connections, "
        f"{load['in_all']['ok_streams']:,} streams of {STREAM_EVENTS} events read to their end, "
        f"{load['in_all']['abandoned']:,} abandoned; peak RSS {peak_mb:.0f} MB."
    )
    print(pace, *measured.said, sep="\n")
    code = report.settle_checks(checks)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **head,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
        "outcomes": outcomes,
        "peak_rss_mb": round(peak_mb, 1),
        "slope_kb_per_1000": line and round(line[0], 2),
        "at_end": asdict(end),
        "upstream": stats,
        "load": load,
        "samples": [asdict(s) for s in samples],
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    text = f"{report.header_markdown(head)}\n{pace}\n\n"
    text += report.markdown_table(
        ["", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in checks]
    )
    args.out.with_suffix(".md").write_text(text)
    print(f"Written: {args.out}, {args.out.with_suffix('.md')}")
    picture(args.out.with_suffix(".png"), samples, line, args.warmup, f"{head['machine']['cpu']}, {head['date'][:10]}")
    return code


if __name__ == "__main__":
    sys.exit(main())
