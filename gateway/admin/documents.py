"""Routes, upstreams and keys: read, changed, taken out of service and brought back, all in the same way.

    GET                  /admin/routes
    GET PATCH PUT DELETE /admin/routes/{route}
    GET                  /admin/routes/{route}/versions
    POST                 /admin/routes/{route}/revert

The name of a route may have slashes in it. What follows the last one is `versions`, `revert` or `kill` if it reads so;
a name that itself ends so is sent with that slash as `%2F`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse

from gateway.admin.answers import (
    made_answer,
    proposal_answer,
    shown_answer,
    shown_json,
    translated,
    versions_json,
)
from gateway.admin.bodies import about, condition, only, read_object, read_object_or_query
from gateway.admin.caller import Admin, AdminRoute
from gateway.admin.described import PLACES, described
from gateway.config import cut
from gateway.control.changes import Ask, deleted, patched, replaced
from gateway.control.door import Door
from gateway.control.effective import key_names
from gateway.control.watch import Watch
from gateway.face.errors import INVALID_CHANGE, ApiError
from gateway.state import Identity
from gateway.stores.protocols import Key


def _kind(request: Request) -> str:
    return str(request.scope["path"]).split("/")[2].removesuffix("s")


def _target(request: Request) -> Key:
    (name,) = request.path_params.values()
    return Key(_kind(request), name)


Kind = Annotated[str, Depends(_kind)]
Target = Annotated[Key, Depends(_target)]
DryRun = Annotated[bool, Query(description="Say what it would come to, and change nothing. Needs no If-Match.")]
IfMatch = Annotated[
    str | None, Header(description='The version that you looked at, as its ETag says it: `"3"`; `*`: any that stands.')
]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only if there is none in service.")]


async def list_all(request: Request, kind: Kind, _: Admin) -> JSONResponse:
    """Every one as it is live."""
    door: Door = request.state.door
    found = await translated(door.read_all(kind), door)
    return JSONResponse({f"{kind}s": [shown_json(one) for one in found]})


async def list_versions(
    request: Request,
    key: Target,
    admin: Admin,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="Only versions older than this.")] = None,
) -> JSONResponse:
    """Who changed it, when, why, and what: newest first. Version 0, the config file's, is not among them."""
    door: Door = request.state.door
    if not _sent_with(request, b"/versions"):
        return await read(request, Key(key.kind, f"{key.name}/versions"), admin)
    changes = await translated(door.history(key, before, limit + 1), door)
    if not changes:
        await translated(door.read(key), door)  # to tell one that never changed from none
    return JSONResponse({key.kind: key.name, "versions": versions_json(door.ground, changes, limit)})


def _sent_with(request: Request, suffix: bytes) -> bool:
    """Whether the path ends so as it was sent, its slash not percent-encoded."""
    sent: bytes = request.scope["raw_path"]
    return sent.partition(b"?")[0].endswith(suffix)


async def read(request: Request, key: Target, _: Admin) -> JSONResponse:
    """As it is live, with every key, written or not, and where it comes from. The `ETag` is its version."""
    door: Door = request.state.door
    return shown_answer(await translated(door.read(key), door))


async def change(
    request: Request, key: Target, admin: Admin, dry_run: DryRun = False, if_match: IfMatch = None
) -> JSONResponse:
    """A JSON merge patch (RFC 7396) with a `reason`. Live on every replica within a second.

    `null` takes a key back to what the config file says.
    """
    patch = await read_object(request)
    said = about(patch, dry_run=dry_run)
    if not patch:
        raise ApiError(INVALID_CHANGE, f"expected at least one of {', '.join(key_names(key.kind))}")
    ask = Ask(
        *(key, "change", patched(patch), actor_of(admin), said.reason, said.ttl_s, said.override),
        condition=condition(if_match, None, dry_run=dry_run),
        named=tuple(patch),
    )
    return await carried_out(request, ask, dry_run)


