"""A real engine is killed in the middle of its answer, and the app never notices: `benchmarks/rescue.py` in short."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import openai
import pytest

from gateway.engines import Engine
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess

STORY = "Write a short story about a lighthouse keeper and a storm."
FACT = {"type": "string", "maxLength": 60}
SCHEMA = {
    "type": "object",
    "properties": {"place": FACT, "facts": {"type": "array", "items": FACT, "minItems": 4, "maxItems": 4}},
    "required": ["place", "facts"],
    "additionalProperties": False,
}
KILL_AT = 20  # pieces of text; all answers here are longer


@pytest.fixture
def pair(model_path: Path, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """Two engines of the test's own, which it may kill; their names are in the `model` of what they say."""
    first, second = (Engine(model_path, name, tmp_path / f"{name}.log", ctx=1024) for name in ("first", "second"))
    with first, second:
        yield first, second


def gateway_before(start: StartGateway, pair: tuple[Engine, Engine], **fallback: Any) -> GatewayProcess:
    """A gateway that asks the first engine, and has found out that the second continues answers."""
    upstreams = {
        engine.alias: {"base_url": engine.base_url, "model": engine.alias, "health": {"every_s": 0.2}}
        for engine in pair
    }
    route = {"student": "first", "teacher": "second", "student_percent": 100, "fallback": fallback}
    gateway = start({"upstreams": upstreams, "routes": {"stories": route}})
    sleep(1)
    return gateway


def client_of(url: str) -> openai.OpenAI:
    http_client = openai.DefaultHttpx2Client(trust_env=False)
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60, http_client=http_client)


class Told:
    """A stream as its reader has it: the pieces of text, who wrote each, and the rest that a client looks at."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.authors: list[str] = []
        self.ids: set[str] = set()
        self.roles: list[str] = []
        self.finish: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def read(self, url: str, model: str, kill: Engine | None = None, **asked: Any) -> None:
        """Ask for a stream and read it; kill an engine on the way."""
        stream = client_of(url).chat.completions.create(model=model, temperature=0, stream=True, **asked)
        for chunk in stream:
            self.ids.add(chunk.id)
            for choice in chunk.choices:
                self.roles += [choice.delta.role] if choice.delta.role else []
                self.finish += [choice.finish_reason] if choice.finish_reason else []
                if choice.delta.content:
                    self.pieces.append(choice.delta.content)
                    self.authors.append(chunk.model)
                    if kill is not None and len(self.pieces) == KILL_AT:
                        kill.kill()


def undisturbed(engine: Engine, **asked: Any) -> str:
    told = Told()
    told.read(engine.base_url, engine.alias, **asked)
    assert len(told.pieces) > 2 * KILL_AT
    return told.text


def test_a_killed_engines_answer_is_continued_letter_for_letter(
    pair: tuple[Engine, Engine], gateway_process: StartGateway
) -> None:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": STORY}], "max_tokens": 80}
    whole = undisturbed(pair[1], **asked)
    gateway = gateway_before(gateway_process, pair)
    told = Told()
    told.read(f"{gateway.url}/v1", "stories", kill=pair[0], **asked)
    assert told.text == whole
    seam = told.authors.index("second")
    assert seam >= KILL_AT
    assert told.authors == ["first"] * seam + ["second"] * (len(told.authors) - seam)
    assert len(told.ids) == 1
    assert told.roles == ["assistant"]
    assert told.finish == ["length"]
    assert gateway.metric("understudy_requests_total", upstream="second", outcome="ok") == 1


def test_a_killed_engines_completion_is_continued_letter_for_letter(
    pair: tuple[Engine, Engine], gateway_process: StartGateway
) -> None:
    asked: dict[str, Any] = {"prompt": "Once upon a time, by the sea,", "max_tokens": 80, "temperature": 0}
    whole = client_of(pair[1].base_url).completions.create(model="second", **asked).choices[0].text
    url = f"{gateway_before(gateway_process, pair).url}/v1"
    pieces, authors = [], []
    for chunk in client_of(url).completions.create(model="stories", stream=True, **asked):
        pieces += [choice.text for choice in chunk.choices if choice.text]
        authors.append(chunk.model)
        if len(pieces) == KILL_AT:
            pair[0].kill()
    assert "".join(pieces) == whole
    assert set(authors) == {"first", "second"}


def test_json_that_broke_off_is_valid_in_the_end(pair: tuple[Engine, Engine], gateway_process: StartGateway) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "facts", "schema": SCHEMA, "strict": True}}
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Tell me four facts about Paris."}],
        "response_format": form,
        "max_tokens": 400,
    }
    undisturbed(pair[1], **asked)
    told = Told()
    told.read(f"{gateway_before(gateway_process, pair).url}/v1", "stories", kill=pair[0], **asked)
    assert {"first", "second"} == set(told.authors)
    assert told.finish == ["stop"]
    answer = json.loads(told.text)
    assert set(answer) == {"place", "facts"}
    assert isinstance(answer["place"], str)
    assert len(answer["facts"]) == 4
    assert all(isinstance(fact, str) for fact in answer["facts"])


def test_where_it_is_not_to_be_continued_the_client_is_told(
    pair: tuple[Engine, Engine], gateway_process: StartGateway
) -> None:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": STORY}], "max_tokens": 80}
    whole = undisturbed(pair[1], **asked)
    gateway = gateway_before(gateway_process, pair, mid_stream="error")
    told = Told()
    with pytest.raises(openai.APIError):
        told.read(f"{gateway.url}/v1", "stories", kill=pair[0], **asked)
    assert not told.finish
    assert whole.startswith(told.text)
    assert set(told.authors) == {"first"}


def test_with_both_engines_gone_the_client_is_told(pair: tuple[Engine, Engine], gateway_process: StartGateway) -> None:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": STORY}], "max_tokens": 80}
    gateway = gateway_before(gateway_process, pair)
    pair[1].kill()
    told = Told()
    began = monotonic()
    with pytest.raises(openai.APIError):
        told.read(f"{gateway.url}/v1", "stories", kill=pair[0], **asked)
    assert not told.finish
    assert monotonic() - began < 20
