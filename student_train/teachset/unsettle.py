"""Prompts that cannot be answered as they stand, made from some that can, so that a student learns to ask.

A student that was only ever shown answerable prompts guesses. So from answerable ones, whose right answer is known, a
needed fact is taken out (`slot_dropped`), or one is put in that contradicts another (`contradiction`); the target then
is a question that names what is missing (reference: "Uncertainty -> clarification").

Only who knows the task can say what is needed and how to ask. So tasks are functions, named in a YAML file by path:

    share: 0.2                                         # of the examples; each is changed in one way
    tasks:
      - task: examples/support/unsettle.py:unsettle    # def unsettle(example, random) -> Iterator[Unsettled]
      - task: facts                                    # for prompts with JSON in them, see `unsettle_facts`
        dropped: {target: {action: ask, missing: ["{name}"], reply: "Could you tell us the {name}?"}}

A task yields what can be made of an example, nothing if nothing can; its own `random` is seeded, so the same set gives
the same cases. The path is as from the directory where the command runs.
"""

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from router_policies.checks.check import Answer as Judged
from router_policies.checks.check import Outcome
from router_policies.checks.reading import CHAT, read_request
from router_policies.checks.verdict import findings
from student_train.teachset.example import Example
from student_train.teachset.judge import FORM, request_body
from student_train.teachset.ledger import Json
from student_train.teachset.store import Entry, TeachingSet


class Unsettled(Struct, frozen=True):
    """`gold`: the answer that asks. `what`: the name of the slot; it goes into the ledger, so no text of the prompt."""

    messages: tuple[dict[str, Any], ...]
    gold: str
    kind: Literal["slot_dropped", "contradiction"]
    what: str


Task = Callable[[Example, Random], Iterable[Unsettled]]


class UnsettleError(ValueError):
    """What is written of tasks is wrong: what was expected, what came."""


class Dropped(Struct, forbid_unknown_fields=True):
    """`target`: fields of the answer, in the place of gold's; or all of it, where gold is text."""

    target: dict[str, Any] | str


class Contradicted(Struct, forbid_unknown_fields=True):
    """`note`: what is added to the user's last message."""

    note: str
    target: dict[str, Any] | str


class TaskEntry(Struct, forbid_unknown_fields=True):
    task: str
    dropped: Dropped | None = None
    contradicted: Contradicted | None = None


class Tasks(Struct, forbid_unknown_fields=True):
    tasks: Annotated[list[TaskEntry], Meta(min_length=1)]
    share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    seed: int = 0


def read_tasks(path: Path) -> tuple[Tasks, list[Task]]:
    try:
        written = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Tasks)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise UnsettleError(f"{path}: expected a YAML file of tasks: {error}") from None
    return written, [_task(entry) for entry in written.tasks]


def _task(entry: TaskEntry) -> Task:
    if entry.task == "facts":
        if entry.dropped is None and entry.contradicted is None:
            raise UnsettleError("task facts: expected `dropped`, `contradicted` or both: what the target is")
        from student_train.teachset.unsettle_facts import Facts

        return Facts(entry.dropped, entry.contradicted)
    if entry.dropped is not None or entry.contradicted is not None:
        raise UnsettleError(f"task {entry.task}: `dropped` and `contradicted` are the task `facts`' own")
    return load_task(entry.task)


def load_task(named: str) -> Task:
    """`PATH.py:FUNCTION`. It runs what is in that file."""
    file, _, name = named.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file() or not name.isidentifier():
        raise UnsettleError(f"task: expected `facts` or PATH.py:FUNCTION of a file that is there, got {named!r}")
    spec = importlib.util.spec_from_file_location(f"unsettle_task_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of it look themselves up
    spec.loader.exec_module(module)
    task = getattr(module, name, None)
    if not callable(task):
        raise UnsettleError(f"task: expected {path} to have a function {name}, it has none")
    found: Task = task
    return found


def unsettle(
    examples: Iterable[Example], tasks: list[Task], share: float, seed: int, name: Callable[[str], str]
) -> Iterator[tuple[Example, Unsettled]]:
    """New examples and how they were made. `name`: makes an id of a text, keyed. Made-up ones, those without gold, and
    those whose target would not fit the form that their prompt asks for are passed by."""
    for example in examples:
        if example.kind != "plain" or example.gold is None:
            continue
        random = Random(f"{seed}:{example.id}")  # noqa: S311 - no secret
        drawn = random.random() < share
        ways = [way for task in tasks for way in task(example, random)]  # also of who is not drawn: tasks may remember
        fitting = [way for way in ways if _fits(example, way)] if drawn else []
        if fitting:
            way = random.choice(fitting)
            yield _made(example, way, name(f"unsettled:{example.id}:{way.kind}:{way.what}")), way


def _made(example: Example, way: Unsettled, name: str) -> Example:
    """It keeps where the other is from, whose it is and its family: so it is split and erased with it."""
    changed = {"id": name, "messages": way.messages, "gold": way.gold, "kind": way.kind, "parent": example.id}
    return msgspec.structs.replace(example, served=None, served_by="", **changed)


def _fits(example: Example, way: Unsettled) -> bool:
    body = request_body(msgspec.structs.replace(example, messages=way.messages))
    found = findings(FORM, read_request(CHAT, body), Judged(way.gold, finish_reason="stop"))
    return all(finding.outcome is not Outcome.FAIL for _, finding in found)


def filled(template: Any, fields: Mapping[str, str]) -> Any:
    """The template with `{name}` and the like in its texts replaced. Other braces stay."""
    if isinstance(template, str):
        for name, value in fields.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    if isinstance(template, dict):
        return {key: filled(value, fields) for key, value in template.items()}
    return [filled(value, fields) for value in template] if isinstance(template, list) else template


def unsettle_set(teaching: TeachingSet, tasks: list[Task], share: float, seed: int) -> Counter[tuple[str, str]]:
    """Puts the new cases into the set, beside what they were made from: in its split, if it has one yet. Gold and the
    holdout are left alone. How many of which kind there are now, by what is missing."""
    counts: Counter[tuple[str, str]] = Counter()
    made = unsettle(_open(teaching), tasks, share, seed, teaching.pseudonym)

    def entries() -> Iterator[Entry]:
        for example, way in made:
            counts[way.what, way.kind] += 1
            about: dict[str, Json] = {"made": way.kind, "what": way.what, "parent": example.parent}
            about |= {"source": example.source.kind, "origin": example.source.origin}
            if (split := teaching.split_of(example.parent)) is not None:
                about["split"] = split
            yield Entry(example.id, about, msgspec.json.encode(example), example.person)

    new = teaching.add("example", entries())
    if new:
        told = {f"{what} {kind}": count for (what, kind), count in sorted(counts.items())}
        teaching.note("unsettle", {"share": share, "seed": seed, "new": new, "cases": told})
    return counts


def _open(teaching: TeachingSet) -> Iterator[Example]:
    for example in teaching.examples():
        if teaching.split_of(example.id) in (None, "train", "dev", "calibration"):
            yield example
