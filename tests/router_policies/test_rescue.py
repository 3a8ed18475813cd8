"""Going on with a broken answer: what is asked for, and that the seam cannot be seen.

The properties draw a whole answer, break its stream anywhere, draw how the second stream cuts it up, and put together
what a client would have. `Client` is the judge: it knows nothing of how the rest was found.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies import transcript as transcripts
from router_policies.capabilities import Continues
from router_policies.rescue import CHAT, COMPLETIONS, Asked, Mismatch, Mode, Refusal, Seam, Transcript, continuation

Json = dict[str, Any]
Atom = tuple[str, int, str]  # field, tool, text; a tool's head has the field "head" and its name as text

ASK: Json = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The sea"}]


def chunk(delta: Json | None = None, *, id: str = "first", **choice: Any) -> Json:
    told = {"index": 0, "finish_reason": None, **({} if delta is None else {"delta": delta}), **choice}
    return {"id": id, "created": len(id), "object": "chat.completion.chunk", "model": f"of {id}", "choices": [told]}


def tool(number: int, arguments: str = "", *, name: str | None = None, id: str | None = None) -> Json:
    head = {} if id is None else {"id": id, "type": "function"}
    function = {**({} if name is None else {"name": name}), "arguments": arguments}
    return {"tool_calls": [{"index": number, **head, "function": function}]}


def transcript(*chunks: Json) -> Transcript:
    said = Transcript()
    for told in chunks:
        said.add(told)
    return said


def begun(**message: Any) -> Json:
    """A request of which the client wants the last message to be continued."""
    messages = [{"role": "assistant", **message}]
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}


def spoken(text: str, field: str = "content") -> Transcript:
    return transcript(chunk({"role": "assistant"}), chunk({field: text}))


def relayed(seam: Seam, *chunks: Json) -> list[Json]:
    return [rest for told in chunks if (rest := seam.feed(told)) is not None]


class Client:
    """Puts the chunks of a stream together as OpenAI's client does."""

    def __init__(self, chunks: Iterable[Json]) -> None:
        self.texts: dict[tuple[int, str], str] = {}
        self.heads: dict[tuple[int, int], list[tuple[str | None, str | None]]] = {}
        self.ids: set[str] = set()
        self.roles: list[int] = []
        self.ends: list[int] = []
        self.usages = 0
        for told in chunks:
            self.ids.add((told["id"], told["created"]))
            self.usages += "usage" in told
            for choice in told["choices"]:
                self._take(choice["index"], choice)

    def _take(self, index: int, choice: Json) -> None:
        if choice["finish_reason"]:
            self.ends.append(index)
        for field, value in {"text": choice.get("text"), **choice.get("delta", {})}.items():
            if field == "role":
                self.roles.append(index)
            elif field == "tool_calls":
                for call in value:
                    function = call.get("function", {})
                    self._write(index, f"arguments {call['index']}", function.get("arguments"))
                    if "id" in call or "name" in function:
                        self.heads.setdefault((index, call["index"]), []).append((call.get("id"), function.get("name")))
            else:
                self._write(index, field, value)

    def _write(self, index: int, field: str, value: str | None) -> None:
        if value:
            self.texts[index, field] = self.texts.get((index, field), "") + value


thorough = settings(max_examples=200, deadline=None)


# Drawing answers and the chunks they come in.

LETTERS = st.text("ab \n🙂é", min_size=1, max_size=6)


@st.composite
def answers(draw: st.DrawFn, *, tools: bool = True) -> list[Atom]:
    """Texts in the order they are said; a tool's arguments come after its head."""
    atoms: list[Atom] = []
    heads = 0
    for field in draw(st.lists(st.sampled_from(["content", "reasoning_content", "refusal", "tool"]), max_size=8)):
        if field != "tool":
            atoms.append((field, -1, draw(LETTERS)))
        elif tools and heads < 3 and draw(st.booleans()):
            atoms.append(("head", heads, draw(st.sampled_from(["find", "find_all"]))))
            heads += 1
        elif heads:
            atoms.append(("arguments", draw(st.integers(0, heads - 1)), draw(LETTERS)))
    return atoms


