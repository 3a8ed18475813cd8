"""Requests and answers as they go over the wire, whole and streamed, of the three endpoints."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.checks.check import UNFINISHED, Answer, Turn
from router_policies.checks.reading import CHAT, COMPLETIONS, ENDPOINTS, RESPONSES, read_answer, read_request
from router_policies.transcript import Transcript


def answer(endpoint: str, body: Any) -> Answer:
    return read_answer(endpoint, json.dumps(body).encode())


def events(*data: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(one)}\n\n".encode() for one in data]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def chunk(delta: Any, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


# Requests.


def test_a_chat_request() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "short."}]},
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": "1"},
            {"role": "user", "content": "And now?"},
            {"role": "assistant", "content": "Well,"},
        ],
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "max_tokens": 7,
        "max_completion_tokens": 9,
    }
    request = read_request(CHAT, json.dumps(body).encode())
    assert request.endpoint == CHAT
    assert request.system == "Be kind.\nBe short."
    assert request.last_user == "And now?"
    assert request.turns[3:5] == (Turn("assistant", '{"a": 1}'), Turn("tool", "sunny"))
    assert request.text.endswith("sunny\nAnd now?\nWell,")
    assert request.max_tokens == 9
    assert request.asked.json
    assert set(request.asked.tools) == {"f"}


def test_a_completions_request() -> None:
    request = read_request(
        COMPLETIONS, b'{"prompt": ["Once", "Twice"], "max_tokens": 5, "guided_json": {"type": "null"}}'
    )
    assert request.turns == (Turn("user", "Once\nTwice"),)
    assert (request.max_tokens, request.asked.schema) == (5, b'{"type": "null"}')
    assert read_request(COMPLETIONS, b'{"prompt": [1, 2, 3]}').text == ""


def test_a_responses_request() -> None:
    body: dict[str, Any] = {
        "instructions": "Be kind.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "function_call", "name": "f", "arguments": '{"city": "Rome"}', "call_id": "1"},
            {"type": "function_call_output", "call_id": "1", "output": "sunny"},
        ],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "max_output_tokens": 5,
    }
    request = read_request(RESPONSES, json.dumps(body).encode())
    assert request.turns == (
        Turn("system", "Be kind."),
        Turn("user", "Weather?"),
        Turn("assistant", '{"city": "Rome"}'),
        Turn("tool", "sunny"),
    )
    assert (request.asked.json, request.max_tokens) == (True, 5)
    assert read_request(RESPONSES, b'{"input": "Hello"}').last_user == "Hello"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages": 1}', b'{"messages": [1]}', b"\xff"])
def test_what_is_no_request(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_request(CHAT, body)


def test_endpoints_without_a_model_answer() -> None:
    with pytest.raises(ValueError, match="expected one of /v1/chat/completions"):
        read_request("/v1/embeddings", b"{}")


# Answers.


def test_a_chat_answer() -> None:
    message = {
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "tool_calls": [
            {"function": {"name": "f", "arguments": "{}"}},
            {"type": "custom", "custom": {"name": "g", "input": "text"}},
        ],
        "refusal": "",
    }
    read = answer(
        CHAT, {"choices": [{"message": message, "finish_reason": "tool_calls"}, {"message": {"content": "x"}}]}
    )
    assert (read.text, read.refusal, read.finish_reason) == ("ab", None, "tool_calls")
    assert [(call.name, call.arguments) for call in read.calls] == [("f", "{}"), ("g", "text")]
    assert answer(CHAT, {"choices": [{"message": {"content": None, "refusal": "No."}}]}).refusal == "No."
    legacy = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    assert answer(CHAT, {"choices": [{"message": legacy}]}).calls[0].name == "f"


def test_a_completion() -> None:
    read = answer(COMPLETIONS, {"choices": [{"text": " upon a time", "finish_reason": "length"}]})
    assert (read.text, read.finish_reason) == (" upon a time", "length")


RESPONSE: dict[str, Any] = {
    "status": "completed",
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "I look it up."}]},
        {"type": "web_search_call", "status": "completed"},
        {"type": "message", "content": [{"type": "output_text", "text": '{"a": 1}'}]},
    ],
}


def test_a_response() -> None:
    read = answer(RESPONSES, RESPONSE)
    assert (read.text, read.finish_reason) == ('I look it up.\n{"a": 1}', "stop")
    assert read.json.value == {"a": 1}
    called = {"status": "completed", "output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}
    assert answer(RESPONSES, called).finish_reason == "tool_calls"
    refused = {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}],
    }
    assert answer(RESPONSES, refused).refusal == "No."
    for reason, finish in (("max_output_tokens", "length"), ("content_filter", "content_filter"), ("x", UNFINISHED)):
        cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": reason}}
        assert answer(RESPONSES, cut).finish_reason == finish
    assert answer(RESPONSES, {**RESPONSE, "status": "cancelled"}).finish_reason == UNFINISHED


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT, b""),
        (CHAT, b"{}"),
        (CHAT, b'{"choices": []}'),
        (CHAT, b'{"error": {"message": "no"}}'),
        (CHAT, b"<html>"),
        (CHAT, b'data: {"choices": [\n\n'),
        (CHAT, b"data: [DONE]\n\n"),
        (CHAT, events({"error": {"message": "overloaded"}})),
        (CHAT, events(chunk({"content": "a"}), {"error": {"message": "overloaded"}})),
        (RESPONSES, b'{"status": "failed", "output": []}'),
        (RESPONSES, events({"type": "response.failed", "response": {}})),
        (RESPONSES, events({"type": "response.created"})),
        (CHAT, b"[" * 100_000),
        (CHAT, b'{"choices":' + b"[" * 100_000),
    ],
)
def test_what_is_no_answer(endpoint: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_answer(endpoint, body)


# Streams.


def test_a_streamed_chat_answer() -> None:
    body = events(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "other"}, index=1),
        chunk({"reasoning_content": "hm", "reasoning_details": [{}]}),
        chunk({"content": "lo"}),
        chunk({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "2", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 1}},
    )
    read = read_answer(CHAT, body)
    assert (read.text, read.finish_reason) == ("Hello", "tool_calls")
    assert [(call.name, call.arguments) for call in read.calls] == [("f", '{"a": 1}'), ("g", "{}")]
    assert (
        read_answer(CHAT, events(chunk({"refusal": "I "}), chunk({"refusal": "can't."}, "stop"))).refusal == "I can't."
    )


def test_a_stream_that_breaks_off() -> None:
    read = read_answer(CHAT, events(chunk({"content": "Hel"}), done=False))
    assert (read.text, read.finish_reason) == ("Hel", UNFINISHED)


def test_lines_of_a_stream_end_in_any_way() -> None:
    whole = events(chunk({"content": "a"}), chunk({"content": "b"}, "stop"))
    for body in (
        whole.replace(b"\n", b"\r\n"),
        whole.replace(b"\n", b"\r"),
        b": a comment\n\n" + whole,
        whole.replace(b"data: ", b"id: 1\nevent: x\ndata:"),
        whole.rstrip(b"\n"),
    ):
        assert read_answer(CHAT, body) == read_answer(CHAT, whole)


def test_a_streamed_completion() -> None:
    body = events(
        {"choices": [{"index": 0, "text": "a"}]}, {"choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]}
    )
    assert read_answer(COMPLETIONS, body) == Answer("ab", finish_reason="stop")


def test_a_streamed_response() -> None:
    delta = {"type": "response.output_text.delta", "delta": "I look"}
    done = {"type": "response.output_item.done", "item": RESPONSE["output"][1]}
    completed = {"type": "response.completed", "response": RESPONSE}
    assert read_answer(RESPONSES, events(delta, done, completed)) == answer(RESPONSES, RESPONSE)
    broken = read_answer(RESPONSES, events(delta, done, {**delta, "delta": "Now"}))
    assert (broken.text, broken.finish_reason) == ("I look it up.\nNow", UNFINISHED)


@given(st.lists(st.text(max_size=5), max_size=6), st.sampled_from(["stop", "length"]))
def test_a_stream_reads_like_the_transcript_of_it(pieces: list[str], finish: str) -> None:
    chunks = [chunk({"role": "assistant"}), *(chunk({"content": piece}) for piece in pieces), chunk({}, finish)]
    transcript = Transcript()
    for one in chunks:
        transcript.add(one)
    assert read_answer(CHAT, events(*chunks)) == read_answer(CHAT, transcript.as_answer())


@given(st.binary(max_size=60), st.sampled_from(ENDPOINTS))
def test_any_bytes_are_read_or_refused(body: bytes, endpoint: str) -> None:
    for reader in (read_answer, read_request):
        with suppress(ValueError):
            reader(endpoint, body)


KEYS = (
    *("choices", "message", "content", "tool_calls", "function", "name", "arguments", "delta", "output", "type"),
    *("status", "messages", "input", "prompt", "tools", "text", "index", "role", "refusal", "finish_reason"),
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


@given(JSONS, st.sampled_from(ENDPOINTS))
def test_any_json_is_read_or_refused(value: Any, endpoint: str) -> None:
    for body in (json.dumps(value).encode(), events(value)):
        for reader in (read_answer, read_request):
            with suppress(ValueError):
                reader(endpoint, body)
