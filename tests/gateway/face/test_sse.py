"""Watching streams: whole events only, nothing lost, the usage chunk known and stripped, first tokens seen."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.face import sse
from gateway.face.openai import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from gateway.face.sse import StreamWatch, read_answer
from router_policies.prices import Usage
from tests.support.upstream import DONE, chunk, event, stream_events, usage_event

COMMENT = b": keep-alive\n\n"


def feed_in_pieces(watch: StreamWatch, data: bytes, cuts: list[int]) -> bytes:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    return b"".join(watch.feed(data[start:end]) for start, end in zip([0, *ends], ends, strict=False))


words = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8)
cuts = st.lists(st.integers(0, 5000), max_size=20)


@given(words, cuts, st.booleans(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_however_it_is_split_the_stream_goes_through_less_its_usage(
    text: list[str], at: list[int], strip: bool, newline: bytes
) -> None:
    events = stream_events(text, usage=True)
    kept = [one for one in events if not (strip and one == usage_event())]
    watch = StreamWatch(CHAT, strip_usage=strip)
    out = feed_in_pieces(watch, b"".join(events).replace(b"\n", newline), at) + watch.flush()
    assert out == b"".join(kept).replace(b"\n", newline)
    assert (watch.first_token, watch.finished, watch.done) == (True, True, True)
    assert watch.usage == Usage(input=11, output=3)
    assert watch.events == len(events)
    assert watch.malformed == 0


@given(words, cuts, st.integers(0, 5000))
def test_only_whole_events_come_out_of_a_cut_stream(text: list[str], at: list[int], cut: int) -> None:
    data = b"".join(stream_events(text, usage=False))
    short = data[: cut % len(data)]
    out = feed_in_pieces(StreamWatch(CHAT, strip_usage=True), short, at)
    assert short.startswith(out)
    assert out == b"" or out.endswith(b"\n\n")
    assert b"\n\n" not in short[len(out) :]


@pytest.mark.parametrize(
    ("delta", "counts"),
    [
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": ""}, False),
        ({"content": None}, False),
        ({}, False),
        ({"content": "x"}, True),
        ({"reasoning_content": "x"}, True),
        ({"reasoning": "x"}, True),
        ({"refusal": "no"}, True),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}, True),
    ],
)
def test_what_counts_as_a_first_token(delta: dict[str, object], counts: bool) -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(COMMENT)
    assert not watch.first_token
    watch.feed(chunk(delta))
    assert watch.first_token is counts


def test_completions_have_text_for_tokens() -> None:
    watch = StreamWatch(COMPLETIONS, strip_usage=True)
    watch.feed(event({"choices": [{"index": 0, "text": "", "finish_reason": None}]}))
    assert not watch.first_token
    watch.feed(event({"choices": [{"index": 0, "text": "a", "finish_reason": None}]}))
    assert watch.first_token


def test_text_that_looks_like_a_marker_is_only_text() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(chunk({"content": "a"}))
    for text in ('"usage"', "[DONE]", '"error"', '"finish_reason":"stop"', "data: x\n\n"):
        one = chunk({"content": text})
        assert watch.feed(one) == one
    assert (watch.usage, watch.finished, watch.done, watch.error, watch.malformed) == (None, False, False, None, 0)
    assert watch.tokens == 6


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_finish_reason_is_seen_however_it_is_written(separators: tuple[str, str]) -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(chunk({"content": "a"}))
    data = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    watch.feed(b"data: %b\n\n" % json.dumps(data, separators=separators).encode())
    assert watch.finished
    assert not watch.done


def test_usage_on_the_last_content_chunk_is_read_and_kept() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    last = event(
        {
            "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 4}},
        }
    )
    assert watch.feed(last) == last
    assert watch.usage == Usage(5, 6, 4)


def test_null_usage_on_every_chunk_is_no_usage() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    one = event({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": None})
    assert watch.feed(one + one) == one + one
    assert watch.usage is None


def test_an_error_in_the_stream_is_seen() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    error = event({"error": {"message": "out of memory", "code": 500}})
    assert watch.feed(chunk({"content": "a"}) + error + DONE) == chunk({"content": "a"})
    assert (watch.error_event, watch.done) == (error, False)
    assert watch.error == {"message": "out of memory", "code": 500}


@pytest.mark.parametrize(
    "bad", [b"data: {not json\n\n", b"data: []\n\n", b'data: {"choices":[{"del\n\n', b"data: \xff\n\n"]
)
def test_a_malformed_event_is_counted_and_left_out_and_a_second_one_is_a_fault(bad: bytes) -> None:
    for begun in (b"", chunk({"content": "b"})):
        watch = StreamWatch(CHAT, strip_usage=True)
        watch.feed(begun)
        assert watch.feed(bad + chunk({"content": "a"})) == chunk({"content": "a"})
        assert watch.malformed == 1
        assert watch.first_token
        assert not watch.broken
        assert watch.feed(chunk({"content": "c"}) + bad + chunk({"content": "d"})) == chunk({"content": "c"})
        assert watch.broken


def test_comments_are_relayed_and_are_no_events() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    assert watch.feed(COMMENT + chunk({"content": "a"}) + COMMENT) == COMMENT + chunk({"content": "a"}) + COMMENT
    assert watch.events == 1


def test_all_choices_asked_for_must_finish() -> None:
    watch = StreamWatch(CHAT, strip_usage=True, choices=2)
    finish = [event({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}) for index in (0, 1)]
    watch.feed(chunk({"content": "a"}) + finish[0] + finish[0])
    assert not watch.finished
    watch.feed(finish[1])
    assert watch.finished


def test_responses_streams() -> None:
    watch = StreamWatch(RESPONSES, strip_usage=False)
    created = b"event: response.created\n" + event({"type": "response.created", "response": {"usage": None}})
    delta = b"event: response.output_text.delta\n" + event({"type": "response.output_text.delta", "delta": "Hi"})
    completed = b"event: response.completed\n" + event(
        {"type": "response.completed", "response": {"usage": {"input_tokens": 7, "output_tokens": 2}}}
    )
    assert watch.feed(created) == created
    assert not watch.first_token
    assert watch.feed(delta) == delta
    assert watch.first_token
    assert not watch.finished
    assert watch.feed(completed) == completed
    assert watch.finished
    assert watch.done
    assert watch.usage == Usage(7, 2)


def test_an_event_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    watch = StreamWatch(CHAT, strip_usage=True)
    for _ in range(20):
        assert watch.feed(b"data: " + b"x" * 100) == b""
    assert "over 1000 bytes" in watch.broken


def test_a_flat_error_event_of_responses_keeps_its_words() -> None:
    watch = StreamWatch(RESPONSES, strip_usage=False)
    watch.feed(event({"type": "error", "message": "slow down", "code": "rate_limited", "param": None}))
    assert watch.error == {"message": "slow down", "code": "rate_limited"}


def test_a_failed_response_is_an_error_and_an_end() -> None:
    watch = StreamWatch(RESPONSES, strip_usage=False)
    watch.feed(event({"type": "response.failed", "response": {"error": {"code": "x", "message": "y"}}}))
    assert watch.error == {"code": "x", "message": "y"}
    assert watch.done


@pytest.mark.parametrize(
    "odd", [{"prompt_tokens": 1.5}, "none", [1], {"prompt_tokens": 10**400}, {"prompt_tokens": -1}]
)
def test_an_odd_usage_does_not_spoil_the_rest_of_an_event(odd: object) -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(event({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": odd, "response": "text"}))
    assert (watch.first_token, watch.usage, watch.malformed) == (True, None, 0)


def test_line_ends_may_be_mixed() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    data = b"data: [DONE]\n\r\n"
    watch.feed(chunk({}, "stop"))
    assert watch.feed(data[:-1]) + watch.feed(data[-1:]) == data
    assert watch.done


def test_a_last_event_without_its_empty_line_counts() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(chunk({}, "stop"))
    assert watch.feed(b"data: [DONE]\n") == b""
    assert watch.flush() == b"data: [DONE]\n\n"
    assert watch.done
    assert watch.flush() == b""


def test_half_an_event_is_not_flushed() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(chunk({"content": "a"})[:-20])
    assert watch.flush() == b""
    assert not watch.first_token


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_large_events_in_small_pieces_take_time_in_proportion(newline: bytes) -> None:
    def seconds(size: int) -> float:
        data = chunk({"content": "x" * size}).replace(b"\n", newline)
        best = math.inf
        for _ in range(3):
            watch = StreamWatch(CHAT, strip_usage=True)
            started = time.perf_counter()
            for start in range(0, len(data), 1000):
                watch.feed(data[start : start + 1000])
            best = min(best, time.perf_counter() - started)
            assert watch.first_token
        return best

    assert seconds(4_000_000) < 40 * seconds(400_000)  # in proportion: 10; with the square: 100


def test_done_is_seen_alone() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    watch.feed(chunk({}, "stop"))
    assert watch.feed(DONE) == DONE
    assert watch.done


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}', Usage(3, 4)),
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3}}', Usage(3, 0)),
        (b'{"usage":{"input_tokens":3,"output_tokens":4,"input_tokens_details":{"cached_tokens":2}}}', Usage(3, 4, 2)),
        (b'{"usage":null}', None),
        (b"{}", None),
        (b'{"usage":{"prompt_tokens":"many"}}', None),
    ],
)
def test_usage_of_whole_answers(body: bytes, usage: Usage | None) -> None:
    assert read_answer(body, EMBEDDINGS) == (usage, None)


def test_an_error_in_place_of_a_whole_answer_is_seen() -> None:
    error = b'"error":{"message":"no"}'
    for endpoint, answer in ((CHAT, b'"choices":[{}]'), (RESPONSES, b'"output":[]'), (EMBEDDINGS, b'"data":[]')):
        assert read_answer(b"{%b}" % error, endpoint) == (None, {"message": "no"})
        assert read_answer(b"{%b,%b}" % (answer, error), endpoint) == (None, None)


@pytest.mark.parametrize("body", [b"{}", b'{"choices":[]}', b'{"choices": [ ]}', b'{"choices":null}'])
def test_an_answer_without_choices_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected choices"):
        read_answer(body, CHAT)
    assert read_answer(body, RESPONSES) == (None, None)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"<html>", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JSON object"):
        read_answer(body, RESPONSES)


def test_an_end_mark_before_the_end_is_left_out() -> None:
    watch = StreamWatch(CHAT, strip_usage=True)
    assert watch.feed(chunk({"content": "a"}) + DONE) == chunk({"content": "a"})
    assert (watch.done, watch.finished) == (True, False)
