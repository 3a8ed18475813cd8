"""What one API key may use: requests a minute, tokens a minute, requests at once.

Both rates are token buckets that hold one minute's worth: whoever was quiet for a minute may use a minute's worth at
once, and over any `t` seconds no more than that and `t / 60` of it again is let through. A bucket is kept as the one
number that GCRA (ATM Forum TM 4.0) keeps, the time at which it will be full, so that a store can hold it in one field.

How many tokens a request will use is known only when it is over, so an estimate is reserved before and settled after:
the difference is given back, or taken too, even if that leaves the bucket in debt; debt is paid by waiting. An estimate
above a minute's worth counts as a minute's worth: it waits for a full bucket, since else it would wait for ever.

What is refused uses nothing up. Who hammers is told the same wait again, and is not made to wait longer.
"""

from dataclasses import dataclass
from enum import StrEnum

_MINUTE_S = 60.0
_ROUNDING_S = 1e-6  # what adding up floats may be off by, and nobody need wait for


class Limit(StrEnum):
    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Whole numbers of 1 and more; None for no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class Exceeded(Exception):
    """A request that may not pass now. `wait_s`: until it would if nothing else came; None if nobody can know."""

    def __init__(self, limit: Limit, allowed: int, wait_s: float | None) -> None:
        super().__init__(limit)
        self.limit = limit
        self.allowed = allowed
        self.wait_s = wait_s


class Bucket:
    """`per_minute` units a minute, and as many at once. Times are monotonic seconds."""

    __slots__ = ("_full_at", "_unit_s", "capacity")

    def __init__(self, per_minute: int) -> None:
        self.capacity = per_minute
        self._unit_s = _MINUTE_S / per_minute
        self._full_at = float("-inf")

    def wait_s(self, units: int, now: float) -> float:
        """Seconds until `units`, at most `capacity`, can be taken; 0 if now."""
        wait = max(self._full_at - now, 0.0) + units * self._unit_s - _MINUTE_S
        return wait if wait > _ROUNDING_S else 0.0

    def take(self, units: int, now: float) -> None:
        """Take `units`, there or not; give them back if negative."""
        self._full_at = max(self._full_at, now) + units * self._unit_s

    def level(self, now: float) -> float:
        """The units in it; negative for debt."""
        return self.capacity - max(self._full_at - now, 0.0) / self._unit_s


class Budget:
    """One key's buckets and requests under way. `reserve` each request; `settle` once each that was reserved."""

    __slots__ = ("_limits", "_requests", "_tokens", "in_use")

    def __init__(self, limits: KeyLimits) -> None:
        self._limits = limits
        self._requests = Bucket(limits.requests_per_minute) if limits.requests_per_minute is not None else None
        self._tokens = Bucket(limits.tokens_per_minute) if limits.tokens_per_minute is not None else None
        self.in_use = 0

    def reserve(self, tokens: int, now: float) -> int:
        """Let a request pass that may use `tokens`. Returns how many of them were reserved, for `settle`.

        Raises `Exceeded` for the limit that makes it wait longest, having changed nothing.
        """
        requests, bucket = self._requests, self._tokens
        reserved = 0 if bucket is None else min(max(tokens, 0), bucket.capacity)
        wait_s, limit, allowed = 0.0, Limit.REQUESTS, 0
        if requests is not None and (wait := requests.wait_s(1, now)) > wait_s:
            wait_s, allowed = wait, requests.capacity
        if bucket is not None and (wait := bucket.wait_s(reserved, now)) > wait_s:
            wait_s, limit, allowed = wait, Limit.TOKENS, bucket.capacity
        if wait_s > 0:
            raise Exceeded(limit, allowed, wait_s)
        most = self._limits.concurrency
        if most is not None and self.in_use >= most:
            raise Exceeded(Limit.CONCURRENCY, most, None)
        if requests is not None:
            requests.take(1, now)
        if bucket is not None:
            bucket.take(reserved, now)
        self.in_use += 1
        return reserved

    def settle(self, reserved: int, used: int, now: float) -> None:
        """A request that `reserved` tokens has ended, having used `used`."""
        self.in_use -= 1
        if self._tokens is not None:
            self._tokens.take(used - reserved, now)
