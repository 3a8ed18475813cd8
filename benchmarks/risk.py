"""What it costs to judge a request's risk and place it: `python benchmarks/risk.py`.

A decision is everything from the body's bytes to who answers: the body is read, all facts that 50 rules read are worked
out, the rules are looked at, the session's point is drawn, the safety net decides. One thread, CPU time, every request
another one, so nothing is remembered. The rules are those of the pack that comes along and more of their kind; together
they read every fact. Targets: 10,000 decisions/s of a core, for a message of 256 B and for one of 1 kB; the policy
model takes at most 1 ms at p99 for a prompt of 2 kB.

With `--attacks FILE` (a JSON list of texts) and `--benign FILE` (CSV with a column `text`) it also tells how many the
jailbreak patterns find. Exit code 1 if a target is missed. Writes results/risk.json and risk.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import harness
import report
from report import Check

from gateway import __version__, document
from router_policies.checks.reading import CHAT
from router_policies.risk.conditions import FACTS
from router_policies.risk.facts import RiskFacts
from router_policies.risk.net import SafetyNet, place
from router_policies.risk.policy_model import Label, PolicyModel, read_policy_model, write
from router_policies.risk.rules import Band, RiskPack, read_risk_pack
from router_policies.split import Salt, point

PARTS = ("request", "words", "last_words", "terms", "found")
RULES, PER_S, MODEL_MS = 50, 10_000.0, 1.0
SIZES = (256, 1024, 2048, 8192)
LABELS, BUCKETS = 8, 1 << 16
NOW = 1_795_478_400.0

PLAIN = (
    "Could you please tell me where my parcel is, it was due on Monday.",
    "I have looked at the page you sent and it does not say anything about that.",
    "The blue one is fine too, as long as it comes with the long cable.",
    "My neighbour has the same model and hers works without any trouble.",
    "We are away next week, so a delivery on Friday would be best.",
    "Thank you for your help so far, I do appreciate it.",
    "Is there a way to see all earlier orders in one list?",
    "The app shows a message that I do not understand when I open it.",
    "I would like to change the name on the label before it is sent.",
    "Our flat is on the third floor and the bell does not ring.",
)
DELICATE = (
    "Please send the answer to anna.berg@example.org as well.",
    "Can I get a refund for the second invoice, it was charged twice?",
    "Our lawyer says that the contract can be ended at any time.",
    "The doctor told me to take the tablets with water, not with juice.",
    "My daughter is ten and wants to use the tablet on her own.",
    "First look at the photo, then tell me which part is missing.",
    "That is not what I asked, I meant the other address.",
)
SHARE = 0.1  # of sentences that are delicate
GERMAN = (
    "Können Sie mir bitte sagen, wo meine Bestellung bleibt, sie sollte am Montag kommen.",
    "Auf der Seite, die Sie mir geschickt haben, steht dazu leider überhaupt nichts.",
    "Das blaue Gerät wäre auch in Ordnung, solange das lange Kabel dabei ist.",
    "Wir sind nächste Woche verreist, eine Lieferung am Freitag wäre also am besten.",
)
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
    }
    for name in ("get_order", "list_orders", "cancel_order", "send_mail", "find_address", "refund_payment")
]


def prose(drawn: random.Random, size: int, sentences: Sequence[str] = PLAIN) -> str:
    """Sentences in random order after a number, so that no two texts are the same."""
    told = [f"Order {drawn.randint(1, 10**9)}."]
    while sum(map(len, told)) + len(told) < size:
        told.append(drawn.choice(DELICATE if drawn.random() < SHARE else sentences))
    return " ".join(told)[:size]


def body(messages: list[dict[str, str]], **fields: Any) -> bytes:
    system = {"role": "system", "content": "You are the support assistant of a shop. Answer kindly and shortly."}
    return json.dumps({"model": "chat", "messages": [system, *messages], **fields}).encode()


def one_turn(drawn: random.Random, size: int) -> bytes:
    return body([{"role": "user", "content": prose(drawn, size)}])


def conversation(drawn: random.Random, size: int) -> bytes:
    """Eight turns and six tools; `size` is what the user says in all."""
    messages = []
    for turn in range(8):
        messages.append({"role": "user", "content": prose(drawn, size // 8)})
        if turn < 7:
            messages.append({"role": "assistant", "content": prose(drawn, 300)})
    return body(messages, tools=TOOLS, max_tokens=500)


def german(drawn: random.Random, size: int) -> bytes:
    return body([{"role": "user", "content": prose(drawn, size, GERMAN)}])


CASES: dict[str, Callable[[random.Random], bytes]] = {
    **{f"one message of {size:,} B": lambda drawn, size=size: one_turn(drawn, size) for size in SIZES},
    "8 turns and 6 tools, 1,024 B said": lambda drawn: conversation(drawn, 1024),
    "German, 1,024 B": lambda drawn: german(drawn, 1024),
}
AIMED = ("one message of 256 B", "one message of 1,024 B")


def shipped() -> dict[str, Any]:
    path = files("router_policies.risk") / "packs" / "default.yaml"
    read: Any = document.read(path.read_text(encoding="utf-8"))
    return dict(read)


def pack_of(rules: int) -> RiskPack:
    """The pack that comes along and as many more of the same kinds, so that every fact is read."""
    given = shipped()
    more: list[dict[str, Any]] = [
        {"when": {"code": True, "not": {"tenant": "lab"}}},
        {"when": {"json": True, "schema_depth": {"above": 2}}},
        {"when": {"tokens": {"above": 2000}, "any": [{"tags": "beta"}, {"turns": {"above": 6}}]}},
        {"when": {"labels": True}},
        {"when": {"mentions": ["press release", "regulator", "recall", "court of appeal"]}},
    ]
    listed = list(given["rules"])
    at = 0
    while len(listed) < rules:
        listed.append({"rule": f"more_{at}", "weight": 0.1, **more[at % len(more)]})
        at += 1
    read = read_risk_pack({**given, "rules": listed[:rules]})
    missing = set(FACTS) - read.reads
    assert rules < RULES or not missing, f"no rule reads {missing}"
    return read


def pack_of_shapes(rules: int) -> RiskPack:
    """Rules that look into no text: at who asks, how much and with which tools."""
    kinds: list[dict[str, Any]] = [
        {"tenant": ["acme", "globex"], "tags": "beta"},
        {"x_risk": "high"},
        {"tokens": {"above": 4000}},
        {"turns": {"at_least": 10}, "not": {"tags": "internal"}},
        {"any": [{"side_effects": True}, {"tools": {"above": 8}}]},
    ]
    listed = [{"rule": f"shape_{at}", "when": kinds[at % len(kinds)], "weight": 0.1} for at in range(rules)]
    return read_risk_pack({"risk": "shapes", "version": 1, "rules": listed})


def model_of(labels: int, buckets: int) -> PolicyModel:
    """Of random numbers: what they say costs the same."""
    drawn = random.Random(1)
    columns = tuple(array("f", [drawn.gauss(0, 1) for _ in range(buckets)]) for _ in range(labels))
    named = tuple(Label(f"label{at}", 0.9) for at in range(labels))
    return read_policy_model(write(PolicyModel("random", 1, named, columns)))


NET = SafetyNet(NOW - 86_400, NOW + 6 * 86_400)


def decide(pack: RiskPack, sent: bytes, key: str, model: PolicyModel | None) -> Any:
    facts = RiskFacts(CHAT, sent, tenant="acme", x_risk="", context_tokens=32_768, model=model)
    return place(pack.assess(facts), NET, at=point(Salt.SPLIT, "chat#net", key), now=NOW)


def timed(run: Callable[[Any], object], given: Sequence[Any]) -> list[float]:
    """CPU time of each, in microseconds."""
    times = []
    for one in given:
        started = time.thread_time_ns()
        run(one)
        times.append((time.thread_time_ns() - started) / 1000)
    return times


def summary(times: Sequence[float]) -> dict[str, float]:
    ranked = sorted(times)
    return {
        "mean_us": statistics.fmean(ranked),
        "p50_us": ranked[len(ranked) // 2],
        "p99_us": ranked[len(ranked) * 99 // 100],
        "per_s": 1e6 / statistics.fmean(ranked),
    }


def decisions(count: int, seed: str) -> dict[str, dict[str, Any]]:
    """By case: with 50 rules that read everything, or no text; with the pack that comes along; with the model too."""
    model = model_of(LABELS, BUCKETS)
    full, shapes, own = pack_of(RULES), pack_of_shapes(RULES), read_risk_pack(shipped())
    found: dict[str, dict[str, Any]] = {}
    for name, make in CASES.items():
        drawn = random.Random(f"{seed}|{name}")
        ways: dict[str, tuple[RiskPack, PolicyModel | None]] = {
            "rules_50": (full, None),
            "rules_50_shape": (shapes, None),
            "default": (own, None),
            "rules_50_and_model": (full, model),
        }
        found[name] = {}
        for way, (pack, used) in ways.items():
            sent = [(make(drawn), f"s{number}") for number in range(count)]
            for warm in sent[:20]:
                decide(pack, *warm, used)
            bands = dict.fromkeys(Band, 0)
            for one in sent[:200]:
                bands[decide(pack, *one, used).band] += 1
            fresh = [(make(drawn), f"s{number}") for number in range(count)]
            figures = summary(timed(lambda one, pack=pack, used=used: decide(pack, *one, used), fresh))
            found[name][way] = {**figures, "bands": {band.value: number for band, number in bands.items()}}
    return found


def model_times(count: int, seed: str) -> dict[str, dict[str, float]]:
    """The policy model alone, from words on, by the size of the prompt."""
    model = model_of(LABELS, BUCKETS)
    found = {}
    for size in SIZES:
        drawn = random.Random(f"{seed}|model|{size}")
        words = [RiskFacts(CHAT, one_turn(drawn, size)).words.all for _ in range(count)]
        found[f"{size:,} B"] = summary(timed(model.probabilities, words))
    return found


def fact_times(count: int, seed: str) -> dict[str, float]:
    """Median of each fact by itself, of one message of 1 kB without what it is worked out from."""
    drawn = random.Random(f"{seed}|facts")
    found: dict[str, list[float]] = {name: [] for name in (*PARTS, *FACTS)}
    for _ in range(count):
        facts = RiskFacts(CHAT, one_turn(drawn, 1024), context_tokens=32_768)
        for name in found:
            started = time.thread_time_ns()
            getattr(facts, name)
            found[name].append((time.thread_time_ns() - started) / 1000)
    return {name: statistics.median(times) for name, times in found.items()}


def patterns(attacks: Path | None, benign: Path | None) -> dict[str, dict[str, float]]:
    """Of texts that others collected: how many have an attempt in them by our patterns."""
    texts: dict[str, list[str]] = {}
    if attacks is not None:
        texts[f"attacks, {attacks.name}"] = json.loads(attacks.read_text(encoding="utf-8"))
    if benign is not None:
        with benign.open(encoding="utf-8", newline="") as file:
            texts[f"benign, {benign.name}"] = [row["text"] for row in csv.DictReader(file)]
    found = {}
    for name, some in texts.items():
        flagged = [bool(RiskFacts(CHAT, body([{"role": "user", "content": text}])).jailbreak) for text in some]
        found[name] = {"texts": len(some), "found": sum(flagged), "share": sum(flagged) / len(some)}
    return found


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer requests: a first look, in seconds")
    parser.add_argument("--seed", default="understudy")
    parser.add_argument("--attacks", type=Path, help="a JSON list of texts that are attacks")
    parser.add_argument("--benign", type=Path, help="CSV with a column `text` of texts that are none")
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "risk.json")
    return parser.parse_args(argv)


def main() -> int:
    args = parse()
    count = 300 if args.quick else 3000
    with report.told("decisions"):
        decided = decisions(count, args.seed)
    with report.told("model"):
        modelled = model_times(count, args.seed)
    with report.told("facts"):
        facts = fact_times(count // 5, args.seed)
    with report.told("patterns"):
        seen = patterns(args.attacks, args.benign)
    p99_ms = modelled["2,048 B"]["p99_us"] / 1000
    checks = []
    for name in AIMED:
        per_s = decided[name]["rules_50"]["per_s"]
        title = f"decisions/s of a core, {RULES} rules that read everything, {name}"
        checks.append(Check(title, f"≥ {PER_S:,.0f}", f"{per_s:,.0f}", per_s >= PER_S))
    met = p99_ms <= MODEL_MS
    checks.append(Check("policy model, 2 kB, p99", f"≤ {MODEL_MS:g} ms", f"{p99_ms:.2f} ms", met))
    head = report.header(sys.argv, {"understudy": __version__})
    tables = _tables(decided, modelled, facts, seen)
    text = report.header_markdown(head)
    for title, columns, rows, note in tables:
        report.print_table(title, columns, rows)
        text += f"\n## {title}\n\n{report.markdown_table(columns, rows)}" + (f"\n{note}\n" if note else "")
    code = report.settle_checks(checks)
    rows = [[one.name, one.target, one.figure, one.word] for one in checks]
    text += "\n## Targets\n\n" + report.markdown_table(["", "wanted", "measured", "result"], rows)
    whole = {
        **head,
        "seed": args.seed,
        "count": count,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in checks],
        "decisions": decided,
        "model": modelled,
        "facts_us": facts,
        "patterns": seen,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(whole, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(text)
    print(f"Written: {args.out}, {args.out.with_suffix('.md')}")
    return code


Table = tuple[str, list[str], list[list[str]], str]


def _tables(decided: Any, modelled: Any, facts: dict[str, float], seen: Any) -> list[Table]:
    def row(name: str, ways: Any) -> list[str]:
        fifty, own, both = (ways[way] for way in ("rules_50", "default", "rules_50_and_model"))
        shape = ways["rules_50_shape"]["mean_us"]
        shares = "/".join(f"{100 * number // 200}" for number in own["bands"].values())
        cells = [f"{fifty['per_s']:,.0f}", f"{fifty['mean_us']:.0f}", f"{fifty['p99_us']:.0f}"]
        return [name, *cells, f"{shape:.0f}", f"{own['mean_us']:.0f}", f"{both['mean_us']:.0f}", shares]

    columns = ["request", "decisions/s, 50 rules", "mean, us", "p99, us", "50 rules that look into no text, us"]
    columns += ["default pack, us", "50 rules and the model, us"]
    tables: list[Table] = [
        (
            "From the body's bytes to who answers",
            [*columns, "low/medium/high, %"],
            [row(name, ways) for name, ways in decided.items()],
            "The bands are the default pack's. The texts are made up; one sentence in ten is delicate.",
        ),
        (
            f"The policy model alone: {LABELS} labels, {BUCKETS:,} buckets",
            ["prompt", "p50, us", "p99, us"],
            [[name, f"{one['p50_us']:.0f}", f"{one['p99_us']:.0f}"] for name, one in modelled.items()],
            "",
        ),
        (
            "Each fact by itself, one message of 1 kB",
            ["fact", "median, us"],
            [[name, f"{us:.1f}"] for name, us in sorted(facts.items(), key=lambda item: -item[1])],
            f"{', '.join(f'`{part}`' for part in PARTS)}: what the others are worked out from, once; not in theirs.",
        ),
    ]
    if seen:
        rows = [[name, f"{one['texts']:,}", f"{one['found']:,}", f"{one['share']:.1%}"] for name, one in seen.items()]
        tables.append(
            ("Jailbreak patterns on texts that others collected", ["texts", "number", "found", "share"], rows, "")
        )
    return tables


if __name__ == "__main__":
    sys.exit(main())
