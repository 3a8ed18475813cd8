"""How risky a route's requests are, and the safety net over those that are."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from gateway.config.problems import cut
from gateway.config.shadow import Probability
from gateway.config.values import Count, Flag, Model, Usd
from gateway.packs import read_risk_pack_text, risk_pack_text
from router_policies.checks.language import load as load_detector
from router_policies.checks.pack import PackError
from router_policies.prices import NANO_USD_PER_USD
from router_policies.risk.deferral import Deferral
from router_policies.risk.judged import RouteRisk
from router_policies.risk.net import Decay, SafetyNet, TeacherDown
from router_policies.risk.policy_model import PolicyModel, PolicyModelError, read_policy_model
from router_policies.risk.rules import RiskPack

_LARGEST_MODEL = 256 * 1024 * 1024  # bytes; one of the most labels and buckets has 128 MiB
_DEFAULTS = SafetyNet(0, 1)


class PolicyModelConfig(Model):
    """The file of a policy model (docs/policy-model.md), and its SHA-256 in hex: another file is refused."""

    path: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class RiskConfig(Model):
    """`pack`: a pack of rules that comes along, or the path of one. `trust_header`: whether the route's callers may say
    with `x-risk: low|medium|high` how risky a request is; whoever can reach the route can then say it.

    The files' content is read with the config and kept with it: what was checked is what is served, and a file that
    goes away afterwards takes nothing with it.
    """

    pack: Annotated[str, Field(min_length=1)] = "default"
    model: PolicyModelConfig | None = None
    trust_header: Flag = False
    _pack_text: str = PrivateAttr("")
    _model_data: bytes | None = PrivateAttr(None)

    def read_files(self) -> list[str]:
        """Read them, once. What is wrong with them or does not fit together, a line for each problem, by path."""
        problems = []
        pack = model = None
        try:
            self._pack_text = risk_pack_text(self.pack)
            pack = read_risk_pack_text(self.pack, self._pack_text)
            if "language" in pack.reads:
                load_detector()
        except PackError as error:
            problems += [f"pack: {line}" for line in str(error).splitlines()]
        if self.model is not None:
            try:
                self._model_data = _read_file(self.model.path)
                model = _read_model(self._model_data, self.model.sha256)
            except PolicyModelError as error:
                problems.append(f"model: {self.model.path}: {error}")
        if pack is None or (model is None and self.model is not None):
            return problems
        labels = [label.name for label in model.labels] if model is not None else []
        has = f"the model has {', '.join(labels)}" if labels else "there is no model"
        problems += [f"pack: its rules read model.{name}; {has}" for name in sorted(pack.labels.difference(labels))]
        return problems

    def read_pack(self) -> RiskPack:
        """The pack, once `read_files` has found nothing wrong."""
        return read_risk_pack_text(self.pack, self._pack_text)

    def risk(self, net: "SafetyNetConfig | None") -> RouteRisk:
        model = None
        if self.model is not None:
            assert self._model_data is not None
            model = _read_model(self._model_data, self.model.sha256)
        return RouteRisk(
            pack=self.read_pack(),
            model=model,
            trust_header=self.trust_header,
            net=net.net() if net is not None else None,
        )


@lru_cache(maxsize=4)  # every change of any document reads the whole config again
def _read_model(data: bytes, sha256: str) -> PolicyModel:
    return read_policy_model(data, sha256)


def _read_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST_MODEL + 1)
    except OSError as error:
        raise PolicyModelError(f"expected a file that can be read; {error.strerror}") from None
    if len(data) > _LARGEST_MODEL:
        raise PolicyModelError(f"expected a file of at most {_LARGEST_MODEL} bytes, got a larger one")
    return data


def _moment(value: object) -> object:
    """YAML makes dates of what looks like one; JSON has text."""
    return value.isoformat() if isinstance(value, date) else value


def _unix_s(text: str) -> float:
    """UNIX seconds of a date, at midnight UTC, or of a time with its zone. Raises ValueError."""
    expected = f"expected a date (2026-10-05) or a time with its zone (2026-10-05T08:00:00Z), got {cut(text)!r}"
    try:
        if len(text) == len("2026-10-05"):
            return datetime.combine(date.fromisoformat(text), time(), UTC).timestamp()
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(expected) from None
    if at.tzinfo is None:
        raise ValueError(expected)
    return at.timestamp()


def _checked(text: str) -> str:
    _unix_s(text)
    return text


Moment = Annotated[str, BeforeValidator(_moment), Field(strict=True), AfterValidator(_checked)]


class SafetyNetConfig(Model):
    """`router_policies.risk.net.SafetyNet`, as people write it."""

    start: Moment
    end: Moment
    p_start: Probability = _DEFAULTS.p_start
    floor: Probability = _DEFAULTS.floor
    decay: Decay = _DEFAULTS.decay
    steps: list[Probability] = Field(default=[])
    holdout: Probability = _DEFAULTS.holdout
    always: list[str] = Field(default=[])
    max_concurrent: Annotated[Count, Field(ge=1)] | None = _DEFAULTS.max_concurrent
    max_usd_per_day: Usd | None = None
    teacher_down: TeacherDown = _DEFAULTS.teacher_down

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.net()
        return self

    def net(self) -> SafetyNet:
        cap: Decimal | None = self.max_usd_per_day
        return SafetyNet(
            start_s=_unix_s(self.start),
            end_s=_unix_s(self.end),
            p_start=self.p_start,
            floor=self.floor,
            decay=self.decay,
            steps=tuple(self.steps),
            holdout=self.holdout,
            always=frozenset(self.always),
            max_concurrent=self.max_concurrent,
            max_nano_usd_per_day=None if cap is None else int(cap * NANO_USD_PER_USD),
            teacher_down=self.teacher_down,
        )


_DEFERRAL = Deferral()


class DeferralConfig(Model):
    """`router_policies.risk.deferral.Deferral`, as people write it. Nothing but people changes the threshold."""

    quantile: Annotated[Probability, Field(lt=1)] = _DEFERRAL.quantile
    threshold: Annotated[float, Field(strict=True, lt=0, allow_inf_nan=False)] | None = _DEFERRAL.threshold
    min_tokens: Annotated[Count, Field(ge=1, le=10_000)] = _DEFERRAL.min_tokens
    max_concurrent: Annotated[Count, Field(ge=1)] = _DEFERRAL.max_concurrent

    def deferral(self) -> Deferral:
        return Deferral(self.quantile, self.threshold, self.min_tokens, self.max_concurrent)
