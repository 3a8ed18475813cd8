"""Asking a server how it is: a GET now and then, and what its list of models says of what it can do."""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.upstream.faults import UpstreamFault
from gateway.upstream.http1 import Headers
from gateway.upstream.pool import Leg, Pool
from router_policies.capabilities import Continues

MODELS = "/models"
_MAX_BODY_BYTES = 1024 * 1024
_ENGINES = {"vllm": Continues.VLLM, "llamacpp": Continues.PREFILL}  # by what they put into `owned_by`


class Get:
    """One GET, asked again whenever it is due, one at a time; `pool` is its own, so that users' calls never meet it.

    `told` gets the status, 0 if none came within `timeout_s`, and the body of a 200. There is no task and no timer:
    whoever owns it calls `ask` when it is due and `tick` often.
    """

    def __init__(self, pool: Pool, request: bytes, timeout_s: float, told: Callable[[int, bytes], None]) -> None:
        self._pool = pool
        self._request = request
        self._timeout_s = timeout_s
        self._told = told
        self._leg: Leg | None = None
        self._late_at = 0.0
        self._status = 0
        self._body = b""

    @property
    def under_way(self) -> bool:
        return self._leg is not None

    def ask(self, now: float) -> None:
        if self._leg is None:
            self._status, self._body = 0, b""
            self._late_at = now + self._timeout_s
            self._leg = self._pool.send(self._request, self, self._timeout_s)

    def tick(self, now: float) -> None:
        if self._leg is not None and now >= self._late_at:
            self._leg.cancel()
            self._finish()

    def cancel(self) -> None:
        """End it; nobody is told."""
        if self._leg is not None:
            self._leg.cancel()
            self._leg = None

    # `ResponseSink`.

    def head(self, status: int, headers: Headers) -> None:
        self._status = status

    def data(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > _MAX_BODY_BYTES:
            if self._leg is not None:
                self._leg.cancel()
            self._body = b""
            self._finish()

    def end(self) -> None:
        self._finish()

    def fault(self, fault: UpstreamFault) -> None:
        self._body = b""
        self._finish()

    def _finish(self) -> None:
        self._leg = None
        status, body = self._status, self._body
        self._body = b""
        # A server that answered in time is well, whatever became of the rest of its answer.
        self._told(status, body if status == 200 else b"")


class Health:
    """Whether a server is well, by its last checks: two that fail in a row make it unwell, one that passes well again.

    One late check is not enough: a server that is busy with users may well be late with everything else.
    """

    __slots__ = ("_failed", "well")

    def __init__(self) -> None:
        self.well = True
        self._failed = 0

    def checked(self, passed: bool) -> bool:
        """A check ended. True if it changed `well`."""
        was = self.well
        self._failed = 0 if passed else self._failed + 1
        self.well = passed or (was and self._failed < 2)
        return self.well is not was


class Cadence:
    """When the next regular check is due: soon after the start, then every `every_s` seconds, give or take a tenth, so
    that many workers do not ask as one. Never, if that is None."""

    __slots__ = ("_every_s", "_random", "due_at")

    def __init__(self, every_s: float | None, random: Callable[[], float]) -> None:
        self._every_s = every_s
        self._random = random
        self.due_at = 0.0 if every_s is not None else float("inf")

    def asked(self, now: float) -> None:
        if self._every_s is not None:
            self.due_at = now + self._every_s * (0.9 + 0.2 * self._random())


def how_it_continues(models: bytes) -> Continues:
    """What the body of a `GET /models` says of how its server continues a partial answer."""
    try:
        decoded: Any = msgspec.json.decode(models)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Continues.NO
    entries = decoded.get("data") if isinstance(decoded, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        owner = entry.get("owned_by") if isinstance(entry, dict) else None
        if isinstance(owner, str) and owner in _ENGINES:
            return _ENGINES[owner]
    return Continues.NO
