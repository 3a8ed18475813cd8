"""What keeping a teaching set costs: `python benchmarks/teachset.py`.

Records are written into a new set (ledger, database), copies are found and the rest divided into splits, and all of it
is verified, at three sizes, each in a process of its own. The texts are made up: 40 to 120 words, two a person on
average, and among them every twentieth an exact copy of an earlier one, every tenth nearly one (a word in forty
changed), every fiftieth quotes one between words of its own. It is known which: none may end up on another side than
its original.

Targets: 100,000 records in at most 60 s and 1 GB; of memory at 100,000 at most a quarter more than at 25,000. Exit code
1 if one is missed. Writes results/teachset.json and teachset.md.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import report
from report import Check

sys.path.insert(0, str(harness.HERE.parent))

import msgspec

from gateway import __version__
from student_train.teachset.example import Example, Source
from student_train.teachset.split import divide
from student_train.teachset.store import Entry, TeachingSet
from student_train.teachset.verify import verify

SIZES = (25_000, 50_000, 100_000)
MOST_S, MOST_MB, MOST_GROWTH = 60.0, 1024.0, 1.25
PLANTED = {"copy": 0.05, "near": 0.1, "quote": 0.02}
SYSTEM = {"role": "system", "content": "You are the support desk of a shop. Answer in one JSON object. " * 10}


def texts(count: int, seed: int) -> Iterator[tuple[str, str, int]]:
    """Text, what it is, and the number of its original."""
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 10))) for _ in range(20_000)]
    kept: list[tuple[int, list[str]]] = []  # some earlier ones
    for number in range(count):
        kind = dice.choices(["new", *PLANTED], [1 - sum(PLANTED.values()), *PLANTED.values()])[0]
        own = dice.choices(words, k=dice.randint(40, 120))
        if kind == "new" or not kept:
            if len(kept) < 1000:
                kept.append((number, own))
            elif dice.random() < 0.1:
                kept[dice.randrange(1000)] = (number, own)
            yield " ".join(own), "new", number
            continue
        original, said = dice.choice(kept)
        if kind == "near":
            said = said.copy()
            for at in dice.sample(range(len(said)), len(said) // 40):
                said[at] = dice.choice(words)
        elif kind == "quote":
            said = [*own[: len(said) // 2], "you", "wrote", *said, *own[: len(said) // 2]]
        yield " ".join(said), kind, original


def make(path: Path, count: int, seed: int) -> None:
    """A line for each: person, what it is, its original, and the example."""
    dice = random.Random(seed + 1)
    ids: list[str] = []
    with path.open("wb") as file:
        for number, (text, kind, original) in enumerate(texts(count, seed)):
            ids.append(f"{dice.getrandbits(128):032x}")
            person = f"{dice.randrange(count // 2):032x}" if kind == "new" else ""
            source = Source("real_trace", f"request-{number}", "support", 1.79e9 + number)
            messages = (SYSTEM, {"role": "user", "content": text})
            one = Example(ids[-1], source, messages, person=person)
            file.write(b"\t".join([person.encode(), kind.encode(), ids[original].encode(), msgspec.json.encode(one)]))
            file.write(b"\n")


def entries(path: Path) -> Iterator[Entry]:
    with path.open("rb") as lines:
        for line in lines:
            person, _, _, payload = line.rstrip(b"\n").split(b"\t", 3)
            id_ = payload[7:39].decode()  # {"id":"
            yield Entry(id_, {"source": "real_trace", "probability": 1.0}, payload, person.decode())


def one(made: Path, path: Path) -> dict[str, Any]:
    """In a process of its own: what it took, and the most memory so far (MB) after each step."""
    begin = time.monotonic()
    with TeachingSet.create(path) as teaching:
        count = teaching.add("example", entries(made))
    added, added_mb = time.monotonic(), _peak_mb()
    with TeachingSet.open(path, holdout=True) as teaching:
        divided = divide(teaching)
    split, split_mb = time.monotonic(), _peak_mb()
    found = verify(path)
    verified = time.monotonic()
    with TeachingSet.open(path) as teaching, made.open("rb") as lines:
        apart = planted = 0
        for line in lines:
            _, kind, original, payload = line.split(b"\t", 3)
            at = {teaching.split_of(payload[7:39].decode()), teaching.split_of(original.decode())} - {"left_out"}
            planted += kind != b"new"
            apart += kind != b"new" and len(at) > 1
    return {
        "records": count,
        "add_s": added - begin,
        "split_s": split - added,
        "verify_s": verified - split,
        "base_mb": BASE_MB,
        "add_mb": added_mb,
        "split_mb": split_mb,
        "verify_mb": _peak_mb(),
        "disk_mb": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6,
        "groups": divided.groups,
        "largest": divided.largest,
        "left_out": divided.left_out,
        "put": divided.put,
        "planted": planted,
        "apart": apart,
        "problems": list(found.problems),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


BASE_MB = _peak_mb()


def measured(count: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=harness.HERE) as folder:
        made = Path(folder) / "made"
        make(made, count, seed)
        argv = [sys.executable, __file__, "--one", str(made), str(Path(folder) / "set")]
        with report.told(f"{count:,} records"):
            found = subprocess.run(argv, capture_output=True, text=True, check=True)
        return dict(json.loads(found.stdout))


def table(found: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    columns = ["records", "ledgered, s", "split, s", "verified, s", "peak RSS, MB", "on disk, MB", "copies left out"]
    return columns, [
        [
            f"{its['records']:,}",
            f"{its['add_s']:.1f}",
            f"{its['split_s']:.1f}",
            f"{its['verify_s']:.1f}",
            f"{max(its['split_mb'], its['verify_mb']):.0f}",
            f"{its['disk_mb']:.0f}",
            f"{its['left_out'].get('copy', 0):,}",
        ]
        for its in found
    ]


def checks(found: list[dict[str, Any]]) -> list[Check]:
    first, last = found[0], found[-1]
    took = last["add_s"] + last["split_s"]
    peak = max(last["split_mb"], last["verify_mb"])
    growth = peak / max(first["split_mb"], first["verify_mb"])
    planted, apart = sum(its["planted"] for its in found), sum(its["apart"] for its in found)
    problems = sum(len(its["problems"]) for its in found)
    size = f"{last['records']:,} records"
    return [
        Check(f"{size} ledgered, deduplicated, split", f"≤ {MOST_S:.0f} s", f"{took:.1f} s", took <= MOST_S),
        Check(f"{size}: peak RSS", f"≤ {MOST_MB:,.0f} MB", f"{peak:.0f} MB", peak <= MOST_MB),
        Check(
            f"{size}: peak RSS against {first['records']:,}",
            f"≤ {MOST_GROWTH} times",
            f"{growth:.2f} times",
            growth <= MOST_GROWTH,
        ),
        Check("planted copies, near-copies and quotes on another side", "0", f"{apart} of {planted:,}", apart == 0),
        Check("problems that verify finds", "0", f"{problems}", problems == 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="the smallest first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "teachset.json")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one)))
        return 0
    head = report.header(sys.argv, {"understudy": __version__})
    found = [measured(size, args.seed) for size in args.sizes]
    columns, rows = table(found)
    report.print_table("Keeping a teaching set", columns, rows)
    wanted = checks(found)
    code = report.settle_checks(wanted)
    base = found[-1]["base_mb"]
    text = (
        f"# Keeping a teaching set\n\n{report.header_markdown(head)}\n{report.markdown_table(columns, rows)}\n"
        f"One process, which uses one core. {base:.0f} MB of the memory is there before anything is read: Python, "
        "numpy and what else is imported. Verifying is not part of the 60 s.\n\n## Targets\n\n"
        + report.markdown_table(
            ["", "wanted", "measured", "result"], [[c.name, c.target, c.figure, c.word] for c in wanted]
        )
    )
    document = {
        **head,
        "sizes": found,
        "checks": [{"name": c.name, "target": c.target, "figure": c.figure, "result": c.word} for c in wanted],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
