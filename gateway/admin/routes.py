"""`/admin/routes`: what is live, and changing it."""

import json
import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from gateway.admin.caller import Admin
from gateway.config import cut
from gateway.control.door import Door, InvalidChange, LiveRoute, UnknownRouteName
from gateway.control.watch import Watch
from gateway.face.errors import (
    INVALID_CHANGE,
    INVALID_HTTP,
    INVALID_JSON,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    UNKNOWN_ROUTE,
    VERSION_CONFLICT,
    ApiError,
)
from gateway.stores.protocols import StoreError, VersionConflict

_BODY_BYTES = 64 * 1024
_REASON_CHARACTERS = 1000
_CHANGE = {
    "type": "object",
    "required": ["reason"],
    "properties": {
        "reason": {"type": "string", "minLength": 1, "maxLength": _REASON_CHARACTERS},
        "student_percent": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
    },
    "additionalProperties": False,
    "example": {"student_percent": 25, "reason": "first quarter, after a quiet weekend"},
}
# The body is read by hand, after the key was checked and only so far: FastAPI would read it whole, and first.
_CHANGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": _CHANGE} for kind in ("application/merge-patch+json", "application/json")},
    }
}
_Answer = TypeVar("_Answer")
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


@router.patch("/routes/{route:path}", openapi_extra=_CHANGE_BODY)
async def change_route(
    request: Request,
    response: Response,
    route: str,
    admin: Admin,
    if_match: Annotated[str | None, Header(description="Change it only if this version (its ETag) stands.")] = None,
) -> RouteView:
    """Change a route while it serves: a JSON merge patch with a `reason`. It is live on every worker within a second.

    `null` takes a live change back, to what the file says.
    """
    patch = _decoded(await _body(request))
    reason = _reason(patch.pop("reason", None))
    door: Door = request.state.door
    watch: Watch = request.state.watch
    live = await _translated(
        door.change(route, patch, actor=admin.name or "anyone", reason=reason, expected_version=_version(if_match))
    )
    await watch.look()
    return _answer(live, response)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY_BYTES:
                raise ApiError(TOO_LARGE, f"Expected a change of at most {_BODY_BYTES} bytes, got a larger one.")
    except ClientDisconnect:
        raise ApiError(INVALID_HTTP, "The request broke off before its body was whole.") from None
    return bytes(body)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        change = json.loads(body.decode(), parse_constant=_no_json)
        json.dumps(change, ensure_ascii=False).encode()  # finds surrogates without a partner: they are no text
    except UnicodeEncodeError:
        raise ApiError(INVALID_CHANGE, "Expected text, got an escaped surrogate without its partner.") from None
    except RecursionError:
        raise ApiError(INVALID_JSON, "The request body is nested too deeply to be read.") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise ApiError(INVALID_JSON, f"The request body is not valid JSON: {error}.") from None
    if not isinstance(change, dict):
        raise ApiError(INVALID_CHANGE, "Expected a JSON object with what to change and a reason.")
    return change


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _reason(reason: object) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise ApiError(INVALID_CHANGE, "reason: expected a few words for those who read the history", "reason")
    if len(reason) > _REASON_CHARACTERS:
        came = f"expected at most {_REASON_CHARACTERS} characters, got {len(reason)}"
        raise ApiError(INVALID_CHANGE, f"reason: {came}", "reason")
    return reason


def _version(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'\s*"?([0-9]{1,15})"?\s*', if_match)
    if match is None:
        raise ApiError(
            VERSION_CONFLICT, f'If-Match: expected an ETag of this route such as "3", got {cut(repr(if_match))}.'
        )
    return int(match.group(1))


async def _translated(work: Awaitable[_Answer]) -> _Answer:
    """The door's refusals as API errors."""
    try:
        return await work
    except UnknownRouteName as error:
        raise ApiError(
            UNKNOWN_ROUTE, f"There is no route {cut(repr(str(error)))}. GET /admin/routes lists them."
        ) from None
    except InvalidChange as error:
        raise ApiError(INVALID_CHANGE, str(error), error.key) from None
    except VersionConflict as conflict:
        raise ApiError(
            VERSION_CONFLICT, f"The route changed meanwhile: version {conflict.current} stands. Read it and try again."
        ) from None
    except StoreError as error:
        raise ApiError(STORE_UNAVAILABLE, f"The store cannot be used now, nothing was changed: {error}") from None
