"""A hundred thousand malformed requests, and as many malformed answers of model servers: `python benchmarks/fuzz.py`.

Against a real gateway process, on loopback, in three parts:

- requests: HTTP, JSON and admin requests gone wrong in every way that `fuzz_requests` knows, before a model server that
  looks closely at what is handed on to it;
- schema: what schemathesis makes of the gateway's own OpenAPI description;
- responses: a model server whose answers are damaged in every way that `fuzz_responses` knows, with clients behind the
  gateway that read strictly (h11) and hold what is shown as a success to being one.

Expected: every request is answered, or its connection closed, in time; never a 500; every refusal in the metrics with a
reason, one for each that the clients saw; nothing in the log; no memory, descriptor or request left behind; and what is
in order is still answered after every batch. Exit code 1 if one of these does not hold.

A case is made of its seed and number alone: `--show responses 42` prints one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_answers
import fuzz_requests
import fuzz_responses
import harness
import report
import soak
import uvloop
from contenders import understudy_command, version_beside
from fuzz_books import SPARE_FILES, Books, Gateway, config, unaccounted
from fuzz_upstream import Strict
from harness import Bench
from report import Check

SLOPE_KB = 20.0  # of RSS per 1000 cases, over the second half: as `soak` has it
WARM = 50_000  # cases; until then caches and the allocator still fill
HERE = Path(__file__).resolve().parent


@dataclass
class Part:
    """What one part found. `findings`: kind, number of the case, what it was."""

    name: str
    cases: Counter[str]
    seconds: float
    checks: list[Check] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[str, int, str]] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)  # cases, RSS in KB


@dataclass
class Watch:
    """Looks at the gateway between batches: its memory, and whether it still answers what is in order."""

    gateway: Gateway
    name: str
    total: int
    samples: list[soak.Sample] = field(default_factory=list)
    unwell: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def batches(self, size: int, run: Callable[[range], Awaitable[None]]) -> None:
        for start in range(0, self.total, size):
            await run(range(start, min(start + size, self.total)))
            done = min(start + size, self.total)
            if problem := await asyncio.to_thread(self.gateway.answers_well):
                self.unwell.append(f"after {done}: {problem}")
            seconds = time.monotonic() - self.began
            self.samples.append(soak.Sample(seconds, done, self.gateway.rss_kb(), 0, 0))
            print(f"\r{self.name}: {done:,} of {self.total:,}, {seconds:.0f} s ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)

    def memory(self) -> list[tuple[int, int]]:
        return [(sample.requests, sample.rss_kb) for sample in self.samples]

    def exceptions(self) -> list[tuple[str, int, str]]:
        return [(f"in the log: {text}", 0, f"{count} times") for text, count in self.gateway.exceptions().items()]

    def checks(self, before: Books, after: Books) -> list[Check]:
        late = [sample for sample in self.samples if sample.requests > self.total // 2]
        slope = soak.fit(late)[0] if self.total >= WARM and len(late) > 4 else None
        growth = "too few cases" if slope is None else f"{slope:+.1f} KB"
        files = f"{before.files} before, {after.files} after"
        bad = self.gateway.bad_log_lines()
        return [
            Check(
                "requests in order, one after each batch", "all answered", f"{len(self.unwell)} not", not self.unwell
            ),
            Check(
                "RSS growth per 1000, second half",
                f"≤ {SLOPE_KB:g} KB",
                growth,
                None if slope is None else slope <= SLOPE_KB,
            ),
            Check("files open", "no more than before", files, after.files <= before.files + SPARE_FILES),
            Check("requests in flight at the end", "0", f"{after.in_flight}", after.in_flight == 0),
            Check("errors and tracebacks in the log", "0 lines", f"{len(bad)} lines", not bad),
        ]


async def serve(protocol: Callable[[], asyncio.Protocol]) -> int:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=1024)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def start(bench: Bench, name: str, upstream: int, good: int = 0) -> Gateway:
    """A gateway of its own for a part, ready."""
    port, folder = harness.free_port(), bench.folder / name
    folder.mkdir()
    file = folder / "gateway.yaml"
    whole = {"listen": f"127.0.0.1:{port}", "store": f"sqlite:///{folder / 'fuzz.db'}", **config(upstream, good)}
    file.write_text(json.dumps(whole))  # which is YAML too
    argv: list[str | Path] = [understudy_command(), "serve", "-c", file]
    server = await asyncio.to_thread(bench.start, name, argv, port, ready="/readyz")
    gateway = Gateway(port, server.process.pid, server.log)
    for _ in range(20):  # so that what is made once, on first use, is there before anything is counted
        await asyncio.to_thread(gateway.answers_well)
    return gateway


async def requests(bench: Bench, args: argparse.Namespace) -> Part:
    complaints: list[str] = []
    gateway = await start(bench, "requests", await serve(lambda: Strict(complaints, [0])))
    before = await asyncio.to_thread(gateway.books)
    watch, seen = Watch(gateway, "requests", args.requests), fuzz_requests.Seen()

    async def run(numbers: range) -> None:
        await fuzz_requests.Clients(gateway.port, args.seed, iter(numbers), seen).run(args.width)

    await watch.batches(args.batch, run)
    after = await asyncio.to_thread(gateway.settled, before.files)
    open_accounts = unaccounted(seen, before, after)
    kinds = Counter(kind for kind, _, _ in seen.findings)
    others = len(seen.findings) - kinds["no answer and no end"]
    checks = [
        Check(
            "answered or closed in time",
            "all",
            f"{kinds['no answer and no end']} not",
            not kinds["no answer and no end"],
        ),
        Check("answers with status 500", "0", f"{seen.answers[500]}", not seen.answers[500]),
        Check("other findings", "0", f"{others}", not others),
        Check("refusals seen and counted", "the same", "; ".join(open_accounts) or "the same", not open_accounts),
        Check("handed on though it should not be", "0", f"{len(complaints)}", not complaints),
        *watch.checks(before, after),
    ]
    told = {f"{status} {code or '(HEAD)'}": count for (status, code), count in seen.errors.most_common()}
    told["2xx"] = sum(count for status, count in seen.answers.items() if status < 300)
    told["connections that ended by a reset after an answer"] = seen.resets
    told["connections that ended without an answer, or inside one"] = sum(seen.unfinished.values())
    findings = seen.findings + [("handed on", 0, text) for text in complaints] + watch.exceptions()
    return Part("requests", seen.cases, time.monotonic() - watch.began, checks, told, findings, watch.memory())


async def responses(bench: Bench, args: argparse.Namespace) -> Part:
    fuzzed = await serve(lambda: fuzz_responses.Malformer(args.seed))
    gateway = await start(bench, "responses", fuzzed, await serve(lambda: Strict([], [0])))
    before = await asyncio.to_thread(gateway.books)
    watch, got = Watch(gateway, "responses", args.responses), fuzz_answers.Got()

    async def run(numbers: range) -> None:
        await fuzz_answers.Clients(gateway.port, args.seed, iter(numbers), got).run(args.width)

    await watch.batches(args.batch, run)
    after = await asyncio.to_thread(gateway.settled, before.files)
    counted = after.outcomes - before.outcomes
    good = len(watch.samples)
    calls, ok = sum(counted.values()) - good, counted["ok"] - good
    kinds = Counter(kind for kind, _, _ in got.findings)
    late, cut, internal = kinds["no answer in time"], kinds["no whole HTTP answer"], kinds["internal_error"]
    others = len(got.findings) - late - cut - internal
    checks = [
        Check("answered in time", "all", f"{late} not", not late),
        Check("whole HTTP answers, as h11 reads them", "all", f"{cut} not", not cut),
        Check("answers that say internal_error", "0", f"{internal}", not internal),
        Check("successes that are none", "0", f"{others}", not others),
        Check("calls counted", f"{args.responses:,}", f"{calls:,}", calls == args.responses),
        Check("… as a success", f"{got.ok:,}", f"{ok:,}", ok == got.ok),
        *watch.checks(before, after),
    ]
    told: Counter[str] = Counter()
    for (status, code), count in got.failed.items():
        told[
            f"{status} {code if code.startswith(('upstream_', 'unsupported', 'in-band')) else 'of the model server'}"
        ] += count
    answers = {"2xx, a success": got.ok, **dict(told.most_common())}
    findings = got.findings + watch.exceptions()
    return Part("responses", got.cases, time.monotonic() - watch.began, checks, answers, findings, watch.memory())


async def schema(bench: Bench, args: argparse.Namespace) -> Part:
    """schemathesis on the gateway's description. What it may not know without a key, the routes' names, it is told."""
    program = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if program is None:
        print("schema: left out, schemathesis is not installed (pip install schemathesis).")
        return Part("schema", Counter(), 0, [Check("schemathesis", "no failure", "not installed", None)])
    gateway = await start(bench, "schema", await serve(lambda: Strict([], [0])))
    before = await asyncio.to_thread(gateway.books)
    text = await asyncio.to_thread(bench.servers[-1].get, "/openapi.json")
    file = bench.folder / "openapi.json"
    file.write_text(json.dumps(with_routes(json.loads(text[1]), [fuzz_requests.ROUTE, "alone"])))
    watch = Watch(gateway, "schema", 1)
    said = ""

    async def run(_: range) -> None:
        nonlocal said
        argv = [program, "run", str(file), "--url", f"http://127.0.0.1:{gateway.port}", "--no-color"]
        argv += ["--checks", "not_a_server_error", "--seed", str(args.seed), "--max-examples", str(args.schema)]
        argv += ["--phases", "examples,coverage,fuzzing", "-H", f"authorization: Bearer {fuzz_requests.ADMIN_KEY}"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=-1, stderr=-2, cwd=bench.folder)
        said = (await process.communicate())[0].decode()

    await watch.batches(1, run)
    after = await asyncio.to_thread(gateway.settled, before.files)
    cases = re.search(r"([\d,]+) generated(?:, ([\d,]+) passed)?", said)
    made, passed = (int(part.replace(",", "")) if part else 0 for part in cases.groups()) if cases else (0, 0)
    checks = [
        Check("cases without failure", f"{made:,}", f"{passed:,}", made > 0 and made == passed),
        *watch.checks(before, after),
    ]
    findings = [*([] if made and made == passed else [("schemathesis", 0, said[-3000:])]), *watch.exceptions()]
    answers = {"counted as refused": sum((after.refused - before.refused).values())}
    return Part("schema", Counter({"generated": made}), time.monotonic() - watch.began, checks, answers, findings)


def with_routes(description: dict[str, Any], routes: Sequence[str]) -> dict[str, Any]:
    """The description with the values that only who has a key may know, so that the cases get further than a 404."""
    for path, item in description["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in ("route", "model"):
                    parameter["schema"] = {"enum": list(routes)}
            if path.startswith("/v1/") and "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                body["properties"]["model"] = {"enum": list(routes)}
    return description


PARTS = {"requests": requests, "schema": schema, "responses": responses}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--requests", type=int, default=100_000, help="malformed requests; 0 leaves that part out")
    parser.add_argument("--responses", type=int, default=100_000, help="malformed answers of model servers; likewise")
    parser.add_argument("--schema", type=int, default=200, help="schemathesis' examples per operation; likewise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=128, help="connections at once")
    parser.add_argument("--batch", type=int, default=4000, help="cases between two looks at the gateway")
    parser.add_argument("--show", nargs=2, metavar=("PART", "NUMBER"), help="print a case of this seed, and end")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fuzz.json")
    return parser.parse_args(argv)


def show(part: str, number: int, seed: int) -> None:
    made: Any = (fuzz_requests if part == "requests" else fuzz_responses).case(seed, number)
    print(made)


def markdown(head: dict[str, Any], parts: Sequence[Part], seed: int) -> str:
    text = f"# Fuzzing\n\n{report.header_markdown(head)}\nSeed {seed}.\n"
    for part in parts:
        cases = ", ".join(f"{kind} {count:,}" for kind, count in part.cases.most_common())
        text += f"\n## Malformed {part.name}: {part.cases.total():,} in {part.seconds:.0f} s\n\n{cases}\n\n"
        rows = [[check.name, check.target, check.figure, check.word] for check in part.checks]
        text += report.markdown_table(["", "wanted", "found", ""], rows)
        text += "\n" + report.markdown_table(
            ["answers", ""], [[name, f"{count:,}"] for name, count in part.answers.items()]
        )
        kinds = Counter(kind for kind, _, _ in part.findings)
        if kinds:
            first = {kind: next(number for one, number, _ in part.findings if one == kind) for kind in kinds}
            text += "\n" + report.markdown_table(
                ["findings", "", "for example, case"],
                [[kind, f"{count:,}", f"{first[kind]}"] for kind, count in kinds.items()],
            )
    return text


async def run_all(args: argparse.Namespace) -> list[Part]:
    with Bench(tools=HERE) as bench:
        return [await run(bench, args) for name, run in PARTS.items() if getattr(args, name)]


def main() -> int:
    args = parse()
    if args.show:
        show(args.show[0], int(args.show[1]), args.seed)
        return 0
    parts = uvloop.run(run_all(args))
    versions = {"understudy": version_beside(understudy_command(), "understudy")}
    head = report.header(sys.argv, versions)
    args.out.parent.mkdir(exist_ok=True)
    kept = [
        {**vars(part), "checks": [vars(check) for check in part.checks], "findings": part.findings[:200]}
        for part in parts
    ]
    args.out.write_text(json.dumps({**head, "seed": args.seed, "parts": kept}, indent=1, ensure_ascii=False) + "\n")
    args.out.with_suffix(".md").write_text(markdown(head, parts, args.seed))
    print(f"Written: {args.out}, {args.out.with_suffix('.md')}")
    for part in parts:
        for kind, number, text in part.findings[:20]:
            print(f"{part.name} {number}: {kind}: {text[:300]}")
    return report.settle_checks(
        [
            Check(f"{part.name}: {check.name}", check.target, check.figure, check.met)
            for part in parts
            for check in part.checks
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
