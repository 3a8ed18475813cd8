"""What the admin API answers: documents as they are live, changes and what they come to, and refusals as errors.

Nothing here shows a secret.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi.responses import JSONResponse

from gateway.config import Config, cut
from gateway.control.documents import hidden, lay
from gateway.control.door import Door, Made
from gateway.control.effective import whole
from gateway.control.proposals import Difference, Proposal, Shown, differences, undo_paths
from gateway.control.refusals import Conflict, InvalidChange, NeedsOverride, NoSuchVersion, NotThere
from gateway.face.errors import (
    INVALID_CHANGE,
    STEP_TOO_LARGE,
    STORE_OUTCOME_UNKNOWN,
    STORE_UNAVAILABLE,
    UNKNOWN_KEY,
    UNKNOWN_ROUTE,
    UNKNOWN_UPSTREAM,
    UNKNOWN_VERSION,
    VERSION_CONFLICT,
    ApiError,
)
from gateway.stores.protocols import Change, Document, OutcomeUnknown, StoreError, Undo

UNKNOWN = {"route": UNKNOWN_ROUTE, "upstream": UNKNOWN_UPSTREAM, "key": UNKNOWN_KEY}
Json = dict[str, Any]
_Answer = TypeVar("_Answer")


def shown_answer(shown: Shown) -> JSONResponse:
    return JSONResponse(shown_json(shown), headers=_etag(shown.version))


def shown_json(shown: Shown) -> Json:
    """A document as it is live, and who made it so."""
    return {
        shown.key.kind: shown.key.name,
        "version": shown.version,
        "document": shown.document,
        "sources": shown.sources,
        "action": shown.action,
        "changed_by": shown.changed_by,
        "reason": shown.reason,
        "changed_at": moment(shown.changed_at),
        "takes_back": [planned_json(undo) for undo in shown.undo],
        "problems": list(shown.problems),
    }


def planned_json(undo: Undo) -> Json:
    """What takes itself back: when, which keys, and the version that asked for it."""
    return {"at": moment(undo.at), "keys": undo_paths(undo), "version": undo.version}


def proposal_answer(proposal: Proposal) -> JSONResponse:
    """What a change would come to. Its version is not an ETag: nothing has it yet."""
    return JSONResponse({"dry_run": True, **_proposal_json(proposal)})


def _proposal_json(proposal: Proposal) -> Json:
    draft = proposal.draft
    return {
        draft.key.kind: draft.key.name,
        "version": draft.version,
        "document": proposal.document,
        "diff": [_difference_json(one) for one in proposal.diff],
        "consequences": list(proposal.consequences),
    }


async def made_answer(door: Door, made: Made) -> JSONResponse:
    """What a change came to. `revision` is its place in the trail, `hash` the trail's head with it."""
    draft = made.change.draft
    shown = await door.shown(made.standing, draft.key)
    answer = {
        **shown_json(shown),
        **_proposal_json(made.proposal),
        "revision": made.change.revision,
        "hash": made.change.hash,
    }
    return JSONResponse(answer, headers=_etag(draft.version))


def versions_json(ground: Config, changes: list[Change], limit: int) -> list[Json]:
    """A document's versions, newest first, each with its difference to the one before. `changes` has one more than
    `limit` if there are more."""
    return [
        _version_json(ground, change, before.draft.document if before else {})
        for change, before in zip(changes[:limit], [*changes[1:], None], strict=False)
    ]


def _version_json(ground: Config, change: Change, before: Document) -> Json:
    draft = change.draft
    written = whole(ground, draft.key)
    diff = differences(draft.key, lay(written, before), lay(written, draft.document))
    own = [undo.at for undo in draft.undo if undo.version == draft.version]
    return {
        "version": draft.version,
        "action": draft.action,
        "overlay": hidden(draft.key.kind, draft.document),
        "diff": [_difference_json(one) for one in diff],
        "actor": draft.actor,
        "reason": draft.reason,
        "changed_at": moment(draft.changed_at),
        "expires_at": moment(min(own, default=None)),
        "revision": change.revision,
    }


def _difference_json(difference: Difference) -> Json:
    return {"path": difference.path, "from": difference.old, "to": difference.new}


def moment(seconds: float | None) -> str | None:
    """RFC 3339, in UTC; the argument is since the epoch."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _etag(version: int) -> dict[str, str]:
    return {"etag": f'"{version}"'}


async def translated(work: Awaitable[_Answer], door: Door) -> _Answer:
    """The door's refusals as API errors; a conflict holds what stands, so that nobody has to ask for it."""
    try:
        return await work
    except NotThere as error:
        raise ApiError(UNKNOWN.get(error.key.kind, UNKNOWN_ROUTE), _not_there(error)) from None
    except InvalidChange as error:
        beside = {"problems": error.problems}
        raise ApiError(INVALID_CHANGE, str(error), error.param, beside=beside) from None
    except NeedsOverride as error:
        raise ApiError(STEP_TOO_LARGE, str(error), "override") from None
    except NoSuchVersion as error:
        raise ApiError(UNKNOWN_VERSION, f"There is no {error}.", "version") from None
    except Conflict as conflict:
        raise await _conflict(conflict, door) from None
    except OutcomeUnknown as error:
        message = f"The change was made whole or not at all, and nobody can say now which: read it. The store: {error}"
        raise ApiError(STORE_OUTCOME_UNKNOWN, message) from None
    except StoreError as error:
        raise ApiError(STORE_UNAVAILABLE, f"The store cannot be used now, nothing was changed: {error}") from None


def _not_there(error: NotThere) -> str:
    key = error.key
    name = f"{key.kind} {cut(repr(key.name))}"
    if error.version:
        gone = f"The {name} is out of service since its version {error.version}, by {cut(repr(error.by))}."
        return f"{gone} PUT or revert brings it back."
    return f"There is no {name}. GET /admin/{key.kind}s lists them."


async def _conflict(conflict: Conflict, door: Door) -> ApiError:
    kind, version = conflict.key.kind, conflict.version
    current = None
    if conflict.exists:
        message = f"The {kind} is not what was expected: version {version} stands. Look at it, and decide anew."
        try:
            current = shown_json(await door.read(conflict.key))
        except (StoreError, NotThere):
            message += " (It cannot be read just now.)"
    else:
        message = f'This {kind} is not in service: If-None-Match: *, or If-Match: "{version}", puts it there.'
    return ApiError(VERSION_CONFLICT, message, beside={"current": current})
