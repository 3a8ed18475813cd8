"""What a worker serves from: the config's parts in the form the hot path needs them."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from gateway.config import Config
from gateway.face.openai import ENDPOINTS
from gateway.telemetry.metrics import Metrics
from gateway.upstream.pool import Address, Pool
from router_policies.prices import Price
from router_policies.routes import Routes


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
            _digest(key.key.get_secret_value()): Identity(key.name, key.tenant, key.role == "admin")
            for key in config.keys
        }
        self.open = config.open

    def find(self, key: str) -> Identity | None:
        return self._by_digest.get(_digest(key))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


class Upstream:
    """A model server: its pool, its price, and the heads of requests to it, up to what differs between requests."""

    def __init__(self, name: str, config: Config) -> None:
        settings = config.upstreams[name]
        self.name = name
        self.model = settings.model
        self.price: Price = settings.price.price()
        self.pool = Pool(Address.parse(settings.base_url))
        address = self.pool.address
        fixed = f"host: {address.host_header}\r\ncontent-type: application/json\r\naccept: */*\r\n"
        if settings.api_key is not None:
            fixed += f"authorization: Bearer {settings.api_key.get_secret_value()}\r\n"
        self._fixed = fixed.encode()
        self._targets = {
            endpoint.path: f"POST {address.base_path}{endpoint.path.removeprefix('/v1')}".encode()
            for endpoint in ENDPOINTS.values()
        }

    def head(self, path: str, query: bytes) -> bytes:
        """Request line and fixed headers of a call to the endpoint at `path`; more headers and an empty line follow."""
        return b"%b%b HTTP/1.1\r\n%b" % (self._targets[path], query, self._fixed)


class InFlight(Protocol):
    """A request being served, as the worker sees it at shutdown."""

    def shut_down(self) -> None: ...


@dataclass(slots=True)
class Gateway:
    """One worker's state. `routes` is replaced whole by the control plane; everything else is fixed at start."""

    config: Config
    routes: Routes
    keys: Keys
    upstreams: dict[str, Upstream]
    metrics: Metrics
    in_flight: set[InFlight] = field(default_factory=set)
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

    def show_load(self) -> None:
        pools = {name: upstream.pool for name, upstream in self.upstreams.items()}
        self.metrics.show_load(len(self.in_flight), pools)

    async def close(self) -> None:
        for relay in list(self.in_flight):
            relay.shut_down()
        for upstream in self.upstreams.values():
            await upstream.pool.close()
