"""Support examples in the format that a teaching set is made of: `understudy teachset add` reads it.

    python examples/support/generate.py --count 300 --out /tmp/train.jsonl
    python examples/support/teach.py /tmp/train.jsonl --out /tmp/teach.jsonl
    understudy teachset add SET /tmp/teach.jsonl --rules examples/support/rules.yaml

One JSON object a line: `id`, `messages`, `response_format`, `gold` (the right answer, as a model writes it), `family`,
`skill` (the intent), `origin`, `source`. The made-up personal data stay in: it is the scrubber that takes them out.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

if __package__ in (None, ""):  # run as a file: the repository is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.support.record import HERE, Example, chat, read

LICENCE = "Apache-2.0"


def lines(examples: list[Example]) -> Iterator[dict[str, Any]]:
    schema = msgspec.json.decode((HERE / "schema.json").read_bytes())
    form = {"type": "json_schema", "json_schema": {"name": "support", "strict": True, "schema": schema}}
    for example in examples:
        *asked, answer = chat(example)
        yield {
            "id": example.id,
            "source": "synthetic" if example.source == "generated" else "handcrafted",
            "origin": f"examples/support/{example.source}",
            "messages": asked,
            "response_format": form,
            "gold": answer["content"],
            "family": example.family if example.source == "generated" else "",
            "skill": example.answer.intent,
            "licence": LICENCE,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write support examples for `understudy teachset add`.")
    parser.add_argument("files", type=Path, nargs="+", help="of generate.py, gold.jsonl, holdout.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with given.out.open("wb") as out:
        for path in given.files:
            for line in lines(read(path)):
                out.write(msgspec.json.encode(line) + b"\n")


if __name__ == "__main__":
    main()
