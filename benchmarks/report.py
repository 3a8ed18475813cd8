"""How the benchmarks tell what they found: a head that says where and how, tables, targets met or missed, pictures."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import HERE, quiet_output


def machine() -> dict[str, Any]:
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith(("model name", "cpu model")):
                model = line.partition(":")[2].strip()
                break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
    }


def header(argv: Sequence[str], versions: Mapping[str, str]) -> dict[str, Any]:
    """What a reader needs to run it again: the command, when, where, and of what versions."""
    git = ["git", "--no-optional-locks", "-C", str(HERE.parent)]
    commit = quiet_output([*git, "rev-parse", "--short", "HEAD"]) or "unknown"
    if quiet_output([*git, "status", "--porcelain", "gateway", "router_policies"]):
        commit += " with changes"
    return {
        "command": " ".join(["python", f"benchmarks/{Path(argv[0]).name}", *argv[1:]]),
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit,
        "machine": machine(),
        "versions": dict(versions),
    }


def header_markdown(head: Mapping[str, Any]) -> str:
    where = head["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    return (
        f"`{head['command']}`, {head['date']}, commit {head['commit']}. {where['cpu']}, {where['cores']} cores, "
        f"Linux {where['kernel']}, Python {where['python']}. {versions}.\n"
    )


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Plain text, the first column to the left and the others to the right: it reads the same in a log."""
    lines = [columns, *rows]
    first, *others = (max(len(line[i]) for line in lines) for i in range(len(columns)))
    print(f"\n{title}\n{'─' * len(title)}")
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))
        print("   ".join([line[0].ljust(first), *cells]).rstrip())


@dataclass(frozen=True)
class Check:
    """A target and what was measured. `met` is None where the figure could not be had: nothing is claimed then."""

    name: str
    target: str
    figure: str
    met: bool | None

    @property
    def word(self) -> str:
        return {True: "met", False: "MISSED", None: "not checked"}[self.met]


def settle_checks(checks: Sequence[Check]) -> int:
    """Prints them and returns the exit code: 1 if any was missed."""
    print_table("Targets", ["", "wanted", "measured", ""], [[c.name, c.target, c.figure, c.word] for c in checks])
    met, missed, unknown = (sum(c.met is what for c in checks) for what in (True, False, None))
    print(f"{met} met, {missed} missed, {unknown} not checked")
    return 1 if missed else 0


def pyplot() -> Any:
    """matplotlib's pyplot on the file backend, or None with a line that says so."""
    try:
        import matplotlib
    except ImportError:
        print("No picture: matplotlib is not installed (pip install matplotlib).")
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """One line of progress on stderr, with the time it took."""
    begin = time.monotonic()
    print(f"{what} ...", end="", file=sys.stderr, flush=True)
    yield
    print(f" {time.monotonic() - begin:.1f} s", file=sys.stderr)


def shown(value: float | None, digits: int, unit: str = "") -> str:
    return "–" if value is None else f"{value:,.{digits}f}{unit}"
