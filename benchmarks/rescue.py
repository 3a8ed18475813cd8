"""Real engines killed in the middle of their answers, behind a real gateway: `python benchmarks/rescue.py`.

Two engines of one kind serve the same model. Streams are asked for greedily (temperature 0) through the official
`openai` client, a few at once, and when one of them has come to a token drawn in advance, the engine that serves them
is killed with SIGKILL. The gateway has to go on with the other engine. Then the killed one is started again, and the
next round has the engines the other way round. An engine is killed as machines and the kernel kill: the whole server
(`server`), or, for vLLM, whose HTTP server outlives it, the process that computes (`core`, what the out-of-memory
killer picks).

What each stream is judged by:

- `rescued`: it has its finish reason and its end, and all of its text. The rest ended with an error that the client
  raises, which is honest but no rescue;
- `equal`: its text is, letter for letter, that of the same request when nobody is killed;
- the seam: up to it the text must be what the first engine sends undisturbed, and after it what the second engine says
  when it is handed that text directly. One engine computes in groups that depend on what else runs, and the last bit of
  a sum may tip a word; so a text that is not `equal` is still no fault of the seam if the second engine, asked
  directly, goes on with the same words, or has the word that follows within a nat of its best one. What else differs
  at the seam itself is a duplicate or a gap;
- shown as a success though it was cut short: must never happen.

Exit code 1 if a stream was cut short and shown as a success, has a duplicate or a gap, or if fewer than nine of ten
were rescued.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
import report
import yaml
from report import Check
from streams import PROMPTS, STREAM_S, AnyEngine, Heard, Judge, Request, Result, client_of, listen
from vllm_engine import Vllm

from gateway.cli.demo_servers import Gateway
from gateway.engines import Engine, StartError
from gateway.model_file import fetch_model

READY_S = 600.0  # vLLM takes from one to several minutes on two busy cores
LEAST_RESCUED = 0.9

Args = argparse.Namespace


@dataclass(frozen=True)
class Kind:
    name: str
    version: str
    make: Callable[[str, Path], AnyEngine]
    ways: tuple[str, ...]
    rounds: int


def config(engines: Sequence[AnyEngine], work: Path, port: int) -> dict[str, Any]:
    """Two routes: each engine is first on one of them and second on the other."""
    first, second = (engine.alias for engine in engines)
    patience = {"connect_s": 5, "ttft_s": 120, "stall_s": 60, "total_s": STREAM_S}
    fallback = {"order": ["teacher"], "mid_stream": "continue"}
    health = {"every_s": 1, "timeout_s": 10}
    route = {"student_percent": 100, "deadlines": patience, "fallback": fallback}
    return {
        "listen": f"127.0.0.1:{port}",
        "store": f"sqlite:///{work / 'rescue.db'}",
        "drain_s": 2,
        "upstreams": {
            engine.alias: {"base_url": engine.base_url, "model": engine.alias, "continues": "auto", "health": health}
            for engine in engines
        },
        "routes": {
            f"{first}-first": {**route, "student": first, "teacher": second},
            f"{second}-first": {**route, "student": second, "teacher": first},
        },
    }


class Round:
    """Some streams from one engine, and its end. What the streams' threads share is written under `_lock`."""

    def __init__(self, requests: Sequence[Request], engine: AnyEngine, how: str, fatal: int) -> None:
        self._requests = requests
        self._engine = engine
        self._how = how
        self._fatal = fatal  # pieces of the last stream, at which the engine is killed
        self._lock = threading.Lock()
        self.heard: dict[int, Heard] = {}
        self.pieces = [0] * len(requests)
        self.pieces_then: list[int] = []  # of the streams that ran when the engine was killed; 0 for others
        self.killed_at = 0.0

    def play(self, url: str, pause: Callable[[], float]) -> None:
        """Returns when all streams have ended, the last one started `pause` after the one before."""
        route = f"{self._engine.alias}-first"
        threads = [
            threading.Thread(target=self._listen, args=(url, route, number), daemon=True)
            for number in range(len(self._requests))
        ]
        for thread in threads:
            thread.start()
            time.sleep(pause())
        for thread in threads:
            thread.join(STREAM_S + 60)
        if any(thread.is_alive() for thread in threads):
            raise RuntimeError("a stream has neither ended nor failed: the gateway keeps it hanging")

    def _listen(self, url: str, route: str, number: int) -> None:
        body = self._requests[number].body()
        heard = listen(client_of(f"{url}/v1"), body, route, lambda pieces: self._hear(number, pieces))
        with self._lock:
            self.heard[number] = heard
            self.pieces[number] = 0

    def _hear(self, number: int, pieces: int) -> None:
        with self._lock:
            self.pieces[number] = pieces
            if number < len(self._requests) - 1 or pieces != self._fatal or self.pieces_then:
                return
            self.pieces_then = list(self.pieces)
            self.killed_at = time.monotonic()
            if self._how == "core" and isinstance(self._engine, Vllm):
                self._engine.kill_core()
            else:
                self._engine.kill()


