"""One request's attempts: which upstream is asked, when, and whose answer is served.

Events in, commands out; no clock, no I/O: whoever carries the commands out says what time it is. So that a request
ends, every path uses something up: a candidate is asked once, and again only while it has retries left.

- Before an answer is served a failure is invisible to the client: the same upstream is tried again where that can
  help, then the next one is asked. With `hedge_after_s` the next one is asked early, and the first good answer wins.
- Once part of an answer has gone out, another upstream can only continue it (`mid_stream`).
- A good answer may be kept in reserve while the teacher is asked for a better one (`deferred`). That one is served, or
  else, whatever goes wrong, the one in reserve: there is no retry, and nobody else is asked.
- What the request itself is to blame for is passed on: asking elsewhere would change the answer, not mend it.

    attempts = Attempts(candidates, fallback, ...)
    attempts.start(now)                    -> [Ask(0, small, PRIMARY)]
    attempts.failed(0, Failure(TIMEOUT))   -> [Ask(1, big, FALLBACK)]
    attempts.good(1)                       -> []           # leg 1 is served from here on
    attempts.failed(1, Failure(CONNECT))   -> [BreakOff()]  # nobody is left to continue it
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from router_policies.capabilities import Capabilities
from router_policies.failures import DECISIVE, NOT_ASKED, Failure, FailureKind
from router_policies.routes import Candidate, Fallback, MidStream

BACKOFF_S = 0.2  # before the first retry, times 0.5 to 1.5; doubled for each further one
LONGEST_RETRY_AFTER_S = 5.0  # a longer wait is not worth it while another upstream may answer
_RETRIED = frozenset({FailureKind.CONNECT, FailureKind.HTTP_5XX, FailureKind.HTTP_429})


class Kind(StrEnum):
    """What a leg is asked for. `RESCUE`: to go on with an answer that broke. `DEFERRAL`: for a better answer than one
    that is kept in reserve."""

    PRIMARY = "primary"
    FALLBACK = "fallback"
    HEDGE = "hedge"
    RESCUE = "rescue"
    DEFERRAL = "deferral"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of whoever answers it. `tokens`: a low estimate of its prompt's length."""

    tokens: int = 0
    tools: bool = False
    vision: bool = False


def able(upstream: Capabilities, needs: Needs) -> bool:
    """Whether it is worth asking an upstream: False only if it is known that it cannot."""
    fits = upstream.context_tokens is None or needs.tokens < upstream.context_tokens
    return fits and (upstream.tools or not needs.tools) and (upstream.vision or not needs.vision)


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Call an upstream, as leg number `leg`. `since`: when its time to the first token began; a retry gets none anew.
    `because`: the failure that led here, None for the primary and a hedge."""

    leg: int
    candidate: Candidate
    kind: Kind
    since: float
    because: FailureKind | None = None


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Close a leg that lost."""

    leg: int


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """Answer with the failure of leg `leg`: nothing has been sent, and there is nobody left to ask."""

    leg: int


class Serve(msgspec.Struct, frozen=True, gc=False):
    """Serve leg `leg`, whose answer was kept in reserve: nobody has a better one."""

    leg: int


class BreakOff(msgspec.Struct, frozen=True, gc=False):
    """Tell the client, inside the stream, that it will not get the rest."""


Command = Ask | Cancel | GiveUp | Serve | BreakOff
_NOTHING: tuple[Command, ...] = ()
_NEVER = float("inf")


