"""Which store a URL names. What is said of a URL shows no password."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from gateway.stores.pairs import PairStore
from gateway.stores.protocols import Store, StoreError

EXPECTED = (
    "expected sqlite:///PATH (four slashes for an absolute path), redis://HOST:PORT/DB, "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or redis+cluster://HOST:PORT,HOST:PORT"
)
_REDIS = re.compile(r"(rediss?)(?:\+(sentinel|cluster))?://(.*)", re.DOTALL)
_OPTIONS = ("prefix", "ca_file", "sentinel_password")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where a Redis is. `kind`: single, sentinel or cluster. `hosts`: the server itself; or the sentinels, who know
    the primary of `service`; or some of a cluster's nodes. `prefix` tells gateways apart that share a Redis. `ca_file`:
    whom to trust about certificates, instead of those that the system trusts."""

    kind: str
    hosts: tuple[tuple[str, int], ...]
    tls: bool
    service: str
    db: int
    username: str | None
    password: str | None = field(repr=False)
    sentinel_password: str | None = field(repr=False)
    prefix: str
    ca_file: str | None


def check_url(url: str) -> None:
    """Raises `ValueError` saying what was expected."""
    if _REDIS.fullmatch(url):
        parse_redis(url)
    elif not url.startswith("sqlite:///") or url == "sqlite:///":
        raise ValueError(f"{EXPECTED}; got {shown(url)!r}")


def make_store(url: str) -> Store:
    """The store; it is not asked anything yet. Raises `ValueError` as `check_url` does, and `StoreError` if what it
    needs is not installed."""
    check_url(url)
    if not _REDIS.fullmatch(url):
        from gateway.stores.sqlite import SqliteStore

        return SqliteStore(Path(url.removeprefix("sqlite:///")))
    try:
        from gateway.stores.redis import RedisStore
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise StoreError(f"{shown(url)}: needs the Redis client: pip install 'understudy[redis]'") from None
    return RedisStore(parse_redis(url))


def make_pair_store(url: str) -> PairStore:
    """Where records of shadow mode are kept: in the same Redis, or in a file beside the store's, named NAME.pairs.
    Raises as `make_store` does."""
    check_url(url)
    if not _REDIS.fullmatch(url):
        from gateway.stores.sqlite_pairs import SqlitePairs

        path = Path(url.removeprefix("sqlite:///"))
        return SqlitePairs(path.with_name(f"{path.name}.pairs"))
    make_store(url)  # whether it can be
    from gateway.stores.redis_pairs import RedisPairs

    return RedisPairs(parse_redis(url))


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and options."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme == "sqlite":
        return url
    login, at, where = rest.rpartition("@")
    return f"{scheme}://{'***@' if at and login else ''}{where.partition('?')[0]}"


def parse_redis(url: str) -> RedisUrl:
    """The parts of a Redis URL; what is special in names and passwords is percent-encoded. Raises `ValueError`."""
    match = _REDIS.fullmatch(url)
    if match is None:
        raise ValueError(f"{EXPECTED}; got {shown(url)!r}")
    kind, rest = match[2] or "single", match[3]
    login, _, where = rest.rpartition("@")
    username, _, password = login.partition(":")
    where, _, query = where.partition("?")
    addresses, _, path = where.partition("/")
    hosts = tuple(_host(part, url, 26379 if kind == "sentinel" else 6379) for part in addresses.split(","))
    if kind == "single" and len(hosts) > 1:
        raise ValueError(f"expected one HOST:PORT, or redis+sentinel:// or redis+cluster://; got {shown(url)!r}")
    service, db = _path(kind, path, url)
    options = _options(query)
    return RedisUrl(
        kind=kind,
        hosts=hosts,
        tls=match[1] == "rediss",
        service=service,
        db=db,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_password=options.get("sentinel_password"),
        prefix=options.get("prefix", "understudy"),
        ca_file=options.get("ca_file"),
    )


def _host(text: str, url: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/]+)(?::(\d{1,5}))?", text)
    port = int(match[2] or default_port) if match else 0
    if match is None or not 0 < port < 65_536:
        raise ValueError(f"expected HOST:PORT, got {text!r} in {shown(url)!r}")
    return match[1].strip("[]"), port


def _path(kind: str, path: str, url: str) -> tuple[str, int]:
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError(f"expected the name of a service after the sentinels, got {shown(url)!r}")
    if kind == "cluster" and path not in ("", "0"):
        raise ValueError(f"expected no database: a cluster has only 0; got {shown(url)!r}")
    if not re.fullmatch(r"[0-9]{0,5}", path):
        raise ValueError(f"expected a database's number, got {path!r} in {shown(url)!r}")
    return unquote(service), int(path or 0)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise ValueError(f"expected the options {', '.join(_OPTIONS)}; got {', '.join(map(repr, unknown))}")
    if "prefix" in options and not _PREFIX.fullmatch(options["prefix"]):
        raise ValueError(f"prefix: expected 1 to 64 letters, digits and any of _.-; got {options['prefix']!r}")
    return options
