"""What a route mirrors to the side that did not answer, for comparison."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.config.values import Count, Model, Seconds, Usd
from gateway.stores.pairs import Caps
from router_policies.prices import NANO_USD_PER_USD
from router_policies.shadow import Shadow

_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"([0-9]{1,12}) ?(KiB|MiB|GiB|)")


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"expected a number of bytes like 4194304 or 4MiB, got {value[:40]!r}")
    return int(match[1]) * _UNITS[match[2]]


Bytes = Annotated[int, BeforeValidator(_bytes), Field(strict=True, ge=1, le=2**40)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
_DEFAULTS = Shadow()


class SampleConfig(Model):
    """Which share of requests is mirrored, by how much is at stake."""

    default: Probability = _DEFAULTS.sample
    high_risk: Probability = _DEFAULTS.high_risk


class ShadowConfig(Model):
    """`router_policies.shadow.Shadow`, as people write it."""

    sample: SampleConfig = SampleConfig()
    aa_sample: Probability = _DEFAULTS.aa
    queue: Count = Field(default=_DEFAULTS.queue, ge=1, le=1_000_000)
    queue_bytes: Bytes = _DEFAULTS.queue_bytes
    workers: Count = Field(default=_DEFAULTS.workers, ge=1, le=256)
    timeout_s: Seconds = _DEFAULTS.timeout_s
    max_usd_per_day: Usd | None = Decimal(50)
    max_body_bytes: Bytes = _DEFAULTS.max_body_bytes

    def shadow(self) -> Shadow:
        cap = self.max_usd_per_day
        return Shadow(
            sample=self.sample.default,
            high_risk=self.sample.high_risk,
            aa=self.aa_sample,
            queue=self.queue,
            queue_bytes=self.queue_bytes,
            workers=self.workers,
            timeout_s=self.timeout_s,
            max_nano_usd_per_day=None if cap is None else int(cap * NANO_USD_PER_USD),
            max_body_bytes=self.max_body_bytes,
        )


_CAPS = Caps()


class PairsConfig(Model):
    """`gateway.stores.pairs.Caps`, as people write them: what is kept of each route's shadow mode."""

    records: Count = Field(default=_CAPS.records, ge=1000)
    texts: Count = Field(default=_CAPS.texts, ge=0)
    text_bytes: Bytes = _CAPS.text_bytes
    text_days: Annotated[float, Field(strict=True, ge=0, le=3650)] = _CAPS.text_age_s / 86_400

    def caps(self) -> Caps:
        return Caps(self.records, self.texts, self.text_bytes, self.text_days * 86_400)