def deltas_of(atoms: list[Atom], id: str) -> list[Json]:
    """One delta of what may be said in one: each field once, in any order."""
    delta: Json = {}
    calls: dict[int, Json] = {}
    for field, number, text in atoms:
        call: Json = calls.setdefault(number, {"index": number, "function": {}}) if number >= 0 else {}
        if field == "head":
            call.update(id=f"{id}-{number}", type="function")
            call["function"].update(name=text, arguments="")
        elif field == "arguments":
            call["function"]["arguments"] = call["function"].get("arguments", "") + text
        else:
            delta[field] = delta.get(field, "") + text
    return [{**delta, **({"tool_calls": list(calls.values())} if calls else {})}] if atoms else []


@st.composite
def streams(draw: st.DrawFn, answer: list[Atom], id: str, index: int = 0) -> list[Json]:
    """A stream that says an answer: cut up anywhere, neighbours together or apart, with empty chunks between."""
    letters = [
        (field, number, piece) for field, number, text in answer for piece in ([text] if field == "head" else text)
    ]
    cuts = draw(st.lists(st.integers(0, len(letters)), max_size=len(letters)).map(sorted))
    pieces = [letters[start:end] for start, end in zip([0, *cuts], [*cuts, len(letters)], strict=True)]
    if draw(st.booleans()):  # as a rule a chunk has one field
        pieces = [list(run) for piece in pieces for _, run in groupby(piece, key=lambda letter: letter[:2])]
    deltas = [delta for piece in pieces for delta in deltas_of(piece, id) or [{"content": ""}]]
    role: Json = {"role": "assistant", "content": draw(st.sampled_from(["", None]))}
    last = deltas.pop() if draw(st.booleans()) and deltas else {}
    return [
        chunk(role, id=id, index=index),
        *(chunk(delta, id=id, index=index) for delta in deltas),
        chunk(last, id=id, index=index, finish_reason="stop"),
    ]


def usage(id: str) -> Json:
    return {**chunk(id=id), "choices": [], "usage": {"prompt_tokens": 1}}


@thorough
@given(st.data())
def test_the_same_answer_again_is_cut_exactly(data: st.DataObject) -> None:
    answer = data.draw(answers())
    first = data.draw(streams(answer, "first"))
    second = [*data.draw(streams(answer, "second")), usage("second")]
    sent = first[: data.draw(st.integers(0, len(first) - 1))]
    seam = Seam(transcript(*sent), Mode.ANEW)
    got, whole = Client([*sent, *relayed(seam, *second)]), Client(first)
    assert seam.matched
    assert (got.texts, got.ends, got.roles, got.usages) == (whole.texts, [0], [0], 1)
    assert {key: [name for _, name in heads] for key, heads in got.heads.items()} == {
        key: [name for _, name in heads] for key, heads in whole.heads.items()
    }
    assert got.ids == ({("first", 5)} if sent else {("second", 6)})
    told = Client(sent).heads
    assert all(got.heads[key] == told[key] for key in told), "the id that was sent stays"


@thorough
@given(st.data())
def test_another_answer_is_relayed_only_if_it_begins_with_what_was_sent(data: st.DataObject) -> None:
    answer = data.draw(answers())
    first = data.draw(streams(answer, "first"))
    sent = first[: data.draw(st.integers(0, len(first) - 1))]
    other = data.draw(altered(answer))
    second = data.draw(streams(other, "second"))
    out = []
    seam = Seam(transcript(*sent), Mode.ANEW)
    try:
        for told in second:
            out += relayed(seam, told)
    except Mismatch:
        assert not Client(out).texts
        assert not Client(out).heads
        assert not Client(out).ends
        assert not began_with(second, sent)
        return
    got, wanted = Client([*sent, *out]), Client(second)
    assert got.texts == wanted.texts
    assert got.heads.keys() == wanted.heads.keys()
    assert [name for heads in got.heads.values() for _, name in heads] == [
        name for heads in wanted.heads.values() for _, name in heads
    ]


@st.composite
def altered(draw: st.DrawFn, answer: list[Atom]) -> list[Atom]:
    """Another answer, of which much is the same."""
    if not answer:
        return draw(answers())
    at = draw(st.integers(0, len(answer) - 1))
    field, number, text = answer[at]
    if field == "head":
        changed = [(field, number, draw(st.sampled_from(["find", "find_all"])))]
    else:
        place = draw(st.integers(0, len(text) - 1))
        letter = draw(st.sampled_from(["", "a", "x"]))
        rest = text[:place] + letter + text[place + draw(st.integers(0, 1)) :]
        changed = [(field, number, rest)] if rest else []
    cut = draw(st.sampled_from([len(answer), at + 1]))
    return [*answer[:at], *changed, *answer[at + 1 : cut]]


