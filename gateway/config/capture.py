"""What a route keeps of its traffic, to teach a student from it."""

import importlib.util
import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from gateway.config.shadow import Bytes, Probability
from gateway.config.values import Count, Model
from router_policies.capture import NOBODY, Capture

_KEY = re.compile(r"[0-9a-fA-F]{64}")
_DEFAULTS = Capture()
Tag = Annotated[str, Field(pattern=r"^[a-z0-9._:-]{1,64}$")]


def check_tags(tags: list[str]) -> list[str]:
    if NOBODY in tags:
        raise ValueError(f"expected tags of consent, got {NOBODY!r}, which says that there is none")
    return tags


class CaptureConfig(Model):
    """`router_policies.capture.Capture`, as people write it, and where and for how long it is kept. `encrypt_key`: 32
    bytes as 64 hexadecimal digits. `max_bytes`: of all of a route's files in `dir`."""

    sample: Probability = _DEFAULTS.sample
    disagreement: Probability = _DEFAULTS.disagreement
    fallback: Probability = _DEFAULTS.fallback
    dir: Annotated[str, Field(min_length=1)] = "capture"
    consent: list[Tag] = Field(default=sorted(_DEFAULTS.consent))
    encrypt_key: SecretStr | None = None
    retention_days: Annotated[float, Field(strict=True, gt=0, le=3650)] = 30
    max_body_bytes: Bytes = _DEFAULTS.max_body_bytes
    queue: Count = Field(default=_DEFAULTS.queue, ge=1, le=1_000_000)
    queue_bytes: Bytes = _DEFAULTS.queue_bytes
    file_bytes: Bytes = 64 * 1024**2
    max_bytes: Bytes | None = 10 * 1024**3

    @field_validator("consent")
    @classmethod
    def _consent(cls, value: list[str]) -> list[str]:
        return check_tags(value)

    @field_validator("encrypt_key")
    @classmethod
    def _key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if _KEY.fullmatch(value.get_secret_value()) is None:
            raise ValueError("expected 64 hexadecimal digits, as openssl rand -hex 32 prints, got else (not shown)")
        if importlib.util.find_spec("cryptography") is None:
            raise ValueError("expected the package cryptography to be there: pip install 'understudy[capture]'")
        return value

    @property
    def key(self) -> bytes | None:
        return None if self.encrypt_key is None else bytes.fromhex(self.encrypt_key.get_secret_value())

    def capture(self) -> Capture:
        return Capture(
            sample=self.sample,
            disagreement=self.disagreement,
            fallback=self.fallback,
            consent=frozenset(self.consent),
            max_body_bytes=self.max_body_bytes,
            queue=self.queue,
            queue_bytes=self.queue_bytes,
        )
