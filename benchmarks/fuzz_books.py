"""The gateway under the fuzz, seen from outside: its config, its counters, its memory and descriptors, its log."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_requests
from fuzz_requests import ADMIN_KEY, APP_KEY, ROUTE, TIGHT_KEY
from fuzz_upstream import MODEL

_BAD_LOG = re.compile(r"Traceback|Fatal error|failed inside the gateway|never (?:awaited|retrieved)|ERROR|CRITICAL")
_EXCEPTION = re.compile(r"^[\w.]+(?:Error|Exception|Exit)\b[^\n]{0,120}", re.M)
SETTLE_S = 8.0
SPARE_FILES = 4  # idle connections to model servers, which come and go
_NEVER = 1_000_000  # failures: breakers would answer in place of what is tested


def config(upstream: int, good: int = 0) -> dict[str, Any]:
    """One server under test, `upstream`; `good` is one that never fails. Deadlines are short, so that silence ends.
    `listen` and `store` are left to whoever starts the gateway."""
    server = {
        "model": MODEL,
        "breaker": {"min_requests": _NEVER},
        "health": {"every_s": None},
        "price": {"input": 1, "output": 2},
    }
    deadlines = {"connect_s": 1, "ttft_s": 0.6, "stall_s": 0.4, "answer_s": 1, "total_s": 2}
    route = {"teacher": "good", "student": "fuzzed", "student_percent": 100, "deadlines": deadlines}
    alone = {"order": [], "retries": 0}
    rescue = {"order": ["teacher"], "retries": 1}
    return {
        "keys": [
            {"name": "app", "key": APP_KEY},
            {"name": "sre", "role": "admin", "key": ADMIN_KEY},
            {
                "name": "tight",
                "key": TIGHT_KEY,
                "limits": {"requests_per_minute": 600, "tokens_per_minute": 100_000, "concurrency": 4},
            },
        ],
        "upstreams": {
            "fuzzed": {"base_url": f"http://127.0.0.1:{upstream}/v1", **server},
            "good": {"base_url": f"http://127.0.0.1:{good or upstream}/v1", **server},
        },
        "routes": {
            ROUTE: {**route, "student": "good" if good else "fuzzed", "deadlines": {}},  # what is in order goes here
            "alone": {**route, "fallback": alone},
            "rescue": {**route, "fallback": rescue},
            "hold": {**route, "fallback": {**rescue, "mid_stream": "hold:3"}},
        },
        "limits": {"head_s": 1, "body_s": 1, "body_bytes": 200_000, "json_depth": 64, "messages": 200},
    }


@dataclass(frozen=True)
class Books:
    """What the gateway has counted, and what it holds. `connections`: its sockets of any kind but listening ones."""

    refused: Counter[str]
    outcomes: Counter[str]
    in_flight: int
    rss_kb: int
    files: int


@dataclass(frozen=True)
class Gateway:
    """A running gateway process with the config above."""

    port: int
    pid: int
    log: Path

    def metrics(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/metrics", headers={"connection": "close"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def books(self) -> Books:
        text = self.metrics()
        outcomes: Counter[str] = Counter()
        for outcome, value in re.findall(r'^understudy_requests_total\{.*outcome="(\w+)".*\} (\S+)$', text, re.M):
            outcomes[outcome] += int(float(value))
        refused: Counter[str] = Counter()
        for code, value in re.findall(r'^understudy_refused_total\{code="(\w+)"\} (\S+)$', text, re.M):
            refused[code] = int(float(value))
        in_flight = re.search(r"^understudy_in_flight_requests (\S+)$", text, re.M)
        return Books(refused, outcomes, int(float(in_flight[1])) if in_flight else -1, self.rss_kb(), self.files())

    def rss_kb(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def settled(self, files: int) -> Books:
        """The books once nothing is in flight and no more files are open than `files` before, or after `SETTLE_S`."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            books = self.books()
            if (not books.in_flight and books.files <= files + SPARE_FILES) or time.monotonic() > deadline:
                return books
            time.sleep(0.25)

    def exceptions(self) -> Counter[str]:
        """The exceptions in the log, by their last lines."""
        return Counter(_EXCEPTION.findall(self.log.read_text(errors="replace")))

    def bad_log_lines(self) -> list[str]:
        return [line for line in self.log.read_text(errors="replace").splitlines() if _BAD_LOG.search(line)]

    def answers_well(self, model: str = ROUTE) -> str:
        """Ask it something that is in order: "" if the answer is as it should be, else what came."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"authorization": f"Bearer {APP_KEY}", "content-type": "application/json"}
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()
        return "" if response.status == 200 and b"hello you" in text else f"{response.status} {text[:200]!r}"


def unaccounted(seen: fuzz_requests.Seen, before: Books, after: Books) -> list[str]:
    """Where the clients' books and the gateway's differ, as lines; none if every error answer was counted with its
    reason and every call with its outcome.

    An answer with a code of ours is one more in `understudy_refused_total` with that code. One without is the model
    server's own (`upstream_says_no`), or told of its failure (`upstream_…`): one more in `understudy_requests_total`
    with an outcome other than `ok`. A connection that broke off may have taken an answer with it, and an answer to HEAD
    does not tell its code, so each of those lets the gateway's count be higher by one.
    """
    lost = seen.resets + sum(seen.unfinished.values()) + sum(n for (_, code), n in seen.errors.items() if not code)
    told: Counter[str] = Counter()
    failed = 0
    for (_, code), count in seen.errors.items():
        if code.startswith("upstream_"):
            failed += count
        elif code:
            told[code] += count
    lines = []
    counted = Counter(after.refused)
    counted.subtract(before.refused)
    missing = 0
    for code in told.keys() | counted.keys():
        missing += max(0, counted[code] - told[code])
        if counted[code] < told[code]:
            lines.append(f"{told[code]} answers {code!r} were seen, {counted[code]} counted")
    outcomes = Counter(after.outcomes)
    outcomes.subtract(before.outcomes)
    not_ok = sum(outcomes.values()) - outcomes["ok"]
    if not_ok - outcomes["cancelled"] < failed:
        lines.append(f"{failed} failed calls were seen, {dict(outcomes)} counted")
    missing += max(0, not_ok - failed)
    if missing > lost:
        lines.append(f"{missing} more refusals and failures counted than were seen, {lost} connections broke off")
    return lines
