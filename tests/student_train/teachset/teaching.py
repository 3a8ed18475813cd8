"""Small sets for tests, and a model server that answers by its prompt and seed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from student_train.teachset.example import Answer, Example, Source, Split
from student_train.teachset.store import Entry, TeachingSet
from tests.support.upstream import Received, Step, completion, response

SYSTEM = {"role": "system", "content": "You are a support desk."}


def example(number: int, skill: str = "s", **more: Any) -> Example:
    source = Source("synthetic", f"request-{number}", "test", 0.0)
    messages = (SYSTEM, {"role": "user", "content": f"Question {number}"})
    name = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    return Example(name, source, more.pop("messages", messages), skill=skill, **more)


def made(path: Path, examples: Iterable[Example], split: Split = "train") -> Path:
    with TeachingSet.create(path) as teaching:
        put(teaching, examples, split)
    return path


def put(teaching: TeachingSet, examples: Iterable[Example], split: Split = "train") -> None:
    about = {"split": split}
    teaching.add("example", [Entry(one.id, about, msgspec.json.encode(one), one.person) for one in examples])


def answers(teaching: TeachingSet) -> dict[str, Answer]:
    return {key: msgspec.json.decode(payload, type=Answer) for key, payload in teaching.payloads("answer")}


def says(request: Received) -> str:
    """What the server below says: of the last message and the seed, so the same each time."""
    body = request.json
    return f"Answer {body['seed'] % 7} to {body['messages'][-1]['content']}"


def told(request: Received, **more: Any) -> bytes:
    """A whole answer with log-probabilities, if they are asked for."""
    body = request.json
    answer = completion(says(request), model=body["model"])
    answer["usage"] = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
    if body.get("logprobs"):
        top = [{"token": "A", "logprob": -0.1, "bytes": [65]}, {"token": "B", "logprob": -3.0, "bytes": [66]}]
        token = {"token": "A", "logprob": -0.1, "bytes": [65], "top_logprobs": top}
        answer["choices"][0]["logprobs"] = {"content": [token]}
    return response({**answer, **more})


def well(request: Received) -> Iterable[Step]:
    yield told(request)


def error(status: str, message: str, extra: str = "") -> bytes:
    return response(json.dumps({"error": {"message": message}}).encode(), status, extra)