def play(kind: Kind, url: str, engines: Sequence[AnyEngine], judge: Judge, turn: int, args: Args) -> list[Result]:
    """One kill: draw what is asked and when the engine dies, judge what became of it, start the engine again."""
    draw = random.Random(f"{args.seed} {kind.name} {turn}")
    first, second = (engines[turn % 2], engines[1 - turn % 2])
    how = kind.ways[turn // 2 % len(kind.ways)]
    forms = draw.choices(("chat", "text", "json"), (6, 2, 2), k=args.at_once)
    requests = [Request(form, prompt) for form, prompt in zip(forms, draw.sample(PROMPTS, args.at_once), strict=True)]
    lengths = [len(judge.whole(first, request).pieces) for request in requests]
    this = Round(requests, first, how, draw.randint(3, max(4, lengths[-1] - 10)))
    this.play(url, lambda: draw.uniform(0.05, 0.3))
    results = [
        judge.result(request, this.heard[number], how, at, this.killed_at, first, second)
        for number, (request, at) in enumerate(zip(requests, this.pieces_then, strict=False))
        if at and not judge.was_whole(first, request, this.heard[number])
    ]
    first.kill()
    first.start()
    first.wait_ready(READY_S)
    time.sleep(3)  # the gateway asks every second whether it is back
    return results


def run(kind: Kind, args: Args) -> list[Result]:
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="understudy-rescue-") as name, ExitStack() as stack:
        work = Path(name)
        engines = [kind.make(f"engine-{letter}", work / f"{letter}.log") for letter in "ab"]
        with report.told(f"{kind.name}: starting two"):
            for engine in engines:
                stack.callback(engine.stop)
                engine.start()
                engine.wait_ready(READY_S)
        config_file, port = work / "gateway.yaml", harness.free_port()
        config_file.write_text(yaml.safe_dump(config(engines, work, port)))
        gateway = stack.enter_context(Gateway(config_file, port, work / "gateway.log"))
        time.sleep(3)  # the gateway asks them what they are
        judge = Judge(vllm=isinstance(engines[0], Vllm))
        for turn in range(kind.rounds):
            with report.told(f"{kind.name}: round {turn + 1} of {kind.rounds}"):
                played = play(kind, gateway.url, engines, judge, turn, args)
            results += played
            for result in played:
                if result.seam in ("broken", "none") or result.cut_short:
                    print(f"  {result}", file=sys.stderr)
        if args.keep_logs:
            for log in work.glob("*.log"):
                (args.keep_logs / f"{kind.name}-{log.name}").write_bytes(log.read_bytes())
    return results


def summary(results: Sequence[Result]) -> dict[str, Any]:
    gaps = sorted(result.gap_s for result in results if result.rescued and result.gap_s is not None)
    seams = [result.seam for result in results]
    return {
        "killed": len(results),
        "rescued": sum(result.rescued for result in results),
        "equal": seams.count("equal"),
        "continued": seams.count("continued"),
        "broken": seams.count("broken"),
        "errors": sum(bool(result.error) for result in results),
        "cut_short": sum(result.cut_short for result in results),
        "gap_p50_s": round(statistics.median(gaps), 3) if gaps else None,
        "gap_max_s": gaps[-1] if gaps else None,
    }


COLUMNS = ("", "killed", "rescued", "equal", "continued", "error told", "gap or twice", "cut short", "p50", "max")


LEGEND = """
`equal`: letter for letter the text of an undisturbed run. `continued`: it differs from that, but not from what the
second engine says when it is asked directly to go on. `error told`: the stream ended with an error that the client
raised. p50 and max: from the kill to the next piece of text at the client.
"""


