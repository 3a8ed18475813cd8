"""How much personal data the scrubber finds, and what it masks without need: `python benchmarks/scrub.py`.

Three kinds of texts. Sentences of its author with Faker's values in them, planted in support chats: those that it was
made with, and those that were written before and held out. The support examples of this repository with the made-up
data that their own author put in and listed: generated, gold and holdout (what is missed in the holdout nobody looked
at; its total was, see docs/scrubbing.md). And texts without any personal data, the documentation of this repository.

Targets: 98 % of what is planted is found, in each set of sentences and in what others wrote; at most 2 % of the words
beside are masked. Exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import harness
import report
from report import Check

sys.path.insert(0, str(harness.HERE.parent))

from examples.support import generate, record
from examples.support.families import FAMILIES
from gateway import __version__
from router_policies.checks import pii_find
from student_train.teachset import handling, planted
from student_train.teachset.placeholders import PLACEHOLDER
from student_train.teachset.scrub_chat import Chat

RESULTS = harness.HERE / "results"
ROOT = harness.HERE.parent
LEAST, MOST = 0.98, 0.02
_WORD = re.compile(r"\w+")
_KIND = {"password": "secret"}


def percent(part: float, whole: float) -> str:
    return f"{part / whole:.2%}" if whole else "–"


def words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(PLACEHOLDER.sub(" ", text)))


def support_chat(example: record.Example, answered: bool = True) -> Chat:
    system, user, answer = record.chat(example)
    return Chat((system, user), served=example.answer.reply if answered else None, gold=answer["content"])


def of_planted(copies: int, seed: int, rules: handling.Rules) -> dict[str, planted.Measured]:
    clean = [one for one in generate.generate(400, seed) if not one.pii][:150]
    chats = [support_chat(one) for one in clean]
    return {name: planted.measure(chats, copies, seed, its, rules.keep) for name, its in planted.SENTENCES.items()}


def of_others(examples: Iterable[record.Example], rules: handling.Rules) -> dict[str, Any]:
    """Recall of what the examples list, by kind, and what else is lost of their messages and answers."""
    found: Counter[str] = Counter()
    count: Counter[str] = Counter()
    clean = lost = 0
    for example in examples:
        chat = support_chat(example, answered=False)
        scrubbed = planted.scrub_alone(chat, rules.keep)
        before, after = chat.messages[1]["content"], scrubbed.messages[1]["content"]
        for one in example.pii:
            before = before.replace(one.value, " ")
        for one in example.pii:
            kind = _KIND.get(one.kind, one.kind)
            count[kind] += 1
            found[kind] += not planted.left(planted.Plant(kind, "user", one.value, ""), before, after)
        there = words(before) + words(chat.gold or "")
        clean += there.total()
        lost += (there - words(after) - words(scrubbed.gold or "")).total()
    return {"found": dict(found), "count": dict(count), "clean": clean, "lost": lost}


def of_clean(paths: Sequence[Path]) -> dict[str, int]:
    clean = lost = 0
    for path in paths:
        for paragraph in path.read_text().split("\n\n"):
            chat = Chat(({"role": "user", "content": paragraph},))
            after = planted.scrub_alone(chat, None).messages[0]["content"]
            clean += words(paragraph).total()
            lost += (words(paragraph) - words(after)).total()
    return {"clean": clean, "lost": lost}


def speed(rules: handling.Rules, seed: int) -> dict[str, float]:
    """CPU time. Chats that have the same system prompt, as an app's have; and the pack alone, on a kB of a message."""
    chats = [support_chat(one) for one in generate.generate(400, seed + 1)]
    sizes = [len(chat.messages[1]["content"]) + len(chat.gold or "") for chat in chats]
    began = time.thread_time_ns()
    for chat in chats:
        planted.scrub_alone(chat, rules.keep)
    spent = time.thread_time_ns() - began
    text = "\n".join(chat.messages[1]["content"] for chat in chats)
    pieces = [text[at : at + 1000] for at in range(0, len(text) - 1000, 1000)]
    costs = []
    for piece in pieces:
        start = time.thread_time_ns()
        pii_find.find(piece)
        costs.append((time.thread_time_ns() - start) / 1000)
    return {
        "chats_per_s": len(chats) / spent * 1e9,
        "ms_per_kB": spent / 1e6 / (sum(sizes) / 1000),
        "pack_us_per_kB": statistics.median(costs),
    }


