"""What asking, judging and comparing teachers costs besides the teachers: `python benchmarks/teachers.py`.

- Asking: prompts of the support task, four samples each, of a server in a process of its own that answers at once, with
  log-probabilities of the 8 likeliest tokens at 80 places. What one does is answers per second into the set; asked
  again, nothing is left to ask.
- Judging all of them, by the checks of the form, of the default pack and of the support pack.
- Of answerable support messages, how many can be made unanswerable, by what is missing then.
- With `--real N`: N prompts to a real model (SmolLM2-135M, llama.cpp on all cores), to the last step.

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import harness
import msgspec
import report

sys.path.insert(0, str(harness.HERE.parent))

import yaml

from examples.support.families import FAMILIES
from examples.support.generate import generate
from examples.support.record import HERE as SUPPORT
from examples.support.record import chat
from examples.support.unsettle import read, unsettle
from gateway import __version__
from router_policies.checks.pack import read_pack
from student_train.teachset.ask import Outcome, ask
from student_train.teachset.ask_teachers import Teacher
from student_train.teachset.choose_report import markdown
from student_train.teachset.choose_set import measured
from student_train.teachset.example import Example, Source
from student_train.teachset.judge import Options
from student_train.teachset.judge_set import judge_all
from student_train.teachset.store import Entry, TeachingSet

GOLD = 0.15  # of the prompts
SAMPLES = 4
LOGPROBS = 8  # what is asked for unless it is said
ASK_TARGET, JUDGE_TARGET = 100, 200  # answers per second


def examples(count: int) -> Iterator[tuple[Example, str]]:
    """With their splits. Only gold has the right answer."""
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": json.loads((SUPPORT / "schema.json").read_text())},
    }
    for at, one in enumerate(generate(count, 1, FAMILIES)):
        *prompt, gold = chat(one)
        split = "gold" if at < count * GOLD else "train"
        source = Source("synthetic", one.id, "support", 0.0)
        yield Example(
            one.id, source, tuple(prompt), response_format=schema, family=one.family, skill=one.answer.intent,
            gold=gold["content"] if split == "gold" else None,
        ), split  # fmt: skip


def fill(teaching: TeachingSet, count: int) -> None:
    entries = (Entry(one.id, {"split": split}, msgspec.json.encode(one)) for one, split in examples(count))
    teaching.add("example", entries)


# A server that answers at once.


async def serve() -> None:
    """One answer of the right form for each prompt, which seeds vary; prints its port."""
    top = [{"token": f"t{at}", "logprob": -0.5 - at, "bytes": [65 + at]} for at in range(LOGPROBS)]
    tokens = [{"token": "t0", "logprob": -0.5, "bytes": [65], "top_logprobs": top}] * 80

    usage = {"prompt_tokens": 400, "completion_tokens": 80}

    def body(seed: int) -> bytes:
        said = {"intent": ("cancel", "return")[seed % 5 == 0], "order_id": None, "items": [], "priority": "normal"}
        said |= {"action": "answer", "missing": [], "reply": f"We look into this for you today, number {seed % 3}."}
        choice = {"message": {"content": json.dumps(said)}, "finish_reason": "stop", "logprobs": {"content": tokens}}
        return json.dumps({"model": "m", "data": [{"id": "m"}], "choices": [choice], "usage": usage}).encode()

    bodies = [body(seed) for seed in range(15)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := (await reader.readuntil(b"\r\n\r\n")).lower():
                sizes = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                seed = json.loads(await reader.readexactly(sizes[0]))["seed"] if sizes else 0
                data = bodies[seed % len(bodies)]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data) + data)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def asked(teaching: TeachingSet, teacher: Teacher) -> tuple[Outcome, float]:
    begin = time.monotonic()
    outcome = asyncio.run(ask(teaching, {"teacher": teacher}))
    return outcome, time.monotonic() - begin


def options() -> Options:
    default = harness.HERE.parent / "router_policies" / "packs" / "default.yaml"
    return Options.of([read_pack(yaml.safe_load(path.read_text())) for path in (default, SUPPORT / "pack.yaml")])


def overhead(count: int, path: Path) -> tuple[dict[str, Any], list[report.Check]]:
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        with TeachingSet.create(path) as teaching:
            fill(teaching, count)
            teacher = Teacher(base_url=url, model="m", concurrency=16, samples=SAMPLES)
            outcome, took = asked(teaching, teacher)
            answers = outcome.teachers["teacher"].done
            _, again = asked(teaching, teacher)
            stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            begin = time.monotonic()
            judge_all(teaching, options())
            judged = time.monotonic() - begin
            begin = time.monotonic()
            markdown(measured(teaching, options().pack))
            compared = time.monotonic() - begin
    finally:
        server.kill()
        server.wait()
    found = {
        "prompts": count,
        "answers": answers,
        "asked, answers/s": round(answers / took, 1),
        "asked again, s": round(again, 2),
        "on disk, bytes per answer": round(stored / answers),
        "judged, answers/s": round(answers / judged, 1),
        "report, s": round(compared, 2),
        "peak RSS, MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    return found, [
        report.Check(
            "asking, besides the teacher",
            f">= {ASK_TARGET} answers/s",
            f"{answers / took:.0f}",
            answers / took >= ASK_TARGET,
        ),
        report.Check(
            "judging", f">= {JUDGE_TARGET} answers/s", f"{answers / judged:.0f}", answers / judged >= JUDGE_TARGET
        ),
        report.Check("every sample is in the set", f"{count * SAMPLES}", f"{answers}", answers == count * SAMPLES),
    ]


def unsettled(count: int) -> dict[str, Any]:
    found: Counter[str] = Counter()
    for one in generate(count, 5, FAMILIES):
        *prompt, gold = chat(one)
        for planted in one.pii:
            if planted.kind == "address":  # as the scrubber leaves it
                prompt[-1]["content"] = prompt[-1]["content"].replace(planted.value, "<ADDRESS_1>")
        example = Example(
            one.id, Source("synthetic", one.id, "s", 0.0), tuple(prompt), family=one.family, gold=gold["content"]
        )
        found["answerable"] += one.answer.action == "answer"
        found["of these read again as they were meant"] += one.answer.action == "answer" and read(example) is not None
        for way in unsettle(example, Random(0)):
            found[f"cases: {way.what}, {way.kind}"] += 1
    return {"messages": count, **found}


def real(count: int, path: Path) -> dict[str, Any]:
    from gateway.engines import Engine
    from gateway.model_file import fetch_model

    slots = 8
    with Engine(fetch_model(progress=False), "teacher", path.with_suffix(".log"), threads=2, parallel=slots) as engine:
        begin = time.monotonic()
        with TeachingSet.create(path) as teaching:
            fill(teaching, count)
            teacher = Teacher(
                base_url=engine.base_url, max_tokens=128, concurrency=slots, samples=SAMPLES, timeout_s=900
            )
            outcome, took = asked(teaching, teacher)
            judge_all(teaching, options())
            markdown(measured(teaching, options().pack))
        whole = time.monotonic() - begin
        with TeachingSet.open(path) as teaching:
            written = sum(json.loads(payload)["output_tokens"] for _, payload in teaching.payloads("answer"))
    told = outcome.teachers["teacher"]
    return {
        "prompts": count,
        "answers": told.done,
        "with log-probabilities": told.logprobs,
        "tokens written": written,
        "tokens/s": round(written / took, 1),
        "asked, s": round(took, 1),
        "all steps, s": round(whole, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--messages", type=int, default=1500, help="to be made unanswerable")
    parser.add_argument("--real", type=int, default=0, metavar="N", help="prompts to a real model")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "teachers.json")
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
    parts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        with report.told("asking and judging"):
            parts["Besides the teacher"], checks = overhead(args.prompts, Path(directory) / "set")
        with report.told("unanswerable cases"):
            parts["Support messages made unanswerable"] = unsettled(args.messages)
        if args.real:
            with report.told("a real model"):
                parts["SmolLM2-135M, llama.cpp, 2 threads, 8 at once"] = real(args.real, Path(directory) / "real")
    head = report.header(sys.argv, {"understudy": __version__})
    text = report.header_markdown(head)
    for title, figures in parts.items():
        rows = [[name, f"{value:,}"] for name, value in figures.items()]
        report.print_table(title, ["", "measured"], rows)
        text += f"\n## {title}\n\n{report.markdown_table(['', 'measured'], rows)}"
    code = report.settle_checks(checks)
    text += "\n## Targets\n\n" + report.markdown_table(
        ["", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in checks]
    )
    document = {
        **head,
        "parts": parts,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
