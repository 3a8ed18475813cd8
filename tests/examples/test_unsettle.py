"""Support messages made unanswerable: contexts are read back as they were, policy and voice agree with the targets."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random

import msgspec
import pytest

from examples.support import check, record
from examples.support.families import FAMILIES
from examples.support.generate import generate
from examples.support.policy import decide
from examples.support.unsettle import read, read_context, unsettle
from examples.support.world import render
from student_train.teachset.example import Example, Source
from student_train.teachset.unsettle import Unsettled


def _example(one: record.Example) -> Example:
    """As it comes out of the scrubber, which puts a placeholder for an address."""
    *prompt, gold = record.chat(one)
    for planted in one.pii:
        if planted.kind == "address":
            prompt[-1]["content"] = prompt[-1]["content"].replace(planted.value, "<ADDRESS_1>")
    source = Source("synthetic", one.id, "support", 0.0)
    return Example(one.id, source, tuple(prompt), family=one.family, skill=one.answer.intent, gold=gold["content"])


@cache
def _generated() -> tuple[record.Example, ...]:
    return tuple(generate(700, 11, FAMILIES))


@cache
def _made() -> tuple[tuple[Example, Unsettled], ...]:
    examples = map(_example, _generated())
    return tuple((example, way) for example in examples for way in unsettle(example, Random(example.id)))


def test_every_context_is_read_back() -> None:
    for one in _generated():
        context = read_context(render(one.context))
        assert context is not None
        assert render(context) == render(one.context)


def test_nearly_every_answerable_message_is_read_again_as_it_was_meant() -> None:
    answerable = [one for one in _generated() if one.answer.action == "answer"]
    read_again = [
        one for one in answerable if (scene := read(_example(one))) and scene.reading.topics == one.reading.topics
    ]
    assert len(read_again) / len(answerable) > 0.9


def test_there_are_cases_of_every_kind() -> None:
    counts = Counter((way.what, way.kind) for _, way in _made())
    slots = ("identity", "order_id", "photo", "problem", "variant", "address")
    assert counts.keys() == {*((slot, "slot_dropped") for slot in slots), ("order_id", "contradiction")}
    assert min(counts.values()) >= 3, counts


def _as_record(example: Example, way: Unsettled) -> Iterator[record.Example]:
    made = msgspec.structs.replace(example, messages=way.messages, gold=way.gold)
    scene = read(made)
    if scene is not None:
        answer = msgspec.json.decode(way.gold, type=record.Answer)
        rules = decide(scene.reading, scene.context).rules
        family = example.family
        yield record.Example("x", "generated", family, scene.message, scene.context, answer, scene.reading, rules)


def test_the_target_is_what_the_policy_says_of_the_new_message_and_sounds_right() -> None:
    """By the example's own checker: schema, policy, voice, what a question must and must not ask for."""
    checked = [one for example, way in _made() for one in _as_record(example, way)]
    assert len(checked) > 0.9 * len(_made())
    for one in checked:
        assert check.problems(one) == []
        assert one.answer.action == "ask"


@pytest.mark.parametrize("what", ["photo", "problem", "variant", "address"])
def test_what_was_dropped_is_not_there_and_is_asked_for(what: str) -> None:
    for example, way in _made():
        if way.what == what:
            assert what in msgspec.json.decode(way.gold)["missing"]
            assert way.messages[:-1] == example.messages[:-1]
            assert way.messages[-1] != example.messages[-1]


def test_what_is_asked_back_about_already_stays_as_it_is() -> None:
    asking = [one for one in _generated() if one.answer.action == "ask"]
    assert len(asking) > 50
    assert not [way for one in asking for way in unsettle(_example(one), Random(1))]


def test_it_is_the_same_each_time() -> None:
    for example, _ in _made()[:20]:
        assert list(unsettle(example, Random(7))) == list(unsettle(example, Random(7)))


def test_what_is_no_support_message_makes_nothing() -> None:
    example = _made()[0][0]
    user = {"role": "user", "content": "Where is my order?"}
    for other in (
        msgspec.structs.replace(example, family="gold"),
        msgspec.structs.replace(example, messages=(user,)),
        msgspec.structs.replace(example, gold="no JSON"),
        msgspec.structs.replace(example, messages=()),
    ):
        assert list(unsettle(other, Random(1))) == []
