"""What the gate's statistics promise, held against students whose true rates are known: `python benchmarks/gate.py`.

- A student exactly at the tolerance, looked at after every pair: how often is it promoted, and how often by an interval
  that was made for one look?
- How many pairs does a good student need? One without a single disagreement? One that is retrained again and again?
- After 5,000 good pairs the student breaks: how many pairs until the alarm, and how often is it false?
- Requests of which some kinds are sampled more often than others; a teacher that differs from itself.
- What a pair costs in time, and a route in bytes.

Everything is drawn from `--seed`. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gate_parts as questions
import gate_trials as trials
import harness
import report
from gate_parts import ATTEMPTS, FULL, GOOD, QUICK, TOLERANCE, Part, Runs, percent
from gate_trials import ALPHA

from gateway import __version__


def picture(path: Path, parts: dict[str, Part], runs: Runs, caption: str) -> None:
    if (plt := report.pyplot()) is None:
        return
    blue, red, grey = "#2a6f97", "#c8553d", "#8d99a6"
    figure, ((a, b), (c, d)) = plt.subplots(2, 2, figsize=(10, 7.2), layout="constrained")
    curves = parts["promotion"].figures["curves"]
    for name, colour in (("Wilson, every pair", red), ("Wilson, every 100", "#e2a08f"), ("the gate", blue)):
        a.plot([100 * one for one in curves[name]], color=colour, linewidth=1.8, label=name)
    a.axhline(100 * ALPHA, color=grey, linewidth=0.9, linestyle="--")
    a.set_title("A student exactly at the tolerance: ever promoted, %", loc="left", fontsize=10)
    a.set_xlabel("pairs, looked at all along")
    a.legend(frameon=False, fontsize=9)
    gate = trials.gate_line(TOLERANCE, ALPHA, runs.pairs)
    shades = ("#12405c", blue, "#5a9bc0", "#93c0da", "#c3dcea")
    for rate, colour in zip(GOOD, shades, strict=True):
        b.plot([100 * one for one in trials.chances(rate, gate)], color=colour, linewidth=1.8, label=percent(rate))
    b.set_xscale("log")
    b.set_xlim(50, runs.pairs)
    b.set_title("Good students, by true rate: certified, %", loc="left", fontsize=10)
    b.set_xlabel("pairs")
    b.xaxis.set_major_formatter("{x:,.0f}")
    b.legend(frameon=False, fontsize=9, loc="lower right")
    delays = parts["detection"].figures[f"2 % → {percent(0.10, 0)}"]
    for kind, colour in (("run length 10,000", blue), ("e-CUSUM, 10,000", "#93c0da"), ("whole history", red)):
        found = sorted(math.inf if one is None else one for one in delays[kind]["delays"])
        c.step(
            [0, *found], [100 * i / len(found) for i in range(len(found) + 1)], color=colour, where="post", label=kind
        )
    c.set_xlim(0, 2000)
    c.set_title(f"2 % → 10 % after {runs.history:,} pairs: alarm raised, %", loc="left", fontsize=10)
    c.set_xlabel("pairs after the change")
    c.legend(frameon=False, fontsize=9)
    for name, colour in (("alpha for each", red), ("alpha spent over attempts", blue)):
        one = parts["retrained"].figures[name]
        d.plot(range(1, ATTEMPTS + 1), [100 * x for x in one["exact"]], color=colour, linewidth=1.8, label=name)
        d.plot(range(1, ATTEMPTS + 1), [100 * x for x in one["simulated"]], color=colour, linestyle="", marker=".")
    d.axhline(100 * ALPHA, color=grey, linewidth=0.9, linestyle="--")
    d.set_title("Bad students retrained: any promoted, %", loc="left", fontsize=10)
    d.set_xlabel(f"attempts (dots: simulated)\n{caption}")
    d.legend(frameon=False, fontsize=9)
    d.set_xticks([1, 5, 10, 15, ATTEMPTS])
    for axis in (a, b, c, d):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=-1.5 if axis is c else 0)  # so that a line at 0 is seen
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few runs: a first look, in seconds")
    parser.add_argument("--seed", default="understudy")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "gate.json")
    return parser.parse_args(argv)


def main() -> int:
    args = parse()
    runs, seed = (QUICK if args.quick else FULL), args.seed
    parts = {}
    for name, ask in {
        "promotion": lambda: questions.promotion(runs, seed),
        "certificates": questions.certificates,
        "power": lambda: questions.power(runs),
        "detection": lambda: questions.detection(runs, seed),
        "run_length": lambda: questions.run_length(runs, seed),
        "sampling": lambda: questions.sampling(runs, seed),
        "own_noise": lambda: questions.own_noise(runs, seed),
        "retrained": lambda: questions.retrained(runs, seed),
        "speed": lambda: questions.speed(runs, seed),
    }.items():
        with report.told(name):
            parts[name] = ask()
    head = report.header(sys.argv, {"understudy": __version__})
    text = report.header_markdown(head)
    for part in parts.values():
        report.print_table(part.title, part.columns, part.rows)
        text += f"\n## {part.title}\n\n{report.markdown_table(part.columns, part.rows)}"
        text += f"\n{part.note}\n" if part.note else ""
    checks = [check for part in parts.values() for check in part.checks]
    code = report.settle_checks(checks)
    text += "\n## Targets\n\n" + report.markdown_table(
        ["", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in checks]
    )
    document = {
        **head,
        "seed": seed,
        "runs": vars(runs),
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
        "parts": {name: _without_lists(part.figures) for name, part in parts.items()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(text)
    print(f"Written: {args.out}, {args.out.with_suffix('.md')}")
    picture(args.out.with_suffix(".png"), parts, runs, f"{head['machine']['cpu']}, {head['date'][:10]}")
    return code


def _without_lists(figures: Any) -> Any:
    """Curves and single delays are for the picture."""
    if isinstance(figures, dict):
        return {key: _without_lists(one) for key, one in figures.items() if key not in ("curves", "delays")}
    return figures


if __name__ == "__main__":
    sys.exit(main())
