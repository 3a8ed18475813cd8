"""An example as it stands in a file: what came in, what is known, the correct answer, and where all of it is from.

One JSON object a line. `chat` is what an app sends: the system prompt, then what the shop knows and the message.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from examples.support.policy import Decision, Reading
from examples.support.world import Context, render

HERE = Path(__file__).parent


class Answer(Struct, frozen=True):
    """In the order of `schema.json`, which is also the order that a model writes it in."""

    intent: str
    order_id: str | None
    items: tuple[str, ...]
    priority: str
    action: str
    missing: tuple[str, ...]
    reply: str


class Planted(Struct, frozen=True):
    """Made-up personal data in the message, as it is written there. `id` is the example's and a number."""

    id: str
    kind: str
    value: str


class Example(Struct, frozen=True):
    """`family`: the template family, or `gold` and `holdout` for what no template made. `reading`: how the message
    is to be understood; with the context it decides the answer (policy.py). `rules`: paragraphs of policy.md. `why`: a
    note for people."""

    id: str
    source: Literal["generated", "gold", "holdout"]
    family: str
    message: str
    context: Context
    answer: Answer
    reading: Reading
    rules: tuple[str, ...]
    pii: tuple[Planted, ...] = ()
    why: str = ""


def answer(decision: Decision, reply: str) -> Answer:
    return Answer(
        decision.intent,
        decision.order_id,
        decision.items,
        decision.priority,
        decision.action,
        decision.missing,
        reply,
    )


def read(path: Path) -> list[Example]:
    with path.open("rb") as lines:
        return [msgspec.json.decode(line, type=Example) for line in lines]


def write(path: Path, examples: Iterable[Example]) -> None:
    with path.open("wb") as file:
        for example in examples:
            file.write(msgspec.json.encode(example) + b"\n")


def chat(example: Example) -> Iterator[dict[str, str]]:
    """Messages for `/v1/chat/completions`; the last is the answer that is right, for training and grading."""
    yield {"role": "system", "content": _prompt()}
    yield {"role": "user", "content": f"{render(example.context)}\n\nMessage:\n{example.message}"}
    yield {"role": "assistant", "content": msgspec.json.encode(example.answer).decode()}


@cache
def _prompt() -> str:
    return (HERE / "prompt.md").read_text().strip()