class Attempts:
    """Mutable state: the open legs, who is served, who is next, and what is waited for.

    `capabilities(candidate)` and `needs()` are asked only when another upstream is looked for. `draw()` gives numbers
    in [0, 1) for the jitter. `ttft_s` bounds each candidate's wait, back-off included. `due_at` is when `due` wants to
    be called, monotonic seconds.
    """

    __slots__ = (
        "_asked",
        "_asked_already",
        "_blamed",
        "_candidates",
        "_capabilities",
        "_draw",
        "_fallback",
        "_hedge_at",
        "_legs",
        "_needs",
        "_next_at",
        "_open",
        "_reserve",
        "_retries",
        "_retry",
        "_retry_at",
        "_ttft_s",
        "_unverified",
        "serving",
    )

    def __init__(
        self,
        candidates: tuple[Candidate, ...],
        fallback: Fallback,
        *,
        ttft_s: float,
        capabilities: Callable[[Candidate], Capabilities],
        needs: Callable[[], Needs],
        draw: Callable[[], float],
    ) -> None:
        self._candidates = candidates
        self._next_at = 0  # the first that has not been asked nor passed over
        self._fallback = fallback
        self._ttft_s = ttft_s
        self._capabilities = capabilities
        self._needs = needs
        self._draw = draw
        self._open: dict[int, Ask] = {}
        self._legs = 0
        self._retries: dict[Candidate, int] = {}
        self._retry: Ask | None = None
        self._retry_at = _NEVER
        self._hedge_at = _NEVER
        self._asked = -1  # the last leg that failed after it was really asked
        self._unverified = -1  # the last leg whose whole answer failed the check: better than none
        self._blamed: Candidate | None = None  # whose context was too short
        self._reserve = -1  # the leg whose answer is kept
        self._asked_already: Candidate | None = None  # out of its turn, for a better answer
        self.serving: int | None = None

    @property
    def due_at(self) -> float:
        return min(self._retry_at, self._hedge_at)

    @property
    def another(self) -> bool:
        """Whether somebody else could still be asked, or has answered: then nobody is waited for to the end."""
        return self._next_at < len(self._candidates) or self._reserve >= 0

    @property
    def in_reserve(self) -> bool:
        """Whether there is an answer that could be served."""
        return self._reserve >= 0

    def start(self, now: float, hedge_after_s: float | None = None) -> tuple[Command, ...]:
        """Ask the primary; and the next one too if no answer has begun after `hedge_after_s`."""
        if hedge_after_s is not None:
            self._hedge_at = now + hedge_after_s
        self._next_at = 1
        return (self._ask(self._candidates[0], Kind.PRIMARY, now, None),)

    def good(self, leg: int) -> tuple[Command, ...]:
        """A leg has its first token, or its whole answer: it is the one that is served."""
        self.serving = leg
        self._reserve = -1
        self._retry = None
        self._retry_at = self._hedge_at = _NEVER
        if len(self._open) == 1:
            return _NOTHING
        lost = tuple(Cancel(other) for other in self._open if other != leg)
        self._open = {leg: self._open[leg]}
        return lost

    def deferred(self, leg: int, teacher: Candidate, now: float) -> tuple[Command, ...]:
        """A leg's answer is good, but the teacher's may be better: it is asked, if it is not already."""
        self._reserve = leg
        self._retry, self._retry_at, self._hedge_at = None, _NEVER, _NEVER
        self._asked_already = teacher
        if any(ask.candidate == teacher for ask in self._open.values()):
            return _NOTHING
        return (self._ask(teacher, Kind.DEFERRAL, now, None),)

    def settle(self) -> tuple[Command, ...]:
        """Serve what is in reserve: nothing better is waited for any longer."""
        leg = self._reserve
        return (*self.good(leg), Serve(leg))

    def due(self, now: float) -> tuple[Command, ...]:
        """`due_at` has passed: a back-off is over, or a hedge is due."""
        commands: tuple[Command, ...] = _NOTHING
        if now >= self._retry_at and self._retry is not None:
            again, self._retry, self._retry_at = self._retry, None, _NEVER
            commands = (self._ask(again.candidate, again.kind, again.since, again.because),)
        if now >= self._hedge_at:
            self._hedge_at = _NEVER
            if self._open and (candidate := self._next(None)) is not None:
                commands += (self._ask(candidate, Kind.HEDGE, now, None),)
        return commands

    def failed(self, leg: int, failure: Failure, now: float) -> tuple[Command, ...]:
        """A leg is over without a good answer, or broke off while it was served."""
        ask = self._open.pop(leg)
        if leg == self._reserve:
            self._reserve = -1
            if self._open:  # the better answer is on its way
                return _NOTHING
        elif self._reserve >= 0:
            return self.settle()
        if failure.kind not in NOT_ASKED or self._asked < 0:
            self._asked = leg
        if failure.kind is FailureKind.CONTEXT_LENGTH:
            self._blamed = ask.candidate
        elif failure.kind is FailureKind.VERIFY:
            self._unverified = leg
        if failure.kind in DECISIVE:
            return self._decided(leg)
        if self.serving is not None:
            return self._broken(ask, failure, now)
        retry_at = self._retry_time(ask, failure, now)
        if retry_at is not None:
            self._retries[ask.candidate] = self._retries.get(ask.candidate, 0) + 1
            self._retry, self._retry_at = ask, retry_at
            return _NOTHING
        if self._falls_back(failure.kind) and (candidate := self._next(failure.kind)) is not None:
            return (self._ask(candidate, Kind.FALLBACK, now, failure.kind),)
        if self._open or self._retry is not None:  # another leg is still racing
            return _NOTHING
        self._hedge_at = _NEVER
        return (GiveUp(self._unverified if self._unverified >= 0 else self._asked),)

    def _decided(self, leg: int) -> tuple[Command, ...]:
        others = tuple(Cancel(other) for other in self._open)
        self._open = {}
        self._retry, self._retry_at, self._hedge_at = None, _NEVER, _NEVER
        return (*others, BreakOff() if self.serving is not None else GiveUp(leg))

    def _broken(self, ask: Ask, failure: Failure, now: float) -> tuple[Command, ...]:
        if self._fallback.mid_stream is not MidStream.CONTINUE:
            return (BreakOff(),)
        because = failure.kind if ask.kind is not Kind.RESCUE else ask.because
        if (candidate := self._next(failure.kind)) is not None:
            return (self._ask(candidate, Kind.RESCUE, now, because),)
        used = self._retries.get(ask.candidate, 0)
        if used < self._fallback.retries and failure.kind not in (FailureKind.TIMEOUT, FailureKind.MISMATCH):
            self._retries[ask.candidate] = used + 1
            return (self._ask(ask.candidate, Kind.RESCUE, now, because),)
        return (BreakOff(),)

    def _ask(self, candidate: Candidate, kind: Kind, since: float, because: FailureKind | None) -> Ask:
        leg = self._legs
        self._legs += 1
        ask = self._open[leg] = Ask(leg, candidate, kind, since, because)
        return ask

    def _retry_time(self, ask: Ask, failure: Failure, now: float) -> float | None:
        """When to try the same upstream again; None if that would not help, or not in time."""
        used = self._retries.get(ask.candidate, 0)
        if failure.kind not in _RETRIED or failure.hopeless or used >= self._fallback.retries:
            return None
        if self._retry is not None or self._open:  # a race is on: the other leg is the second try
            return None
        wait_s = failure.retry_after_s
        if wait_s is None:
            wait_s = BACKOFF_S * 2**used * (0.5 + self._draw())
        elif wait_s > LONGEST_RETRY_AFTER_S:
            return None
        return now + wait_s if now + wait_s < ask.since + self._ttft_s else None

    def _falls_back(self, kind: FailureKind) -> bool:
        return kind in (FailureKind.BREAKER, FailureKind.VERIFY) or kind in self._fallback.on

    def _next(self, because: FailureKind | None) -> Candidate | None:
        """The next candidate that can serve this request. Those passed over are not looked at again."""
        while self._next_at < len(self._candidates):
            candidate = self._candidates[self._next_at]
            self._next_at += 1
            if candidate == self._asked_already:
                continue
            capabilities = self._capabilities(candidate)
            if not able(capabilities, self._needs()):
                continue
            if because is FailureKind.CONTEXT_LENGTH and self._blamed is not None:
                had = self._capabilities(self._blamed).context_tokens
                if None not in (had, capabilities.context_tokens) and capabilities.context_tokens <= had:  # type: ignore[operator]
                    continue
            return candidate
        return None
