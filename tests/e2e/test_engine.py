"""The embedded llama.cpp: what it answers to the OpenAI client, and how it starts and stops."""

import importlib.util
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import openai
import pydantic
import pytest

from gateway.engines import Engine, StartError

QUESTION = "Name the capital city of France."


def client_of(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=engine.base_url,
        api_key="none",
        max_retries=0,
        timeout=60,
        http_client=openai.DefaultHttpx2Client(trust_env=False),
    )


@pytest.fixture
def client(engines: tuple[Engine, Engine]) -> openai.OpenAI:
    return client_of(engines[0])


@pytest.fixture
def engine(model_path: Path, tmp_path: Path) -> Engine:
    """An engine of the test's own, not started."""
    return Engine(model_path, "own", tmp_path / "engine.log")


def test_it_answers_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="teacher", messages=[{"role": "user", "content": QUESTION}], max_tokens=24, temperature=0
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.model == "teacher"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 24


def test_it_streams_and_reports_usage_last(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="teacher",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert len(pieces) > 4
    assert "Paris" in "".join(piece or "" for piece in pieces)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_it_keeps_to_a_json_schema(client: openai.OpenAI) -> None:
    class City(pydantic.BaseModel):
        city: str
        population: int

    answer = client.chat.completions.parse(
        model="teacher",
        messages=[{"role": "user", "content": "Describe Paris."}],
        response_format=City,
        max_tokens=200,
        temperature=0,
    )
    assert answer.choices[0].message.parsed is not None


def test_it_gives_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="teacher",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 4
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert math.isclose(token.logprob, token.top_logprobs[0].logprob)  # temperature 0 takes the likeliest


def test_it_gives_several_choices(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="teacher", messages=[{"role": "user", "content": QUESTION}], max_tokens=4, n=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_it_serves_the_other_endpoints(client: openai.OpenAI) -> None:
    assert client.completions.create(model="teacher", prompt="Once upon a time", max_tokens=4).choices[0].text
    assert client.responses.create(model="teacher", input=QUESTION, max_output_tokens=16).output_text
    embeddings = client.embeddings.create(model="teacher", input=["one", "two"]).data
    assert [len(item.embedding) for item in embeddings] == [576, 576]
    assert [model.id for model in client.models.list()] == ["teacher"]


def test_a_path_it_lacks_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(model="teacher", prompt="a cat")
    assert caught.value.body == {"message": "File Not Found", "type": "not_found_error", "code": 404}


def test_a_bad_request_is_told_in_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body={"model": "teacher"}, cast_to=object)
    assert caught.value.type == "invalid_request_error"


def test_it_stops_cleanly_on_sigterm_in_the_middle_of_a_stream(engine: Engine) -> None:
    with engine:
        stream = client_of(engine).chat.completions.create(
            model="own",
            messages=[{"role": "user", "content": "Tell a very long story."}],
            max_tokens=1500,
            stream=True,
        )
        next(iter(stream))  # and no more: a client that does not read must not hold up the stop
        os.kill(engine.pid, signal.SIGTERM)
        assert engine.stop() == 0


def test_it_comes_back_at_its_address_after_a_kill(engine: Engine) -> None:
    with engine:
        first = engine.base_url
        engine.kill()
        with pytest.raises(openai.APIConnectionError):
            client_of(engine).models.list()
        engine.start()
        engine.wait_ready()
        assert engine.base_url == first
        assert [model.id for model in client_of(engine).models.list()] == ["own"]


def test_it_leaves_with_its_parent(model_path: Path, tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from gateway.engines import Engine\n"
        "engine = Engine(pathlib.Path(sys.argv[1]), 'orphan', pathlib.Path(sys.argv[2]))\n"
        "engine.start()\n"
        "engine.wait_ready()\n"
        "print(engine.base_url, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(model_path), str(tmp_path / "engine.log")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        address = parent.stdout.readline().strip().removeprefix("http://").removesuffix("/v1")
        parent.kill()
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError(f"the engine at {address} outlived its parent by 10 s")


def test_a_missing_model_file_is_told(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "absent.gguf", "own", tmp_path / "engine.log")
    with pytest.raises(StartError, match=r"exited with 1 (.|\n)*expected a readable GGUF file, got .*absent\.gguf"):
        engine.__enter__()


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    page = tmp_path / "model.gguf"
    page.write_bytes(b"<html>")
    with pytest.raises(StartError, match=r"expected a GGUF file, but .* starts with b'<htm'"):
        Engine(page, "own", tmp_path / "engine.log").__enter__()


def test_a_cut_off_model_is_told(model_path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with model_path.open("rb") as whole:
        cut.write_bytes(whole.read(3_000_000))
    with pytest.raises(StartError, match=r"llama\.cpp could not serve .*cut\.gguf"):
        Engine(cut, "own", tmp_path / "engine.log").__enter__()


def test_a_port_that_is_taken_is_told(model_path: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"could not serve .* on 127.0.0.1:{port}"):
            Engine(model_path, "own", tmp_path / "engine.log", port=port).__enter__()


def test_without_xllamacpp_it_says_what_to_install(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"pip install 'understudy\[demo\]'"):
        engine.start()