def began_with(second: list[Json], sent: list[Json]) -> bool:
    """Whether all of what was sent is there in the second answer, in the same order, letter for letter."""
    return letters_of(second)[: len(letters_of(sent))] == letters_of(sent)


def letters_of(chunks: list[Json]) -> list[tuple[str, int, str]]:
    letters = []
    for told in chunks:
        delta = told["choices"][0]["delta"]
        for field in ("reasoning_content", "content", "refusal"):
            letters += [(field, -1, letter) for letter in delta.get(field) or ""]
        for call in delta.get("tool_calls", ()):
            letters += [("head", call["index"], call["function"]["name"])] if "id" in call else []
            letters += [("arguments", call["index"], letter) for letter in call["function"].get("arguments", "")]
    return letters


@thorough
@given(st.data())
def test_several_answers_are_each_cut_exactly_however_they_are_mixed(data: st.DataObject) -> None:
    both = [data.draw(answers(tools=False)) for _ in range(2)]

    def mixed(id: str) -> list[Json]:
        queues = [data.draw(streams(answer, id, index)) for index, answer in enumerate(both)]
        order = data.draw(st.permutations([index for index, queue in enumerate(queues) for _ in queue]))
        return [queues[index].pop(0) for index in order]

    first = mixed("first")
    sent = first[: data.draw(st.integers(0, len(first) - 1))]
    got = Client([*sent, *relayed(Seam(transcript(*sent), Mode.ANEW), *mixed("second"))])
    assert got.texts == Client(first).texts
    assert (sorted(got.ends), sorted(got.roles)) == ([0, 1], [0, 1])


BLANKS = st.text(" \n\tab", max_size=8)


@thorough
@given(st.data(), st.sampled_from(["content", "text"]))
def test_a_faithful_engine_continues_without_a_seam(data: st.DataObject, field: str) -> None:
    """The engine was given the text without the whitespace at its end, and goes on as the first would have."""
    whole = data.draw(BLANKS)
    cut = data.draw(st.integers(0, len(whole)))
    sent, given_text = whole[:cut], whole[:cut].rstrip()
    assert rest_of(data, sent, whole[len(given_text) :], field) == whole[cut:]


@thorough
@given(st.data(), BLANKS, BLANKS)
def test_only_the_whitespace_both_have_is_dropped(data: st.DataObject, sent: str, goes_on: str) -> None:
    pending = sent[len(sent.rstrip()) :]
    common = 0
    while common < min(len(pending), len(goes_on)) and pending[common] == goes_on[common]:
        common += 1
    assert rest_of(data, sent, goes_on, "content") == goes_on[common:]


def rest_of(data: st.DataObject, sent: str, goes_on: str, field: str) -> str:
    def told(text: str, id: str, **end: str) -> Json:
        return chunk(None, id=id, text=text, **end) if field == "text" else chunk({"content": text}, id=id, **end)

    cuts = data.draw(st.lists(st.integers(0, len(goes_on)), max_size=4).map(sorted))
    pieces = [goes_on[start:end] for start, end in zip([0, *cuts], [*cuts, len(goes_on)], strict=True)]
    seam = Seam(transcript(told(sent, "first")), Mode.CONTINUE)
    out = relayed(seam, *(told(piece, "second") for piece in pieces), told("", "second", finish_reason="stop"))
    client = Client(out)
    assert client.ends == [0]
    assert client.ids == {("first", 5)}
    return client.texts.get((0, field), "")


# What is asked for.


def test_vllm_is_given_the_text_and_told_to_go_on() -> None:
    said = spoken("The sea \n")
    request = {**ASK, "seed": 7, "stop": ["x"], "max_tokens": 50, "max_completion_tokens": 9, "min_tokens": 5}
    asked = continuation(CHAT, request, said, Continues.VLLM, 10)
    assert asked == Asked(
        Mode.CONTINUE,
        {
            **request,
            "messages": SAID,
            "continue_final_message": True,
            "add_generation_prompt": False,
            "max_tokens": 40,
            "max_completion_tokens": 1,
            "min_tokens": 0,
        },
    )
    assert request["messages"] is ASK["messages"]
    assert len(ASK["messages"]) == 1


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens", "n_predict"])
@pytest.mark.parametrize(
    ("limit", "left"), [(1, 1), (5, 1), (6, 1), (7, 2), (0, 0), (-1, -1), (None, None), ("x", "x")]
)
def test_a_limit_on_tokens_is_what_is_left_of_it(key: str, limit: object, left: object) -> None:
    asked = continuation(CHAT, {**ASK, key: limit}, spoken("The sea"), Continues.VLLM, 5)
    assert isinstance(asked, Asked)
    assert asked.request[key] == left


