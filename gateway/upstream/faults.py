"""What can go wrong between us and an upstream, as one type."""

from enum import StrEnum


class FaultKind(StrEnum):
    """`CONNECT`: no connection (refused, unreachable, TLS, name). `RESET`: it died before the answer's head was whole.
    `TRUNCATED`: it died inside the body. `INVALID`: what came is not HTTP, or more than we accept. `TIMEOUT`: a
    deadline passed. `BUSY`: it was not asked, for too many calls to it are under way or waiting."""

    CONNECT = "connect"
    RESET = "reset"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    TIMEOUT = "timeout"
    BUSY = "busy"


class UpstreamFault(Exception):
    """A call that got no whole answer. `detail` is for people and holds no request content."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(f"{kind.value}: {detail}")
        self.kind = kind
        self.detail = detail
