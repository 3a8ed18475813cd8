"""Routes: what apps may ask for, as one immutable snapshot.

A request reads one `Routes` from start to end. A config change builds a new snapshot and swaps it in whole, so no
request sees half of one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

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

    `connect_s`: TCP and TLS to the upstream. `ttft_s`: from the request's last byte to the first token of a stream.
    `stall_s`: between two reads of a stream after that. `total_s`: to the last byte, streaming or not.
    """

    connect_s: float = 2.0
    ttft_s: float = 20.0
    stall_s: float = 20.0
    total_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name: its two upstreams (by name), its split and its deadlines.

    `student_percent` is in [0, 100]. `sticky` lists key sources, the first present wins: `header:NAME`, `user`, `key`.
    `version` counts the live changes made to the route; 0 is the config file as it stands.
    """

    name: str
    teacher: str
    student: str
    student_percent: float = 0.0
    sticky: tuple[str, ...] = ("header:x-session-id", "user", "key")
    deadlines: Deadlines = field(default_factory=Deadlines)
    version: int = 0

    def __post_init__(self) -> None:
        if not valid_name(self.name):
            raise ValueError(f"route name: expected {_NAME.pattern}, got {self.name!r}")
        if not 0 <= self.student_percent <= 100:
            raise ValueError(f"student_percent: expected a number from 0 to 100, got {self.student_percent}")


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes by name."""

    by_name: Mapping[str, Route]

    @classmethod
    def of(cls, *routes: Route) -> "Routes":
        return cls(MappingProxyType({route.name: route for route in routes}))
