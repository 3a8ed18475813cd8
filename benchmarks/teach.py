"""From traffic to a teaching set, on real models: `python benchmarks/teach.py`.

A llama.cpp server answers made-up support messages through a gateway that captures them; then the commands of
docs/teachset.md make a set of what was captured, with the same server as the teacher. Every command is killed once on
its way (`kill -9`) and run again. Target: 300 prompts in 10 minutes, on two cores; no password that was planted in the
messages in any file of the set, and 98 % of the other planted values masked (but names, see docs/scrubbing.md). The
task is a short one, which intent a message has, for the model writes some 65 tokens per second here, and four times 300
answers.

Exit code 1 if a target is missed. Writes results/teach.json and teach.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import harness
import report
import yaml
from report import Check

sys.path.insert(0, str(harness.HERE.parent))

from examples.support.families import FAMILIES
from examples.support.generate import generate
from examples.support.record import HERE as SUPPORT
from examples.support.record import Example, read
from gateway import __version__
from gateway.engines import Engine
from gateway.model_file import fetch_model

LIMIT_S = 600.0
SYSTEM = "Say which intent the customer's message has, as JSON with the one field intent."
CLI = [sys.executable, "-m", "gateway.cli"]


def answer_format() -> dict[str, Any]:
    intent = json.loads((SUPPORT / "schema.json").read_text())["properties"]["intent"]
    schema = {"type": "object", "properties": {"intent": intent}, "required": ["intent"], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "intent", "schema": schema}}


FORMAT = answer_format()


def config(folder: Path, port: int, engine: str) -> dict[str, Any]:
    return {
        "listen": f"127.0.0.1:{port}",
        "store": f"sqlite:///{folder / 'understudy.db'}",
        "upstreams": {"small": {"base_url": engine, "model": "teacher"}},
        "routes": {
            "support": {
                "teacher": "small",
                "student": "small",
                "student_percent": 100,
                "capture": {"sample": 1.0, "dir": str(folder / "traces")},
            }
        },
    }


def ask(port: int, made: Sequence[Example]) -> int:
    """The messages, through the gateway, with the official client. How many were answered."""
    from openai import OpenAI

    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=120, max_retries=0)

    def one(example: Example) -> bool:
        answer = client.chat.completions.create(
            model="support",
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": example.message}],
            response_format=FORMAT,
            max_tokens=24,
            user=f"customer-{example.id}",
            extra_headers={"x-understudy-consent": "train"},
        )
        return bool(answer.choices[0].message.content)

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(one, made))


def golden(count: int) -> Iterator[dict[str, Any]]:
    """Hand-written messages whose intent is known, as `teachset add` reads them (docs/teachset.md)."""
    for one in islice(read(SUPPORT / "gold.jsonl"), count):
        yield {
            "id": one.id,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": one.message}],
            "response_format": FORMAT,
            "gold": json.dumps({"intent": one.answer.intent}),
            "skill": one.answer.intent,
            "source": "handcrafted",
            "origin": "examples/support/gold",
        }


class Commands:
    """The commands of docs/teachset.md, each killed once. `took_s`: of each, both runs together; `killed`: those that
    were still at it when the signal came."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)
        self.took_s: dict[str, float] = {}
        self.killed: list[str] = []

    def run(self, name: str, *arguments: object, usual_s: float = 1.0) -> str:
        command = [*CLI, "teachset", name, *map(str, arguments)]
        begun = time.monotonic()
        if name != "init":
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
                try:
                    first.wait(self._drawn.uniform(0.6, 0.6 + usual_s))
                except subprocess.TimeoutExpired:
                    first.kill()
                    self.killed.append(name)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.took_s[name] = round(self.took_s.get(name, 0) + time.monotonic() - begun, 1)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
        print(f"{name}: {time.monotonic() - begun:.1f} s\n{done.stdout.rstrip()}", flush=True)
        return done.stdout


