"""Whether live changes can be trusted: `python benchmarks/control.py`.

Four gateways and one Redis, all of them processes.

- writers: 50 of them contend with compare-and-swap while Redis is killed and started again; is what they were told a
  history that one store could have had, is the trail whole, is nothing lost or made twice?
- convergence: how long from a change until every replica serves by it, with Redis's messages and without them?
- flips: 500 of them under streams and requests; does any fail, or change its version while it is served?
- ramp: 5 → 25 → 5 → 100 % with thousands of sessions; does one move back to the teacher on the way up?
- faults: Redis refused, black-holed, slow, reset; what do requests notice, what is said, and does all catch up?

Needs redis-server (`apt install redis-server`) and the tests' packages. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import control_report
import harness
import report
import uvloop
from control_converge import convergence
from control_faults import FAULTS, faults
from control_flips import flips
from control_ramp import ramp
from control_report import Part
from control_writers import writers

from gateway import __version__


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="questions; all of them if left out"
    )
    parser.add_argument("--gateways", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60, help="of the writers")
    parser.add_argument("--writers", type=int, default=50)
    parser.add_argument("--changes", type=int, default=500, help="of each way of convergence, and flips under load")
    parser.add_argument("--sessions", type=int, default=4000, help="of the ramp")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS), help="all of them if left out")
    parser.add_argument("--fault-s", type=float, default=15, help="how long each fault lasts")
    parser.add_argument("--seed", default="understudy")
    parser.add_argument("--no-picture", action="store_true")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "control.json")
    return parser.parse_args(argv)


Question = Callable[[Path, argparse.Namespace], Awaitable[Part]]
PARTS: dict[str, Question] = {
    "writers": lambda folder, args: writers(folder, args.seconds, args.writers, args.gateways, args.seed),
    "convergence": lambda folder, args: convergence(folder, args.changes, args.gateways, args.seed),
    "flips": lambda folder, args: flips(folder, args.changes, args.gateways, args.seed),
    "ramp": lambda folder, args: ramp(folder, args.sessions, args.gateways, args.seed),
    "faults": lambda folder, args: faults(folder, args.faults, args.fault_s, args.seed),
}


async def ask_all(args: argparse.Namespace) -> dict[str, Part]:
    """SIGTERM ends it as Ctrl-C does: what was started is stopped."""
    asking = asyncio.current_task()
    assert asking is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asking.cancel)
    parts = {}
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        for name in PARTS:
            if name in args.only:
                with report.told(name):
                    parts[name] = await PARTS[name](Path(folder) / name, args)
    return parts


def main() -> int:
    args = parse()
    head = report.header(sys.argv, {"understudy": __version__, **_redis_version()})
    try:
        parts = uvloop.run(ask_all(args))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    return control_report.tell(head, args.out, parts, draw=not args.no_picture)


def _redis_version() -> dict[str, str]:
    said = harness.quiet_output(["redis-server", "--version"])
    return {"redis": said.partition("v=")[2].partition(" ")[0] or "unknown"}


if __name__ == "__main__":
    sys.exit(main())
