"""The trail of changes, as it is hashed: whoever reads it can verify it without trusting the gateway."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from gateway.admin.answers import translated
from gateway.admin.caller import Admin, AdminRoute
from gateway.admin.described import READING, answers
from gateway.control.door import Door
from gateway.control.trail import to_document

router = APIRouter(prefix="/admin", tags=["audit"], route_class=AdminRoute)
_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_EXAMPLE: dict[str, Any] = {
    "entries": [
        {
            "revision": 1,
            "key": {"kind": "route", "name": "support-chat"},
            "version": 1,
            "action": "change",
            "document": {"student_percent": 25},
            "undo": [],
            "actor": "sre",
            "reason": "first quarter, after a quiet weekend",
            "changed_at": 1791187200.0,
            "before": "0" * 64,
            "hash": _HASH,
        }
    ],
    "head": {"revision": 1, "hash": _HASH},
}
_ENTRY = {"type": "object", "required": list(_EXAMPLE["entries"][0])}
_HEAD = {"type": "object", "properties": {"revision": {"type": "integer"}, "hash": {"type": "string"}}}
_SCHEMA: dict[str, Any] = {"entries": {"type": "array", "items": _ENTRY}, "head": _HEAD}


@router.get(
    "/audit",
    responses=answers("Entries of the trail", _SCHEMA, _EXAMPLE, *READING),
    summary="Every change that was ever made",
)
async def read_audit(
    request: Request,
    _: Admin,
    after: Annotated[int, Query(ge=0, le=2**53, description="Entries after this revision, oldest first.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    newest: Annotated[bool, Query(description="The last ones instead, newest first.")] = False,
) -> JSONResponse:
    """Append-only: each entry has the hash of the one before it, so that whoever follows them finds any edit, deletion,
    insertion or reordering. A note of the head's hash, which every replica logs, shows one that was rewritten whole.

    `understudy audit --verify` follows them all.
    """
    door: Door = request.state.door
    revision, digest = await translated(door.head(), door)
    found = await translated(door.entries(max(0, revision - limit) if newest else after, limit), door)
    found = [change for change in found if change.revision <= revision]
    entries = [to_document(change) for change in (reversed(found) if newest else found)]
    return JSONResponse({"entries": entries, "head": {"revision": revision, "hash": digest}})
