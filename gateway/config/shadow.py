"""What a route mirrors to the side that did not answer, for comparison."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PrivateAttr

from gateway.config.values import Count, Model, Seconds, Usd
from gateway.stores.pairs import Caps
from router_policies.opinions import LONGEST_TIMEOUT_S, Kind, Wanted
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


_RUBRIC_FILE = re.compile(r"[^\n]+\.(md|txt)")
_LONGEST_RUBRIC = 16 * 1024  # characters
OpinionSeconds = Annotated[float, Field(strict=True, gt=0, le=LONGEST_TIMEOUT_S)]


class EmbeddingConfig(Model):
    """How like the answers of a pair are, by an embedding model."""

    upstream: str
    sample: Probability = 1.0
    max_usd_per_day: Usd | None = Decimal(5)
    timeout_s: OpinionSeconds = 10.0

    def wanted(self) -> Wanted:
        cap = _nano_usd(self.max_usd_per_day)
        return Wanted(Kind.EMBEDDING, self.upstream, self.sample, cap, self.timeout_s)


class JudgeConfig(Model):
    """Which answer of a pair a third model prefers. `rubric`: what by; a text, or the path of a file of one, which ends
    in .md or .txt. It is read with the config and kept with it."""

    upstream: str
    sample: Probability = 0.05
    max_usd_per_day: Usd | None = Decimal(5)
    timeout_s: OpinionSeconds = 60.0
    rubric: Annotated[str, Field(min_length=1, max_length=_LONGEST_RUBRIC)] | None = None
    _rubric_text: str = PrivateAttr("")

    def read_rubric(self) -> str:
        """Read its file, once, if it names one. What is wrong with it, "" for nothing."""
        self._rubric_text = self.rubric or ""
        if self.rubric is None or not _RUBRIC_FILE.fullmatch(self.rubric):
            return ""
        try:
            with Path(self.rubric).open(encoding="utf-8") as file:
                self._rubric_text = file.read(_LONGEST_RUBRIC + 1).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            return f"expected a text, or a file that can be read; {self.rubric}: {reason}"
        if not 0 < len(self._rubric_text) <= _LONGEST_RUBRIC:
            came = "more" if self._rubric_text else "none"
            return f"{self.rubric}: expected 1 to {_LONGEST_RUBRIC} characters, got {came}"
        return ""

    def wanted(self) -> Wanted:
        cap = _nano_usd(self.max_usd_per_day)
        return Wanted(Kind.JUDGE, self.upstream, self.sample, cap, self.timeout_s, self._rubric_text)


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
    judge: JudgeConfig | None = None
    embedding: EmbeddingConfig | None = None

    def opinions(self) -> "dict[str, JudgeConfig | EmbeddingConfig]":
        """Those that are asked for, by their keys."""
        both = {"judge": self.judge, "embedding": self.embedding}
        return {key: one for key, one in both.items() if one is not None}

    def shadow(self) -> Shadow:
        return Shadow(
            sample=self.sample.default,
            high_risk=self.sample.high_risk,
            aa=self.aa_sample,
            queue=self.queue,
            queue_bytes=self.queue_bytes,
            workers=self.workers,
            timeout_s=self.timeout_s,
            max_nano_usd_per_day=_nano_usd(self.max_usd_per_day),
            max_body_bytes=self.max_body_bytes,
            opinions=tuple(one.wanted() for one in self.opinions().values()),
        )


def _nano_usd(cap: Decimal | None) -> int | None:
    return None if cap is None else int(cap * NANO_USD_PER_USD)


_CAPS = Caps()


class PairsConfig(Model):
    """`gateway.stores.pairs.Caps`, as people write them: what is kept of each route's shadow mode."""

    records: Count = Field(default=_CAPS.records, ge=1000)
    texts: Count = Field(default=_CAPS.texts, ge=0)
    text_bytes: Bytes = _CAPS.text_bytes
    text_days: Annotated[float, Field(strict=True, ge=0, le=3650)] = _CAPS.text_age_s / 86_400

    def caps(self) -> Caps:
        return Caps(self.records, self.texts, self.text_bytes, self.text_days * 86_400)