def planted_markdown(name: str, found: planted.Measured) -> str:
    def cell(kind: str | None, place: planted.Place | None = None) -> str:
        right, count = found.recall(kind, place)
        return f"{right}/{count}"

    rows = [
        [kind, *(cell(kind, place) for place in planted.PLACES), percent(*found.recall(kind))]
        for kind in planted.PLANTED
    ]
    rows.append(["all", *(cell(None, place) for place in planted.PLACES), percent(*found.recall())])
    columns = ["kind", *(place.replace("_", " ") for place in planted.PLACES), "found"]
    return (
        f"\n## Planted, sentences {name}\n\n{report.markdown_table(columns, rows)}\n"
        f"Masked without need: {found.lost:,} of {found.clean:,} words, {percent(found.lost, found.clean)}.\n"
    )


def others_markdown(others: dict[str, dict[str, Any]]) -> str:
    kinds = sorted({kind for its in others.values() for kind in its["count"]})
    rows = [
        [name, *(f"{its['found'].get(kind, 0)}/{its['count'].get(kind, 0)}" for kind in kinds),
         percent(sum(its["found"].values()), sum(its["count"].values())), percent(its["lost"], its["clean"])]
        for name, its in others.items()
    ]  # fmt: skip
    columns = ["texts", *(kind.replace("_", " ") for kind in kinds), "found", "masked without need"]
    return f"\n## What others planted\n\n{report.markdown_table(columns, rows)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=1000, help="chats that get five values each, of both sentences")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rules = handling.load(ROOT / "examples" / "support" / "rules.yaml")
    with report.told("planted"):
        found = of_planted(given.copies, given.seed, rules)
    with report.told("what others planted"):
        others = {
            "generated": of_others(generate.generate(1200, given.seed + 4, FAMILIES), rules),
            "gold": of_others(record.read(record.HERE / "gold.jsonl"), rules),
            "holdout": of_others(record.read(record.HERE / "holdout.jsonl"), rules),
        }
    with report.told("clean"):
        clean = of_clean([*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"])
    with report.told("speed"):
        pace = speed(rules, given.seed)
    checks = [
        *(
            Check(f"found of what is planted, sentences {name}", f"≥ {LEAST:.0%}", percent(*its.recall()),
                  its.recall()[0] >= LEAST * its.recall()[1])
            for name, its in found.items()
        ),
        *(
            Check(f"masked without need, sentences {name}", f"≤ {MOST:.0%}", percent(its.lost, its.clean),
                  its.lost <= MOST * its.clean)
            for name, its in found.items()
        ),
        *(
            Check(f"found of what others planted, {name}", f"≥ {LEAST:.0%}",
                  percent(sum(its["found"].values()), sum(its["count"].values())),
                  sum(its["found"].values()) >= LEAST * sum(its["count"].values()))
            for name, its in others.items()
        ),
        *(
            Check(f"masked without need, {name}", f"≤ {MOST:.0%}", percent(its["lost"], its["clean"]),
                  its["lost"] <= MOST * its["clean"])
            for name, its in [*others.items(), ("documentation", clean)]
        ),
    ]  # fmt: skip
    text = "".join(
        [
            *(planted_markdown(name, its) for name, its in found.items()),
            others_markdown(others),
            f"\nDocumentation: {clean['lost']:,} of {clean['clean']:,} words masked, "
            f"{percent(clean['lost'], clean['clean'])}.\n",
            f"\n## Speed, one core\n\n{pace['chats_per_s']:,.0f} support chats per second, {pace['ms_per_kB']:.2f} ms "
            "per kB besides a system prompt that is always the same; the pack alone "
            f"{pace['pack_us_per_kB']:.0f} µs per kB.\n",
            "\n## Targets\n\n",
            report.markdown_table(
                ["", "wanted", "measured", ""], [[c.name, c.target, c.figure, c.word] for c in checks]
            ),
        ]
    )
    head = report.header(sys.argv, {"understudy": __version__})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scrub.md").write_text(f"# Scrubbing\n\n{report.header_markdown(head)}{text}")
    figures = {
        name: {
            "recall": {kind: {place: its.recall(kind, place) for place in planted.PLACES} for kind in planted.PLANTED},
            "found": its.recall(), "lost": its.lost, "clean": its.clean,
        }
        for name, its in found.items()
    }  # fmt: skip
    whole = {"head": head, "planted": figures, "others": others, "documentation": clean, "speed": pace}
    (RESULTS / "scrub.json").write_text(json.dumps(whole, indent=1) + "\n")
    print(text)
    return report.settle_checks(checks)


if __name__ == "__main__":
    sys.exit(main())