def test_a_prefill_is_a_last_message_and_no_more() -> None:
    request = {**ASK, "n_predict": -1, "max_tokens": None}
    assert continuation(CHAT, request, spoken("The sea"), Continues.PREFILL, 3) == Asked(
        Mode.CONTINUE, {**request, "messages": SAID}
    )


@pytest.mark.parametrize("how", list(Continues))
def test_any_engine_completes_a_prompt(how: Continues) -> None:
    said = transcript(chunk(text="The "), chunk(text="sea "))
    asked = continuation(COMPLETIONS, {"prompt": "Once. ", "max_tokens": 3}, said, how, 2)
    assert asked == Asked(Mode.CONTINUE, {"prompt": "Once. The sea", "max_tokens": 1})


@pytest.mark.parametrize(
    ("own", "flags", "how", "merged"),
    [
        ("Once", {"continue_final_message": True}, Continues.VLLM, "Once, twice"),
        ("Once", {}, Continues.PREFILL, "Once, twice"),
        (None, {}, Continues.PREFILL, ", twice"),
        (
            [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
            {},
            Continues.PREFILL,
            [{"type": "text", "text": "A"}, {"type": "text", "text": "B, twice"}],
        ),
    ],
)
def test_a_message_the_client_had_begun_is_gone_on_with(
    own: object, flags: Json, how: Continues, merged: object
) -> None:
    messages = [*ASK["messages"], {"role": "assistant", "content": own, "name": "x"}]
    asked = continuation(CHAT, {**ASK, **flags, "messages": messages}, spoken(", twice"), how, 1)
    assert isinstance(asked, Asked)
    assert asked.mode is Mode.CONTINUE
    assert asked.request["messages"] == [*ASK["messages"], {"role": "assistant", "content": merged, "name": "x"}]
    assert messages[-1]["content"] == own


def test_a_whole_message_of_the_assistant_is_left_alone() -> None:
    messages = [*ASK["messages"], {"role": "assistant", "content": "Yes."}]
    asked = continuation(CHAT, {**ASK, "messages": messages}, spoken("And"), Continues.VLLM, 1)
    assert isinstance(asked, Asked)
    assert asked.request["messages"] == [*messages, {"role": "assistant", "content": "And"}]


@pytest.mark.parametrize("how", [Continues.VLLM, Continues.PREFILL])
@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"response_format": {"type": "structural_tag"}}, "grammar"),
        ({"guided_json": {"type": "object"}}, "grammar"),
        ({"structured_outputs": {"choice": ["a"]}}, "grammar"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"n": 2}, "several"),
        ({"best_of": 2}, "several"),
        ({"logprobs": True}, "more than its text"),
        ({"logprobs": 0}, "more than its text"),
        ({"echo": True}, "more than its text"),
        ({"tool_choice": "required"}, "tool call"),
        ({"tool_choice": {"type": "function", "function": {"name": "find"}}}, "tool call"),
        (begun(content=[{"type": "image_url"}]), "no text can be added"),
        (begun(content=[]), "no text can be added"),
        (begun(content="x", tool_calls=[{}]), "no text can be added"),
        ({"messages": None}, "no text can be added"),
    ],
)
def test_what_an_engine_could_not_go_on_with_is_asked_anew(extra: Json, why: str, how: Continues) -> None:
    request = {**ASK, **extra}
    asked = continuation(CHAT, request, spoken("The sea"), how, 1)
    assert isinstance(asked, Asked)
    assert (asked.mode, asked.request) == (Mode.ANEW, request)
    assert why in asked.because


