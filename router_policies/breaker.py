"""The circuit breaker of one server: who keeps failing is left alone until it is well again.

A server that fails most of what it is asked gets nothing for a while: its users are served elsewhere at once instead of
waiting for it to fail, and it gets the quiet in which to recover.

- CLOSED: everything is let through and its outcomes are counted over the last `window_s`. Enough requests of which
  enough failed: OPEN.
- OPEN: nothing is let through. Towards the end of `open_s` health checks begin, one at a time, until `probe` of them
  passed in a row: HALF_OPEN. No user's request is ever spent on finding out whether a server is up.
- HALF_OPEN: everything is let through again, and the first outcome decides: a success is CLOSED with nothing counted, a
  failure is OPEN anew. That a server answers health checks does not say that it can answer anything else.

What was under way when it opened says nothing about the server afterwards, and may end minutes later. So each request
is told the number of the breaker's last opening when it is let through (`openings`) and brings it back with its
outcome; an outcome of an earlier time is not counted.

`now` is on any clock that does not go back, in seconds.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

_BUCKETS = 10  # the window moves in tenths of itself
PROBE_EVERY_S = 1.0
PROBES_FROM = 0.9  # of `open_s`: its last tenth is for the checks, so that users are back when it is over


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


_CLOSED = State.CLOSED  # a module's name is read faster than an enum's member


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """It opens when of at least `min_requests` in `window_s` seconds the share `failure_ratio` or more failed, and lets
    through again when, about `open_s` seconds later or afterwards, `probe` health checks passed in a row."""

    window_s: float = 30.0
    min_requests: int = 20
    failure_ratio: float = 0.5
    open_s: float = 10.0
    probe: int = 1

    def __post_init__(self) -> None:
        if not self.window_s > 0 or not self.open_s > 0:
            raise ValueError(f"breaker: expected seconds above 0, got window_s {self.window_s}, open_s {self.open_s}")
        if not 0 < self.failure_ratio <= 1:
            raise ValueError(f"breaker: expected a failure_ratio above 0 and at most 1, got {self.failure_ratio}")
        if self.min_requests < 1 or self.probe < 1:
            raise ValueError(f"breaker: expected 1 or more, got min_requests {self.min_requests}, probe {self.probe}")


class Breaker:
    """One server's. It changes only in the three methods that tell it something; each says whether `state` changed."""

    __slots__ = (
        "_bucket_ends_at",
        "_failures",
        "_failures_before",
        "_passed",
        "_past",
        "_requests",
        "_requests_before",
        "openings",
        "probe_at",
        "rules",
        "state",
    )

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self.state = State.CLOSED
        self.openings = 0
        self.probe_at = math.inf  # when the next health check is due that counts here
        self._passed = 0  # health checks, in a row
        self._empty()

    def succeeded(self, admitted: int, now: float) -> bool:
        """A request that was let through when `openings` was `admitted` went well."""
        if admitted != self.openings:
            return False
        if self.state is not _CLOSED:  # half open: while it is open, nothing is let through
            self.state = _CLOSED
            self._empty()
            return True
        if now >= self._bucket_ends_at:
            self._turn(now)
        self._requests += 1
        if not self._failures and not self._failures_before:
            return False
        return self._judge(now)

    def failed(self, admitted: int, now: float) -> bool:
        """A request that was let through when `openings` was `admitted` failed, and the server is to blame."""
        if admitted != self.openings:
            return False
        if self.state is not _CLOSED:
            self._open(now)
            return True
        if now >= self._bucket_ends_at:
            self._turn(now)
        self._requests += 1
        self._failures += 1
        return self._judge(now)

    def checked(self, well: bool, now: float) -> bool:
        """A health check ended. It counts if it was due: one that began before the breaker opened does not."""
        if self.state is not State.OPEN or now < self.probe_at:
            return False
        self._passed = self._passed + 1 if well else 0
        if self._passed < self.rules.probe:
            self.probe_at = now + PROBE_EVERY_S
            return False
        self.state = State.HALF_OPEN
        self.probe_at = math.inf
        return True

    def _judge(self, now: float) -> bool:
        requests = self._requests + self._requests_before
        if requests < self.rules.min_requests:
            return False
        if self._failures + self._failures_before < self.rules.failure_ratio * requests:
            return False
        self._open(now)
        return True

    def _open(self, now: float) -> None:
        self.state = State.OPEN
        self.openings += 1
        self.probe_at = now + PROBES_FROM * self.rules.open_s
        self._passed = 0

    def _empty(self) -> None:
        self._requests = self._failures = 0  # in the bucket under way
        self._requests_before = self._failures_before = 0  # in the others of the window, which `_past` has one by one
        self._past: deque[tuple[float, int, int]] = deque()  # when a bucket ended, its requests, its failures
        self._bucket_ends_at = -math.inf

    def _turn(self, now: float) -> None:
        """Begin a new bucket, and forget those of which any part is older than the window."""
        if self._requests:
            self._past.append((self._bucket_ends_at, self._requests, self._failures))
            self._requests_before += self._requests
            self._failures_before += self._failures
            self._requests = self._failures = 0
        length = self.rules.window_s / _BUCKETS
        self._bucket_ends_at = now + length
        while self._past and self._past[0][0] - length <= now + length - self.rules.window_s:
            _, requests, failures = self._past.popleft()
            self._requests_before -= requests
            self._failures_before -= failures
