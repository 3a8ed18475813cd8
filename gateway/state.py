"""What a worker serves from: the config's parts in the form the hot path needs them."""

from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Protocol

from gateway.config import Config
from gateway.face.openai import ENDPOINTS
from gateway.telemetry.metrics import Metrics
from gateway.upstream.pool import Address, Pool
from router_policies.prices import Price
from router_policies.routes import Routes

TICK_S = 0.05  # how late a deadline may be noticed
CLIENT_IDLE_S = 75.0  # longer than the 60 s for which load balancers keep an idle connection


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from. With no keys configured everyone is `ANYONE`."""

    name: str
    tenant: str
    admin: bool


ANYONE = Identity("", "", admin=True)


class Keys:
    """API keys, held as SHA-256 digests. Looking up a digest tells a guesser nothing by its timing."""

    def __init__(self, config: Config) -> None:
        self._by_digest = {
            sha256(key.key.get_secret_value().encode()).digest(): Identity(key.name, key.tenant, key.role == "admin")
            for key in config.keys
        }
        self.open = config.open

    def find(self, key: bytes) -> Identity | None:
        return self._by_digest.get(sha256(key).digest())


class Upstream:
    """A model server: its pool, its price, and the heads of requests to it, up to what differs between requests."""

    def __init__(self, name: str, config: Config) -> None:
        settings = config.upstreams[name]
        self.name = name
        self.model = settings.model
        self.price: Price = settings.price.price()
        self.pool = Pool(Address.parse(settings.base_url))
        address = self.pool.address
        fixed = f" HTTP/1.1\r\nhost: {address.host_header}\r\ncontent-type: application/json\r\naccept: */*\r\n"
        if settings.api_key is not None:
            fixed += f"authorization: Bearer {settings.api_key.get_secret_value()}\r\n"
        self._fixed = fixed.encode()
        self._targets = {
            endpoint.path: f"POST {address.base_path}{endpoint.path.removeprefix('/v1')}".encode()
            for endpoint in ENDPOINTS.values()
        }
        self._shown = config.routing_headers
        self._routing: dict[str, bytes] = {}

    def head(self, path: str, query: bytes) -> bytes:
        """Request line and fixed headers of a call to the endpoint at `path`; more headers and an empty line follow."""
        return b"%b%b%b" % (self._targets[path], query, self._fixed)

    def routing_headers(self, reason: str) -> bytes:
        """What an answer says of who served it, and why; reasons are a closed set."""
        lines = self._routing.get(reason)
        if lines is None:
            lines = b""
            if self._shown:
                lines = f"x-understudy-upstream: {self.name}\r\nx-understudy-reason: {reason}\r\n".encode()
            self._routing[reason] = lines
        return lines


class InFlight(Protocol):
    """A request being served. `due_at` is when the next of its deadlines passes, monotonic seconds."""

    due_at: float

    def deadline(self, now: float) -> None: ...
    def shut_down(self) -> None: ...


class ClientConnection(Protocol):
    """A client's connection. `waiting_since` is when it began to wait for a request, None while one is served."""

    waiting_since: float | None

    def close_idle(self) -> None: ...


@dataclass(slots=True)
class Gateway:
    """One worker's state. `routes` is replaced whole by the control plane; everything else is fixed at start."""

    config: Config
    routes: Routes
    keys: Keys
    upstreams: dict[str, Upstream]
    metrics: Metrics
    in_flight: set[InFlight] = field(default_factory=set)
    clients: set[ClientConnection] = field(default_factory=set)
    default_headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # uvicorn's, and `default_lines` of them
    default_lines: bytes = b""
    ready: bool = False
    draining: bool = False

    @classmethod
    def build(cls, config: Config) -> "Gateway":
        upstreams = {name: Upstream(name, config) for name in config.upstreams}
        return cls(config, config.build_routes(), Keys(config), upstreams, Metrics())

    def apply(self, routes: Routes) -> None:
        """Serve new requests by `routes`. Those under way keep the snapshot they began with."""
        self.routes = routes
        self.metrics.show_routes(routes)

    async def tick(self) -> None:
        """What is looked at every `TICK_S`, since a timer per request costs more than all of this: deadlines."""
        now = monotonic()
        for relay in [relay for relay in self.in_flight if relay.due_at <= now]:
            relay.deadline(now)
        self.metrics.flush()

    async def keep_house(self) -> None:
        """What is done about once a second: close idle connections on both sides, show what is under way."""
        silent_since = monotonic() - CLIENT_IDLE_S
        for client in [client for client in self.clients if (client.waiting_since or silent_since) < silent_since]:
            client.close_idle()
        for upstream in self.upstreams.values():
            upstream.pool.sweep()
        pools = {name: upstream.pool for name, upstream in self.upstreams.items()}
        self.metrics.show_load(len(self.in_flight), pools)

    async def close(self) -> None:
        for relay in list(self.in_flight):
            relay.shut_down()
        for upstream in self.upstreams.values():
            await upstream.pool.close()
        self.metrics.flush()
