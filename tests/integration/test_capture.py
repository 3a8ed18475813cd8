"""Capture in a real gateway process: kill -9, clients that leave, a disk that fails, several workers, the door."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.after.sealing import Seal
from tests.conftest import StartGateway
from tests.support.configs import NO_FALLBACK, two_upstreams
from tests.support.operating import APP, KEYS, SRE, wait_until, workers_of
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import ScriptedUpstream, stream_events

CONSENT = {"x-understudy-consent": "train"}
BODY = {"model": "support-chat", "messages": [{"role": "user", "content": "Where is my order?"}]}
KEY = "5a" * 32


def config(student: ScriptedUpstream, teacher: ScriptedUpstream, folder: Path, **capture: Any) -> dict[str, Any]:
    captured = {"sample": 1.0, "dir": str(folder), **capture}
    return two_upstreams(student, teacher, student_percent=100, capture=captured)


def ask(gateway: GatewayProcess, **fields: Any) -> int:
    return httpx2.post(
        f"{gateway.url}/v1/chat/completions", json={**BODY, **fields}, headers=CONSENT, timeout=20
    ).status_code


def traces(folder: Path, key: str | None = None) -> list[dict[str, Any]]:
    """Whole lines only."""
    found: list[bytes] = []
    for path in sorted(folder.glob("support-chat/*.jsonl*")):
        with path.open("rb") as file:
            lines = file.readlines() if key is None else Seal(bytes.fromhex(key)).lines(file)
            found += [line for line in lines if line.endswith(b"\n")]
    return [json.loads(line) for line in found]


def told(gateway: GatewayProcess, outcome: str = "") -> int:
    labels = {"outcome": outcome} if outcome else {}
    return int(gateway.metric("understudy_capture_total", route="support-chat", **labels))


def served(gateway: GatewayProcess) -> int:
    return int(gateway.metric("understudy_requests_total", route="support-chat"))


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_kill_9_loses_what_was_not_written_yet_and_that_is_counted(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path, key: str | None
) -> None:
    """Killed while it serves: what was answered is in the files, or counted by whoever starts next."""
    folder = tmp_path / "captured"
    settings = config(student, teacher, folder, encrypt_key=key)
    gateway = gateway_process(settings)
    assert told(gateway, "killed") == 0
    answered, stop = [0] * 4, threading.Event()

    def client(number: int) -> None:
        with httpx2.Client(headers=CONSENT, timeout=20) as session:
            while not stop.is_set():
                try:
                    session.post(f"{gateway.url}/v1/chat/completions", json=BODY)
                except httpx2.TransportError:
                    return
                answered[number] += 1

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(client, number) for number in range(4)]
        wait_until(lambda: told(gateway, "kept") > 10, 20)
        time.sleep(0.5)
        killed_at = time.time()
        gateway.kill()
        stop.set()
        for one in running:
            one.result(20)
    kept = traces(folder, key)
    assert max(trace["at"] for trace in kept) > killed_at - 2.5
    again = gateway_process(settings)
    wait_until(lambda: told(again, "killed") > 0)  # what is counted is told to the metrics every 50 ms
    lost = told(again, "killed")
    # The last answer to each of the four clients may have been counted and not have come; and one may have gone out in
    # the instant before it would have been counted: the worker does one thing at a time.
    assert -1 <= len(kept) + lost - sum(answered) <= 4
    assert f"{lost} requests were lost when run" in again.log
    assert again.stop() == 0
    assert not list(folder.rglob("*.tally"))


def test_a_worker_that_is_killed_is_followed_by_one_that_counts(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    """With several workers the metrics live on, and so the books are whole: every request that ended has its end."""
    gateway = gateway_process(config(student, teacher, tmp_path / "captured"), workers=2)
    for number in range(40):
        ask(gateway)
        if number == 25:
            time.sleep(0.2)  # what was counted is told to the metrics every 50 ms
            workers_of(gateway)[0].send_signal(signal.SIGKILL)
    wait_until(lambda: len(workers_of(gateway)) == 2, 20)
    wait_until(lambda: told(gateway) >= 40, 20)
    assert told(gateway, "kept") == len(traces(tmp_path / "captured"))
    assert told(gateway) == served(gateway) == 40
    assert gateway.stop() == 0
    assert len({trace["id"] for trace in traces(tmp_path / "captured")}) == len(traces(tmp_path / "captured"))


def test_after_a_graceful_end_nothing_is_missing(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    folder = tmp_path / "captured"
    gateway = gateway_process(config(student, teacher, folder))
    for _ in range(20):
        ask(gateway)
    assert gateway.stop() == 0
    assert len(traces(folder)) == 20
    assert (folder / "support-chat").stat().st_mode & 0o777 == 0o700
    assert [path.suffix for path in (folder / "support-chat").iterdir()] == [".jsonl"]
    again = gateway_process(config(student, teacher, folder))
    assert told(again, "killed") == 0


def test_a_client_that_leaves_leaves_its_part(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    first, second, *rest = stream_events(("One", " two", " three"), usage=False)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    student.script = lambda request: [head, first, second, 10.0, *rest]
    gateway = gateway_process(config(student, teacher, tmp_path))
    with RawClient(gateway.port) as raw:
        raw.send(post(json.dumps({**BODY, "stream": True}).encode(), extra="x-understudy-consent: train\r\n"))
        raw.until(b"One")
    wait_until(lambda: told(gateway, "kept") == 1)
    (trace,) = traces(tmp_path)
    assert trace["outcome"] == "cancelled"
    assert "One" in trace["answer"]
    assert "three" not in trace["answer"]


def test_a_disk_that_cannot_be_written_is_nobody_elses_trouble(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    gateway = gateway_process(config(student, teacher, tmp_path / "file", queue=5))
    began = time.monotonic()
    assert {ask(gateway) for _ in range(12)} == {200}
    assert time.monotonic() - began < 5
    wait_until(lambda: told(gateway, "write_failed") == 7)
    wait_until(lambda: gateway.metric("understudy_capture_failing", route="support-chat") == 1)
    (one,) = httpx2.get(f"{gateway.url}/admin/status").json()["capture"]
    assert (one["route"], one["waiting"]) == ("support-chat", 5)
    assert "NotADirectoryError" in one["error"] or "FileExistsError" in one["error"]
    time.sleep(2.5)
    assert gateway.log.count("nothing can be written") == 1
    assert gateway.stop() == 0
    assert "5 requests are lost" in gateway.log


def test_it_is_switched_on_and_off_through_the_door_and_its_key_is_never_shown(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    folder = tmp_path / "captured"
    app, admin = KEYS["keys"]
    keys = [{**app, "consent": ["train"]}, admin]
    settings = two_upstreams(student, teacher, student_percent=100, fallback=NO_FALLBACK)
    gateway = gateway_process({**settings, "keys": keys})
    url, headers = f"{gateway.url}/admin/routes/support-chat", {**SRE, "if-match": "*"}

    def change(capture: Any) -> httpx2.Response:
        body = {"capture": capture, "reason": "a test"}
        return httpx2.patch(url, json=body, headers=headers, timeout=10)

    def ask_as_app() -> None:
        httpx2.post(f"{gateway.url}/v1/chat/completions", json=BODY, headers=APP, timeout=20)

    ask_as_app()
    literal = change({"sample": 1.0, "dir": str(folder), "encrypt_key": KEY})
    assert literal.status_code == 422
    assert "reference" in literal.text
    assert KEY not in literal.text
    on = change({"sample": 1.0, "dir": str(folder), "encrypt_key": f"${{file:{key_file}}}"})
    assert on.status_code == 200, on.text
    wait_until(lambda: gateway.metric("understudy_route_version", route="support-chat") == 1)
    ask_as_app()
    shown = httpx2.get(url, headers=SRE)
    assert shown.json()["document"]["capture"]["encrypt_key"] == f"${{file:{key_file}}}"
    back = httpx2.put(
        url, json={"document": {**shown.json()["document"], "max_step": 60}, "reason": "a test"}, headers=headers
    )
    assert back.status_code == 200, back.text
    assert back.json()["document"]["capture"]["encrypt_key"] == f"${{file:{key_file}}}"
    wait_until(lambda: gateway.metric("understudy_route_version", route="support-chat") == 2)
    ask_as_app()
    assert change(None).status_code == 200
    wait_until(lambda: gateway.metric("understudy_route_version", route="support-chat") == 3)
    ask_as_app()
    wait_until(lambda: told(gateway, "kept") == 2)
    assert gateway.stop() == 0
    assert [trace["tenant"] for trace in traces(folder, KEY)] == ["shop", "shop"]
    # The trail is in the store, which has the reference and not the key.
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("understudy.db*"))
    assert KEY not in gateway.log


def test_a_key_written_into_the_file_is_masked(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    gateway = gateway_process({**config(student, teacher, tmp_path, encrypt_key=KEY), **KEYS})
    for path in ("/admin/routes", "/admin/routes/support-chat", "/admin/status"):
        answer = httpx2.get(gateway.url + path, headers=SRE)
        assert answer.status_code == 200
        assert KEY not in answer.text
    url = f"{gateway.url}/admin/routes/support-chat"
    document = httpx2.get(url, headers=SRE).json()["document"]
    assert document["capture"]["encrypt_key"] == "**********"
    sent = {"document": {**document, "max_step": 60}, "reason": "a test"}
    kept = httpx2.put(url, json=sent, headers={**SRE, "if-match": "*"})
    assert kept.status_code == 200, kept.text
    assert kept.json()["document"]["capture"]["encrypt_key"] == "**********"