@pytest.mark.parametrize(
    "extra",
    [{"response_format": {"type": "text"}}, {"n": 1, "best_of": 1}, {"logprobs": False}, {"tool_choice": "auto"}],
)
def test_what_changes_nothing_is_no_obstacle(extra: Json) -> None:
    asked = continuation(CHAT, {**ASK, **extra}, spoken("The sea"), Continues.PREFILL, 1)
    assert isinstance(asked, Asked)
    assert asked.mode is Mode.CONTINUE


@pytest.mark.parametrize(
    ("deltas", "why"),
    [
        ([{"reasoning_content": "Hm"}], "reasoning"),
        ([{"reasoning": "Hm"}, {"content": " \n"}], "reasoning"),
        ([{"content": "So"}, {"reasoning": "Hm"}], "reasoning"),
        ([{"content": "<think>Hm"}], "reasoning"),
        ([{"content": "Hm</think>So"}], "reasoning"),
        ([{"content": "So"}, tool(0, id="a", name="find")], "tool call"),
        ([{"refusal": "No"}], "no plain text"),
    ],
)
def test_an_answer_that_is_more_than_text_is_asked_anew(deltas: list[Json], why: str) -> None:
    said = transcript(*(chunk(delta) for delta in deltas))
    asked = continuation(CHAT, ASK, said, Continues.VLLM, 1)
    assert isinstance(asked, Asked)
    assert (asked.mode, asked.request) == (Mode.ANEW, ASK)
    assert why in asked.because


@pytest.mark.parametrize("other", [{"index": 1}, {"finish_reason": "stop"}])
def test_other_choices_and_ends_are_asked_for_anew(other: Json) -> None:
    asked = continuation(CHAT, ASK, transcript(chunk({"content": "a"}, **other)), Continues.VLLM, 1)
    assert isinstance(asked, Asked)
    assert asked.mode is Mode.ANEW


def test_text_after_reasoning_is_gone_on_with() -> None:
    said = transcript(chunk({"reasoning_content": "Hm"}))
    said.texts.append("The sea")
    asked = continuation(CHAT, ASK, said, Continues.VLLM, 1)
    assert isinstance(asked, Asked)
    assert asked.request["messages"] == SAID


JSON_FORMS = [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}]


@pytest.mark.parametrize("form", JSON_FORMS)
def test_json_is_gone_on_with_where_the_grammar_goes_on(form: Json) -> None:
    request = {**ASK, "response_format": form, "max_tokens": 9}
    asked = continuation(CHAT, request, spoken("The sea"), Continues.PREFILL, 2)
    assert asked == Asked(Mode.CONTINUE_JSON, {**request, "messages": SAID, "max_tokens": 7})
    for how in (Continues.VLLM, Continues.NO):
        asked = continuation(CHAT, request, spoken("The sea"), how, 2)
        assert asked == Asked(Mode.ANEW, request, "it is held to a grammar, which would begin anew")
    request = {"prompt": "Once", "response_format": form}
    asked = continuation(COMPLETIONS, request, transcript(chunk(text="a")), Continues.PREFILL, 2)
    assert asked == Asked(Mode.ANEW, request, "it is held to a grammar, which would begin anew")


def test_an_upstream_that_cannot_continue_is_asked_anew() -> None:
    asked = continuation(CHAT, ASK, spoken("The sea"), Continues.NO, 1)
    assert asked == Asked(Mode.ANEW, ASK, "the upstream does not continue answers")


def test_a_prompt_that_is_no_text_is_asked_anew() -> None:
    asked = continuation(COMPLETIONS, {"prompt": [1, 2]}, transcript(chunk(text="a")), Continues.VLLM, 1)
    assert asked == Asked(Mode.ANEW, {"prompt": [1, 2]}, "the prompt is not one text")


@pytest.mark.parametrize("how", list(Continues))
@pytest.mark.parametrize("text", ["", " \n"])
def test_of_whitespace_any_answer_is_the_rest(text: str, how: Continues) -> None:
    request = {**ASK, "response_format": {"type": "json_object"}, "max_tokens": 5}
    assert continuation(CHAT, request, spoken(text), how, 2) == Asked(Mode.CONTINUE, request)


