"""Which of several servers of the same model gets the next request.

Power of two choices: of two drawn at random, the one with fewer requests in flight. It spreads load almost as evenly as
the least loaded of all would, and unlike that does not send everyone to the same one when many gateways choose at once.

Three things come before load:

- A server whose breaker is open is not used at all, and one that fails its health checks only when nothing better is
  left: a check that is late says less than a user who is waiting.
- One that just failed is avoided for a moment, longer with every failure in a row. A dead server fails at once, has
  nothing in flight, and would by load alone attract everybody.
- One that comes back takes its full share only after `RETURN_S`: its caches are cold, and what took it down may be
  load.

With an affinity (a hash of how a conversation begins) the same server is chosen again, whose prefix cache has that
beginning, unless it has far more to do than the least loaded. Rendezvous hashing: when a server leaves, only its own
conversations move, and every gateway agrees without talking.

`now` is on any clock that does not go back, in seconds.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol, TypeVar

RETURN_S = 10.0
RETURN_WEIGHT = 0.1  # at the beginning of that
_MOST_DOUBLINGS = 3
_AFFINITY_FACTOR, _AFFINITY_SPARE = 2.0, 4.0  # how much more than the least loaded a preferred server may have to do
_WORD = (1 << 64) - 1


class Candidate(Protocol):
    """A server. `shunned_until`: it failed just now. `returned_at`: when it last came back, -inf if it never was away.
    `salt` is its own in rendezvous hashing."""

    @property
    def in_flight(self) -> int: ...
    @property
    def usable(self) -> bool: ...
    @property
    def well(self) -> bool: ...
    @property
    def shunned_until(self) -> float: ...
    @property
    def returned_at(self) -> float: ...
    @property
    def salt(self) -> int: ...


C = TypeVar("C", bound=Candidate)


def best(candidates: Sequence[C], now: float) -> tuple[list[C], float]:
    """Those to choose among, and until when that stands if none of them changes: no other is as good as they are.

    Empty if none is usable.
    """
    usable = [one for one in candidates if one.usable]
    if not usable:
        return [], float("inf")
    ranks = [(not one.well, one.shunned_until > now) for one in usable]
    least = min(ranks)
    until = min((one.shunned_until for one in usable if one.shunned_until > now), default=float("inf"))
    return [one for one, rank in zip(usable, ranks, strict=True) if rank == least], until


def choose(among: Sequence[C], now: float, random: Callable[[], float]) -> C:
    """The less loaded of two at random. `random` gives numbers in [0, 1); `among` is not empty."""
    count = len(among)
    if count == 1:
        return among[0]
    first = int(random() * count)
    second = int(random() * (count - 1))
    one, other = among[first], among[second + 1 if second >= first else second]
    return one if _load(one, now) <= _load(other, now) else other


def choose_near(among: Sequence[C], now: float, affinity: int) -> C:
    """The one that `affinity` belongs to; the next in its order if that has too much to do. `among` is not empty."""
    first, highest = among[0], -1
    for one in among:
        score = _mix(affinity ^ one.salt)
        if score > highest:
            first, highest = one, score
    load = _load(first, now)
    if load <= _AFFINITY_FACTOR + _AFFINITY_SPARE:  # nobody's load is below 1
        return first
    most = _AFFINITY_FACTOR * min(_load(one, now) for one in among) + _AFFINITY_SPARE
    if load <= most:
        return first
    return max((one for one in among if _load(one, now) <= most), key=lambda one: _mix(affinity ^ one.salt))


def salt_of(name: str) -> int:
    """The same for a server wherever and in whatever order it is listed."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


def shun_s(failures: int) -> float:
    """How long a server is avoided after so many failures in a row: 1, 2, 4, then 8 s."""
    return 2.0 ** min(failures - 1, _MOST_DOUBLINGS)


def weight(returned_at: float, now: float) -> float:
    """The share of its full load that a server takes that came back at `returned_at`."""
    back_s = now - returned_at
    return 1.0 if back_s >= RETURN_S else RETURN_WEIGHT + (1 - RETURN_WEIGHT) * max(back_s, 0.0) / RETURN_S


def _load(one: Candidate, now: float) -> float:
    """What it would have to do with one request more, for its weight: 1 or more."""
    returned_at = one.returned_at
    if now - returned_at >= RETURN_S:
        return one.in_flight + 1
    return (one.in_flight + 1) / weight(returned_at, now)


def _mix(word: int) -> int:
    """A 64-bit hash of a word, whose high bits hang on all of the word's (from the finalizer of splitmix64)."""
    word = (word * 0xBF58476D1CE4E5B9) & _WORD
    return ((word ^ (word >> 32)) * 0x94D049BB133111EB) & _WORD
