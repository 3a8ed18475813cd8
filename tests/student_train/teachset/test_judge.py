"""Which answers are kept, and the reason of each that is not."""

import json
from typing import Any

import pytest

from router_policies.checks.pack import read_pack
from student_train.teachset.example import Answer, Example, Source
from student_train.teachset.judge import Lengths, Options, judge
from student_train.teachset.judge_agreement import Comparison, clusters, f1, read

_SCHEMA = {
    "type": "object",
    "required": ["intent", "reply"],
    "properties": {"intent": {"enum": ["cancel", "return"]}, "reply": {"type": "string"}, "items": {"type": "array"}},
}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}
_REPLY = "We have cancelled your order and send the money back to you."
_OTHER = "Done, nothing will be delivered any more; you get a refund within five days."
_PACK = read_pack(
    {
        "pack": "p",
        "version": 1,
        "checks": [{"check": "phrases", "severity": "high", "options": {"banned": ["promise"]}}],
    }
)


def _example(**more: Any) -> Example:
    source = Source("synthetic", "1", "test", 0.0)
    return Example("e", source, ({"role": "user", "content": "Please help me with my order"},), **more)


def _closed(**more: Any) -> Example:
    return _example(response_format=_FORMAT, **more)


def _said(*contents: str, teacher: str = "big", **more: Any) -> list[Answer]:
    more = {"finish_reason": "stop", "output_tokens": 20} | more
    return [Answer("e", teacher, at, at, content, **more) for at, content in enumerate(contents)]


def _json(intent: str, reply: str = _REPLY, **more: Any) -> str:
    return json.dumps({"intent": intent, "reply": reply, **more})


def _words(example: Example, answers: list[Answer], options: Options | None = None, **more: Any) -> list[str]:
    return [verdict.word for verdict in judge(example, answers, options or Options(), **more)]


def test_of_a_closed_prompt_the_majority_is_kept_once() -> None:
    answers = _said(_json("cancel"), _json("return"), _json("cancel"), _json("cancel"))
    found = judge(_closed(), answers, Options())
    assert [one.reason for one in found] == ["", "agreement: 1 of 4 say so", "same: as number 0", "same: as number 0"]
    assert found[0].agreement == pytest.approx(2 / 3)
    assert found[1].agreement == 0
    assert found[0].fields is not None
    assert found[0].fields > found[1].fields  # type: ignore[operator]


def test_answers_that_differ_in_their_prose_only_agree_and_are_both_kept() -> None:
    answers = _said(_json("cancel"), _json("cancel", _OTHER), _json("cancel", _REPLY + " Thanks"), _json("return"))
    assert _words(_closed(), answers) == ["kept", "kept", "same", "agreement"]


def test_without_a_majority_nothing_is_kept() -> None:
    answers = _said(*[_json("cancel", items=[number]) for number in range(4)])
    assert _words(_closed(), answers) == ["agreement"] * 4


def test_a_tie_is_no_majority() -> None:
    answers = _said(_json("cancel"), _json("cancel"), _json("return"), _json("return"))
    assert [one.reason for one in judge(_closed(), answers, Options())] == [
        "agreement: 2 of 4 say so, as many say else"
    ] * 4


def test_what_is_malformed_agrees_with_nobody() -> None:
    """Two of four say one thing, but only two are JSON at all: half is enough, a third of four would not be."""
    answers = _said(_json("cancel"), _json("cancel"), "not JSON", '{"intent": "dance", "reply": ""}')
    assert _words(_closed(), answers) == ["kept", "same", "json_valid", "json_schema"]
    assert _words(_closed(), answers, Options(agreement=0.75))[0] == "agreement"


def test_gold_counts_more_than_the_majority() -> None:
    answers = _said(_json("cancel"), _json("cancel"), _json("return"), _json("cancel"))
    gold = _json("return", "The words of gold are quite other words than those of a teacher.")
    assert [one.reason for one in judge(_closed(gold=gold), answers, Options())] == [
        "gold: differs at intent",
        "gold: differs at intent",
        "",
        "gold: differs at intent",
    ]


def test_of_an_open_prompt_several_that_differ_are_kept() -> None:
    one = "You can send it back within thirty days, with the label in your account."
    other = "Within thirty days you may return it. Print the label from your account please."
    answers = _said(one, one.upper(), other, "Bananas are yellow because chlorophyll fades")
    assert _words(_example(), answers) == ["kept", "same", "kept", "agreement"]


def test_no_more_than_so_many_are_kept() -> None:
    texts = [f"You can return it {word}, with a label." for word in ("a b c d", "e f g h", "i j k l", "m n o p")]
    assert _words(_example(), _said(*texts), Options(most=2)) == ["kept", "kept", "same", "same"]