@pytest.mark.parametrize(
    ("path", "extra", "said"),
    [
        ("/v1/responses", {}, spoken("The sea")),
        (CHAT, {"modalities": ["text", "audio"]}, spoken("The sea")),
        (CHAT, {"audio": {"voice": "x"}}, spoken("The sea")),
        (CHAT, {}, transcript(chunk({"function_call": {"name": "find"}}))),
        (CHAT, {}, transcript(chunk({"content": [{"type": "thinking"}]}))),
        (CHAT, {}, transcript(chunk({"tool_calls": [{"function": {"name": "find"}}]}))),
        (CHAT, {}, transcript(chunk({"tool_calls": [{"index": 0, "custom": {"name": "find"}}]}))),
        (CHAT, {}, transcript(chunk(tool(0, name="fi")), chunk(tool(0, name="nd")))),
    ],
)
def test_what_cannot_be_compared_is_refused(path: str, extra: Json, said: Transcript) -> None:
    refused = continuation(path, {**ASK, **extra}, said, Continues.VLLM, 1)
    assert isinstance(refused, Refusal)
    assert refused.reason


# The seam, case by case.


def test_a_chunk_is_cut_at_the_character() -> None:
    seam = Seam(spoken("The s"), Mode.ANEW)
    assert seam.feed(chunk({"role": "assistant", "content": "Th"}, id="second")) is None
    assert not seam.matched
    assert seam.feed(chunk({"content": "e sea"}, id="second")) == {**chunk({"content": "ea"}), "model": "of second"}
    assert seam.matched


@pytest.mark.parametrize("text", ["Thy", "The z", "X"])
def test_another_text_is_a_mismatch(text: str) -> None:
    seam = Seam(spoken("The s"), Mode.ANEW)
    with pytest.raises(Mismatch, match=r"content of choice 0 differs .* at character \d") as raised:
        relayed(seam, chunk({"content": text}))
    assert text not in str(raised.value)


def test_an_answer_that_ends_too_early_is_a_mismatch() -> None:
    with pytest.raises(Mismatch, match="ends before"):
        relayed(Seam(spoken("The s"), Mode.ANEW), chunk({"content": "The"}), chunk({}, finish_reason="stop"))


def test_an_answer_that_says_something_else_first_is_a_mismatch() -> None:
    with pytest.raises(Mismatch, match="goes on before"):
        relayed(Seam(spoken("The s"), Mode.ANEW), chunk({"reasoning_content": "Hm"}))


def test_a_choice_that_had_ended_is_not_ended_again() -> None:
    said = transcript(chunk({"content": "a"}), chunk({}, finish_reason="stop"), chunk({"content": "b"}, index=1))
    again = (chunk({"content": "a"}), chunk({}, finish_reason="stop"))
    seam = Seam(said, Mode.ANEW)
    assert relayed(seam, *again) == []
    assert relayed(seam, chunk({"content": "bc"}, index=1)) == [chunk({"content": "c"}, index=1)]
    with pytest.raises(Mismatch, match="had ended"):
        relayed(seam, chunk({"content": "more"}))


def test_usage_waits_for_the_match() -> None:
    seam = Seam(spoken("a"), Mode.ANEW)
    assert seam.feed(usage("second")) is None
    assert relayed(seam, chunk({"content": "a"}), usage("second")) == [{**usage("second"), "id": "first", "created": 5}]


def test_a_tool_call_keeps_the_id_that_was_sent() -> None:
    said = transcript(chunk(tool(0, '{"a', id="one", name="find")))
    seam = Seam(said, Mode.ANEW)
    again = (tool(0, "", id="two", name="find"), tool(0, '{"', id="two", name="find"), tool(0, 'a": 1}', id="two"))
    assert relayed(seam, *map(chunk, again), chunk(tool(1, id="three", name="find"))) == [
        chunk(tool(0, '": 1}')),
        chunk(tool(1, id="three", name="find")),
    ]


@pytest.mark.parametrize(
    "other", [tool(0, id="two", name="find_all"), tool(1, id="two", name="find"), {"content": "No"}]
)
def test_another_tool_call_is_a_mismatch(other: Json) -> None:
    seam = Seam(transcript(chunk(tool(0, id="one", name="find"))), Mode.ANEW)
    with pytest.raises(Mismatch):
        seam.feed(chunk(other))


def test_a_call_without_its_name_is_not_the_one_that_was_sent() -> None:
    seam = Seam(transcript(chunk(tool(0, id="one", name="find"))), Mode.ANEW)
    with pytest.raises(Mismatch):
        relayed(seam, chunk(tool(0, id="two")), chunk(tool(0, "{}")))


