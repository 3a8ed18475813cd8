"""The record of a finished request: everything that later stages need of it."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from router_policies.attempts import Kind
from router_policies.decide import Decision
from router_policies.prices import Usage
from router_policies.risk.deferral import Deferred
from router_policies.routes import Role


class Outcome(StrEnum):
    """How a request ended.

    `CLIENT_ERROR`, `UPSTREAM_ERROR`: the upstream answered 4xx, or 5xx or an error inside its stream. `CONNECT_ERROR`:
    it could not be reached. `TIMEOUT`: a deadline passed. `TRUNCATED`: it broke off. `INVALID`: what it sent was not
    acceptable. `UNAVAILABLE`: no upstream could be asked, for limits or open breakers. `CANCELLED`: the client left;
    of a leg: or another was served. `SHUTDOWN`: the grace period ended first.
    """

    OK = "ok"
    CLIENT_ERROR = "client_error"
    UPSTREAM_ERROR = "upstream_error"
    CONNECT_ERROR = "connect_error"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"


class LostLeg(msgspec.Struct, frozen=True):
    """A call that is no part of the answer, or only of its beginning: it failed, broke off, or lost a race."""

    upstream: str
    role: Role
    kind: Kind
    outcome: Outcome
    usage: Usage
    estimated: bool
    cost_nano_usd: int


class Exchange(msgspec.Struct, frozen=True):
    """`upstream`, `role`, `kind` and `reason` tell who answered in the end, and why; `decision` who was meant to.
    `status` is what the client was answered with, 0 if it left before that.

    Times are seconds from the request's last byte in, monotonic. `ttft_s` is None when no token was relayed; without
    streaming it is the time of the whole answer. `overhead_s` is the part of the time that was the gateway's own.
    `estimated`: the upstream reported no usage, `usage` is a guess. `usage` and cost are of the call that answered;
    those of others are in `lost`. `sure`: the confidence of the student's answer, where it was looked at, and
    `deferral` what became of that answer.
    """

    request_id: str
    endpoint: str
    tenant: str
    key_name: str
    decision: Decision
    upstream: str
    role: Role
    kind: Kind
    reason: str
    stream: bool
    status: int
    outcome: Outcome
    ttft_s: float | None
    ttlt_s: float
    overhead_s: float
    usage: Usage
    estimated: bool
    cost_nano_usd: int
    lost: tuple[LostLeg, ...] = ()
    sure: float | None = None
    deferral: Deferred | None = None


@dataclass(frozen=True, slots=True)
class Withheld:
    """A student's answer that nobody got. `answer`: None if it was a stream and had not ended. `after_s`: from the
    request's last byte until it was taken back."""

    answer: bytes | None
    usage: Usage
    estimated: bool
    cost_nano_usd: int
    after_s: float
