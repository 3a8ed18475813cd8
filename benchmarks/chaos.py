"""Everything fails at once, and nothing wrong is shown to a user: `python benchmarks/chaos.py`.

A gateway of two workers before three upstreams of two model servers each, every one a process of its own. For ten
minutes 200 streams and some requests without streaming are open at all times, a twentieth of the streams is abandoned
in the middle, a fifth of the calls to the model servers fails in one of some thirty ways (`chaos_model.py`), and every
now and then a model server or a worker of the gateway is killed (SIGKILL) and comes back. The client
(`chaos_client.py`) knows what each answer must have been, to the character. In the end:

- no answer that is not whole was shown as a success;
- no text was doubled, left out or of another answer, in the streams that ended in an error neither;
- nothing was open for longer than its deadlines and a margin, and afterwards nothing is open in the gateway, nor
  between it and the model servers;
- no connection broke but those of a worker that was killed;
- the workers' memory does not grow, and the log has no traceback.

Exit code 1 if one of these does not hold. What could not be saved and was told as an error is counted, and no failure.
`--without-gateway` lets the client ask a model server itself, to see that it does notice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chaos_report
import harness
import report
import uvloop
from chaos_client import Load
from contenders import understudy_command, version_beside
from harness import Bench, Cores, Server

ROUTE = "chaos"
UPSTREAMS = ("small", "big", "spare")
REPLICAS = 2
WHOLE_SHARE = 0.1  # lanes without streaming, beside the streams
DEADLINES = {"connect_s": 1, "ttft_s": 2, "stall_s": 2, "answer_s": 5, "total_s": 30}
MARGIN_S = 4.0  # ticks, a loaded machine, and a connection that waits in the backlog while workers start
DOWN_S = (0.5, 3.0)  # how long a killed model server is away
SETTLE_S = 15.0


def config(port: int, folder: Path, ports: dict[str, list[int]]) -> dict[str, Any]:
    upstreams = {
        name: {
            "base_urls": [f"http://127.0.0.1:{one}/v1" for one in ports[name]],
            "model": name,
            "continues": "no" if name == "spare" else "prefill",
            "health": {"every_s": 1, "timeout_s": 1},
            "breaker": {"window_s": 5, "min_requests": 20, "open_s": 2},
            "price": {"input": 1, "output": 2},
        }
        for name in UPSTREAMS
    }
    route = {
        "teacher": "big",
        "student": "small",
        "student_percent": 50,
        "deadlines": DEADLINES,
        "fallback": {"order": ["teacher", "student", "spare"], "hedge_after_s": 0.8},
    }
    listen = {"listen": f"127.0.0.1:{port}", "store": f"sqlite:///{folder / 'chaos.db'}", "drain_s": 5}
    return {**listen, "upstreams": upstreams, "routes": {ROUTE: route}}


@dataclass
class Sample:
    """Memory in KB, of the gateway's workers by process. `series`: bytes that the metrics of each take in its files.
    `busy`: the share of all cores since the last sample."""

    seconds: float
    workers: dict[int, int]
    series: dict[int, int]
    parent: int
    models: int
    busy: float


@dataclass
class Model:
    """A model server: what it takes to start it again, and its counts from before it was killed."""

    upstream: str
    server: Server
    argv: list[str]
    stats: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def book(self, told: dict[str, dict[str, int]]) -> None:
        self.stats.update({key: count for key, count in told["stats"].items() if key not in ("open", "busy")})
        self.faults.update(told["faults"])


@dataclass
class Events:
    """What was done to whom, in seconds since the load began."""

    workers: list[float] = field(default_factory=list)
    models: list[float] = field(default_factory=list)


async def fetch(port: int, path: str, timeout_s: float = 3) -> str | None:
    """The body of a GET, None if there was no answer."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: chaos\r\nconnection: close\r\n\r\n".encode())
            data = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    return body.decode() if head.startswith(b"HTTP/1.1 200") else None