def row(name: str, results: Sequence[Result]) -> list[str]:
    told = summary(results)
    counts = ("killed", "rescued", "equal", "continued", "errors", "broken", "cut_short")
    times = (report.shown(told[key], 2, " s") for key in ("gap_p50_s", "gap_max_s"))
    return [name, *(str(told[key]) for key in counts), *times]


def rows(found: dict[str, list[Result]]) -> list[list[str]]:
    lines = []
    for name, results in found.items():
        lines.append(row(name, results))
        for how in sorted({result.how for result in results}):
            for form in sorted({result.form for result in results}):
                if some := [result for result in results if (result.how, result.form) == (how, form)]:
                    lines.append(row(f"{name}, {how} killed, {form}", some))
    return lines


def checks(found: dict[str, list[Result]]) -> list[Check]:
    listed = []
    for name, results in found.items():
        told = summary(results)
        share = told["rescued"] / told["killed"] if results else None
        figure = f"{told['rescued']} of {told['killed']}"
        enough = None if share is None else share >= LEAST_RESCUED
        listed += [
            Check(f"{name}: shown as a success though cut short", "0", str(told["cut_short"]), told["cut_short"] == 0),
            Check(f"{name}: text twice or missing at a seam", "0", str(told["broken"]), told["broken"] == 0),
            Check(f"{name}: rescued", f"≥ {LEAST_RESCUED:.0%}", figure, enough),
        ]
    return listed


def kinds(args: Args) -> list[Kind]:
    listed = []
    if args.rounds:
        model = fetch_model(progress=False)

        def llama(alias: str, log: Path) -> AnyEngine:
            slots = 1 << (args.at_once - 1).bit_length()  # with embeddings on, llama.cpp fails to start with 3 of them
            return Engine(model, alias, log, threads=1, ctx=1024, parallel=slots)

        version = importlib.metadata.version("xllamacpp")
        listed.append(Kind("llama.cpp", f"xllamacpp {version}", llama, ("server",), args.rounds))
    if args.vllm:

        def vllm(alias: str, log: Path) -> AnyEngine:
            return Vllm(args.vllm, args.vllm_model, alias, log)

        said = harness.quiet_output([str(args.vllm), "--version"]).split()
        version = f"vllm {said[-1] if said else 'unknown'}"
        listed.append(Kind("vLLM", version, vllm, ("server", "core"), args.vllm_rounds))
    return listed


def parse(argv: Sequence[str] | None = None) -> Args:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="kills of a llama.cpp (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=3, help="streams per kill (default: %(default)s)")
    parser.add_argument("--vllm", type=Path, metavar="PATH", help="the vllm program; without it, vLLM is left out")
    parser.add_argument("--vllm-model", type=Path, metavar="DIR", help="a small model in Hugging Face format")
    parser.add_argument("--vllm-rounds", type=int, default=8, help="kills of a vLLM (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="draws prompts and moments (default: %(default)s)")
    parser.add_argument("--keep-logs", type=Path, metavar="DIR", help="copy all logs there in the end")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "rescue.json")
    args = parser.parse_args(argv)
    if args.vllm and not args.vllm_model:
        parser.error("--vllm: expected --vllm-model DIR with it")
    if not 1 <= args.at_once <= len(PROMPTS):
        parser.error(f"--at-once: expected 1 to {len(PROMPTS)}, got {args.at_once}")
    return args


def main() -> int:
    args = parse()
    found: dict[str, list[Result]] = {}
    versions = {"understudy": importlib.metadata.version("understudy")}
    for kind in kinds(args):
        try:
            found[kind.name] = run(kind, args)
        except StartError as error:
            raise SystemExit(str(error)) from error
        name, _, version = kind.version.partition(" ")
        versions[name] = version
    table = rows(found)
    report.print_table("Streams whose engine was killed", COLUMNS, table)
    code = report.settle_checks(listed := checks(found))
    head = report.header(sys.argv, versions)
    document = {
        **head,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in listed],
        "summary": {name: summary(results) for name, results in found.items()},
        "streams": {name: [asdict(result) for result in results] for name, results in found.items()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    text = f"{report.header_markdown(head)}\n{report.markdown_table(COLUMNS, table)}{LEGEND}"
    args.out.with_suffix(".md").write_text(text)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
