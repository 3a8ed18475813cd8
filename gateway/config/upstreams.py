"""The models behind the gateway: where they are, what they can do and cost, when they are left alone."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.config.values import Count, Flag, Model, Seconds, Secret, Usd, is_header_text
from gateway.upstream.pool import Address
from router_policies.breaker import BreakerRules
from router_policies.capabilities import Capabilities, Continues
from router_policies.prices import Price


class PriceConfig(Model):
    """USD per 1M tokens. `cached_input`: for the part of the prompt read from a prefix cache; as `input` if not set."""

    input: Usd = Decimal(0)
    output: Usd = Decimal(0)
    cached_input: Usd | None = None

    def price(self) -> Price:
        return Price.per_million(self.input, self.output, self.cached_input)


_BREAKER = BreakerRules()


class BreakerConfig(Model):
    """`router_policies.breaker.BreakerRules`, as people write them."""

    window_s: Seconds = _BREAKER.window_s
    min_requests: Count = Field(default=_BREAKER.min_requests, ge=1)
    failure_ratio: Annotated[float, Field(strict=True, gt=0, le=1)] = _BREAKER.failure_ratio
    open_s: Seconds = _BREAKER.open_s
    probe: Count = Field(default=_BREAKER.probe, ge=1, le=100)

    def rules(self) -> BreakerRules:
        return BreakerRules(**self.model_dump())


class HealthConfig(Model):
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


class UpstreamLimitsConfig(Model):
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


class UpstreamConfig(Model):
    """A model, on one server or on several that are the same. `model` is what they call it."""

    base_url: BaseUrl | None = None
    base_urls: list[BaseUrl] = Field(default=[])
    affinity: Literal["none", "prefix"] = "none"
    model: str = Field(min_length=1)
    revision: Annotated[str, Field(max_length=128)] = ""
    api_key: Secret | None = None
    price: PriceConfig = PriceConfig()
    context_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    tools: Flag = True
    vision: Flag = True
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

    def is_same_model(self, other: "UpstreamConfig") -> bool:
        """Whether both are one model of one server at least."""
        ours, theirs = ({url.rstrip("/").lower() for url in one.urls} for one in (self, other))
        return self.model == other.model and not ours.isdisjoint(theirs)

    def capabilities(self) -> Capabilities:
        """What it can do as far as the config says."""
        continues = Continues.NO if self.continues == "auto" else Continues(self.continues)
        return Capabilities(self.context_tokens, self.tools, self.vision, continues)
