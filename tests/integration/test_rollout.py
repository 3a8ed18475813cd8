"""A rollout with real gateways, Redis and traffic: up by itself, down by itself, whoever leads is killed or not."""

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.gateway.stores.conftest import redis  # noqa: F401 - a fixture
from tests.support.configs import two_upstreams
from tests.support.operating import wait_until
from tests.support.processes import GatewayProcess
from tests.support.redis import RedisServer
from tests.support.upstream import Received, ScriptedUpstream, Step, completion, response

LATE_S, LEASE_S, TURN_S = 1.5, 5.0, 1.0
ROLLOUT = {
    "steps": [{"weight": weight, "min_bake": LATE_S + 0.5, "min_n": 0} for weight in (1, 5, 25, 100)],
    "checks": [
        {"name": "format_disagreement", "tolerance": 0.2, "critical": True},
        {"name": "shadow_loss", "tolerance": 0.2, "critical": True},
        {"name": "fallback_rate", "tolerance": 0.2, "critical": True, "must_have_data": False},
    ],
    "decision": {"rollback_arl": 1000},
    "late": LATE_S,
}
SHADOW = {"sample": {"default": 1.0}, "aa_sample": 0, "timeout_s": 1}
ORDER = {
    "model": "support-chat",
    "messages": [{"role": "user", "content": "Where is my order? Answer in JSON."}],
    "response_format": {"type": "json_object"},
}
# From the first bad answer: its pair waits for its turn, is filed and folded, and some 20 of them are enough.
BACK_WITHIN_S = LATE_S + 0.5 + TURN_S + 1.5
_prefixes = itertools.count()


def says(text: str) -> Any:
    def script(request: Received) -> Iterable[Step]:
        yield response(completion(text))

    return script


class Fleet:
    """Two gateways at one Redis, and clients that ask whichever answers."""

    def __init__(self, gateways: list[GatewayProcess], server: RedisServer, prefix: str) -> None:
        self.gateways, self.server, self.prefix = gateways, server, prefix
        self.failed = self.asked = 0
        self._stop = threading.Event()

    @contextmanager
    def traffic(self) -> Iterator[None]:
        clients = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._stop.set()
            for client in clients:
                client.join(10)

    def _ask(self, client: int) -> None:
        with httpx2.Client(timeout=5) as http:
            for number in itertools.count():
                if self._stop.wait(0.03):
                    return
                gateway = self.gateways[(client + number) % len(self.gateways)]
                session = {"x-session-id": f"{client}-{number}"}
                try:
                    answer = http.post(f"{gateway.url}/v1/chat/completions", json=ORDER, headers=session)
                    self.asked += 1
                    self.failed += answer.status_code != 200 or not _is_whole(answer)
                except httpx2.TransportError:
                    self.failed += gateway in self.gateways

    def status(self) -> dict[str, Any]:
        answer = httpx2.get(f"{self.gateways[0].url}/admin/rollouts/support-chat", timeout=5)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def act(self, act: str) -> httpx2.Response:
        body = {"act": act, "reason": "a test"}
        return httpx2.post(f"{self.gateways[0].url}/admin/rollouts/support-chat", json=body, timeout=5)

    @property
    def percent(self) -> float:
        return self.gateways[0].metric("understudy_student_percent", route="support-chat")

    def kill_the_leader(self) -> None:
        with self.server.client() as client:
            owner = client.hget(f"{{{self.prefix}}}:lease:rollouts", "owner")
        pid = int(owner.split("-")[-2])
        leader = next(gateway for gateway in self.gateways if gateway.process.pid == pid)
        self.gateways.remove(leader)
        os.kill(pid, signal.SIGKILL)

    def trail(self) -> list[tuple[float | None, str]]:
        entries = httpx2.get(f"{self.gateways[0].url}/admin/audit?limit=1000", timeout=5).json()["entries"]
        mine = [one for one in entries if one["actor"] == "rollout:support-chat"]
        assert len(mine) == len(entries), "nobody else touches it"
        return [(one["document"].get("student_percent"), one["reason"]) for one in mine]

    def weights(self) -> list[float | None]:
        return [weight for weight, _ in itertools.groupby(weight for weight, _ in self.trail())]


def _is_whole(answer: httpx2.Response) -> bool:
    return str(answer.json()["choices"][0]["message"]["content"]).endswith("}")


@pytest.fixture
def fleet(
    gateway_process: StartGateway,
    student: ScriptedUpstream,
    teacher: ScriptedUpstream,
    redis: RedisServer,  # noqa: F811
) -> Fleet:
    student.script = teacher.script = says('{"order": "on its way"}')
    prefix = f"rollout-{next(_prefixes)}"
    route = {"student_percent": 10, "shadow": SHADOW, "rollout": ROLLOUT}
    config = {**two_upstreams(student, teacher, **route), "store": f"{redis.url}/0?prefix={prefix}"}
    return Fleet([gateway_process(config) for _ in range(2)], redis, prefix)


def started(fleet: Fleet) -> None:
    wait_until(lambda: fleet.status()["phase"] == "idle")
    assert fleet.act("start").json()["phase"] == "shadow"
    refused = fleet.act("start")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "rollout_refused")


def test_a_good_student_climbs_by_itself_though_its_leader_is_killed(fleet: Fleet) -> None:
    with fleet.traffic():
        started(fleet)
        time.sleep(random.Random().uniform(0, 10))
        fleet.kill_the_leader()
        wait_until(lambda: fleet.status()["phase"] == "promoted", 40)
    assert fleet.weights() == [0, 1, 5, 25, 100]
    assert fleet.percent == 100
    numbers = [int(why.rpartition(" ")[2].rstrip(")")) for _, why in fleet.trail()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert fleet.asked > 300
    assert fleet.failed == 0


@pytest.mark.parametrize("killed", [False, True])
def test_a_student_that_breaks_its_json_at_25_percent_is_back_at_0(
    fleet: Fleet, student: ScriptedUpstream, killed: bool
) -> None:
    with fleet.traffic():
        started(fleet)
        wait_until(lambda: fleet.percent == 25, 25)
        time.sleep(0.5)
        began = time.monotonic()
        student.script = says('{"order": "on i')
        if killed:
            time.sleep(random.Random().uniform(0, LATE_S))
            fleet.kill_the_leader()
        with suppress(AssertionError):
            wait_until(lambda: fleet.percent == 0, 25)
        took = time.monotonic() - began
        found = fleet.status()
    assert found["phase"] == "rolled_back", found
    assert fleet.weights() == [0, 1, 5, 25, 0]
    assert took < BACK_WITHIN_S + (LEASE_S if killed else 0), found
    assert fleet.failed == 0, "what was broken was answered by the teacher"