def planted(made: Sequence[Example], folder: Path) -> list[str]:
    """Kinds of planted values that stand in any file of the set."""
    whole = b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    values = {(one.kind, one.value) for example in made for one in example.pii}
    return sorted(kind for kind, value in values if kind != "name" and len(value) > 4 and value.encode() in whole)


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    made = list(islice(generate(args.prompts, args.seed, FAMILIES), args.prompts))
    port = harness.free_port()
    engine = Engine(fetch_model(progress=False), "teacher", folder / "engine.log")
    file = folder / "gateway.yaml"
    commands, teaching = Commands(args.seed), folder / "set"
    begun = time.monotonic()
    engine.start()
    try:
        engine.wait_ready()
        file.write_text(yaml.safe_dump(config(folder, port, engine.base_url)))
        with subprocess.Popen([*CLI, "serve", "-c", str(file)], stderr=subprocess.DEVNULL) as gateway:
            try:
                wait_ready(port)
                with report.told(f"{args.prompts} messages through the gateway"):
                    answered = ask(port, made)
            finally:
                gateway.terminate()  # what was captured is written before it ends
        captured_s = time.monotonic() - begun
        commands.run("init", teaching)
        commands.run("add", teaching, folder / "traces", "--rules", SUPPORT / "rules.yaml")
        gold = folder / "gold.jsonl"
        gold.write_text("".join(json.dumps(one) + "\n" for one in golden(args.prompts // 8)))
        commands.run("add", teaching, gold, "--rules", SUPPORT / "rules.yaml", "--split", "gold")
        commands.run("split", teaching)
        teacher = f"small={engine.base_url},samples=4,max_tokens=24,temperature=0.7,concurrency=4,top_logprobs=8"
        commands.run("ask", teaching, "--teacher", teacher, usual_s=40)
        commands.run("judge", teaching)
        commands.run("choose", teaching)
        commands.run("scan", teaching, "--rules", SUPPORT / "rules.yaml")
        commands.run("export", teaching)
        verified = commands.run("verify", teaching)
    finally:
        engine.stop()
    lines = [json.loads(line) for path in teaching.glob("exports/v1/*.jsonl") for line in path.open(encoding="utf-8")]
    return {
        "prompts": args.prompts,
        "answered": answered,
        "captured_s": round(captured_s, 1),
        "took_s": commands.took_s,
        "killed": commands.killed,
        "whole_s": round(time.monotonic() - begun, 1),
        "exported": len(lines),
        "taught": sum(bool(line["targets"]) for line in lines),
        "verified": verified.strip().splitlines()[-1] if verified.strip() else "",
        "planted": sum(one.kind != "name" for example in made for one in example.pii),
        "leaked": planted(made, teaching),
    }


def wait_ready(port: int) -> None:
    import urllib.error
    import urllib.request

    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit("the gateway did not become ready")


def checks(found: dict[str, Any]) -> list[Check]:
    whole, leaked = found["whole_s"], found["leaked"]
    share = 1 - len(leaked) / found["planted"]
    return [
        Check("all of it", f"≤ {LIMIT_S:.0f} s for 300 prompts", f"{whole:.0f} s", whole <= LIMIT_S),
        Check("prompts answered", str(found["prompts"]), str(found["answered"]), found["answered"] == found["prompts"]),
        Check("planted passwords in any file of the set", "0", str(leaked.count("password")), "password" not in leaked),
        Check("other planted values masked", "≥ 98 %", f"{share:.1%}", share >= 0.98),
        Check("commands killed on their way", "≥ 3", str(len(found["killed"])), len(found["killed"]) >= 3),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "teach.json")
    args = parser.parse_args()
    os.chdir(harness.HERE.parent)
    head = report.header(sys.argv, {"understudy": __version__})
    with tempfile.TemporaryDirectory(prefix="understudy-teach-") as folder:
        found = measured(args, Path(folder))
    rows = [["messages through the gateway, captured", f"{found['captured_s']:.1f}"]]
    rows += [[f"`teachset {name}`", f"{took:.1f}"] for name, took in found["took_s"].items()]
    rows += [["all of it", f"{found['whole_s']:.1f}"]]
    report.print_table("From traffic to a teaching set", ["step", "seconds"], rows)
    wanted = checks(found)
    code = report.settle_checks(wanted)
    text = (
        f"# From traffic to a teaching set\n\n{report.header_markdown(head)}\n"
        f"{report.markdown_table(['step', 's'], rows)}\n"
        f"Killed on the way and run again: {', '.join(found['killed'])}. Exported: {found['exported']} examples, of "
        f"which {found['taught']} have something to teach.\n\n"
    )
    text += report.markdown_table(
        ["", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in wanted]
    )
    listed = [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in wanted]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**head, **found, "checks": listed}, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
