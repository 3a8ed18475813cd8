"""`/admin/routes`: what is live, and changing it."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from pydantic import BaseModel

from gateway.control.door import Door, InvalidChange, LiveRoute, UnknownRouteName
from gateway.control.watch import Watch
from gateway.face.errors import (
    FORBIDDEN,
    INVALID_CHANGE,
    STORE_UNAVAILABLE,
    UNKNOWN_ROUTE,
    VERSION_CONFLICT,
    ApiError,
)
from gateway.intake import identify
from gateway.state import Gateway, Identity
from gateway.stores.protocols import StoreError, VersionConflict


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.state.gateway
    return gateway


def _admin(request: Request, gateway: Annotated[Gateway, Depends(_gateway)]) -> Identity:
    authorization = request.headers.get("authorization")
    identity = identify(gateway.keys, authorization.encode("latin-1") if authorization else None)
    if not identity.admin:
        raise ApiError(FORBIDDEN, f"The key {identity.name!r} may not do this: expected a key with role: admin.")
    return identity


Admin = Annotated[Identity, Depends(_admin)]
router = APIRouter(prefix="/admin", tags=["admin"])


class RouteView(BaseModel):
    """A route as it is live. `sources` says for each key of `document` whether the file or a live change set it."""

    route: str
    version: int
    document: dict[str, Any]
    sources: dict[str, str]
    changed_by: str | None
    reason: str | None
    changed_at: datetime | None

    @classmethod
    def of(cls, live: LiveRoute) -> "RouteView":
        return cls(
            route=live.name,
            version=live.version,
            document=live.document,
            sources=live.sources,
            changed_by=live.changed_by,
            reason=live.reason,
            changed_at=None if live.changed_at is None else datetime.fromtimestamp(live.changed_at, UTC),
        )


class RouteList(BaseModel):
    routes: list[RouteView]


def _answer(live: LiveRoute, response: Response) -> RouteView:
    response.headers["etag"] = f'"{live.version}"'
    return RouteView.of(live)


@router.get("/routes")
async def list_routes(request: Request, _: Admin) -> RouteList:
    """Every route as it is live."""
    door: Door = request.state.door
    return RouteList(routes=[RouteView.of(live) for live in await _translated(door.read_all())])


@router.get("/routes/{route:path}")
async def read_route(request: Request, response: Response, route: str, _: Admin) -> RouteView:
    """One route as it is live. The `ETag` is its version."""
    door: Door = request.state.door
    return _answer(await _translated(door.read(route)), response)


@router.patch("/routes/{route:path}")
async def change_route(
    request: Request,
    response: Response,
    route: str,
    admin: Admin,
    change: Annotated[
        dict[str, Any], Body(examples=[{"student_percent": 25, "reason": "first quarter, after a quiet weekend"}])
    ],
    if_match: Annotated[str | None, Header(description="Change it only if this version (its ETag) stands.")] = None,
) -> RouteView:
    """Change a route while it serves: a JSON merge patch with a `reason`. It is live on every worker within a second.

    `null` takes a live change back, to what the file says.
    """
    patch = dict(change)
    reason = patch.pop("reason", None)
    if not isinstance(reason, str) or not reason.strip():
        raise ApiError(INVALID_CHANGE, "reason: expected a few words for those who read the history", "reason")
    door: Door = request.state.door
    watch: Watch = request.state.watch
    live = await _translated(
        door.change(route, patch, actor=admin.name or "anyone", reason=reason, expected_version=_version(if_match))
    )
    await watch.look()
    return _answer(live, response)


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'\s*"?([0-9]{1,15})"?\s*', if_match)
    if match is None:
        raise ApiError(VERSION_CONFLICT, f'If-Match: expected an ETag of this route such as "3", got {if_match!r}.')
    return int(match.group(1))


async def _translated(work: Any) -> Any:
    """The door's refusals as API errors."""
    try:
        return await work
    except UnknownRouteName as error:
        raise ApiError(UNKNOWN_ROUTE, f"There is no route {str(error)!r}. GET /admin/routes lists them.") from None
    except InvalidChange as error:
        raise ApiError(INVALID_CHANGE, str(error), error.problems[0].partition(":")[0]) from None
    except VersionConflict as conflict:
        raise ApiError(
            VERSION_CONFLICT, f"The route changed meanwhile: version {conflict.current} stands. Read it and try again."
        ) from None
    except StoreError as error:
        raise ApiError(STORE_UNAVAILABLE, f"The store cannot be used now, nothing was changed: {error}") from None