async def replace(
    request: Request,
    key: Target,
    admin: Admin,
    dry_run: DryRun = False,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> JSONResponse:
    """It becomes exactly `document`: what is not given is the default, whatever the config file says. Makes a new one
    with `If-None-Match: *`, and brings back one that was taken out of service."""
    sent = await read_object(request)
    said = about(sent, dry_run=dry_run)
    only(sent, "document")
    document = sent.get("document")
    if not isinstance(document, dict):
        raise ApiError(INVALID_CHANGE, f"document: expected the {key.kind} as a JSON object", "document")
    if key.kind == "key" and document.get("name") == key.name:
        del document["name"]
    ask = Ask(
        *(key, "replace", replaced(document), actor_of(admin), said.reason, said.ttl_s, said.override),
        condition=condition(if_match, if_none_match, dry_run=dry_run),
        named=tuple(document),
        revives=True,
    )
    return await carried_out(request, ask, dry_run)


async def delete(
    request: Request,
    key: Target,
    admin: Admin,
    reason: Annotated[str | None, Query(description="Here or in the body.", examples=["its app is gone"])] = None,
    ttl_s: Annotated[float | None, Query(description="Here or in the body.")] = None,
    override: Annotated[bool | None, Query(description="Here or in the body. A route needs it.")] = None,
    dry_run: DryRun = False,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Take it out of service, also if the config file has it. PUT or revert brings it back."""
    sent = await read_object_or_query(request, {"reason": reason, "ttl_s": ttl_s, "override": override})
    said = about(sent, dry_run=dry_run)
    only(sent)
    ask = Ask(
        *(key, "delete", deleted, actor_of(admin), said.reason, said.ttl_s, said.override),
        condition=condition(if_match, None, dry_run=dry_run),
    )
    return await carried_out(request, ask, dry_run)


async def revert(
    request: Request, key: Target, admin: Admin, dry_run: DryRun = False, if_match: IfMatch = None
) -> JSONResponse:
    """It becomes what it was at `version`, as a new version; 0 is what the config file says."""
    sent = await read_object(request)
    said = about(sent, dry_run=dry_run)
    only(sent, "version")
    version = sent.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**53:
        raise ApiError(INVALID_CHANGE, f"version: expected 0 or more, got {cut(repr(version))}", "version")
    door: Door = request.state.door
    edit = await translated(door.to_version(key, version), door)
    ask = Ask(
        *(key, "revert", edit, actor_of(admin), said.reason, said.ttl_s, said.override),
        condition=condition(if_match, None, dry_run=dry_run),
        revives=True,
    )
    return await carried_out(request, ask, dry_run)


async def carried_out(request: Request, ask: Ask, dry_run: bool) -> JSONResponse:
    """Make a change and have it live in this worker, or say what it would come to."""
    door: Door = request.state.door
    watch: Watch = request.state.watch
    if dry_run:
        return proposal_answer(await translated(door.propose(ask), door))
    made = await translated(door.change(ask), door)
    await watch.show(made.standing)
    return await made_answer(door, made)


def actor_of(admin: Identity) -> str:
    """Whom the history names."""
    return admin.name or "anyone"


def documents(kind: str) -> APIRouter:
    """All of this for one kind of document."""
    router = APIRouter(prefix=f"/admin/{kind}s", tags=[f"{kind}s"], route_class=AdminRoute)
    path = f"/{{{PLACES[kind]}:path}}"
    endpoints: list[tuple[str, str, Any]] = [
        ("GET", "", list_all),
        ("GET", f"{path}/versions", list_versions),
        ("POST", f"{path}/revert", revert),
        ("GET", path, read),
        ("PATCH", path, change),
        ("PUT", path, replace),
        ("DELETE", path, delete),
    ]
    for method, where, endpoint in endpoints:
        router.add_api_route(where, endpoint, methods=[method], **described(endpoint.__name__, kind))
    return router
