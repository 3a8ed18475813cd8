"""The short form of `benchmarks/soak.py`: many requests, a fifth of the streams abandoned, and nothing left behind."""

import threading

import psutil

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import BODY, STREAM, wait_until
from tests.support.raw import RawClient, post
from tests.support.upstream import ScriptedUpstream

THREADS, ROUNDS = 4, 60


def test_nothing_is_left_after_many_requests(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher))
    process = psutil.Process(gateway.process.pid)

    def work() -> None:
        for _ in range(ROUNDS):
            with RawClient(gateway.port) as raw:
                for _ in range(4):
                    raw.send(post(STREAM))
                    raw.until(b"0\r\n\r\n")
                    raw.send(post(BODY))
                    assert raw.response()[0] == 200
                raw.send(post(STREAM))
                raw.until(b"data: ")  # and away

    def all_work() -> None:
        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_work()
    warm = process.memory_info().rss
    all_work()
    total = 2 * THREADS * ROUNDS * 9
    wait_until(lambda: gateway.metric("understudy_requests_total") == total)
    wait_until(lambda: gateway.metric("understudy_in_flight_requests") == 0)
    wait_until(lambda: gateway.metric("understudy_upstream_connections", state="active") == 0)
    wait_until(lambda: _established(process, gateway.port) == 0)
    assert process.memory_info().rss - warm < 4_000_000


def _established(process: psutil.Process, port: int) -> int:
    """Connections of clients to the gateway."""
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in process.net_connections("tcp")
    )
