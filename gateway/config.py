"""gateway.yaml: one file, every key documented in `examples/gateway.yaml`.

`${VAR}` in a value stands for an environment variable. Errors name the key's path, what was expected and what came;
all of them at once. What is or may be a secret is never shown: nothing under `keys`, no `api_key`, no `base_url` with
anything in it but an address.
"""

import ipaddress
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from gateway import document
from gateway.upstream.pool import Address
from router_policies.prices import Price
from router_policies.routes import Deadlines, Route, Routes, valid_name

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_STICKY = re.compile(r"header:[A-Za-z0-9!#$%&'*+.^_`|~-]+|user|key")
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_SHORTEST_KEY = 8
_LONGEST_SHOWN = 128  # characters
_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


class ConfigError(Exception):
    """A config that cannot be used. `problems` has one line for each thing that is wrong."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(f"{source}:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# Strict: `true` and "50" are no numbers, whatever YAML made of what was written.
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True)]


def _decimal(value: object) -> object:
    return str(value) if isinstance(value, float) else value  # 0.10 in YAML is a float; its repr is what was written


Usd = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=1_000_000, decimal_places=6)]


def is_header_text(value: str) -> bool:
    """Whether it can stand in a header as a key must: printable ASCII without spaces."""
    return _HEADER_TEXT.fullmatch(value) is not None


def _header_text(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value:
        raise ValueError("expected printable ASCII characters, got nothing")
    if not is_header_text(value):
        raise ValueError("expected printable ASCII characters without spaces, got others among them (not shown)")
    return secret


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret) < _SHORTEST_KEY:
        raise ValueError(f"expected {_SHORTEST_KEY} or more characters, got fewer (not shown)")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_header_text)]


class KeyConfig(_Model):
    """An API key: who it is (`name`), whose (`tenant`), and whether it may change routes (`role: admin`)."""

    name: str = Field(min_length=1)
    tenant: str = "default"
    role: Literal["app", "admin"] = "app"
    key: Annotated[Secret, AfterValidator(_long_enough)]


class PriceConfig(_Model):
    """USD per 1M tokens. `cached_input`: for the part of the prompt read from a prefix cache; as `input` if not set."""

    input: Usd = Decimal(0)
    output: Usd = Decimal(0)
    cached_input: Usd | None = None

    def price(self) -> Price:
        return Price.per_million(self.input, self.output, self.cached_input)


class UpstreamConfig(_Model):
    """A model server. `model` is what it calls the model."""

    base_url: str
    model: str = Field(min_length=1)
    api_key: Secret | None = None
    price: PriceConfig = PriceConfig()

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not is_header_text(value):
            raise ValueError("expected a URL of printable ASCII characters without spaces, got others among them")
        Address.parse(value)
        return value


_DEFAULTS = Deadlines()


class DeadlinesConfig(_Model):
    """`router_policies.routes.Deadlines`, as people write them."""

    connect_s: Seconds = _DEFAULTS.connect_s
    ttft_s: Seconds = _DEFAULTS.ttft_s
    stall_s: Seconds = _DEFAULTS.stall_s
    total_s: Seconds = _DEFAULTS.total_s


class RouteConfig(_Model):
    """A route as people write it. What of it can be changed while serving is in `LIVE_KEYS`."""

    teacher: str
    student: str
    student_percent: Percent = 0.0
    sticky: list[str] = ["header:x-session-id", "user", "key"]
    deadlines: DeadlinesConfig = DeadlinesConfig()

    @field_validator("sticky")
    @classmethod
    def _sources(cls, value: list[str]) -> list[str]:
        for source in value:
            if not _STICKY.fullmatch(source):
                raise ValueError(f"expected header:NAME, user or key, got {source!r}")
        return value

    def route(self, name: str, version: int = 0) -> Route:
        return Route(
            name=name,
            teacher=self.teacher,
            student=self.student,
            student_percent=self.student_percent,
            sticky=tuple(source.lower() for source in self.sticky),
            deadlines=Deadlines(**self.deadlines.model_dump()),
            version=version,
        )


LIVE_KEYS = frozenset({"student_percent"})


class LimitsConfig(_Model):
    """Per worker. `body_bytes`: the largest request body. `in_flight`: requests at once, more are refused with 429."""

    body_bytes: Count = Field(default=32 * 1024 * 1024, ge=1024)
    in_flight: Count = Field(default=4096, ge=1)


class Config(_Model):
    listen: str = "127.0.0.1:8080"
    store: str = "sqlite:///understudy.db"
    keys: list[KeyConfig] = []
    upstreams: dict[str, UpstreamConfig] = Field(min_length=1)
    routes: dict[str, RouteConfig] = Field(min_length=1)
    limits: LimitsConfig = LimitsConfig()
    drain_s: Seconds = 30.0
    routing_headers: bool = True

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        split_listen(value)
        return value

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        if not value.startswith("sqlite:///") or value == "sqlite:///":
            raise ValueError(f"expected sqlite:///PATH (four slashes for an absolute path), got {value!r}")
        return value

    @property
    def open(self) -> bool:
        """Whether anyone who reaches the port may use it."""
        return not self.keys

    @property
    def store_path(self) -> Path:
        return Path(self.store.removeprefix("sqlite:///"))

    def build_routes(self) -> Routes:
        return Routes.of(*(route.route(name) for name, route in self.routes.items()))


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


def load(path: Path, environ: dict[str, str] | None = None) -> Config:
    """The config in the file at `path`. Raises `ConfigError` with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    try:
        content = document.read(text)
    except document.DocumentError as error:
        raise ConfigError(str(path), [str(error)]) from None
    if not isinstance(content, dict):
        raise ConfigError(str(path), [f"expected a mapping of keys, got {_kind(content)}"])
    return parse(content, str(path), environ)


