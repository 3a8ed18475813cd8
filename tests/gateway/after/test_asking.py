"""The request as it is sent a second time."""

import json
from time import process_time
from typing import Any

import pytest

from gateway.after.asking import asked
from gateway.face.openai import CHAT, COMPLETIONS, RESPONSES, Endpoint


def sent(endpoint: Endpoint, body: str | dict[str, Any], *, stream: bool = False) -> Any:
    found = asked(endpoint, (body if isinstance(body, str) else json.dumps(body)).encode(), "m", stream=stream)
    return None if found is None else json.loads(found)


def test_all_that_shapes_an_answer_stays_byte_for_byte() -> None:
    messages = '[{"role": "user",  "content": "na\\u00efve"}]'
    found = asked(CHAT, f'{{"model":"r","seed":1.50,"messages":{messages}}}'.encode(), "m", stream=False)
    assert found == f'{{"model":"m","seed":1.50,"messages":{messages}}}'.encode()


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
def test_a_stream_is_asked_for_its_usage(endpoint: Endpoint) -> None:
    wanted = {"include_usage": True}
    assert sent(endpoint, {"model": "r"}, stream=True)["stream_options"] == wanted
    assert sent(endpoint, {"stream_options": {"a": 1, "include_usage": False}}, stream=True)["stream_options"] == {
        "a": 1,
        **wanted,
    }
    assert sent(endpoint, {"stream_options": None}, stream=True)["stream_options"] == wanted
    assert "stream_options" not in sent(endpoint, {"model": "r"})
    assert "stream_options" not in sent(RESPONSES, {"model": "r"}, stream=True)


@pytest.mark.parametrize(
    "body",
    [
        '{"tools":[{"type":"function"},{"type":"web_search"}]}',
        '{"t\\u006fols":[{"type":"web_se\\u0061rch"}]}',
        '{"tools":null,"tools":[{"type":"web_search"}]}',
        '{"background":true}',
        '{"conversation":{"id":"c"}}',
        '{"previous_response_id":"r"}',
        '{"web_search_options":{}}',
        "[1]",
        '{"a":',
        '{"tools":' + "[" * 3000 + "]" * 3000 + "}",
        '{"tools":"\\ud800"}\xff',
    ],
)
def test_what_may_not_be_asked_twice_is_not_however_it_is_written(body: str) -> None:
    assert asked(RESPONSES, body.encode("latin-1"), "m", stream=False) is None


def test_what_names_or_keeps_anything_is_left_out_however_it_is_written() -> None:
    found = sent(RESPONSES, '{"st\\u006fre":true,"user":"u","metadata":{"a":"b"},"input":"x","tools":null}')
    assert found == {"model": "m", "store": False, "input": "x", "tools": None}


def test_a_large_request_is_quick() -> None:
    """4 MiB in many messages took 0.2 s of CPU time when all of it was decoded and written anew."""
    messages = [{"role": "user", "content": "hello there"}] * 90_000
    body = json.dumps({"model": "r", "messages": messages}).encode()
    best = min(_took(body) for _ in range(5))
    assert best < 0.04


def _took(body: bytes) -> float:
    begun = process_time()
    assert asked(CHAT, body, "m", stream=True) is not None
    return process_time() - begun
