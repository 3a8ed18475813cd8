"""Going on with a broken answer: what is asked for. Of the rest itself, see `test_seam.py`."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.capabilities import Continues
from router_policies.rescue import CHAT, COMPLETIONS, Asked, Mismatch, Mode, Refusal, Seam, Transcript, continuation
from tests.support.chunks import Json, chunk, relayed, spoken, tool, transcript

ASK: Json = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The sea"}]


def begun(**message: Any) -> Json:
    """A request of which the client wants the last message to be continued."""
    messages = [{"role": "assistant", **message}]
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}


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
            "max_tokens": 41,  # 10 were sent, and the line end is to be said again
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


@pytest.mark.parametrize(
    ("blanks", "left"), [("", 5), (" ", 6), ("\n", 6), ("\n\n", 7), ("\n        ", 6), ("    ", 6)]
)
def test_whitespace_that_has_to_be_said_again_is_allowed_for(blanks: str, left: int) -> None:
    asked = continuation(CHAT, {**ASK, "max_tokens": 15}, spoken(f"The sea{blanks}"), Continues.VLLM, 10)
    assert isinstance(asked, Asked)
    assert asked.request["max_tokens"] == left


def test_a_prefill_is_a_last_message_and_no_more() -> None:
    request = {**ASK, "n_predict": -1, "max_tokens": None}
    assert continuation(CHAT, request, spoken("The sea"), Continues.PREFILL, 3) == Asked(
        Mode.CONTINUE, {**request, "messages": SAID}
    )


@pytest.mark.parametrize("how", list(Continues))
def test_any_engine_completes_a_prompt(how: Continues) -> None:
    said = transcript(chunk(text="The "), chunk(text="sea "))
    asked = continuation(COMPLETIONS, {"prompt": "Once. ", "max_tokens": 3}, said, how, 2)
    assert asked == Asked(Mode.CONTINUE, {"prompt": "Once. The sea", "max_tokens": 2})


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


@settings(max_examples=200, deadline=None)
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
