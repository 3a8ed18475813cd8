"""What callers of the admin API send besides their key: bodies, and the conditions of changes.

A body is read by hand, after the key was checked and only so far: FastAPI would read it whole, and first.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.config import cut
from gateway.control.changes import Condition
from gateway.face.errors import (
    INVALID_CHANGE,
    INVALID_HTTP,
    INVALID_JSON,
    PRECONDITION_REQUIRED,
    TOO_LARGE,
    VERSION_CONFLICT,
    ApiError,
)

BODY_BYTES = 64 * 1024
REASON_CHARACTERS = 1000
LONGEST_TTL_S = 30 * 86_400
_ABOUT = ("reason", "ttl_s", "override")
_ETAG = re.compile(r'\s*(?:"([0-9]{1,15})"|([0-9]{1,15}))\s*')


@dataclass(frozen=True, slots=True)
class About:
    """What is said of a change besides what it changes."""

    reason: str
    ttl_s: float | None
    override: bool


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises `ApiError`."""
    return _decoded(await _read(request))


async def read_object_or_query(request: Request, query: dict[str, Any]) -> dict[str, Any]:
    """The same for a body that may be missing: then the query parameters."""
    body = await _read(request)
    return _decoded(body) if body.strip() else {name: value for name, value in query.items() if value is not None}


def about(body: dict[str, Any], *, dry_run: bool = False) -> About:
    """Take out of a body what is said of the change. A dry run needs no reason. Raises `ApiError`."""
    said = {name: body.pop(name, None) for name in _ABOUT}
    reason, ttl_s, override = said["reason"], said["ttl_s"], said["override"]
    if not (reason is None and dry_run):
        _check_reason(reason)
    number = isinstance(ttl_s, int | float) and not isinstance(ttl_s, bool)
    if ttl_s is not None and not (number and 0 < ttl_s <= LONGEST_TTL_S):
        expected = f"expected seconds, more than 0 and at most {LONGEST_TTL_S} (30 days)"
        raise _invalid("ttl_s", f"{expected}, got {cut(repr(ttl_s))}")
    if override is not None and not isinstance(override, bool):
        raise _invalid("override", f"expected true or false, got {cut(repr(override))}")
    return About(reason or "", ttl_s, bool(override))


def only(body: dict[str, Any], *known: str) -> None:
    """Raises `ApiError` if there is more in it."""
    for name in body:
        if name not in known:
            expected = ", ".join((*known, *_ABOUT))
            raise _invalid(cut(name), f"not a key of this call; expected {expected}")


def condition(if_match: str | None, if_none_match: str | None, *, dry_run: bool) -> Condition:
    """What must stand for a change to be made. Raises `ApiError` if nothing is said of it."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise ApiError(
                VERSION_CONFLICT, "If-None-Match: expected *, which is for what is not there yet, and no If-Match."
            )
        return Condition(exists=False)
    if if_match is None:
        if dry_run:
            return Condition()
        raise ApiError(
            PRECONDITION_REQUIRED,
            "Expected If-Match with the version that you looked at, as its ETag says it, so that nobody's change is "
            "overwritten unseen; * takes whatever stands.",
        )
    if if_match.strip() == "*":
        return Condition(exists=True)
    versions = [_ETAG.fullmatch(part) for part in if_match.split(",")]
    if not all(versions):
        raise ApiError(VERSION_CONFLICT, f'If-Match: expected an ETag such as "3", or *, got {cut(repr(if_match))}.')
    return Condition(frozenset(int(found[1] or found[2]) for found in versions if found))


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES:
                raise ApiError(TOO_LARGE, f"Expected a change of at most {BODY_BYTES} bytes, got a larger one.")
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


def _check_reason(reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise _invalid("reason", "expected a few words for those who read the history")
    if len(reason) > REASON_CHARACTERS:
        raise _invalid("reason", f"expected at most {REASON_CHARACTERS} characters, got {len(reason)}")


def _invalid(param: str, problem: str) -> ApiError:
    return ApiError(INVALID_CHANGE, f"{param}: {problem}", param)
