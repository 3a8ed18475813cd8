"""gateway.yaml: one file, every key documented in `examples/gateway.yaml`.

`${VAR}` in a value stands for an environment variable. Errors name the key's path, what was expected and what came;
all of them at once. What is or may be a secret is never shown: nothing under `keys`, no `api_key`, no `base_url` with
anything in it but an address.
"""

import ipaddress
import os
import re
from decimal import Decimal
from hashlib import sha256
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
    model_validator,
)
from pydantic_core import ErrorDetails

from gateway import document
from gateway.upstream.pool import Address
from router_policies.breaker import BreakerRules
from router_policies.budgets import KeyLimits
from router_policies.capabilities import Capabilities, Continues
from router_policies.failures import FailureKind
from router_policies.prices import Price
from router_policies.routes import Deadlines, Fallback, MidStream, Route, Routes, valid_name
from router_policies.verify import Verify

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_STICKY = re.compile(r"header:[A-Za-z0-9!#$%&'*+.^_`|~-]+|user|key")
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SHORTEST_KEY = 8
_LONGEST_SHOWN = 128  # characters
_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


class ConfigError(Exception):
    """A config that cannot be used. `problems` has one line for each thing that is wrong."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(f"{source}:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


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


def _digest(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError('expected 64 hexadecimal digits, as printf %s "$KEY" | sha256sum prints, got something else')
    return value.lower()


AtMost = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None


class KeyLimitsConfig(_Model):
    """What a key may use, per worker: `router_policies.budgets.KeyLimits`, as people write them. null: no limit."""

    requests_per_minute: AtMost = None
    tokens_per_minute: AtMost = None
    concurrency: AtMost = None

    def limits(self) -> KeyLimits | None:
        limits = KeyLimits(**self.model_dump())
        return None if limits == KeyLimits() else limits


class KeyConfig(_Model):
    """An API key: who it is (`name`), whose (`tenant`), whether it may change routes (`role: admin`), what it may use
    (`limits`). The secret itself is `key`; `key_sha256` in its place is enough to know it by."""

    name: str = Field(min_length=1)
    tenant: str = "default"
    role: Literal["app", "admin"] = "app"
    key: Annotated[Secret, AfterValidator(_long_enough)] | None = None
    key_sha256: Annotated[str, AfterValidator(_digest)] | None = Field(default=None, repr=False)
    limits: KeyLimitsConfig = KeyLimitsConfig()

    @model_validator(mode="after")
    def _one_secret(self) -> "KeyConfig":
        if (self.key is None) is (self.key_sha256 is None):
            came = "neither" if self.key is None else "both"
            raise ValueError(f"expected key or key_sha256, got {came}")
        return self

    @property
    def digest(self) -> bytes:
        """SHA-256 of the key."""
        if self.key is not None:
            return sha256(self.key.get_secret_value().encode()).digest()
        assert self.key_sha256 is not None
        return bytes.fromhex(self.key_sha256)


class PriceConfig(_Model):
    """USD per 1M tokens. `cached_input`: for the part of the prompt read from a prefix cache; as `input` if not set."""

    input: Usd = Decimal(0)
    output: Usd = Decimal(0)
    cached_input: Usd | None = None

    def price(self) -> Price:
        return Price.per_million(self.input, self.output, self.cached_input)


_BREAKER = BreakerRules()


class BreakerConfig(_Model):
    """`router_policies.breaker.BreakerRules`, as people write them."""

    window_s: Seconds = _BREAKER.window_s
    min_requests: Count = Field(default=_BREAKER.min_requests, ge=1)
    failure_ratio: Annotated[float, Field(strict=True, gt=0, le=1)] = _BREAKER.failure_ratio
    open_s: Seconds = _BREAKER.open_s
    probe: Count = Field(default=_BREAKER.probe, ge=1, le=100)

    def rules(self) -> BreakerRules:
        return BreakerRules(**self.model_dump())


class HealthConfig(_Model):
    """The active checks of a server: a GET of `path` below its base URL. Without `every_s` it is only asked to find out
    whether an open breaker may let through again."""

    path: str = "/models"
    every_s: Seconds | None = 10.0
    timeout_s: Seconds = 2.0

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.startswith("/") or not is_header_text(value):
            raise ValueError("expected a path of printable ASCII characters that begins with /, like /models")
        return value


class UpstreamLimitsConfig(_Model):
    """Per worker: calls at once, calls that may wait for their turn, and for how long."""

    concurrency: Count = Field(default=512, ge=1)
    queue: Count = Field(default=256, ge=0)
    queue_s: Seconds = 2.0


def _url(value: str) -> str:
    if not is_header_text(value):
        raise ValueError("expected a URL of printable ASCII characters without spaces, got others among them")
    Address.parse(value)
    return value


BaseUrl = Annotated[str, AfterValidator(_url)]


class UpstreamConfig(_Model):
    """A model, on one server or on several that are the same. `model` is what they call it."""

    base_url: BaseUrl | None = None
    base_urls: list[BaseUrl] = []
    affinity: Literal["none", "prefix"] = "none"
    model: str = Field(min_length=1)
    api_key: Secret | None = None
    price: PriceConfig = PriceConfig()
    context_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    tools: Annotated[bool, Field(strict=True)] = True
    vision: Annotated[bool, Field(strict=True)] = True
    continues: Literal["auto", "vllm", "prefill", "no"] = "auto"
    limits: UpstreamLimitsConfig = UpstreamLimitsConfig()
    breaker: BreakerConfig = BreakerConfig()
    health: HealthConfig = HealthConfig()

    @model_validator(mode="after")
    def _one_or_several(self) -> "UpstreamConfig":
        if (self.base_url is None) is (not self.base_urls):
            came = "neither" if self.base_url is None else "both"
            raise ValueError(f"expected base_url, or base_urls with one or more, got {came}")
        if len(set(self.base_urls)) < len(self.base_urls):
            raise ValueError("base_urls: expected each server once, got one of them twice")
        return self

    @property
    def urls(self) -> list[str]:
        return self.base_urls if self.base_url is None else [self.base_url]

    def capabilities(self) -> Capabilities:
        """What it can do as far as the config says."""
        continues = Continues.NO if self.continues == "auto" else Continues(self.continues)
        return Capabilities(self.context_tokens, self.tools, self.vision, continues)


_DEFAULTS = Deadlines()


class DeadlinesConfig(_Model):
    """`router_policies.routes.Deadlines`, as people write them."""

    connect_s: Seconds = _DEFAULTS.connect_s
    ttft_s: Seconds = _DEFAULTS.ttft_s
    stall_s: Seconds = _DEFAULTS.stall_s
    answer_s: Seconds = _DEFAULTS.answer_s
    total_s: Seconds = _DEFAULTS.total_s


class VerifyConfig(_Model):
    """What whole answers are checked for before they are served, where the request asks for it. `on_fail`: what is done
    when nobody's answer passes; `fallback` serves the last one as it came, `error` serves none."""

    json_: Annotated[bool, Field(strict=True, alias="json")] = True
    schema_: Annotated[bool, Field(strict=True, alias="schema")] = True
    tools: Annotated[bool, Field(strict=True)] = True
    on_fail: Literal["fallback", "error"] = "fallback"