def parse(content: dict[str, Any], source: str, environ: dict[str, str] | None = None) -> Config:
    """The config in a document already read from YAML or JSON."""
    problems: list[str] = []
    try:
        expanded = _expand(content, dict(os.environ) if environ is None else environ, "", problems)
    except RecursionError:
        raise ConfigError(source, ["nested too deeply to be read, or an alias holds itself"]) from None
    if problems:
        raise ConfigError(source, problems)
    try:
        config = Config.model_validate(expanded)
    except ValidationError as error:
        raise ConfigError(source, [describe(detail) for detail in error.errors()]) from None
    problems = _cross_check(config)
    if problems:
        raise ConfigError(source, problems)
    return config


def describe(detail: ErrorDetails) -> str:
    """One validation error as a line: path, what was expected, what came (never a secret)."""
    path = ".".join(str(part) for part in detail["loc"])
    kind = detail["type"]
    if kind == "missing":
        return f"{path}: required, and not there"
    if kind == "extra_forbidden":
        return f"{path}: not a key that exists here (see examples/gateway.yaml)"
    if kind == "value_error":  # a validator of ours, which says what came
        return f"{path}: {detail['msg'].removeprefix('Value error, ')}"
    message = detail["msg"]
    if not message[1:2].isupper():
        message = message[:1].lower() + message[1:]
    return f"{path}: {message}, got {_came(detail)}"


def cut(text: str) -> str:
    """Text from elsewhere as a message shows it, no longer than a person reads."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _came(detail: ErrorDetails) -> str:
    path, value = detail["loc"], detail["input"]
    secret = path[:1] == ("keys",) or not {"api_key", "base_url"}.isdisjoint(path)
    if secret or not isinstance(value, str | int | float | None):
        return _kind(value)
    return cut(repr(value))


def _kind(value: object) -> str:
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def _expand(value: Any, environ: dict[str, str], path: str, problems: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environ, f"{path}.{key}".lstrip("."), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ, f"{path}.{index}".lstrip("."), problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            problems.append(f"{path}: the environment variable {name} is not set")
            return ""
        return environ[name]

    return _VARIABLE.sub(substitute, value)


def _cross_check(config: Config) -> list[str]:
    problems = []
    for name in [*config.upstreams, *config.routes]:
        if not valid_name(name):
            problems.append(f"{name}: expected a name of letters, digits and . _ : / -, at most 128, got {name!r}")
    known = ", ".join(config.upstreams)
    for name, route in config.routes.items():
        for role in ("teacher", "student"):
            if getattr(route, role) not in config.upstreams:
                problems.append(f"routes.{name}.{role}: expected one of {known}, got {getattr(route, role)!r}")
    for field in ("name", "key"):
        seen: set[str] = set()
        for index, key in enumerate(config.keys):
            value = key.name if field == "name" else key.key.get_secret_value()
            if value in seen:
                problems.append(f"keys.{index}.{field}: the same as an earlier key's")
            seen.add(value)
    host, _ = split_listen(config.listen)
    if config.open and not is_loopback(host):
        problems.append(f"keys: none are set, so listen must be a loopback address, got {config.listen!r}")
    if config.keys and not any(key.role == "admin" for key in config.keys):
        problems.append("keys: expected at least one with role: admin, or nobody can change a route")
    return problems
