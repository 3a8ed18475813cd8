"""What is remembered of an answer while it is streamed, and how much."""

import msgspec
import pytest

from router_policies import transcript as transcripts
from router_policies.transcript import Transcript
from tests.support.chunks import chunk, spoken, tool, transcript


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
