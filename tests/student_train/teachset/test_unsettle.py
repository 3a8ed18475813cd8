"""Unanswerable prompts made of answerable ones: the general task, tasks by path, and what a made example keeps."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from student_train.teachset.example import Example, Source
from student_train.teachset.unsettle import Task, UnsettleError, load_task, read_tasks, unsettle

_FACTS = """
share: 1.0
tasks:
  - task: facts
    dropped: {target: {action: ask, missing: ["{name}"], reply: "Could you tell us the {name}?"}}
    contradicted:
      note: "By the way, the {name} is {other}."
      target: {action: ask, missing: ["{name}"], reply: "Is the {name} {value} or {other}?"}
"""


def _tasks(tmp_path: Path, text: str = _FACTS) -> list[Task]:
    (tmp_path / "tasks.yaml").write_text(text)
    return read_tasks(tmp_path / "tasks.yaml")[1]


def _example(name: str, context: str, **more: Any) -> Example:
    gold = {"action": "answer", "order_id": "A-17", "missing": [], "reply": "It comes soon."}
    source = Source("real_trace", "request-1", "support", 0.0)
    messages = (
        {"role": "system", "content": "You help."},
        {"role": "user", "content": f"Where is it? Context: {context} Thanks"},
    )
    more = {"gold": json.dumps(gold), "person": "p", "session": "s", "family": "f", "served": "x"} | more
    return Example(name, source, messages, **more)


def _ways(task: Task, *examples: Example) -> list[Any]:
    return [way for example in examples for way in task(example, Random(0))]


def test_a_fact_that_gold_needs_is_dropped_and_asked_for(tmp_path: Path) -> None:
    (facts,) = _tasks(tmp_path)
    (way,) = _ways(
        facts, _example("e", '{"order_id": "A-17", "state": "sent", "lines": [{"order_id": "A-17", "n": 2}]}')
    )
    assert way.messages[1]["content"] == 'Where is it? Context: {"state": "sent", "lines": [{"n": 2}]} Thanks'
    assert way.messages[0] == {"role": "system", "content": "You help."}
    assert json.loads(way.gold) == {
        "action": "ask",
        "order_id": None,
        "missing": ["order id"],
        "reply": "Could you tell us the order id?",
    }
    assert (way.kind, way.what) == ("slot_dropped", "order_id")


def test_a_fact_that_stands_elsewhere_too_is_not_dropped(tmp_path: Path) -> None:
    (facts,) = _tasks(tmp_path)
    context = '{"order_id": "A-17"} about A-17,'
    assert _ways(facts, _example("e", context)) == []


@pytest.mark.parametrize("context", ['{"state": "sent"}', "no JSON {at all", '{"order_id": "B-18"}', '["A-17"]'])
def test_what_gold_does_not_need_stays(tmp_path: Path, context: str) -> None:
    (facts,) = _tasks(tmp_path)
    assert _ways(facts, _example("e", context)) == []


def test_a_contradiction_takes_what_another_example_has_there(tmp_path: Path) -> None:
    (facts,) = _tasks(tmp_path)
    before = _example("d", '{"order_id":"B-18"}', gold='{"order_id": "B-18"}')
    ways = _ways(facts, before, _example("e", '{"order_id": "A-17"}'))
    way = next(way for way in ways if way.kind == "contradiction")
    assert way.messages[1]["content"].endswith("Thanks\n\nBy the way, the order id is B-18.")
    assert json.loads(way.gold)["reply"] == "Is the order id A-17 or B-18?"


def test_layout_of_the_json_is_kept(tmp_path: Path) -> None:
    (facts,) = _tasks(tmp_path)
    (compact,) = _ways(facts, _example("e", '{"a":1,"order_id":"A-17"}'))
    assert '{"a":1}' in compact.messages[1]["content"]
    (indented,) = _ways(facts, _example("e", json.dumps({"a": 1, "order_id": "A-17"}, indent=2)))
    assert json.dumps({"a": 1}, indent=2) in indented.messages[1]["content"]


def test_a_made_example_keeps_whose_it_is_and_where_from(tmp_path: Path) -> None:
    parent = _example("e", '{"order_id": "A-17"}')
    ((made, _),) = unsettle([parent], _tasks(tmp_path), 1.0, 0, lambda text: f"id of {text}")
    assert made.id == "id of unsettled:e:slot_dropped:order_id"
    assert (made.parent, made.kind) == ("e", "slot_dropped")
    assert (made.source, made.person, made.session, made.family) == (parent.source, "p", "s", "f")
    assert made.served is None


def test_only_the_share_is_made_and_the_same_each_time(tmp_path: Path) -> None:
    parents = [_example(f"e{at}", '{"order_id": "A-17"}') for at in range(400)]
    made = [one.id for one, _ in unsettle(parents, _tasks(tmp_path), 0.25, 3, str)]
    assert 60 < len(made) < 140
    assert made == [one.id for one, _ in unsettle(parents, _tasks(tmp_path), 0.25, 3, str)]
    assert made != [one.id for one, _ in unsettle(parents, _tasks(tmp_path), 0.25, 4, str)]


def test_a_target_that_does_not_fit_the_schema_is_left_out(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    parent = _example("e", '{"order_id": "A-17"}', response_format=asked)
    assert list(unsettle([parent], _tasks(tmp_path), 1.0, 0, str)) == []


def test_made_examples_and_those_without_gold_are_passed_by(tmp_path: Path) -> None:
    parents = [_example("e", '{"order_id": "A-17"}', kind="contradiction"), _example("f", "{}", gold=None)]
    assert list(unsettle(parents, _tasks(tmp_path), 1.0, 0, str)) == []


def test_a_task_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from student_train.teachset.unsettle import Unsettled\n"
        "def drop(example, random):\n"
        "    yield Unsettled(example.messages[:1], 'Which one?', 'slot_dropped', 'all')\n"
    )
    (task,) = _tasks(tmp_path, f"tasks: [{{task: '{tmp_path}/mine.py:drop'}}]")
    ((made, way),) = unsettle([_example("e", "{}")], [task], 1.0, 0, str)
    assert (made.gold, way.what, len(made.messages)) == ("Which one?", "all", 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tasks: []", "expected a YAML file of tasks"),
        ("tasks: [{task: facts}]", "expected `dropped`, `contradicted` or both"),
        ("tasks: [{task: no/such.py:f}]", "expected `facts` or PATH.py:FUNCTION"),
        ("tasks: [{task: facts, dropped: {target: x}}]\nshare: 2", "share"),
        ("tasks: [{task: facts, drop: {}}]", "drop"),
        ("tasks: [{task: 'a.py:f', dropped: {target: x}}]", "the task `facts`' own"),
    ],
)
def test_what_is_wrong_with_tasks_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UnsettleError, match=told):
        _tasks(tmp_path, text)


def test_a_file_without_the_function_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(UnsettleError, match="to have a function x"):
        load_task(f"{tmp_path}/mine.py:x")
