"""That the seam between a broken answer and its rest cannot be seen.

The properties draw a whole answer, break its stream anywhere, draw how the second stream cuts it up, and put together
what a client would have. `Client` is the judge: it knows nothing of how the rest was found.
"""

from itertools import groupby

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.seam import Mismatch, Mode, Seam
from router_policies.transcript import Transcript
from tests.support.chunks import Client, Json, chunk, relayed, spoken, tool, transcript, usage

Atom = tuple[str, int, str]  # field, tool, text; a tool's head has the field "head" and its name as text

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


# Case by case.


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
