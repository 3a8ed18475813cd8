"""Who serves what: every replica, the store, and what is out of the ordinary."""

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.admin.answers import Json, moment, planned_json
from gateway.admin.caller import Admin, AdminRoute, gateway_of
from gateway.admin.described import answers
from gateway.config import Config
from gateway.control.door import Door
from gateway.control.watch import Watch
from gateway.face.errors import FORBIDDEN, MISSING_KEY, WRONG_KEY
from gateway.stores.protocols import Key, Member, Standing, StoreError

router = APIRouter(prefix="/admin", tags=["status"], route_class=AdminRoute)
_EXAMPLE: dict[str, Any] = {
    "replicas": [
        {
            "replica": "gateway-1-4711-9f3a",
            "host": "gateway-1",
            "software": "0.4.0",
            "started_at": "2026-10-05T08:00:00Z",
            "revision": 17,
            "live_at": "2026-10-05T09:00:00Z",
            "behind": 0,
            "lag_s": 0.0,
            "draining": False,
            "in_flight": 12,
            "seen_at": "2026-10-05T09:00:01Z",
        }
    ],
    "answered_by": "gateway-1-4711-9f3a",
    "store": {
        "kind": "redis",
        "up": True,
        "degraded": False,
        "error": None,
        "warnings": [],
        "head": {"revision": 17, "hash": "9f86d081884c7d65…"},
    },
    "kill_switches": [{"route": "support-chat", "to": "teacher", "ends_at": "2026-10-05T10:00:00Z"}],
    "takes_back": [
        {"kind": "route", "name": "support-chat", "at": "2026-10-05T10:00:00Z", "keys": ["force"], "version": 3}
    ],
    "problems": [],
    "capture": [{"route": "support-chat", "waiting": 3, "waiting_bytes": 9120, "error": None}],
}
_LIST = {"type": "array", "items": {"type": "object"}}
_SCHEMA = {
    "replicas": _LIST,
    "answered_by": {"type": "string"},
    "store": {"type": "object", "required": list(_EXAMPLE["store"])},
    "kill_switches": _LIST,
    "takes_back": _LIST,
    "problems": {"type": "array", "items": {"type": "string"}},
    "capture": _LIST,
}


@router.get(
    "/status",
    responses=answers("The state of the whole", _SCHEMA, _EXAMPLE, MISSING_KEY, WRONG_KEY, FORBIDDEN),
    summary="Every replica, the store, open kill switches and what takes itself back",
)
async def read_status(request: Request, _: Admin) -> JSONResponse:
    """Answers with the store down too: then with this replica alone, on what it serves.

    `behind`: how many changes a replica does not serve yet, `lag_s`: for how long the first of them has been made.
    `problems`: what is not live here as it was changed, and why. `capture`: of each route that captures, what waits to
    be written in the worker that answers, and why it cannot be.
    """
    door: Door = request.state.door
    watch: Watch = request.state.watch
    members, store, lacking = await _ask_store(door, watch)
    now = time.time()
    head = store["head"]["revision"]
    standing = door.standing
    return JSONResponse(
        {
            "replicas": [_replica_json(member, head, lacking, now) for member in members],
            "answered_by": watch.replica,
            "store": store,
            "kill_switches": _kill_switches(gateway_of(request).config, standing),
            "takes_back": [
                {"kind": key.kind, "name": key.name, **planned_json(undo)}
                for key, change in standing.changes.items()
                for undo in change.draft.undo
            ],
            "problems": list(watch.problems),
            "capture": gateway_of(request).captures.state(),
        }
    )


async def _ask_store(door: Door, watch: Watch) -> tuple[list[Member], Json, dict[int, float]]:
    """Who there is, the store's state, and for each revision that somebody serves when the next one was made."""
    own = watch.member()
    try:
        revision, digest = await door.head()
        others = [member for member in await door.members() if member.replica != own.replica]
        warnings = await door.warnings()
        lacking = {}
        for seen in {member.revision for member in [own, *others] if member.revision < revision}:
            lacking[seen] = (await door.entries(seen, 1))[0].draft.changed_at
    except StoreError as error:
        live = {"revision": own.revision, "hash": watch.live_hash}
        return [own], _store_json(door, str(error), list(watch.warnings), live), {}
    members = sorted([own, *others], key=lambda member: (member.host, member.replica))
    head = {"revision": revision, "hash": digest}
    return members, _store_json(door, None, [*warnings, *watch.warnings], head), lacking


def _store_json(door: Door, error: str | None, warnings: list[str], head: Json) -> Json:
    return {
        "kind": door.ground.store.partition(":")[0],
        "up": error is None,
        "degraded": error is not None,
        "error": error,
        "warnings": warnings,
        "head": head,
    }


def _replica_json(member: Member, head: int, lacking: dict[int, float], now: float) -> Json:
    since = lacking.get(member.revision)
    return {
        "replica": member.replica,
        "host": member.host,
        "software": member.software,
        "started_at": moment(member.started_at),
        "revision": member.revision,
        "live_at": moment(member.live_at),
        "behind": max(0, head - member.revision),
        "lag_s": 0.0 if since is None else round(max(0.0, now - since), 3),
        "draining": member.draining,
        "in_flight": member.in_flight,
        "seen_at": moment(member.seen_at),
    }


def _kill_switches(config: Config, standing: Standing) -> list[Json]:
    """Those that are on here; that of all routes has no name."""
    found: list[tuple[Key, str | None]] = [(Key("gateway", ""), config.force)]
    found += [(Key("route", name), route.force) for name, route in config.routes.items()]
    switches = []
    for key, to in found:
        if to is not None:
            change = standing.changes.get(key)
            ends = [undo.at for undo in change.draft.undo if "/force" in undo.patch] if change else []
            switches.append({"route": key.name or None, "to": to, "ends_at": moment(min(ends, default=None))})
    return switches
