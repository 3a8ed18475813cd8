"""Who may call, and how much: the API keys."""

import re
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from gateway.config.capture import Tag, check_tags
from gateway.config.values import Model, Secret
from router_policies.budgets import KeyLimits

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SHORTEST_KEY = 8


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret) < _SHORTEST_KEY:
        raise ValueError(f"expected {_SHORTEST_KEY} or more characters, got fewer (not shown)")
    return secret


def _digest(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError('expected 64 hexadecimal digits, as printf %s "$KEY" | sha256sum prints, got something else')
    return value.lower()


AtMost = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None


class KeyLimitsConfig(Model):
    """What a key may use, of all replicas together: `router_policies.budgets.KeyLimits`, as people write them. null: no
    limit."""

    requests_per_minute: AtMost = None
    tokens_per_minute: AtMost = None
    concurrency: AtMost = None

    def limits(self) -> KeyLimits | None:
        limits = KeyLimits(**self.model_dump())
        return None if limits == KeyLimits() else limits


class KeyConfig(Model):
    """An API key: who it is (`name`), whose (`tenant`), whether it may change routes (`role: admin`), what it may use
    (`limits`). `tags`: words of your own, for rules of risk. `consent`: what all of its requests may be kept for, if
    they do not say otherwise. The secret itself is `key`; `key_sha256` in its place is enough to know it by."""

    name: str = Field(min_length=1)
    tenant: str = "default"
    role: Literal["app", "admin"] = "app"
    key: Annotated[Secret, AfterValidator(_long_enough)] | None = None
    key_sha256: Annotated[str, AfterValidator(_digest)] | None = Field(default=None, repr=False)
    limits: KeyLimitsConfig = KeyLimitsConfig()
    tags: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]] = Field(default=[])
    consent: Annotated[list[Tag], AfterValidator(check_tags)] = Field(default=[])

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
