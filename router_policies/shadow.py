"""What is mirrored: which requests, to whom, and what of them.

A mirror is a second call with the same request to the side that did not answer, for comparison alone. It is sent after
the answer, changes nothing anywhere, and what becomes of it is never lost sight of: every request that was sampled ends
as a pair or as one of the `Reason`s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from router_policies.routes import Role

if TYPE_CHECKING:
    from router_policies.opinions import Wanted
    from router_policies.risk.rules import RiskPack

RESPONSES = "/v1/responses"
DEFAULT = "default"
"""The stratum of requests whose risk nobody looks at."""


class Reason(StrEnum):
    """Why a sampled request has no pair. `DISABLED`: shadowing had stopped itself, or was switched off meanwhile.
    `UNSUPPORTED`: it cannot be asked a second time without side effects, or there is no answer to compare.
    `PRIMARY_FAILED`, `CANCELLED`: there was no whole answer, or the client did not wait for it."""

    QUEUE_FULL = "queue_full"
    QUEUE_BYTES = "queue_bytes"
    BUDGET = "budget"
    BODY_TOO_LARGE = "body_too_large"
    DISABLED = "disabled"
    CIRCUIT_OPEN = "circuit_open"
    UNSUPPORTED = "unsupported"
    SHUTDOWN = "shutdown"
    PRIMARY_FAILED = "primary_failed"
    SHADOW_FAILED = "shadow_failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class Arm(StrEnum):
    """What is compared: the student with the teacher, or the teacher with itself (A/A), which shows its own noise."""

    AB = "ab"
    AA = "aa"


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a route mirrors. `sample`, `high_risk`, `aa`: probabilities. `queue`, `queue_bytes`, `workers`: per process.
    `max_nano_usd_per_day`: of all processes, a UTC day; None for no limit. `opinions`: one of a kind at most."""

    sample: float = 0.10
    high_risk: float = 1.0
    aa: float = 0.02
    queue: int = 1000
    queue_bytes: int = 64 * 1024 * 1024
    workers: int = 8
    timeout_s: float = 60.0
    max_nano_usd_per_day: int | None = 50 * 10**9
    max_body_bytes: int = 4 * 1024 * 1024
    opinions: "tuple[Wanted, ...]" = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn for a request: the arms that it is sampled for, each with its probability, which statistics divide
    by."""

    arms: Mapping[Arm, float]


def draw(shadow: Shadow, *, high_risk: bool, one: float, other: float) -> Drawn | None:
    """Sample a request with two numbers from [0, 1), for the two arms. None if it is in neither."""
    rate = shadow.high_risk if high_risk else shadow.sample
    chances = ((Arm.AB, one, rate), (Arm.AA, other, shadow.aa))
    arms = {arm: chance for arm, number, chance in chances if number < chance}
    return Drawn(arms) if arms else None


def strata(shadow: Shadow, pack: "RiskPack | None") -> dict[str, float]:
    """The probability of being mirrored by stratum: the bands that the route's rules can come to, or all in one. It is
    what `draw` does: medium and high risk are mirrored as `high_risk`."""
    if pack is None:
        return {DEFAULT: shadow.sample}
    low, *higher = pack.bands
    return {low.value: shadow.sample, **{band.value: shadow.high_risk for band in higher}}


def calls(arms: Mapping[Arm, float], answered: Role) -> tuple[Role, ...]:
    """Who is asked again, in order: the other side, and for A/A the teacher, a second time if it is the other side."""
    asked: list[Role] = []
    if Arm.AB in arms:
        asked.append(Role.STUDENT if answered is Role.TEACHER else Role.TEACHER)
    if Arm.AA in arms:
        needed = 2 - (answered is Role.TEACHER) - asked.count(Role.TEACHER)
        asked += [Role.TEACHER] * needed
    return tuple(asked)


_ELSEWHERE = ("previous_response_id", "conversation", "web_search_options")
_STORED = ("store", "metadata", "webhook", "user", "safety_identifier", "prompt_cache_key")
_OWN_TOOLS = ("function", "custom")


def mirrored(path: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The request as it may be sent a second time: nothing is stored, nobody is notified, no user is named. None if it
    cannot be: what it needs is kept on one server, or the server itself would act (its own tools)."""
    if any(request.get(key) is not None for key in _ELSEWHERE):
        return None
    if request.get("background"):
        return None
    tools = request.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and tool.get("type", "function") not in _OWN_TOOLS:
            return None
    asked = {key: value for key, value in request.items() if key not in _STORED}
    if path == RESPONSES:
        asked["store"] = False  # there it is the default to keep it
    return asked
