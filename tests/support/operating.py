"""What tests of operating a gateway share: keys, requests, flips, and looking at its workers."""

import json
import time
from collections.abc import Callable
from contextlib import suppress

import httpx2
import psutil

from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post

KEYS = {
    "keys": [
        {"name": "shop-app", "tenant": "shop", "key": "app-key-secret"},
        {"name": "sre", "role": "admin", "key": "sre-key-secret"},
    ]
}
SRE = {"authorization": "Bearer sre-key-secret"}
APP = {"authorization": "Bearer app-key-secret"}
BODY = json.dumps({"model": "support-chat", "messages": [{"role": "user", "content": "x"}]}).encode()
STREAM = json.dumps({"model": "support-chat", "stream": True, "messages": []}).encode()


def patch(gateway: GatewayProcess, **change: object) -> httpx2.Response:
    body = {"reason": "a test", **change}
    url = f"{gateway.url}/admin/routes/support-chat"
    return httpx2.patch(url, json={"override": True, **body}, headers={"if-match": "*"}, timeout=10)


def served_by(gateway: GatewayProcess) -> str:
    """Who serves a request on a new connection, which any worker may accept."""
    with RawClient(gateway.port) as raw:
        raw.send(post(BODY))
        return raw.response()[1]["x-understudy-upstream"]


def workers_of(gateway: GatewayProcess) -> list[psutil.Process]:
    parent = psutil.Process(gateway.process.pid)
    workers = []
    for child in parent.children():
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # it ends while it is looked at
            if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline()):
                workers.append(child)
    return workers


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
