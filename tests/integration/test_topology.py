"""The house of docker-compose.yml as processes: nginx before two gateways, one Redis, two scripted model servers.

nginx and Redis run the configs that ship (deploy/nginx.conf, deploy/redis.conf); only ports and folders are the test's.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import APP, BODY, KEYS, SRE, STREAM, wait_until
from tests.support.processes import GatewayProcess, free_port
from tests.support.raw import RawClient, post
from tests.support.upstream import (
    DONE,
    STREAM_END,
    STREAM_HEAD,
    Received,
    ScriptedUpstream,
    Step,
    chunked,
    stream_events,
)

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "a-password-of-this-test"
KEY = f"authorization: {APP['authorization']}\r\n"


@dataclass
class House:
    gateways: list[GatewayProcess]
    balancer: int  # nginx's port
    balancer_directory: Path
    start: Callable[[], GatewayProcess]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.balancer}"


@pytest.fixture
def house(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> Iterator[House]:
    with _redis(tmp_path / "redis") as store:
        config = {**two_upstreams(student, teacher, student_percent=0), **KEYS, "store": store}
        gateways = [gateway_process(config), gateway_process(config)]
        with _nginx(tmp_path / "nginx", [gateway.port for gateway in gateways]) as port:
            yield House(gateways, port, tmp_path / "nginx", lambda: gateway_process(config))


@contextmanager
def _redis(directory: Path) -> Iterator[str]:
    """A Redis with the shipped config. Yields its URL."""
    directory.mkdir()
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--requirepass", PASSWORD]
    with _running(_binary("redis-server"), [str(DEPLOY / "redis.conf"), *options], port, directory / "log"):
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


@contextmanager
def _nginx(directory: Path, ports: Iterable[int]) -> Iterator[int]:
    """An nginx with the shipped config before gateways at `ports`. Yields its port."""
    directory.mkdir()
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    assert text.count("listen 8080 ") == 1
    (directory / "nginx.conf").write_text(text.replace("listen 8080 ", f"listen 127.0.0.1:{port} "))
    _ask(directory, ports)
    options = ["-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    with _running(_binary("nginx"), options, port, directory / "log"):
        yield port


def _ask(directory: Path, ports: Iterable[int]) -> None:
    """Have the nginx there ask the gateways at `ports`, from its next start or SIGHUP on."""
    servers = [f"server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;\n" for port in ports]
    (directory / "gateways.conf").write_text("".join(servers))


@contextmanager
def _running(binary: str, options: list[str], port: int, log_file: Path) -> Iterator[None]:
    with log_file.open("wb") as log:
        process = subprocess.Popen([binary, *options], stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, log_file.read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


def _binary(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        pytest.fail(f"{name} is not installed: apt install redis-server nginx-light")
    return path


def _listens(port: int) -> bool:
    try:
        RawClient(port).socket.close()
    except ConnectionError:
        return False
    return True


def _flip(gateway: GatewayProcess, student_percent: float) -> None:
    url = f"{gateway.url}/admin/routes/support-chat"
    etag = httpx2.get(url, headers=SRE).headers["etag"]
    change = {"student_percent": student_percent, "reason": "a test of replicas", "override": True}
    answer = httpx2.patch(url, json=change, headers={**SRE, "if-match": etag}, timeout=10)
    assert answer.status_code == 200, answer.text


def _served_by(url: str) -> str:
    answer = httpx2.post(f"{url}/v1/chat/completions", content=BODY, headers=APP, timeout=10)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-understudy-upstream"])


def test_a_flip_at_one_replica_is_live_at_the_other_in_a_second(house: House) -> None:
    one, other = house.gateways
    assert {_served_by(gateway.url) for gateway in house.gateways} == {"big"}
    for percent, upstream in ((100, "small"), (0, "big"), (100, "small")):
        _flip(one, percent)
        accepted = monotonic()
        while _served_by(other.url) != upstream:
            assert monotonic() - accepted < 1
        one, other = other, one
    assert {_served_by(house.url) for _ in range(10)} == {"small"}
    for gateway in house.gateways:
        assert "WARNING" not in gateway.log, "the shipped Redis config leaves nothing to warn of"


def test_a_replica_that_starts_serves_what_is_live(house: House) -> None:
    _flip(house.gateways[0], 100)
    assert _served_by(house.start().url) == "small"


@dataclass
class Load:
    """Requests by way of the balancer, a few at once, each with an id of its own."""

    url: str
    answers: list[tuple[float, int | str, str]] = field(default_factory=list)  # began at, status, id
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def run(self, clients: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(15)

    def _ask(self, number: int) -> None:
        with httpx2.Client(headers=APP, timeout=10) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                name = f"client-{number}-{count}"
                began = monotonic()
                try:
                    answer = client.post(
                        f"{self.url}/v1/chat/completions", content=BODY, headers={"x-request-id": name}
                    )
                    assert answer.headers.get("x-request-id") in (name, None)
                    self.answers.append((began, answer.status_code, name))
                except httpx2.TransportError as error:
                    self.answers.append((began, repr(error), name))

    def failed(self) -> list[tuple[float, int | str, str]]:
        return [answer for answer in self.answers if answer[1] != 200]


def test_requests_go_on_when_a_replica_is_killed(house: House, teacher: ScriptedUpstream) -> None:
    victim, survivor = house.gateways
    load = Load(house.url)
    with load.run(4):
        wait_until(lambda: len(load.answers) > 50)
        victim.kill()
        killed = monotonic()
        sleep(2)
        _flip(survivor, 50)
    failed = load.failed()
    assert len(failed) <= 4, "at most those that were under way"
    assert all(began < killed + 0.1 for began, _, _ in failed), failed
    assert sum(began > killed for began, _, _ in load.answers) > 50
    asked = Counter(request.headers["x-request-id"] for request in teacher.requests)
    assert max(asked.values()) == 1, "no request was sent twice"


def test_a_replica_that_is_told_to_end_drains(house: House, teacher: ScriptedUpstream) -> None:
    leaving = house.gateways[0]
    go = threading.Event()
    teacher.script = lambda request: _slow_stream(go) if request.json.get("stream") else _answer(request)
    streams = [RawClient(house.balancer, 20) for _ in range(6)]
    for stream in streams:
        stream.send(post(STREAM, extra=KEY))
        stream.until(b"first")
    wait_until(lambda: leaving.metric("understudy_in_flight_requests") == 3)  # the balancer spreads them
    load = Load(house.url)
    with load.run(2):
        wait_until(lambda: len(load.answers) > 20)
        leaving.terminate()
        told = monotonic()
        sleep(1)
        served = len(load.answers)
        assert leaving.process.poll() is None, "it waits for its streams"
        go.set()
        for stream in streams:
            assert DONE in stream.until(b"0\r\n\r\n")
            stream.socket.close()
        assert leaving.process.wait(10) == 0
    assert served > 50
    failed = load.failed()
    assert len(failed) <= 2, "a connection may be closed in the moment in which the balancer sends on it"
    assert all(abs(began - told) < 0.1 for began, _, _ in failed), failed


def test_a_replica_that_is_taken_out_first_is_restarted_without_an_error(house: House) -> None:
    leaving, staying = house.gateways
    load = Load(house.url)
    with load.run(2):
        wait_until(lambda: len(load.answers) > 20)
        _ask(house.balancer_directory, [staying.port])
        os.kill(int((house.balancer_directory / "nginx.pid").read_text()), signal.SIGHUP)
        sleep(1)
        assert leaving.stop() == 0
        _ask(house.balancer_directory, [staying.port, house.start().port])
        os.kill(int((house.balancer_directory / "nginx.pid").read_text()), signal.SIGHUP)
        sleep(0.5)
    assert len(load.answers) > 100
    failed = load.failed()
    assert not [status for _, status, _ in failed if isinstance(status, int)], failed
    assert len(failed) <= 4, "a reload of nginx closes idle connections of clients: two of them, twice"


def _slow_stream(go: threading.Event) -> Iterator[Step]:
    """A stream of two words, the second when the test says so. The gateway sends nothing before the first."""
    role, first, *others = stream_events(["first", "second"], usage=False)
    yield STREAM_HEAD
    yield chunked(role)
    yield chunked(first)
    while not go.is_set():
        yield 0.05
    for one in others:
        yield chunked(one)
    yield STREAM_END


def _answer(request: Received) -> Iterable[Step]:
    from tests.support.upstream import well_behaved

    return well_behaved()(request)


def test_what_passes_the_balancer_is_what_clients_and_servers_need(house: House, teacher: ScriptedUpstream) -> None:
    """In one house, for it takes seconds to build: an id for each request, events as they come, no metrics of whoever
    happens to be asked, and with nobody behind it an error that clients know."""
    answer = httpx2.post(f"{house.url}/v1/chat/completions", content=BODY, headers=APP)
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert teacher.requests[-1].headers["x-request-id"] == answer.headers["x-request-id"]

    go = threading.Event()
    teacher.script = lambda request: _slow_stream(go)
    with RawClient(house.balancer) as raw:
        raw.send(post(STREAM, extra=KEY))
        assert b"second" not in raw.until(b"first")
        go.set()
        assert DONE in raw.until(b"0\r\n\r\n")

    assert httpx2.get(f"{house.url}/metrics").status_code == 404
    assert all(gateway.metric("understudy_store_up") == 1 for gateway in house.gateways)

    for gateway in house.gateways:
        gateway.kill()
    answer = httpx2.post(f"{house.url}/v1/chat/completions", content=BODY, headers=APP)
    assert answer.status_code == 502
    assert json.loads(answer.content)["error"]["code"] == "gateway_unreachable"
