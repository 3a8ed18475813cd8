"""The model names that apps ask for: who answers, within what times, and what is done when they fail."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gateway.config.capture import CaptureConfig
from gateway.config.problems import cut
from gateway.config.risk import DeferralConfig, RiskConfig, SafetyNetConfig
from gateway.config.rollout import RolloutConfig
from gateway.config.shadow import ShadowConfig
from gateway.config.values import Flag, Model, Percent, Seconds
from router_policies.failures import FailureKind
from router_policies.rollout.plan import Plan
from router_policies.routes import Deadlines, Fallback, MidStream, Role, Route
from router_policies.shadow import strata
from router_policies.verify import Verify

_STICKY = re.compile(r"header:[A-Za-z0-9!#$%&'*+.^_`|~-]+|user|key")

_DEFAULTS = Deadlines()


class DeadlinesConfig(Model):
    """`router_policies.routes.Deadlines`, as people write them."""

    connect_s: Seconds = _DEFAULTS.connect_s
    ttft_s: Seconds = _DEFAULTS.ttft_s
    stall_s: Seconds = _DEFAULTS.stall_s
    answer_s: Seconds = _DEFAULTS.answer_s
    total_s: Seconds = _DEFAULTS.total_s


class VerifyConfig(Model):
    """What whole answers are checked for before they are served, where the request asks for it. `on_fail`: what is done
    when nobody's answer passes; `fallback` serves the last one as it came, `error` serves none."""

    json_: Annotated[bool, Field(strict=True, alias="json")] = True
    schema_: Annotated[bool, Field(strict=True, alias="schema")] = True
    tools: Flag = True
    on_fail: Literal["fallback", "error"] = "fallback"


FailureName = Literal[
    "connect", "timeout", "http_429", "http_5xx", "http_401", "invalid_stream", "context_length", "busy"
]
_HOLD = re.compile(r"hold:([1-9][0-9]{0,3})")


class FallbackConfig(Model):
    """`router_policies.routes.Fallback`, as people write it."""

    order: list[str] = Field(default=["teacher"])
    retries: Annotated[int, Field(strict=True, ge=0, le=5)] = 1
    on: list[FailureName] = Field(
        default=["connect", "timeout", "http_429", "http_5xx", "http_401", "invalid_stream", "context_length"]
    )
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


class RouteConfig(Model):
    """A route as people write it. All of it can be changed while serving. `max_step`: how many points `student_percent`
    may rise in one live change; what lowers it is never refused."""

    teacher: str
    student: str
    student_percent: Percent = 0.0
    max_step: Annotated[Percent, Field(gt=0)] = 50.0
    force: Literal["teacher", "student"] | None = None
    salt: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    sticky: list[str] = Field(default=["header:x-session-id", "user", "key"])
    deadlines: DeadlinesConfig = DeadlinesConfig()
    fallback: FallbackConfig = FallbackConfig()
    shadow: ShadowConfig | None = None
    capture: CaptureConfig | None = None
    risk: RiskConfig | None = None
    safety_net: SafetyNetConfig | None = None
    deferral: DeferralConfig | None = None
    rollout: RolloutConfig | None = None
    packs: list[Annotated[str, Field(min_length=1)]] = Field(default=["default"], min_length=1)

    @field_validator("sticky")
    @classmethod
    def _sources(cls, value: list[str]) -> list[str]:
        for source in value:
            if not _STICKY.fullmatch(source):
                raise ValueError(f"expected header:NAME, user or key, got {source!r}")
        return value

    def read_risk(self) -> list[str]:
        """Reads the files that `risk` names. What is wrong with them, or does not fit together, by path."""
        if self.risk is None:
            return [] if self.safety_net is None else ["safety_net: expected risk too: its rules say what is risky"]
        if problems := self.risk.read_files():
            return [f"risk.{problem}" for problem in problems]
        rules = {rule.name for rule in self.risk.read_pack().rules}
        return [
            f"safety_net.always.{at}: expected a rule of the pack {self.risk.pack}, got {cut(name)!r}"
            for at, name in enumerate(self.safety_net.always if self.safety_net is not None else ())
            if name not in rules
        ]

    def strata(self) -> dict[str, float]:
        """The probability of being mirrored by stratum, once `read_risk` has found nothing wrong."""
        if self.shadow is None:
            return {}
        return strata(self.shadow.shadow(), self.risk.read_pack() if self.risk is not None else None)

    def plan(self) -> Plan | None:
        """The rollout's, once `read_risk` has found nothing wrong."""
        return self.rollout.plan(tuple(self.strata())) if self.rollout is not None else None

    def route(self, name: str, version: int = 0) -> Route:
        return Route(
            name=name,
            teacher=self.teacher,
            student=self.student,
            student_percent=self.student_percent,
            force=Role(self.force) if self.force is not None else None,
            salt=self.salt,
            sticky=tuple(source.lower() for source in self.sticky),
            deadlines=Deadlines(**self.deadlines.model_dump()),
            fallback=self.fallback.fallback(),
            shadow=self.shadow.shadow() if self.shadow is not None else None,
            capture=self.capture.capture() if self.capture is not None else None,
            risk=self.risk.risk(self.safety_net) if self.risk is not None else None,
            deferral=self.deferral.deferral() if self.deferral is not None else None,
            version=version,
        )
