"""What the checks cost: every pack that comes along, and every check by itself, on answers of 1 kB.

    python benchmarks/checks.py

One thread, CPU time. No two answers are the same, so nothing of them is remembered. Targets: all checks of one answer
take at most 1 ms, and a core reads and scores at least 1,000 pairs per second; the exit code is 1 if either is missed.
Writes results/checks.json and checks.md.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gateway.packs import load_pack, shipped
from router_policies.checks.pack import Pack, joined
from router_policies.checks.reading import CHAT, read_answer, read_request
from router_policies.checks.verdict import findings, verdict

RESULTS = Path(__file__).parent / "results"
ROUNDS = 300  # pairs of a kind: more than any check remembers texts
MOST_MS, LEAST_PAIRS = 1.0, 1000.0
BYTES = 1024

WORDS = (
    *("the", "a", "of", "your", "order", "we", "you", "can", "will", "please", "check", "account"),
    *("refund", "delivery", "is", "are", "it", "this", "that", "and", "to", "for", "with", "not"),
    *("on", "by", "from", "be", "have", "has", "shall", "after", "before", "status", "number", "address"),
    *(
        "card",
        "invoice",
        "support",
        "team",
        "today",
        "tomorrow",
        "ready",
        "sent",
        "arrived",
        "thank",
        "reply",
        "message",
    ),
)
ITEM = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
        "count": {"type": "integer", "minimum": 1},
        "price": {"type": "number"},
        "shipped": {"type": "string", "format": "date-time"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["sku", "count", "price"],
    "additionalProperties": False,
}
ORDER = {"type": "object", "properties": {"items": {"type": "array", "items": ITEM}}, "required": ["items"]}


def prose(seed: int) -> str:
    drawn = random.Random(seed)
    sentences: list[str] = []
    while sum(map(len, sentences)) + len(sentences) < BYTES:
        words = [drawn.choice(WORDS) for _ in range(drawn.randint(6, 14))]
        sentences.append(" ".join(words).capitalize() + ("\n\n" if drawn.random() < 0.2 else "."))
    return " ".join(sentences)[:BYTES]


def item(drawn: random.Random) -> dict[str, Any]:
    return {
        "sku": f"{''.join(drawn.choices('ABC', k=3))}-{drawn.randint(1000, 9999)}",
        "count": drawn.randint(1, 9),
        "price": drawn.randint(1, 9999) / 100,
        "shipped": "2026-11-24T10:00:00Z",
        "note": drawn.choice([None, " ".join(drawn.choices(WORDS, k=4))]),
    }


def structured(seed: int) -> str:
    drawn = random.Random(seed)
    items: list[dict[str, Any]] = []
    while len(json.dumps({"items": items})) < BYTES:
        items.append(item(drawn))
    return json.dumps({"items": items})


def tool_calls(seed: int) -> list[dict[str, Any]]:
    drawn = random.Random(seed)
    made: list[dict[str, Any]] = []
    while sum(len(call["function"]["arguments"]) for call in made) < BYTES:
        arguments = json.dumps({"items": [item(drawn), item(drawn)]})
        made.append({"id": f"c{len(made)}", "type": "function", "function": {"name": "order", "arguments": arguments}})
    drawn.shuffle(made)
    return made


Case = tuple[bytes, bytes, bytes]  # the request, the student's answer, the teacher's


def request_body(seed: int, **fields: Any) -> bytes:
    system = "You are the support assistant of a shop. Answer kindly, in full sentences, and never promise a date."
    question = f"Where is my order {seed}, and when will the rest of it be delivered?"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def answer_body(finish: str = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode()


def case(kind: str, seed: int) -> Case:
    other = seed + ROUNDS
    if kind == "prose":
        return request_body(seed), answer_body(content=prose(seed)), answer_body(content=prose(other))
    if kind == "JSON under a schema":
        schema = {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER}}
        asked = request_body(seed, response_format=schema)
        return asked, answer_body(content=structured(seed)), answer_body(content=structured(other))
    asked = request_body(seed, tools=[{"type": "function", "function": {"name": "order", "parameters": ORDER}}])
    called = tool_calls(seed)
    teachers = called[::-1] if kind == "tool calls" else tool_calls(other)
    return asked, answer_body("tool_calls", tool_calls=called), answer_body("tool_calls", tool_calls=teachers)


KINDS = ("prose", "JSON under a schema", "tool calls", "other tool calls")


def median_us(run: Callable[[Any], object], prepared: Iterable[Any]) -> float:
    """Of CPU time, in microseconds; what it takes to prepare is left out."""
    times = []
    for one in prepared:
        started = time.thread_time_ns()
        run(one)
        times.append(time.thread_time_ns() - started)
    return statistics.median(times) / 1000


def read(one: Case) -> Any:
    asked, student, teacher = one
    return read_request(CHAT, asked), read_answer(CHAT, student), read_answer(CHAT, teacher)


def measure(pack: Pack, cases: list[Case]) -> dict[str, float]:
    """`answer_us`: all checks of one answer that is read already, beside the other; `verdict_us`: of both, and whether
    they agree; `pair_us`: that, and reading the request and both answers."""
    pair_us = median_us(lambda one: verdict(pack, *read(one)), cases)
    return {
        "answer_us": median_us(lambda one: findings(pack, *one), map(read, cases)),
        "verdict_us": median_us(lambda one: verdict(pack, *one), map(read, cases)),
        "pair_us": pair_us,
        "pairs_per_s": 1e6 / pair_us,
    }


def main() -> int:
    packs = [load_pack(name) for name in shipped()]
    packs.append(joined(packs))
    cases = {kind: [case(kind, seed) for seed in range(ROUNDS)] for kind in KINDS}
    measured = {pack.name: {kind: measure(pack, of_it) for kind, of_it in cases.items()} for pack in packs}
    singles = {
        entry.name: {kind: measure(Pack(entry.name, 1, (entry,)), of_it)["verdict_us"] for kind, of_it in cases.items()}
        for entry in packs[-1].entries
    }
    worst_ms = max(row["answer_us"] for kinds in measured.values() for row in kinds.values()) / 1000
    fewest = min(row["pairs_per_s"] for kinds in measured.values() for row in kinds.values())
    met = worst_ms <= MOST_MS and fewest >= LEAST_PAIRS
    RESULTS.mkdir(exist_ok=True)
    whole = {"packs": measured, "checks_verdict_us": singles, "worst_ms": worst_ms, "fewest_pairs_per_s": fewest}
    (RESULTS / "checks.json").write_text(json.dumps({**whole, "met": met}, indent=1) + "\n")
    text = _written(measured, singles, worst_ms, fewest)
    (RESULTS / "checks.md").write_text(text)
    print(text)
    return 0 if met else 1


def _written(measured: Any, singles: Any, worst_ms: float, fewest: float) -> str:
    lines = ["# What the checks cost", "", "`python benchmarks/checks.py`: answers of 1 kB, one thread, medians.", ""]
    lines += ["| pack | answer | all checks of one answer, us | a pair, read and scored, us | pairs/s of a core |"]
    lines += ["|---|---|---:|---:|---:|"]
    lines += [
        f"| {pack} | {kind} | {row['answer_us']:.0f} | {row['pair_us']:.0f} | {row['pairs_per_s']:,.0f} |"
        for pack, rows in measured.items()
        for kind, row in rows.items()
    ]
    lines += ["", f"Slowest answer {worst_ms:.2f} ms (target: at most {MOST_MS:g}); ", ""]
    lines[-2] += f"fewest pairs {fewest:,.0f}/s (target: at least {LEAST_PAIRS:,.0f})."
    lines += [f"| one check of a pair that is read, us | {' | '.join(KINDS)} |", "|---|" + "---:|" * len(KINDS)]
    lines += [
        f"| {check} | " + " | ".join(f"{row[kind]:.1f}" for kind in KINDS) + " |" for check, row in singles.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
