"""What users of other gateways complain about in mirroring, at every endpoint, streaming and not.

A mirror that is silently not sent; one that breaks the primary; one that is billed as user traffic; pairs that cannot
be joined, or whose times cannot be compared. That the guide to it is true is a test of its own (`test_shadow_admin`).
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pytest

from gateway.face.openai import ENDPOINTS
from gateway.stores.url import make_pair_store
from tests.gateway.after.test_shadows import speaking
from tests.integration.test_shadow import ALL, BODIES, told
from tests.support.configs import two_upstreams
from tests.support.operating import wait_until
from tests.support.processes import GatewayProcess
from tests.support.upstream import RESET, Received, ScriptedUpstream, Step, response

pytestmark = [pytest.mark.parametrize("stream", [False, True]), pytest.mark.parametrize("path", list(BODIES))]
ROOMY = "roomy-key-secret"
ROUNDS = 4
WRONG: list[Callable[[Received], Iterable[Step]]] = [
    lambda request: [RESET],
    lambda request: [response({"error": {"message": "no"}}, "500 Internal Server Error")],
    lambda request: [b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"choi', RESET],
    lambda request: [response([["not", {"what": "was asked"}]])],
]


@dataclass
class Gateways:
    """One mirrors everything, one nothing; both are before the same student, and are asked the same."""

    plain: GatewayProcess
    mirroring: GatewayProcess
    teacher: ScriptedUpstream
    store: str

    answered: int = 0

    def ask(self, path: str, stream: bool, key: str = ROOMY) -> httpx2.Response:
        """The one that mirrors."""
        answer = ask(self.mirroring, path, stream, key)
        self.answered += answer.status_code == 200
        return answer

    def records(self, path: str, stream: bool) -> list[dict[str, Any]]:
        """Of this endpoint, once there is one for each request that was answered, and no other."""
        pairs = make_pair_store(self.store)
        kept: list[dict[str, Any]] = []

        def all_there() -> bool:
            kept[:] = [json.loads(one.record) for one in pairs.records("support-chat", 0, 10_000)]
            return len(kept) >= self.answered

        wait_until(all_there, 20)
        pairs.close()
        assert len(kept) == self.answered == told(self.mirroring, "samples")
        return [one for one in kept if (one["endpoint"], one["stream"]) == (path, stream)]


def answers_well(request: Received) -> Iterable[Step]:
    return speaking(ENDPOINTS[request.target.encode()])(request)


def tight(path: str, stream: bool) -> str:
    """The key of an app that may ask `ROUNDS` times a minute, here and so."""
    return f"tight-{path}-{stream}"


def ask(gateway: GatewayProcess, path: str, stream: bool, key: str = ROOMY) -> httpx2.Response:
    head = {"authorization": f"Bearer {key}", "x-request-id": "same"}
    return httpx2.post(f"{gateway.url}{path}", json={**BODIES[path], "stream": stream}, headers=head, timeout=20)


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    place = tmp_path_factory.mktemp("complaints")
    store = f"sqlite:///{place / 'pairs.db'}"
    with ScriptedUpstream(answers_well) as student, ScriptedUpstream(answers_well) as teacher:
        config = two_upstreams(student, teacher, student_percent=100)
        config["keys"] = [{"name": "sre", "role": "admin", "key": ROOMY}]
        for number, key in enumerate(tight(path, stream) for path in BODIES for stream in (False, True)):
            config["keys"].append({"name": f"{number}", "key": key, "limits": {"requests_per_minute": ROUNDS}})
        config["upstreams"]["big"]["breaker"] = {"min_requests": 100_000}  # it is to be asked however often it fails
        plain = GatewayProcess(config, place / "plain")
        config["routes"]["support-chat"]["shadow"] = ALL
        mirroring = GatewayProcess({**config, "store": store}, place / "mirroring")
        yield Gateways(plain, mirroring, teacher, store)
        plain.kill()
        mirroring.kill()


def test_nothing_is_silently_not_mirrored(gateways: Gateways, path: str, stream: bool) -> None:
    before = len(gateways.records(path, stream))
    for _ in range(ROUNDS):
        assert gateways.ask(path, stream).status_code == 200
    records = gateways.records(path, stream)[before:]
    assert len(records) == ROUNDS
    assert {one["reason"] for one in records} <= {
        None,
        "disabled",
    }  # it stops on a machine that is too busy, and says so


def test_a_mirror_that_fails_changes_neither_status_nor_bytes(gateways: Gateways, path: str, stream: bool) -> None:
    expected = ask(gateways.plain, path, stream)
    try:
        for wrong in WRONG:
            gateways.teacher.script = wrong
            answer = gateways.ask(path, stream)
            assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
            (newest,) = gateways.records(path, stream)[-1:]
            assert newest["reason"] in ("shadow_failed", "disabled"), newest["detail"]
    finally:
        gateways.teacher.script = answers_well


def test_a_mirror_is_nobodys_bill(gateways: Gateways, path: str, stream: bool) -> None:
    def billed(gateway: GatewayProcess) -> dict[str, float]:
        """All that is counted of requests, tokens and money, but for what is counted of mirrored calls."""
        names = tuple(f"understudy_{name}_total" for name in ("requests", "tokens", "cost_nano_usd"))
        return {name: value for name, value in gateway.metrics().items() if name.startswith(names)}

    found = []
    for gateway in (gateways.plain, gateways.mirroring):
        before, spent = billed(gateway), told(gateway, "cost_nano_usd", upstream="big")
        asking = gateways.ask if gateway is gateways.mirroring else partial(ask, gateway)
        statuses = [asking(path, stream, tight(path, stream)).status_code for _ in range(ROUNDS + 1)]
        assert statuses == [200] * ROUNDS + [429]
        grown = {name: value - before.get(name, 0) for name, value in billed(gateway).items()}
        found.append({name: value for name, value in grown.items() if value})
        if gateway is gateways.mirroring and gateways.records(path, stream)[-1]["reason"] is None:
            assert told(gateway, "cost_nano_usd", upstream="big") > spent
    assert found[0] == found[1]
    assert any(name.startswith("understudy_cost_nano_usd_total") for name in found[0])


def test_pairs_are_joined_and_their_times_comparable(gateways: Gateways, path: str, stream: bool) -> None:
    whole: list[dict[str, Any]] = []
    for _ in range(60):
        gateways.ask(path, stream)
        whole = [one for one in gateways.records(path, stream) if one["reason"] is None]
        if len(whole) >= 2:
            break
    assert len({one["pair_id"] for one in whole}) == len(whole) >= 2  # though all requests say the same id
    for one in whole:
        student, teacher = one["student"], one["teacher"]
        assert (student["upstream"], student["served"]) == ("small", True)
        assert (teacher["upstream"], teacher["served"]) == ("big", False)
        assert all(side["ttft_s"] is not None and 0 < side["ttft_s"] <= side["ttlt_s"] for side in (student, teacher))
    assert bool(gateways.teacher.requests[-1].json.get("stream")) is stream
