"""What `control.py` found: a part for each question, and the file, the page and the picture of all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report
from report import Check

BLUE, RED, GREY, LIGHT = "#2a6f97", "#c8553d", "#8d99a6", "#93c0da"


@dataclass
class Part:
    """The answer to one question. `figures` go to the JSON, but for `drawn`, which is for the picture."""

    title: str
    note: str
    columns: Sequence[str]
    rows: list[list[str]]
    checks: list[Check]
    figures: dict[str, Any] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)


def none_of(name: str, count: int) -> Check:
    return Check(name, "0", f"{count:,}", count == 0)


def below(name: str, limit_s: float, figure_s: float | None) -> Check:
    if figure_s is None:
        return Check(name, f"< {limit_s * 1000:,.0f} ms", "–", None)
    return Check(name, f"< {limit_s * 1000:,.0f} ms", f"{figure_s * 1000:,.0f} ms", figure_s < limit_s)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of them does not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def milliseconds(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value * 1000:,.{digits}f}"


def spread(values: Sequence[float]) -> dict[str, float | None]:
    found = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values, default=None)}
    return {name: None if value is None else round(value, 5) for name, value in found.items()}


def tell(head: Mapping[str, Any], out: Path, parts: Mapping[str, Part], *, draw: bool) -> int:
    """Prints and writes it all; returns the exit code."""
    text = report.header_markdown(head)
    for part in parts.values():
        report.print_table(part.title, part.columns, part.rows)
        print(part.note)
        text += f"\n## {part.title}\n\n{part.note}\n\n{report.markdown_table(part.columns, part.rows)}"
    checks = [check for part in parts.values() for check in part.checks]
    code = report.settle_checks(checks)
    rows = [[one.name, one.target, one.figure, one.word] for one in checks]
    text += "\n## Targets\n\n" + report.markdown_table(["", "wanted", "measured", "result"], rows)
    document = {
        **head,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
        "parts": {name: part.figures for name, part in parts.items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    drawn = draw and _picture(out.with_suffix(".png"), parts, f"{head['machine']['cpu']}, {head['date'][:10]}")
    if drawn:
        text += f"\n![writers and kills, convergence, and the hot path under faults]({out.stem}.png)\n"
    out.with_suffix(".md").write_text(text)
    print(f"Written: {out}, {out.with_suffix('.md')}")
    return code


def _picture(path: Path, parts: Mapping[str, Part], caption: str) -> bool:
    if not {"writers", "convergence", "faults"} <= parts.keys() or (plt := report.pyplot()) is None:
        return False
    figure, axes = plt.subplot_mosaic("AA;BC", figsize=(10, 7), layout="constrained")
    _draw_writers(axes["A"], parts["writers"].drawn)
    _draw_convergence(axes["B"], parts["convergence"].drawn)
    _draw_faults(axes["C"], parts["faults"].drawn)
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, color="#5c6670", fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")
    return True


def _draw_writers(axis: Any, drawn: Mapping[str, Any]) -> None:
    seconds = math.ceil(drawn["seconds"])
    colours = {"made": BLUE, "stale": LIGHT, "store away": "#e0b084", "unknown": RED}
    stacks = {name: [0] * seconds for name in colours}
    for at, name in drawn["ended"]:
        if 0 <= at < seconds:
            stacks[name][int(at)] += 1
    middles = [second + 0.5 for second in range(seconds)]
    axis.stackplot(
        middles, *stacks.values(), labels=list(stacks), colors=list(colours.values()), linewidth=0, step="mid"
    )
    for place, (killed, back) in enumerate(drawn["away"]):
        axis.axvspan(killed, back, color="#5c6670", alpha=0.25, linewidth=0, label=None if place else "Redis away")
    axis.set_title("Writes that ended, per second, while Redis is killed and started again", loc="left", fontsize=10)
    axis.set_xlabel("seconds")
    axis.set_xlim(0, seconds)
    axis.set_ylim(0, max(map(sum, zip(*stacks.values(), strict=True))) * 1.3)
    axis.legend(frameon=False, ncols=5, fontsize=8, loc="upper right")


def _draw_convergence(axis: Any, drawn: Mapping[str, Sequence[float]]) -> None:
    for (name, values), colour in zip(drawn.items(), (BLUE, RED), strict=False):
        found = sorted(max(value, 0.0005) for value in values)
        shares = [100 * (place + 1) / len(found) for place in range(len(found))]
        axis.step([1000 * value for value in found], shares, color=colour, where="post", label=name)
    axis.axvline(1000, color=GREY, linewidth=0.9, linestyle="--")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:,g}")
    axis.set_xlim(right=2000)
    axis.set_ylim(0, 120)
    axis.set_yticks(range(0, 101, 20))
    axis.set_title("Replicas that serve by a change, %", loc="left", fontsize=10)
    axis.set_xlabel("milliseconds since it was sent (dashed: the target for p99)")
    axis.legend(frameon=False, ncols=2, fontsize=8, loc="upper left")


def _draw_faults(axis: Any, drawn: Mapping[str, Mapping[str, float]]) -> None:
    places = range(len(drawn))
    axis.barh([p - 0.2 for p in places], [1000 * one["beside"] for one in drawn.values()], 0.38, color=LIGHT)
    axis.barh([p + 0.2 for p in places], [1000 * one["faulty"] for one in drawn.values()], 0.38, color=BLUE)
    axis.set_yticks(list(places), list(drawn), fontsize=8)
    axis.invert_yaxis()
    axis.set_title("p99 of requests, ms: Redis fails (dark), and beside it (light)", loc="left", fontsize=10)
    axis.set_xlabel("milliseconds")
