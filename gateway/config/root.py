"""The whole of a config, and what clients may do."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from gateway.config.keys import KeyConfig
from gateway.config.routes import RouteConfig
from gateway.config.shadow import PairsConfig
from gateway.config.upstreams import UpstreamConfig
from gateway.config.values import Count, Model, Seconds
from gateway.stores.url import check_url
from router_policies.routes import Role, Routes


class LimitsConfig(Model):
    """What clients may do to one worker. Times are noticed within two seconds.

    `body_bytes`, `json_depth`, `messages`: of a request's body. `head_bytes`, `headers`, `target_bytes`: of its head.
    `head_s`: for a whole head, from its first byte. `body_s`: for a whole body, and a second for every 64 KiB of it.
    `reader_s`: how long a client may leave unread what it asked for. `in_flight`: requests at once, more are refused
    with 429. `connections`: clients' connections at once.
    """

    body_bytes: Count = Field(default=32 * 1024 * 1024, ge=1024)
    json_depth: Count = Field(default=64, ge=8, le=512)
    messages: Count = Field(default=4096, ge=1)
    head_bytes: Count = Field(default=64 * 1024, ge=1024, le=1024 * 1024)
    headers: Count = Field(default=128, ge=8)
    target_bytes: Count = Field(default=8192, ge=64)
    head_s: Seconds = 10.0
    body_s: Seconds = 60.0
    reader_s: Seconds = 60.0
    in_flight: Count = Field(default=4096, ge=1)
    connections: Count = Field(default=10_000, ge=1)


class Config(Model):
    """`content` is what was written, references to secrets still in place: live changes are laid over that. `file` is
    where, if in a file."""

    listen: str = "127.0.0.1:8080"
    store: str = "sqlite:///understudy.db"
    keys: list[KeyConfig] = Field(default=[])
    upstreams: dict[str, UpstreamConfig] = Field(min_length=1)
    routes: dict[str, RouteConfig] = Field(min_length=1)
    force: Literal["teacher", "student"] | None = None
    limits: LimitsConfig = LimitsConfig()
    pairs: PairsConfig = PairsConfig()
    drain_s: Seconds = 30.0
    routing_headers: bool = True
    exchange_log: Annotated[str, Field(min_length=1)] | None = None
    _content: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        split_listen(value)
        return value

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        check_url(value)
        return value

    @property
    def open(self) -> bool:
        """Whether anyone who reaches the port may use it."""
        return not self.keys

    @property
    def content(self) -> Mapping[str, Any]:
        return self._content

    @property
    def file(self) -> Path | None:
        return self._file

    def written_as(self, content: Mapping[str, Any]) -> "Config":
        self._content = content
        return self

    def written_in(self, file: Path) -> "Config":
        self._file = file
        return self

    def build_routes(self, versions: Mapping[str, int] | None = None) -> Routes:
        """The routes, with the version of each that is not the file's."""
        routes = (route.route(name, (versions or {}).get(name, 0)) for name, route in self.routes.items())
        return Routes.of(*routes, force=Role(self.force) if self.force is not None else None)


def split_listen(listen: str) -> tuple[str, int]:
    """("127.0.0.1", 8080) from "127.0.0.1:8080"; IPv6 in brackets. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or not 0 <= int(port) < 65_536:
        raise ValueError(f"expected HOST:PORT, got {listen!r}")
    return host, int(port)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
