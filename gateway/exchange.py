"""The record of a finished request: everything that later stages need of it."""

from enum import StrEnum

import msgspec

from router_policies.decide import Decision
from router_policies.prices import Usage


class Outcome(StrEnum):
    """How a request ended.

    `CLIENT_ERROR`, `UPSTREAM_ERROR`: the upstream answered 4xx, or 5xx or an error inside its stream. `CONNECT_ERROR`:
    it could not be reached. `TIMEOUT`: a deadline passed. `TRUNCATED`: it broke off. `INVALID`: what it sent was not
    acceptable. `CANCELLED`: the client left. `SHUTDOWN`: the grace period ended first.
    """

    OK = "ok"
    CLIENT_ERROR = "client_error"
    UPSTREAM_ERROR = "upstream_error"
    CONNECT_ERROR = "connect_error"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"


class Exchange(msgspec.Struct, frozen=True):
    """`status` is what the client was answered with, 0 if it left before that.

    Times are seconds from the request's last byte in, monotonic. `ttft_s` is None when no token was relayed; without
    streaming it is the time of the whole answer. `overhead_s` is the part of the time that was the gateway's own.
    `estimated`: the upstream reported no usage, `usage` is a guess.
    """

    request_id: str
    endpoint: str
    tenant: str
    key_name: str
    decision: Decision
    stream: bool
    status: int
    outcome: Outcome
    ttft_s: float | None
    ttlt_s: float
    overhead_s: float
    usage: Usage
    estimated: bool
    cost_nano_usd: int
