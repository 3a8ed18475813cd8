"""Several processes on one port: what they serve, how they fail, what they log."""

import re
from collections.abc import Iterable
from pathlib import Path

import httpx2
import psutil

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import STREAM, patch, served_by, wait_until, workers_of
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import (
    Received,
    ScriptedUpstream,
    Step,
)


def test_a_killed_worker_is_replaced_and_its_counts_stay(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = lambda request: [30.0] if request.json.get("stream") else _answered(request)
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100), workers=2)
    for _ in range(20):
        served_by(gateway)
    held = [RawClient(gateway.port) for _ in range(6)]
    for raw in held:
        raw.send(post(STREAM))
    wait_until(lambda: gateway.metric("understudy_in_flight_requests") == 6)
    victim = workers_of(gateway)[0]
    victim.kill()
    wait_until(lambda: len(workers_of(gateway)) == 2 and victim not in workers_of(gateway), 15)
    for raw in held:
        raw.socket.close()
    for _ in range(20):
        served_by(gateway)
    wait_until(lambda: gateway.metric("understudy_requests_total", outcome="ok") == 40)
    wait_until(lambda: gateway.metric("understudy_in_flight_requests") == 0)


def test_workers_serve_the_config_that_was_checked_at_the_start(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100), workers=2)
    text = gateway.config_file.read_text()
    for changed in (text.replace("student_percent: 100", "student_percent: 0"), text + "\ntypo: 1\n"):
        gateway.config_file.write_text(changed)
        for victim in workers_of(gateway):
            victim.kill()
            _replaced(gateway, victim)
        assert {served_by(gateway) for _ in range(20)} == {"small"}
    assert gateway.stop() == 0


def _replaced(gateway: GatewayProcess, victim: psutil.Process) -> None:
    def done() -> bool:
        workers = workers_of(gateway)
        started = [f"[{worker.pid}] uvicorn.error: Application startup complete" in gateway.log for worker in workers]
        return victim not in workers and started == [True, True]

    wait_until(done, 15)


def test_a_worker_that_starts_without_a_store_serves_what_was_live_last_and_catches_up(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=0), workers=2)
    assert patch(gateway, student_percent=100).status_code == 200
    database = Path(str(gateway.config["store"]).removeprefix("sqlite:///"))
    away = database.with_name("away")
    away.mkdir()
    for path in list(database.parent.glob("understudy.db*")):
        path.rename(away / path.name)
    database.mkdir()
    victims = workers_of(gateway)
    for victim in victims:
        victim.kill()
    wait_until(lambda: not set(victims) & set(workers_of(gateway)) and len(workers_of(gateway)) == 2, 15)
    assert {served_by(gateway) for _ in range(10)} == {"small"}, "the file says 0 %, and that was long ago"
    assert httpx2.get(f"{gateway.url}/readyz").status_code == 200
    assert gateway.metric("understudy_store_up") == 0
    assert patch(gateway, student_percent=50).status_code == 503
    database.rmdir()
    for path in list(away.iterdir()):
        path.rename(database.parent / path.name)
    wait_until(lambda: gateway.metric("understudy_store_up") == 1)
    assert patch(gateway, student_percent=0).status_code == 200
    wait_until(lambda: {served_by(gateway) for _ in range(20)} == {"big"})
    assert gateway.stop() == 0


def test_to_end_unasked_is_a_failure(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    """Here because no worker can start any more: the folder of their shared metrics is gone."""
    env = {"TMPDIR": str(tmp_path)}
    gateway = gateway_process(two_upstreams(student, teacher), workers=2, env=env)
    (folder,) = tmp_path.glob("understudy-*")
    folder.rename(tmp_path / "gone")
    workers_of(gateway)[0].kill()
    assert gateway.process.wait(20) == 3


def test_workers_log_alike(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    gateway = gateway_process(two_upstreams(student, teacher), workers=2)
    workers = {str(worker.pid) for worker in workers_of(gateway)}
    assert gateway.stop() == 0
    lines = [
        re.fullmatch(r"[\d-]{10} [\d:,]{12} INFO \[(\d+)\] [a-z.]+: .+", line) for line in gateway.log.splitlines()
    ]
    assert all(lines), gateway.log
    assert workers < {line[1] for line in lines if line}
    assert gateway.log.count(f" running on {gateway.url} ") == 1


def test_killed_gateways_leave_no_workers(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process(two_upstreams(student, teacher), workers=2)
    workers = workers_of(gateway)
    assert len(workers) == 2
    gateway.process.kill()
    gateway.process.wait()
    gateway.kill()
    assert psutil.wait_procs(workers, timeout=5)[1] == []


def _answered(request: Received) -> Iterable[Step]:
    from tests.support.upstream import well_behaved

    return well_behaved()(request)
