"""What one API key may use: requests a minute, tokens a minute, requests at once.

Both rates are token buckets that hold one minute's worth: whoever was quiet for a minute may use a minute's worth at
once, and over any `t` seconds no more than that and `t / 60` of it again is let through. A bucket is kept as the one
number that GCRA (ATM Forum TM 4.0) keeps, the time at which it will be full, so that a store can hold it in one field.

How many tokens a request will use is known only when it is over, so an estimate is reserved before and settled after:
the difference is given back, or taken too, even if that leaves the bucket in debt; debt is paid by waiting. An estimate
above a minute's worth counts as a minute's worth: it waits for a full bucket, since else it would wait for ever.

What is refused uses nothing up. Who hammers is told the same wait again, and is not made to wait longer.

Several processes share a budget by telling each other now and then. In between each decides alone, by the level that it
learned last and by what it has let through since. So all together may let through, on top of what one would, what comes
within two intervals: until it is told, and until that is learned. It is debt like any other, paid for by waiting, so in
the long run it is as if there were one.
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
    """`per_minute` units a minute, and as many at once. Times are monotonic seconds. `untold` is what was taken and the
    others that share the bucket were not told yet; whoever tells them takes it away."""

    __slots__ = ("_full_at", "_unit_s", "capacity", "untold")

    def __init__(self, per_minute: int) -> None:
        self.capacity = per_minute
        self.untold = 0
        self._unit_s = _MINUTE_S / per_minute
        self._full_at = float("-inf")

    def wait_s(self, units: int, now: float) -> float:
        """Seconds until `units`, at most `capacity`, can be taken; 0 if now."""
        wait = max(self._full_at - now, 0.0) + units * self._unit_s - _MINUTE_S
        return wait if wait > _ROUNDING_S else 0.0

    def take(self, units: int, now: float) -> None:
        """Take `units`, there or not; give them back if negative."""
        self._full_at = max(self._full_at, now) + units * self._unit_s
        self.untold += units

    def level(self, now: float) -> float:
        """The units in it; negative for debt."""
        return self.capacity - max(self._full_at - now, 0.0) / self._unit_s

    def set_level(self, level: float, now: float) -> None:
        """Go on with what all who share it have left."""
        self._full_at = now + (self.capacity - level) * self._unit_s


class Budget:
    """One key's buckets and requests under way: `in_use` are those of this process, `in_use_elsewhere` those of others
    that share the budget. `reserve` each request; `settle` once each that was reserved."""

    __slots__ = ("_requests", "_tokens", "in_use", "in_use_elsewhere", "limits")

    def __init__(self, limits: KeyLimits) -> None:
        self.limits = limits
        self._requests = Bucket(limits.requests_per_minute) if limits.requests_per_minute is not None else None
        self._tokens = Bucket(limits.tokens_per_minute) if limits.tokens_per_minute is not None else None
        self.in_use = 0
        self.in_use_elsewhere = 0

    @property
    def buckets(self) -> dict[Limit, Bucket]:
        """Those that it has."""
        kept = {Limit.REQUESTS: self._requests, Limit.TOKENS: self._tokens}
        return {limit: bucket for limit, bucket in kept.items() if bucket is not None}

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
        most = self.limits.concurrency
        if most is not None and self.in_use + self.in_use_elsewhere >= most:
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
