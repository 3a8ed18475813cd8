"""The way to the one Redis server that holds everything, and what is said when there is none.

All keys have one hash tag, so even of a cluster only one node is ever spoken to. Finding it is all that the three kinds
of URL differ in: it is named; or sentinels name it; or any node of a cluster does, in answer to a read of a key. It is
looked for anew when a connection breaks and when a server says that it may not write, or not this (READONLY, MOVED).

Nothing waits for long: each read and each connect has its time, an operation is tried again once, and only if there is
time left. So it ends within some two seconds, however Redis fails.
"""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from gateway.stores.protocols import StoreError
from gateway.stores.redis_scripts import MIGRATE, MIGRATIONS
from gateway.stores.url import RedisUrl

CONNECT_S = 0.5
READ_S = 1.0
AGAIN_S = 0.7  # after that, nothing is begun again
_PAUSE_S = 0.05
_ASK_CONNECT_S, _ASK_READ_S = 0.3, 0.5  # of sentinels and cluster nodes: there are others

Client = Any  # redis.Redis, whose methods are typed as if they might be coroutines too
_Sentinel: Any = Sentinel  # which has no types
T = TypeVar("T")


class Link:
    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._client: Client | None = None
        self.schema_key = f"{{{url.prefix}}}:schema"
        self.name = f"redis {','.join(f'{host}:{port}' for host, port in url.hosts)}"
        if url.service:
            self.name += f" ({url.service})"

    def run(self, do: Callable[[Client], T]) -> T:
        """What `do` returns, which may be done twice. Raises `StoreError`."""
        began = monotonic()
        tried = False
        while True:
            try:
                return do(self.client())
            except (RedisError, OSError) as error:
                self.forget_if_lost(error)
                if not is_lost(error) or tried or monotonic() - began > AGAIN_S:
                    raise StoreError(self.plain(error)) from error
            tried = True
            sleep(_PAUSE_S)  # a server that refuses does so at once, and would be asked a thousand times

    def client(self) -> Client:
        """A client of the server that may write, whose schema is this version's. Raises `RedisError`, `OSError`,
        `StoreError`.

        Several threads may look for the server at once, so that none waits for another's time to pass.
        """
        client = self._client
        if client is None:
            client = self.new_client(READ_S)
            self._migrate(client)
            self._client = client
        return client

    def new_client(self, read_s: float) -> Client:
        host, port = self._find()
        return redis.Redis(host, port, db=self._url.db, **self._login(), **self._options(CONNECT_S, read_s))

    def forget_if_lost(self, error: Exception) -> None:
        """Its connections close when the last thread that uses one lets go of it."""
        if is_lost(error):
            self._client = None

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def plain(self, error: Exception) -> str:
        """What is wrong, and what to do about it."""
        for kinds, text in _SAID:
            if isinstance(error, kinds):
                return f"{self.name}: {text} ({error})"
        if isinstance(error, StoreError):
            return str(error)
        if str(error).startswith("MISCONF"):
            return f"{self.name}: it cannot write to its disk, so nothing was written ({error})"
        return f"{self.name}: {error}"

    def _find(self) -> tuple[str, int]:
        if self._url.kind == "sentinel":
            return self._ask_sentinels()
        if self._url.kind == "cluster":
            return self._ask_cluster()
        return self._url.hosts[0]

    def _ask_sentinels(self) -> tuple[str, int]:
        asking = self._options(_ASK_CONNECT_S, _ASK_READ_S)
        if self._url.sentinel_password is not None:
            asking["password"] = self._url.sentinel_password
        sentinel = _Sentinel(self._url.hosts, sentinel_kwargs=asking)
        try:
            host, port = sentinel.discover_master(self._url.service)
        finally:
            sentinel.close()
        return host, port

    def _ask_cluster(self) -> tuple[str, int]:
        """A node that has not got a key says who has: `MOVED 3999 127.0.0.1:6381`. Raises what the last one did."""
        failed: Exception = StoreError(f"{self.name}: no node")
        for host, port in self._url.hosts:
            options = self._options(_ASK_CONNECT_S, _ASK_READ_S)
            node: Client = redis.Redis(host, port, **self._login(), **options)
            try:
                node.get(self.schema_key)
            except MovedError as moved:
                return moved.host or host, moved.port
            except (RedisError, OSError) as error:
                failed = error
            else:
                return host, port
            finally:
                node.close()
        raise failed

    def _login(self) -> dict[str, Any]:
        return {"username": self._url.username, "password": self._url.password}

    def _options(self, connect_s: float, read_s: float) -> dict[str, Any]:
        options: dict[str, Any] = {
            "socket_connect_timeout": connect_s,
            "socket_timeout": read_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,
            "decode_responses": True,
        }
        if self._url.tls:
            options |= {"ssl": True, "ssl_ca_certs": self._url.ca_file}
        return options

    def _migrate(self, client: Client) -> None:
        done = int(client.get(self.schema_key) or 0)
        if done > len(MIGRATIONS):
            raise StoreError(f"{self.name}: made by a newer Understudy (schema {done}); use that version")
        for number, body in enumerate(MIGRATIONS[done:], start=done):
            client.eval(MIGRATE.format(body), 1, self.schema_key, number)


def is_lost(error: Exception) -> bool:
    """Whether another connection, perhaps to another server, may do better."""
    if isinstance(error, AuthenticationError | BusyLoadingError):
        return False
    lost = (redis.ConnectionError, redis.TimeoutError, ReadOnlyError, MovedError, ClusterDownError, OSError)
    return isinstance(error, lost)


_SAID: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((AuthenticationError, NoPermissionError), "it does not let the gateway in: check user and password in the URL"),
    ((BusyLoadingError,), "it is starting and still reads its data; this ends by itself"),
    ((OutOfMemoryError,), "it is out of memory, so nothing was written: raise maxmemory or free some"),
    ((ReadOnlyError,), "it is a replica and takes no changes: is a failover under way?"),
    ((AskError, TryAgainError), "the cluster is moving the gateway's keys to another node; this ends by itself"),
    ((ClusterDownError,), "the cluster does not serve now"),
    ((MasterNotFoundError,), "no sentinel names a primary: is a failover under way?"),
    ((redis.TimeoutError,), "it did not answer in time"),
    ((redis.ConnectionError, OSError), "it cannot be reached"),
)