class Chaos:
    """The run. Mutable state: the processes, and the books of what was done to them."""

    def __init__(self, bench: Bench, args: argparse.Namespace) -> None:
        self.bench = bench
        self.args = args
        self.numbers = random.Random(args.seed)
        self.models: list[Model] = []
        self.gateway: Server | None = None
        self.events = Events()
        self.samples: list[Sample] = []
        self.lags: list[float] = []
        self.margin_s = MARGIN_S
        self.cpu_s = 0.0

    # Processes.

    def start(self) -> None:
        ports: dict[str, list[int]] = {}
        for name in UPSTREAMS[: 1 if self.args.without_gateway else None]:
            for number in range(REPLICAS):
                port = harness.free_port()
                ports.setdefault(name, []).append(port)
                seed = self.numbers.getrandbits(32)
                script = str(harness.HERE / "chaos_model.py")
                argv = [sys.executable, script, str(port), name, str(self.args.faults), str(seed)]
                server = self.bench.start(f"{name}-{number}", argv, port, ready="/v1/models")
                self.models.append(Model(name, server, argv))
        if self.args.without_gateway:
            return
        port = harness.free_port()
        path = self.bench.folder / "chaos.yaml"
        path.write_text(json.dumps(config(port, self.bench.folder, ports)))
        command = [understudy_command(), "serve", "-c", str(path), "--workers", "2"]
        self.gateway = self.bench.start(
            "understudy", command, port, ready="/readyz", env={"TMPDIR": str(self.bench.folder)}
        )

    def workers(self) -> list[int]:
        assert self.gateway is not None
        found = []
        for pid in harness.tree(self.gateway.process.pid):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"spawn_main" in command:
                found.append(pid)
        return found

    async def kill_workers(self, load: Load) -> None:
        """One at a time, chosen at random; uvicorn's supervisor starts another."""
        while True:
            await asyncio.sleep(self.args.kill_worker_s * self.numbers.uniform(0.7, 1.3))
            if workers := self.workers():
                victim = self.numbers.choice(workers)
                load.kills.append(time.monotonic())
                self.events.workers.append(time.monotonic() - load.began)
                os.kill(victim, signal.SIGKILL)

    async def kill_models(self, load: Load) -> None:
        while True:
            await asyncio.sleep(self.args.kill_model_s * self.numbers.uniform(0.7, 1.3))
            model = self.numbers.choice(self.models)
            told = await fetch(model.server.port, "/__stats")
            model.server.process.kill()
            model.server.process.wait()
            self.events.models.append(time.monotonic() - load.began)
            if told is not None:
                model.book(json.loads(told))
            await asyncio.sleep(self.numbers.uniform(*DOWN_S))
            model.argv[-1] = str(self.numbers.getrandbits(32))
            self._start_again(model)

    def _start_again(self, model: Model) -> None:
        with model.server.log.open("a") as out:
            model.server.process = harness.spawn(
                model.argv, self.bench.cores.tools, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )

    # Watching.

    async def watch(self, load: Load) -> None:
        before = _cpu_times()
        while True:
            begun = time.monotonic()
            await asyncio.sleep(1)
            self.lags.append(time.monotonic() - begun - 1)
            now = _cpu_times()
            busy = 1 - (now[1] - before[1]) / max(1, now[0] - before[0])
            before = now
            workers = {pid: harness.memory_kb([pid]) for pid in self.workers()} if self.gateway is not None else {}
            parent = harness.memory_kb([self.gateway.process.pid]) if self.gateway is not None else 0
            models = harness.memory_kb(model.server.process.pid for model in self.models)
            seconds, series = round(begun + 1 - load.began, 1), _series_bytes(self.bench.folder)
            self.samples.append(Sample(seconds, workers, series, parent, models, round(busy, 3)))

    async def run(self) -> Load:
        port = self.gateway.port if self.gateway is not None else self.models[0].server.port
        limit_s = self.margin_s + (DEADLINES["total_s"] if self.gateway is not None else 0)
        load = Load(port, ROUTE, self.args.abandon, limit_s)
        lanes = [(True, self.args.streams), (False, max(1, round(WHOLE_SHARE * self.args.streams)))]
        asking = [
            asyncio.create_task(load.lane(random.Random(self.numbers.random()), stream))
            for stream, count in lanes
            for _ in range(count)
        ]
        doing = [asyncio.create_task(self.watch(load))]
        if self.gateway is not None:
            doing += [asyncio.create_task(self.kill_workers(load)), asyncio.create_task(self.kill_models(load))]
        ended, _ = await asyncio.wait(doing, timeout=self.args.duration, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()  # a defect of ours: they go on for ever
        load.stopping = True
        self.cpu_s = harness.cpu_seconds(harness.tree(os.getpid()))
        for task in doing[1:]:
            task.cancel()
        for model in self.models:
            if model.server.process.poll() is not None:
                self._start_again(model)
        await asyncio.wait(asking, timeout=limit_s + 5)
        for task in asking:
            if task.done():
                task.result()
        doing[0].cancel()
        await asyncio.wait(doing)
        return load

    async def settle(self) -> chaos_report.Rest:
        """Waits until nothing is open, or it has had long enough to close; returns what is then open."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            told = [json.loads(text) for model in self.models if (text := await fetch(model.server.port, "/__stats"))]
            metrics = await fetch(self.gateway.port, "/metrics") if self.gateway is not None else ""
            rest = chaos_report.Rest.of(told, metrics)
            if rest.nothing or time.monotonic() > deadline:
                for model, one in zip(self.models, told, strict=False):
                    model.book(one)
                return rest
            await asyncio.sleep(0.25)

    def end(self) -> tuple[int | None, str]:
        """Ends the gateway as an operator would: its exit code, and its log."""
        if self.gateway is None:
            return None, ""
        self.gateway.process.terminate()
        try:
            code = self.gateway.process.wait(15)
        except subprocess.TimeoutExpired:
            code = -1
        return code, self.gateway.log.read_text(errors="replace")


def _series_bytes(folder: Path) -> dict[int, int]:
    """How far prometheus-client has filled the files of each worker; a file begins with that number."""
    used: Counter[int] = Counter()
    for path in folder.glob("understudy-metrics-*/*_*.db"):
        pid = path.stem.rpartition("_")[2]
        with contextlib.suppress(OSError), path.open("rb") as file:
            used[int(pid)] += int.from_bytes(file.read(4), sys.byteorder)
    return dict(used)


def _cpu_times() -> tuple[int, int]:
    """All and idle ticks of the machine."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--duration", type=float, default=600, help="seconds of load")
    parser.add_argument("--streams", type=int, default=200, help="streams that are open at once")
    parser.add_argument("--faults", type=float, default=0.2, help="share of the calls to model servers that fail")
    parser.add_argument("--abandon", type=float, default=0.05, help="share of the streams that the client abandons")
    parser.add_argument("--kill-worker-s", type=float, default=30, help="seconds between two workers' deaths, about")
    parser.add_argument("--kill-model-s", type=float, default=12, help="seconds between two model servers' deaths")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-gateway", action="store_true", help="the client asks a model server itself")
    parser.add_argument("--no-picture", action="store_true")
    parser.add_argument("--log", type=Path, help="where the gateway's log is kept")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "chaos.json")
    args = parser.parse_args(argv)
    if not 0 <= args.faults <= 1 or not 0 <= args.abandon <= 1:
        parser.error("expected shares from 0 to 1 for --faults and --abandon")
    return args


def main() -> int:
    args = parse()
    allowed = frozenset(os.sched_getaffinity(0))
    with Bench(Cores(allowed, allowed), tools=Path()) as bench:
        chaos = Chaos(bench, args)
        chaos.start()
        with report.told(f"{args.streams} streams for {args.duration:g} s"):

            async def run() -> tuple[Load, chaos_report.Rest]:
                load = await chaos.run()
                return load, await chaos.settle()

            load, rest = uvloop.run(run())
        code, log = chaos.end()
    if args.log is not None:
        args.log.write_text(log)
    head = report.header(sys.argv, {"understudy": version_beside(understudy_command(), "understudy")})
    return chaos_report.tell(head, args.out, chaos, load, rest, code, log)


if __name__ == "__main__":
    sys.exit(main())
