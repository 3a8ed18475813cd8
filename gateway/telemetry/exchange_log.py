"""A line per finished request in a file, for those who look into what happened: who was asked, who answered, why, when,
for how much. Never what was said.

JSON lines, appended whole, by all workers of a host to one file. Lines are written some times a second, not per
request, by a thread; while they cannot be written they are kept, up to a limit, and then counted instead. The file is
opened anew for every write, so that it may be renamed away at any time.
"""

import asyncio
import os
from collections import deque
from pathlib import Path
from time import time
from typing import Any

import msgspec

from gateway.exchange import Exchange
from router_policies.risk.judged import Judged

MOST_WAITING = 20_000
_encode = msgspec.json.Encoder().encode


class ExchangeLog:
    """Mutable state: the lines that wait, and `dropped`, how many could not wait since somebody last took the count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: deque[Exchange] = deque()
        self._ended_at: deque[float] = deque()
        self._writing = asyncio.Lock()
        self.dropped = 0
        self.error = ""

    def add(self, exchange: Exchange) -> None:
        """Note a request that ended just now."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(exchange)
        self._ended_at.append(time())

    async def flush(self) -> None:
        """Write what waits. Not written is not lost: it is tried again with what has come until then."""
        async with self._writing:
            count = len(self._waiting)
            if not count:
                return
            lines = [_line(exchange, at) for exchange, at in zip(self._waiting, self._ended_at, strict=True)]
            try:
                await asyncio.to_thread(self._append, b"".join(lines))
            except OSError as error:
                self.error = f"{self._path}: {error.strerror}"
                return
            self.error = ""
            for _ in range(count):
                self._waiting.popleft()
                self._ended_at.popleft()

    def _append(self, data: bytes) -> None:
        """All of it in one write: other workers append to the same file."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            size = os.fstat(file).st_size
            if os.write(file, data) < len(data):  # the disk is full; half a line would spoil the next
                os.ftruncate(file, size)
                raise OSError(28, "No space left on device")
        finally:
            os.close(file)


def _line(exchange: Exchange, ended_at: float) -> bytes:
    decision = exchange.decision
    line: dict[str, Any] = {
        "ended_at": ended_at,
        "request_id": exchange.request_id,
        "endpoint": exchange.endpoint,
        "tenant": exchange.tenant,
        "key": exchange.key_name,
        "route": decision.route.name,
        "route_version": decision.route.version,
        "decided": {
            "role": decision.role,
            "upstream": decision.upstream,
            "reason": decision.reason,
            "point": decision.point,
            "propensity": decision.propensity,
            **({} if decision.judged is None else {"risk": _risk(decision.judged)}),
        },
        "upstream": exchange.upstream,
        "role": exchange.role,
        "leg": exchange.kind,
        "reason": exchange.reason,
        "stream": exchange.stream,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "ttft_s": exchange.ttft_s,
        "ttlt_s": exchange.ttlt_s,
        "overhead_s": exchange.overhead_s,
        "usage": exchange.usage,
        "estimated": exchange.estimated,
        "cost_nano_usd": exchange.cost_nano_usd,
        "lost": exchange.lost,
    }
    if exchange.deferral is not None:
        line["deferral"] = {"sure": exchange.sure, "became": exchange.deferral}
    return _encode(line) + b"\n"


def _risk(judged: Judged) -> dict[str, Any]:
    """What is read by `router_policies.replay`. `role`, `reason` and probabilities: of the net's part of the decision,
    for what the split leaves to the student."""
    risk, placed = judged.risk, judged.placed
    return {
        "pack": risk.pack,
        "band": risk.band,
        "rules": risk.rules,
        "weight": risk.weight,
        "point": judged.point,
        "at": judged.at,
        "role": placed.role,
        "reason": placed.reason,
        "p_student": placed.p_student,
        "p_teacher": placed.p_teacher,
    }