def test_a_call_of_which_only_the_id_was_sent_gets_its_name() -> None:
    seam = Seam(transcript(chunk(tool(0, id="one"))), Mode.ANEW)
    assert relayed(seam, chunk(tool(0, "{}", id="two", name="find"))) == [chunk(tool(0, "{}", name="find"))]


def test_a_role_that_was_not_sent_is() -> None:
    told = chunk({"role": "assistant", "content": ""})
    assert relayed(Seam(Transcript(), Mode.CONTINUE), told, chunk({"content": "a"})) == [told, chunk({"content": "a"})]
    assert relayed(Seam(spoken(""), Mode.CONTINUE), told) == []


def test_thinking_again_is_no_way_to_continue() -> None:
    with pytest.raises(Mismatch, match="more reasoning"):
        relayed(Seam(spoken("The sea"), Mode.CONTINUE), chunk({"reasoning": "Hm"}))
    assert relayed(Seam(spoken(" "), Mode.CONTINUE), chunk({"reasoning": "Hm"}))


def ending(text: str, reason: str | None = "stop") -> Json:
    return chunk({"content": text}, finish_reason=reason)


@pytest.mark.parametrize(
    ("sent", "rest"),
    [
        ('{"a": [1, ', [" 2", "]}"]),
        ('{"a":', [" ", '{"b": 1}', "}"]),
        ("[", ["[1]", "]"]),
        ('{"a": "', ['x"}']),
    ],
)
def test_json_is_continued_if_the_whole_is_json(sent: str, rest: list[str]) -> None:
    seam = Seam(spoken(sent), Mode.CONTINUE_JSON)
    out = relayed(seam, *(chunk({"content": piece}) for piece in rest[:-1]), ending(rest[-1]))
    whole = sent + Client(out).texts[0, "content"]
    assert msgspec.json.decode(whole)
    assert Client(out).ends == [0]


@pytest.mark.parametrize("sent", ['{"a": 1', '{"a": "b {"'])
def test_json_that_begins_anew_is_refused_before_any_of_it_goes_out(sent: str) -> None:
    with pytest.raises(Mismatch, match="begins anew"):
        relayed(Seam(spoken(sent), Mode.CONTINUE_JSON), chunk({"content": " "}), chunk({"content": ' {"a"'}))


def test_json_that_is_none_in_the_end_is_not_shown_as_an_answer() -> None:
    seam = Seam(spoken('{"a":'), Mode.CONTINUE_JSON)
    assert relayed(seam, chunk({"content": '{"a":'}), chunk({"content": " 1}"}))
    with pytest.raises(Mismatch, match="not valid"):
        seam.feed(ending(""))


def test_json_that_was_cut_short_says_so_itself() -> None:
    assert relayed(Seam(spoken('{"a":'), Mode.CONTINUE_JSON), ending(" [", "length")) == [ending(" [", "length")]


def logprobs(*tokens: str) -> Json:
    return {"content": [{"token": token, "logprob": -1.0} for token in tokens], "refusal": None}


def test_log_probabilities_go_with_their_text() -> None:
    seam = Seam(spoken("The s"), Mode.ANEW)
    assert seam.feed(chunk({"content": "The"}, logprobs=logprobs("The"))) is None
    assert relayed(seam, chunk({"content": " sea is"}, logprobs=logprobs(" s", "ea", " is"))) == [
        chunk({"content": "ea is"}, logprobs=logprobs("ea", " is"))
    ]
    later = chunk({"content": "."}, logprobs=logprobs("."))
    assert relayed(seam, later) == [later]


def test_log_probabilities_of_a_completion_are_cut_alike() -> None:
    def told(*tokens: str, at: int = 0) -> Json:
        numbers = [float(at + place) for place in range(len(tokens))]
        return chunk(text="".join(tokens), logprobs={"tokens": list(tokens), "token_logprobs": numbers})

    seam = Seam(transcript(chunk(text="The")), Mode.ANEW)
    assert relayed(seam, told("Th", "e", " s", "ea")) == [told(" s", "ea", at=2)]


