"""The kill switch: one call, and everything goes to the teacher (or to the student), whatever split and policies say.

It needs no version, and takes the next one itself: at three in the morning nobody should be refused because somebody
else was faster, nor because another part of the config cannot be read now.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from gateway.admin.bodies import about, only, read_object
from gateway.admin.caller import Admin, AdminRoute
from gateway.admin.described import PROPOSED, SENDING, SHOWN, TRAIL, answers, body, made_example
from gateway.admin.documents import DryRun, actor_of, carried_out
from gateway.config import cut
from gateway.control.changes import Ask, forced
from gateway.face.errors import INVALID_CHANGE, UNKNOWN_ROUTE, ApiError
from gateway.state import Identity
from gateway.stores.protocols import Key

router = APIRouter(prefix="/admin", tags=["kill switch"], route_class=AdminRoute)
_TO: dict[str, Any] = {"enum": ["teacher", "student", None], "description": "Who answers; null ends it."}
_BODY = body(
    {"to": _TO}, ["to", "reason"], {"to": "teacher", "ttl_s": 3600, "reason": "the student invents order numbers"}
)
_SAID = "Everything that asks for support-chat goes to the teacher, whatever split and policies say."
_EXAMPLE = {
    **made_example("route"),
    "document": {"teacher": "big", "student": "small", "student_percent": 25.0, "force": "teacher"},
    "sources": {"force": "live"},
    "action": "kill",
    "reason": "the student invents order numbers",
    "takes_back": [{"at": "2026-10-05T10:00:00Z", "keys": ["force"], "version": 3}],
    "diff": [{"path": "force", "from": None, "to": "teacher"}],
    "consequences": [_SAID, "This is taken back by itself at 2026-10-05 10:00:00 UTC."],
}
_WHOLE = {**{name: value for name, value in _EXAMPLE.items() if name != "route"}, "gateway": ""}
_FIELDS = SHOWN | PROPOSED | TRAIL


@router.post(
    "/kill",
    responses=answers("What stands since", {"gateway": {"type": "string"}, **_FIELDS}, _WHOLE, *SENDING, etag=True),
    openapi_extra=_BODY,
    summary="The kill switch of all routes",
)
async def kill_all(request: Request, admin: Admin, dry_run: DryRun = False) -> JSONResponse:
    """From the next request on everything goes to one side, on every route; `to: null` ends it.

    It is stronger than the kill switch of a route. Needs no `If-Match`.
    """
    return await _kill(request, Key("gateway", ""), admin, dry_run)


@router.post(
    "/routes/{route:path}/kill",
    responses=answers(
        "What stands since", {"route": {"type": "string"}, **_FIELDS}, _EXAMPLE, *SENDING, UNKNOWN_ROUTE, etag=True
    ),
    openapi_extra=_BODY,
    summary="The kill switch of a route",
)
async def kill_route(
    request: Request,
    route: Annotated[str, Path(description="The route's name; its slashes may be sent as %2F.")],
    admin: Admin,
    dry_run: DryRun = False,
) -> JSONResponse:
    """From the next request on everything that asks for the route goes to one side; `to: null` ends it.

    Needs no `If-Match`.
    """
    return await _kill(request, Key("route", route), admin, dry_run)


async def _kill(request: Request, key: Key, admin: Identity, dry_run: bool) -> JSONResponse:
    sent = await read_object(request)
    said = about(sent, dry_run=dry_run)
    only(sent, "to")
    if "to" not in sent or sent["to"] not in ("teacher", "student", None):
        came = cut(repr(sent["to"])) if "to" in sent else "nothing"
        raise ApiError(INVALID_CHANGE, f"to: expected teacher or student, or null to end it, got {came}", "to")
    ask = Ask(key, "kill", forced(sent["to"]), actor_of(admin), said.reason, said.ttl_s, kills=True)
    return await carried_out(request, ask, dry_run)