def test_teachers_agree_with_themselves_only() -> None:
    answers = _said(*[_json("cancel")] * 2) + _said(*[_json("return")] * 2, teacher="small")
    assert _words(_closed(), answers) == ["kept", "same", "kept", "same"]


def test_a_single_answer_has_no_agreement() -> None:
    (found,) = judge(_closed(), _said(_json("cancel")), Options())
    assert (found.reason, found.agreement, found.fields) == ("", None, None)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"finish_reason": "length"}, "finish"),
        ({"finish_reason": "content_filter"}, "finish"),
        ({"rejected": "refused: HTTP 400: too long"}, "refused"),
        ({"output_tokens": 900}, "length"),
        ({"output_tokens": 2}, "length"),
    ],
)
def test_what_is_wrong_with_an_answer_by_itself(more: dict[str, Any], word: str) -> None:
    options = Options(min_tokens=3, max_tokens=800)
    assert _words(_closed(), _said(_json("cancel"), **more), options) == [word]


def test_checks_of_the_pack_reject_and_lower_ones_do_not() -> None:
    answers = _said("We promise that it comes.")
    assert _words(_example(), answers, Options.of([_PACK])) == ["phrases"]
    assert _words(_example(), answers, Options()) == ["kept"]
    low = read_pack(
        {
            "pack": "p",
            "version": 2,
            "checks": [{"check": "phrases", "severity": "low", "options": {"banned": ["promise"]}}],
        }
    )
    assert _words(_example(), answers, Options.of([low])) == ["kept"]


def test_calls_of_tools_are_compared_by_name_and_arguments_and_checked() -> None:
    tools = ({"type": "function", "function": {"name": "find", "parameters": {"required": ["id"]}}},)

    def call(name: str, arguments: str) -> Answer:
        calls = ({"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}},)
        return Answer("e", "big", 0, 0, "", calls, "tool_calls", output_tokens=9)

    answers = [
        call("find", '{"id": 1}'),
        call("find", '{ "id":1 }'),
        call("find", '{"id": 2}'),
        call("find", "{}"),
        call("lose", '{"id": 1}'),
    ]
    words = _words(_example(tools=tools), answers, Options(agreement=0.4))
    assert words == ["kept", "same", "agreement", "tool_calls", "tool_calls"]


def test_a_length_that_is_unlike_the_skill_is_rejected_once_enough_is_known() -> None:
    lengths = Lengths()
    for count in range(19):
        lengths.add(20 + count % 3)
    answer = _said(_json("cancel"), output_tokens=300)
    assert _words(_closed(), answer, lengths=lengths) == ["kept"]
    lengths.add(21)
    assert _words(_closed(), answer, lengths=lengths) == ["length"]
    assert _words(_closed(), _said(_json("cancel"), output_tokens=22), lengths=lengths) == ["kept"]


def test_people_reject_anything_and_overrule_what_only_suspects() -> None:
    answers = _said(_json("cancel"), _json("cancel"), _json("return"), "no JSON")
    found = judge(_closed(), answers, Options(), None, {("big", 0): "bad", ("big", 2): "good", ("big", 3): "good"})
    assert [one.word for one in found] == ["review", "agreement", "kept", "json_valid"]


def test_what_a_person_found_good_is_kept_before_its_twin() -> None:
    found = judge(_closed(), _said(_json("cancel"), _json("cancel")), Options(), None, {("big", 1): "good"})
    assert [one.reason for one in found] == ["same: as number 1", ""]


def test_rejudging_forgets_what_judging_said() -> None:
    answers = _said(_json("cancel"), rejected="agreement: 1 of 4 say so")
    assert _words(_closed(), answers) == ["kept"]


def test_rules_of_the_pack_say_what_is_equal() -> None:
    fields = {"check": "fields", "options": {"fields": {"reply": "exact", "items": "set"}}}
    pack = read_pack({"pack": "p", "version": 1, "checks": [fields]})
    one, two = read(_json("cancel", items=[1, 2])), read(_json("cancel", items=[2, 1]))
    other = read(_json("cancel", _OTHER, items=[1, 2]))
    assert clusters([one, two, other], Comparison([one, two, other], pack)) == [[0, 1], [2]]
    assert clusters([one, two, other], Comparison([one, two, other], Options().pack)) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [("a b c", "A c b", 1.0), ("a b", "c d", 0.0), ("a a b", "a b b", 2 / 3), ("", "", 1.0), ("", "a", 0.0)],
)
def test_token_f1(one: str, other: str, value: float) -> None:
    assert f1(one, other) == pytest.approx(value)
    assert f1(other, one) == pytest.approx(value)