@pytest.mark.parametrize(
    ("said", "again", "rest"),
    [
        (
            chunk({"content": "The"}),
            {"role": "assistant", "content": "The sea"},
            {"role": "assistant", "content": " sea"},
        ),
        (chunk(tool(0, "The", id="one", name="find")), tool(0, "The sea", id="two", name="find"), tool(0, " sea")),
    ],
)
def test_log_probabilities_are_of_the_text_alone(said: Json, again: Json, rest: Json) -> None:
    seam = Seam(transcript(said), Mode.ANEW)
    assert relayed(seam, chunk(again, logprobs=logprobs("The", " sea"))) == [chunk(rest, logprobs=logprobs(" sea"))]


def test_log_probabilities_of_two_texts_are_not_told_apart() -> None:
    seam = Seam(transcript(chunk({"reasoning": "Hm"})), Mode.ANEW)
    with pytest.raises(Mismatch, match="within a token"):
        seam.feed(chunk({"reasoning": "Hm.", "content": "So"}, logprobs=logprobs("Hm", ".", "So")))


def test_text_sent_whole_leaves_no_log_probability_with_the_end() -> None:
    end = chunk({"content": "a"}, logprobs=logprobs("a"), finish_reason="stop")
    assert relayed(Seam(spoken("a"), Mode.ANEW), end) == [chunk({"content": ""}, logprobs=None, finish_reason="stop")]


@pytest.mark.parametrize("extra", [{"logprobs": logprobs("The", " sea")}, {"token_ids": [1, 2]}])
def test_a_token_is_not_cut_in_two(extra: Json) -> None:
    with pytest.raises(Mismatch, match="within a token"):
        relayed(Seam(spoken("The s"), Mode.ANEW), chunk({"content": "The sea"}, **extra))


_KEYS = "choices index delta text content role tool_calls function name arguments id logprobs token".split()  # noqa: SIM905
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.text("a ", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(_KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@thorough
@given(st.lists(JUNK.map(lambda junk: {"choices": junk}), max_size=3), JUNK, st.sampled_from(Mode))
def test_no_chunk_is_too_odd(chunks: list[Json], junk: Any, mode: Mode) -> None:
    said = transcript(*chunks, {"choices": [{"text": "a"}]})
    said.as_answer()
    for path in (CHAT, COMPLETIONS):
        continuation(path, {"messages": junk, "modalities": junk, "n": junk, "prompt": junk}, said, Continues.VLLM, 1)
    seam = Seam(said, mode)
    try:
        relayed(seam, *chunks, {"choices": junk}, {"choices": [junk]}, {"choices": [{"delta": junk, "text": "ab"}]})
    except Mismatch:
        return


# The transcript.


def test_the_usual_text_and_any_other_are_one() -> None:
    said = spoken("a")
    for piece in map(str, range(600)):
        said.texts.append(piece)
    said.add(chunk({"content": "z"}))
    assert said.text("content") == "a" + "".join(map(str, range(600))) + "z"


def test_a_transcript_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_CHARS", 1000)
    said = Transcript()
    for _ in range(10):
        said.texts.append("x" * 100)
    assert not said.lost
    said.texts.append("x")
    assert "1000" in said.lost
    assert said.text("content") == ""
    said.texts.append("x")
    assert said.lost


@pytest.mark.parametrize("field", ["reasoning", "refusal"])
def test_all_fields_are_bounded(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_CHARS", 1000)
    said = transcript(*(chunk({field: "x" * 100}) for _ in range(9)))
    assert not said.lost
    said.add(chunk({field: "x"}))
    assert said.lost
    assert said.fields() == {}


def test_many_tool_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MAX_CHARS", 1000)
    said = transcript(*(chunk(tool(number, id="a", name="find")) for number in range(11)))
    assert said.lost
    assert said.heads == {}


def test_a_transcript_as_an_answer() -> None:
    said = transcript(
        chunk({"role": "assistant", "content": "Se"}),
        chunk({"reasoning": "Hm", "content": "a"}),
        chunk(tool(0, "{", id="one", name="find")),
        chunk(tool(0, "}")),
        chunk({}, finish_reason="tool_calls"),
    )
    call = {"id": "one", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Sea", "reasoning": "Hm", "tool_calls": [call]}
    assert msgspec.json.decode(said.as_answer()) == {
        "id": "first",
        "created": 5,
        "model": "of first",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
    }
    completion = transcript(chunk(text="Sea"), chunk(text="", finish_reason="stop"))
    assert msgspec.json.decode(completion.as_answer())["choices"] == [
        {"index": 0, "text": "Sea", "finish_reason": "stop"}
    ]
