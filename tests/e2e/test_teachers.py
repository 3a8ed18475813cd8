"""A real model is asked for the support task, judged, measured on gold and taught from: llama.cpp's server."""

import json
import subprocess
import sys
from itertools import islice
from math import exp, fsum
from pathlib import Path

import msgspec
import pytest
import yaml

from examples.support.families import FAMILIES
from examples.support.generate import generate
from examples.support.record import HERE, chat
from gateway.engines import Engine
from student_train.teachset.example import Answer, Example, Lesson, Source
from student_train.teachset.store import Entry, TeachingSet
from student_train.teachset.verify import verify

_SCHEMA = json.loads((HERE / "schema.json").read_text())
_PROMPTS = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two support messages to be taught, and one of gold."""
    found = tmp_path / "set"
    with TeachingSet.create(found) as teaching:
        for at, one in enumerate(islice(generate(_PROMPTS, 1, FAMILIES), _PROMPTS)):
            *prompt, gold = chat(one)
            example = Example(
                id=teaching.pseudonym(one.id),
                source=Source("synthetic", one.id, "support", 0.0),
                messages=tuple(prompt),
                response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}},
                skill=one.answer.intent,
                gold=gold["content"] if at >= 2 else None,
            )
            about = {"split": "gold" if at >= 2 else "train"}
            teaching.add("example", [Entry(example.id, about, msgspec.json.encode(example))])
    return found


def _run(*arguments: object) -> str:
    run = "from student_train.cli.teachset import teachset; teachset()"
    command = [sys.executable, "-c", run, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _answers(path: Path) -> dict[str, Answer]:
    with TeachingSet.open(path) as teaching:
        return {key: msgspec.json.decode(payload, type=Answer) for key, payload in teaching.payloads("answer")}


def test_a_real_teacher_is_asked_judged_measured_and_taught_from(
    engines: tuple[Engine, Engine], path: Path, tmp_path: Path
) -> None:
    teacher = f"small={engines[0].base_url},samples=4,max_tokens=120,top_logprobs=8,concurrency=2,temperature=1"
    output = _run("ask", path, "--teacher", teacher)
    assert "teacher" in output  # the model's name, as the engine has it
    found = _answers(path)
    assert len(found) == 4 * _PROMPTS
    assert len({answer.content for answer in found.values()}) > _PROMPTS  # samples differ
    for answer in found.values():
        assert answer.rejected == ""
        assert answer.input_tokens > 100
        assert len(answer.positions) >= answer.output_tokens - 1 > 0  # the end may be told or not
        for position in answer.positions:
            mass = exp(position.logprob) + fsum(exp(other.logprob) for other in position.top) + exp(position.tail)
            assert mass == pytest.approx(1, abs=1e-3)
            assert len(position.top) <= 8
    _run("judge", path)
    judged = _answers(path)
    for answer in judged.values():
        if answer.finish_reason == "stop":
            msgspec.json.decode(answer.content)  # the engine keeps to the schema
            assert not answer.rejected.startswith("json")
        else:
            assert answer.rejected
    assert "There is one teacher, small" in _run("teachers", path, "--out", "/dev/stdout")
    _run("choose", path)
    with TeachingSet.open(path) as teaching:
        lessons = [msgspec.json.decode(payload, type=Lesson) for _, payload in teaching.payloads("lesson")]
    kept = {answer.example for answer in judged.values() if not answer.rejected}
    assert {one.example for one in lessons if one.targets} == kept & {one.example for one in lessons}
    assert verify(path).problems == ()


def test_the_same_seed_gives_the_same_answers(engines: tuple[Engine, Engine], path: Path, tmp_path: Path) -> None:
    """One request at a time and no cached prompts: llama.cpp's sums differ in their last bits with the size of a batch,
    and one other token makes another answer."""
    other = tmp_path / "other"
    with TeachingSet.open(path) as teaching, TeachingSet.create(other) as again:
        for key, payload in teaching.payloads("example"):
            again.add("example", [Entry(key, {"split": teaching.split_of(key)}, payload)])
    teacher = {"samples": 2, "max_tokens": 40, "concurrency": 1, "top_logprobs": 0, "body": {"cache_prompt": False}}
    teachers = tmp_path / "teachers.yaml"
    teachers.write_text(yaml.safe_dump({"small": {"base_url": engines[0].base_url, **teacher}}))
    contents = []
    for one in (path, other):
        _run("ask", one, "--teachers", teachers, "--limit", 1, "--split", "train")
        contents.append({key: answer.content for key, answer in _answers(one).items()})
    assert len(contents[0]) == 2
    assert contents[0] == contents[1]
