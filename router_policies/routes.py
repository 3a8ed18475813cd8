"""Routes: what apps may ask for, as one immutable snapshot.

A request reads one `Routes` from start to end. A config change builds a new snapshot and swaps it in whole, so no
request sees half of one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from router_policies.failures import FailureKind
from router_policies.verify import Verify

if TYPE_CHECKING:
    from router_policies.capture import Capture
    from router_policies.risk.deferral import Deferral
    from router_policies.risk.judged import RouteRisk
    from router_policies.shadow import Shadow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


class Role(StrEnum):
    """The part an upstream plays on a route."""

    STUDENT = "student"
    TEACHER = "teacher"


def valid_name(name: str) -> bool:
    """Whether `name` may name a route or an upstream: it goes into headers, labels and hashes, so it is kept plain."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a request may wait, in seconds, for each thing it waits for.

    `connect_s`: TCP and TLS to the upstream. `ttft_s`: to the first token of a stream, from when an upstream is turned
    to; each that is asked in turn gets as long. `stall_s`: between two events of a stream after that. `answer_s`: to
    the whole answer without streaming, while another upstream could still be asked. `total_s`: to the last byte,
    streaming or not, whoever was asked.
    """

    connect_s: float = 2.0
    ttft_s: float = 20.0
    stall_s: float = 20.0
    answer_s: float = 120.0
    total_s: float = 300.0


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An upstream by its name, in its role on a route."""

    upstream: str
    role: Role


class MidStream(StrEnum):
    """What is done about a stream that breaks after part of it was sent: another upstream continues it, or the client
    is told (`ERROR`). `HOLD` holds back the first tokens, within which a failure stays invisible."""

    CONTINUE = "continue"
    ERROR = "error"
    HOLD = "hold"


DEFAULT_ON = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.HTTP_429,
        FailureKind.HTTP_5XX,
        FailureKind.HTTP_401,
        FailureKind.INVALID_STREAM,
        FailureKind.CONTEXT_LENGTH,
    }
)


@dataclass(frozen=True, slots=True)
class Fallback:
    """What a route does about failures.

    `order`: who is asked after the primary, each a role or an upstream's name. `retries`: further tries of the same
    upstream, for what may pass (connect, 5xx, 429). `on`: the failures for which the next one is asked; an open breaker
    always is one. `hold`: tokens held back, with `MidStream.HOLD`. `hedge_after_s`: seconds without a first token after
    which the next upstream is asked too; `hedge_p95`: as long as the primary's p95. `verify`: what whole answers are
    checked for before they are served, None for nothing; with `serve_unverified` an answer that fails the check is
    still served if nobody gives a better one.
    """

    order: tuple[str, ...] = (Role.TEACHER.value,)
    retries: int = 1
    on: frozenset[FailureKind] = DEFAULT_ON
    mid_stream: MidStream = MidStream.CONTINUE
    hold: int = 0
    hedge_after_s: float | None = None
    hedge_p95: bool = False
    verify: Verify | None = field(default_factory=Verify)
    serve_unverified: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name: its two upstreams (by name), its split, its deadlines and what it does about failures.

    `student_percent` is in [0, 100]. `sticky` lists key sources, the first present wins: `header:NAME`, `user`, `key`;
    another `salt` draws all sessions anew. `force` is the kill switch: that role answers, whatever else is set.
    `risk`: None where no request's risk is looked at; `deferral`: None where nobody asks how sure the student was.
    `version` counts the live changes made to the route; 0 is the config file as it stands. `plans` has who is asked, in
    order, when a role is the primary; `careful` when it is the teacher because of a request's risk: last the student,
    where it may stand in for the teacher, else never.
    """

    name: str
    teacher: str
    student: str
    student_percent: float = 0.0
    sticky: tuple[str, ...] = ("header:x-session-id", "user", "key")
    salt: str = ""
    force: Role | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
    fallback: Fallback = field(default_factory=Fallback)
    shadow: "Shadow | None" = None
    capture: "Capture | None" = None
    risk: "RouteRisk | None" = None
    deferral: "Deferral | None" = None
    version: int = 0
    plans: Mapping[Role, tuple[Candidate, ...]] = field(init=False, compare=False, repr=False)
    careful: tuple[Candidate, ...] = field(init=False, compare=False, repr=False)
    drawn_as: str = field(init=False, compare=False, repr=False)  # what its sessions' points are drawn for

    def __post_init__(self) -> None:
        if not valid_name(self.name):
            raise ValueError(f"route name: expected {_NAME.pattern}, got {self.name!r}")
        if not 0 <= self.student_percent <= 100:
            raise ValueError(f"student_percent: expected a number from 0 to 100, got {self.student_percent}")
        object.__setattr__(self, "drawn_as", f"{self.name}#{self.salt}" if self.salt else self.name)
        object.__setattr__(self, "plans", {role: tuple(self._plan(role)) for role in Role})
        object.__setattr__(self, "careful", tuple(self._careful()))

    def upstream(self, role: Role) -> str:
        return self.student if role is Role.STUDENT else self.teacher

    def _plan(self, primary: Role) -> list[Candidate]:
        upstreams: dict[str, str] = {Role.STUDENT: self.student, Role.TEACHER: self.teacher}
        plan = [Candidate(self.upstream(primary), primary)]
        for entry in self.fallback.order:
            name = upstreams.get(entry, entry)
            if all(name != candidate.upstream for candidate in plan):
                plan.append(Candidate(name, Role.STUDENT if name == self.student else Role.TEACHER))
        return plan

    def _careful(self) -> list[Candidate]:
        others = [candidate for candidate in self.plans[Role.TEACHER] if candidate.role is not Role.STUDENT]
        stands_in = self.risk is not None and self.risk.student_may_stand_in and self.student != self.teacher
        return [*others, Candidate(self.student, Role.STUDENT)] if stands_in else others


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes by name. `force` is the kill switch of them all: stronger than that of a route."""

    by_name: Mapping[str, Route]
    force: Role | None = None

    @classmethod
    def of(cls, *routes: Route, force: Role | None = None) -> "Routes":
        return cls(MappingProxyType({route.name: route for route in routes}), force)
