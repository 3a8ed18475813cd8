"""How a route's student gets its traffic: the ladder, the evidence, and what people do about it (docs/rollout.md)."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response

from gateway.admin.answers import translated
from gateway.admin.bodies import about, only, read_object
from gateway.admin.caller import Admin, AdminRoute, gateway_of
from gateway.admin.described import READING, SENDING, answers, body
from gateway.admin.documents import actor_of
from gateway.config import cut
from gateway.control.door import Door
from gateway.face.errors import INVALID_CHANGE, NO_ROLLOUT, ROLLOUT_REFUSED, UNKNOWN_ROUTE, ApiError
from gateway.rollout.rollouts import NoRollout, Rollouts
from router_policies.rollout.actions import Act, Action, Refused
from router_policies.rollout.summary import Summary

router = APIRouter(prefix="/admin/rollouts", tags=["rollouts"], route_class=AdminRoute)
_ABSENT = (UNKNOWN_ROUTE, NO_ROLLOUT)
_EXAMPLE: dict[str, Any] = {
    "route": "support-chat",
    "phase": "ramping",
    "weight": 5.0,
    "wanted": 5.0,
    "why": "1 % -> 5 %: format_disagreement, shadow_loss pass, 380 pairs, 30 min on the last step",
    "since": 1791187200.0,
    "waits_for": ["another 90 min on this step, of 2 h"],
    "at_gate": False,
    "forced": None,
    "cooldown_until": None,
    "acknowledged": None,
    "ladder": [{"weight": 5.0, "min_bake_s": 7200.0, "min_pairs": 0, "gate": "auto", "place": "here"}],
    "checks": [
        {
            "name": "format_disagreement",
            "stratum": "default",
            "verdict": "pass",
            "why": "format_disagreement: passes",
            "effect": "rolls back",
            "tolerance": 0.02,
            "pairs": 400,
            "estimate": 0.0025,
            "low": 0.00003,
            "high": 0.019,
            "e_value": 57.1,
            "enough": 32.9,
            "needed": 0,
        }
    ],
    "pairs": 400,
    "lost": {"timeout": 1},
    "left_out": {"cancelled": 2},
    "waiting": 30,
    "attempt": 1,
    "spends": 0.0304,
    "student": "small/s@1",
    "teacher": "big/t@1",
}
_OBJECTS = ("ladder", "checks")
_SCHEMA: dict[str, Any] = {
    **{name: {} for name, value in _EXAMPLE.items() if value is not None},  # the others may be null
    "phase": {"enum": ["idle", "shadow", "ready", "ramping", "promoted", "paused", "rolled_back"]},
    "weight": {"type": "number", "description": "Percent of the sessions, as it is live."},
    "wanted": {"type": "number", "description": "As the rollout would have it."},
    "waits_for": {"type": "array", "items": {"type": "string"}, "description": "All that keeps it where it is."},
    **{name: {"type": "array", "items": {"type": "object"}} for name in _OBJECTS},
    "pairs": {"type": "integer", "description": "That count."},
    "lost": {"type": "object", "description": "Of these, by why."},
    "left_out": {"type": "object", "description": "Samples that say nothing, by why."},
}
_BODY = body(
    {
        "act": {"enum": [act.value for act in Act]},
        "weight": {"type": "number", "minimum": 0, "maximum": 100, "description": "Of force: percent."},
    },
    ["act", "reason"],
    {"act": "start", "reason": "student of November"},
)
_PROPERTIES = _BODY["requestBody"]["content"]["application/json"]["schema"]["properties"]
del _PROPERTIES["override"]
_PROPERTIES["ttl_s"] = {**_PROPERTIES["ttl_s"], "description": "Of force: for how long."}
RouteName = Annotated[str, Path(description="The route's name; its slashes may be sent as %2F.")]


@router.get(
    "",
    responses=answers(
        "By route", {"rollouts": {"type": "array", "items": {"type": "object"}}}, {"rollouts": [_EXAMPLE]}, *READING
    ),
    summary="The rollouts of all routes that have one",
)
async def read_rollouts(request: Request, _: Admin) -> Response:
    """All that can be said of each."""
    rollouts: Rollouts = request.state.rollouts
    return _json({"rollouts": await translated(rollouts.read_all(), _door(request))})


@router.get(
    "/{route:path}",
    responses=answers("How it stands", _SCHEMA, _EXAMPLE, *READING, *_ABSENT),
    summary="Where a route's rollout stands, why, and what is known of each check",
)
async def read_rollout(request: Request, route: RouteName, _: Admin) -> Response:
    """As of the records that are filed by now, whoever leads. Times are UNIX seconds."""
    rollouts: Rollouts = request.state.rollouts
    try:
        return _json(await translated(rollouts.read(route), _door(request)))
    except NoRollout:
        raise _none(request, route) from None


@router.post(
    "/{route:path}",
    responses=answers("How it stands since", _SCHEMA, _EXAMPLE, *SENDING, *_ABSENT, ROLLOUT_REFUSED),
    openapi_extra=_BODY,
    summary="Start, pause, resume, promote, roll back, acknowledge, force or unforce it",
)
async def act_on_rollout(request: Request, route: RouteName, admin: Admin) -> Response:
    """What follows is done at once, and told in the history of the route. 409 says why something cannot be done as it
    stands, and what can."""
    action = _action(await read_object(request), actor_of(admin))
    rollouts: Rollouts = request.state.rollouts
    try:
        return _json(await translated(rollouts.act(route, action), _door(request)))
    except NoRollout:
        raise _none(request, route) from None
    except Refused as error:
        raise ApiError(ROLLOUT_REFUSED, f"{error}.", "act") from None


def _action(sent: dict[str, Any], actor: str) -> Action:
    said = about(sent)
    act, weight = sent.get("act"), sent.get("weight")
    only(sent, "act", "weight")
    if not isinstance(act, str) or act not in set(Act):
        raise ApiError(INVALID_CHANGE, f"act: expected one of {', '.join(Act)}, got {cut(repr(act))}", "act")
    if said.override:
        raise ApiError(INVALID_CHANGE, "override: not a key of this call", "override")
    for name, value in (("weight", weight), ("ttl_s", said.ttl_s)):
        if (value is not None) is not (act == Act.FORCE):
            wanted = "expected with force" if act == Act.FORCE else "expected with force alone"
            raise ApiError(INVALID_CHANGE, f"{name}: {wanted}, got {cut(repr(value))}", name)
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if weight is not None and not (number and 0 <= weight <= 100):
        raise ApiError(INVALID_CHANGE, f"weight: expected a number from 0 to 100, got {cut(repr(weight))}", "weight")
    return Action(Act(act), actor, said.reason, None if weight is None else float(weight), said.ttl_s)


def _none(request: Request, route: str) -> ApiError:
    name = cut(repr(route))
    if route in gateway_of(request).config.routes:
        return ApiError(NO_ROLLOUT, f"The route {name} has no rollout block (docs/rollout.md).")
    return ApiError(UNKNOWN_ROUTE, f"There is no route {name}. GET /admin/routes lists them.")


def _door(request: Request) -> Door:
    door: Door = request.state.door
    return door


def _json(answer: Summary | dict[str, list[Summary]]) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