FailureName = Literal[
    "connect", "timeout", "http_429", "http_5xx", "http_401", "invalid_stream", "context_length", "busy"
]
_HOLD = re.compile(r"hold:([1-9][0-9]{0,3})")


class FallbackConfig(_Model):
    """`router_policies.routes.Fallback`, as people write it."""

    order: list[str] = ["teacher"]
    retries: Annotated[int, Field(strict=True, ge=0, le=5)] = 1
    on: list[FailureName] = [
        "connect",
        "timeout",
        "http_429",
        "http_5xx",
        "http_401",
        "invalid_stream",
        "context_length",
    ]
    mid_stream: str = "continue"
    hedge_after_s: Seconds | Literal["p95"] | None = None
    verify: VerifyConfig = VerifyConfig()

    @field_validator("mid_stream")
    @classmethod
    def _mid_stream(cls, value: str) -> str:
        if value not in ("continue", "error") and not _HOLD.fullmatch(value):
            raise ValueError(f"expected continue, error or hold:N with N from 1 to 9999, got {cut(value)!r}")
        return value

    def fallback(self) -> Fallback:
        held = _HOLD.fullmatch(self.mid_stream)
        what = Verify(json=self.verify.json_, schema=self.verify.schema_, tools=self.verify.tools)
        return Fallback(
            order=tuple(self.order),
            retries=self.retries,
            on=frozenset(FailureKind(name) for name in self.on),
            mid_stream=MidStream.HOLD if held else MidStream(self.mid_stream),
            hold=int(held.group(1)) if held else 0,
            hedge_after_s=self.hedge_after_s if isinstance(self.hedge_after_s, float) else None,
            hedge_p95=self.hedge_after_s == "p95",
            verify=what if what.json or what.schema or what.tools else None,
            serve_unverified=self.verify.on_fail == "fallback",
        )


class RouteConfig(_Model):
    """A route as people write it. What of it can be changed while serving is in `LIVE_KEYS`."""

    teacher: str
    student: str
    student_percent: Percent = 0.0
    sticky: list[str] = ["header:x-session-id", "user", "key"]
    deadlines: DeadlinesConfig = DeadlinesConfig()
    fallback: FallbackConfig = FallbackConfig()

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
            fallback=self.fallback.fallback(),
            version=version,
        )


LIVE_KEYS = frozenset({"student_percent"})


class LimitsConfig(_Model):
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
    secret = path[:1] == ("keys",) or not {"api_key", "base_url", "base_urls"}.isdisjoint(path)
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
        for index, entry in enumerate(route.fallback.order):
            if entry not in ("teacher", "student") and entry not in config.upstreams:
                path = f"routes.{name}.fallback.order.{index}"
                problems.append(f"{path}: expected teacher, student or one of {known}, got {entry!r}")
    for field in ("name", "key"):
        seen: set[str | bytes] = set()
        for index, key in enumerate(config.keys):
            value = key.name if field == "name" else key.digest
            if value in seen:
                problems.append(f"keys.{index}.{field}: the same as an earlier key's")
            seen.add(value)
    host, _ = split_listen(config.listen)
    if config.open and not is_loopback(host):
        problems.append(f"keys: none are set, so listen must be a loopback address, got {config.listen!r}")
    if config.keys and not any(key.role == "admin" for key in config.keys):
        problems.append("keys: expected at least one with role: admin, or nobody can change a route")
    return problems
