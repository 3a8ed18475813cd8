"""What OpenAPI says of the admin API beyond types: examples of every body and answer, and the errors."""

from typing import Any

from gateway.admin.answers import UNKNOWN
from gateway.admin.bodies import LONGEST_TTL_S, REASON_CHARACTERS
from gateway.control.effective import key_names
from gateway.face.errors import (
    FORBIDDEN,
    INVALID_CHANGE,
    INVALID_JSON,
    INVALID_PARAMETER,
    MISSING_KEY,
    PRECONDITION_REQUIRED,
    STEP_TOO_LARGE,
    STORE_OUTCOME_UNKNOWN,
    STORE_UNAVAILABLE,
    TOO_LARGE,
    UNKNOWN_VERSION,
    VERSION_CONFLICT,
    WRONG_KEY,
    ErrorKind,
)

READING = (MISSING_KEY, WRONG_KEY, FORBIDDEN, INVALID_PARAMETER, STORE_UNAVAILABLE)
SENDING = (*READING, INVALID_JSON, TOO_LARGE, INVALID_CHANGE, STORE_OUTCOME_UNKNOWN)
CHANGING = (*SENDING, PRECONDITION_REQUIRED, VERSION_CONFLICT, STEP_TOO_LARGE)
REVERTING = (*CHANGING, UNKNOWN_VERSION)

ABOUT: dict[str, Any] = {
    "reason": {
        "type": "string",
        "minLength": 1,
        "maxLength": REASON_CHARACTERS,
        "description": "Why, for the history.",
    },
    "ttl_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": LONGEST_TTL_S,
        "description": "Takes itself back after so many seconds.",
    },
    "override": {"type": "boolean", "description": "Allows a step larger than the route's max_step, and its DELETE."},
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
        "current": {"type": ["object", "null"], "description": "With version_conflict: what stands."},
        "problems": {"type": "array", "items": {"type": "string"}, "description": "With invalid_change: each one."},
    },
}
_DIFFERENCE = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "from": {}, "to": {}},
}
_PLANNED = {
    "type": "object",
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "keys": {"type": "array", "items": {"type": "string"}},
        "version": {"type": "integer"},
    },
}
_VERSION: dict[str, Any] = {
    "version": {"type": "integer"},
    "action": {"type": "string"},
    "overlay": {"type": "object", "description": "What lies over the config file."},
    "diff": {"type": "array", "items": _DIFFERENCE},
    "actor": {"type": "string"},
    "reason": {"type": "string"},
    "changed_at": {"type": "string", "format": "date-time"},
    "expires_at": {"type": ["string", "null"], "format": "date-time"},
    "revision": {"type": "integer"},
}
PROPOSED: dict[str, Any] = {
    "version": {"type": "integer"},
    "document": {"type": ["object", "null"], "description": "As it is live, with every key; null: out of service."},
    "diff": {"type": "array", "items": _DIFFERENCE},
    "consequences": {"type": "array", "items": {"type": "string"}},
}
SHOWN: dict[str, Any] = {
    "version": PROPOSED["version"],
    "document": PROPOSED["document"],
    "sources": {"type": "object", "additionalProperties": {"enum": ["live", "file", "default"]}},
    "action": {"type": ["string", "null"]},
    "changed_by": {"type": ["string", "null"]},
    "reason": {"type": ["string", "null"]},
    "changed_at": {"type": ["string", "null"], "format": "date-time"},
    "takes_back": {"type": "array", "items": _PLANNED, "description": "What ends by itself."},
    "problems": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Why it is not live here as it was changed.",
    },
}
TRAIL: dict[str, Any] = {
    "revision": {"type": "integer", "description": "Its place in the trail of changes."},
    "hash": {"type": "string", "description": "The head of the trail of changes with it."},
}


def body(
    properties: dict[str, Any], required: list[str], example: Any, *kinds: str, needed: bool = True
) -> dict[str, Any]:
    """A JSON object with these members, and what is said of a change besides."""
    schema = {
        "type": "object",
        "required": required,
        "properties": properties | ABOUT,
        "additionalProperties": False,
        "example": example,
    }
    content = {kind: {"schema": schema} for kind in kinds or ("application/json",)}
    return {"requestBody": {"required": needed, "content": content}}


def answers(
    description: str, properties: dict[str, Any], example: Any, *errors: ErrorKind, etag: bool = False
) -> dict[int | str, dict[str, Any]]:
    """The good answer, and the errors by their status."""
    schema = {"type": "object", "required": list(properties), "properties": properties}
    good: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    if etag:
        good["headers"] = {"ETag": {"description": "The version.", "schema": {"type": "string"}}}
    found: dict[int | str, dict[str, Any]] = {200: good}
    for kind in errors:
        media = found.setdefault(kind.status, {"description": "", "content": {"application/json": {"schema": _ERROR}}})
        media["description"] = ", ".join(filter(None, (media["description"], kind.code)))
        examples = media["content"]["application/json"].setdefault("examples", {})
        error = {"message": "What was expected, what came, what to do.", "type": kind.type, "param": None}
        examples[kind.code] = {"value": {"error": {**error, "code": kind.code}}}
    return found


PLACES = {"route": "route", "upstream": "name", "key": "name"}  # what a path calls the document's name
_ROUTE = {"teacher": "big", "student": "small", "student_percent": 25.0, "max_step": 50.0, "force": None}
_UPSTREAM = {"base_url": "http://student.internal:8000/v1", "model": "student", "api_key": "${STUDENT_KEY}"}
_KEY = {"name": "shop-app", "tenant": "shop", "role": "app", "key": "${SHOP_APP_KEY}", "key_sha256": None}
_DIFFS: dict[str, list[dict[str, Any]]] = {
    "route": [{"path": "student_percent", "from": 5.0, "to": 25.0}],
    "upstream": [{"path": "limits.concurrency", "from": 512, "to": 64}],
    "key": [{"path": "limits.requests_per_minute", "from": None, "to": 600}],
}
_SAID = {
    "route": "About 20 % of sessions move from teacher to student; nobody moves back.",
    "upstream": "New calls of it follow the new limits.",
    "key": "Its budget begins anew, with the new limits.",
}
_DOCUMENTS: dict[str, dict[str, Any]] = {"route": _ROUTE, "upstream": _UPSTREAM, "key": _KEY}
_NAMES = {"route": "support-chat", "upstream": "small", "key": "shop-app"}
_PATCHES: dict[str, dict[str, Any]] = {
    "route": {"student_percent": 25, "reason": "first quarter, after a quiet weekend"},
    "upstream": {"limits": {"concurrency": 64}, "reason": "one GPU less until Monday", "ttl_s": 172800},
    "key": {"limits": {"requests_per_minute": 600}, "reason": "the batch job runs wild"},
}


def _shown_example(kind: str) -> dict[str, Any]:
    return {
        kind: _NAMES[kind],
        "version": 3,
        "document": _DOCUMENTS[kind],
        "sources": {_DIFFS[kind][0]["path"].partition(".")[0]: "live"},
        "action": "change",
        "changed_by": "sre",
        "reason": _PATCHES[kind]["reason"],
        "changed_at": "2026-10-05T09:00:00Z",
        "takes_back": [],
        "problems": [],
    }


def _proposed_example(kind: str) -> dict[str, Any]:
    return {
        kind: _NAMES[kind],
        "version": 4,
        "document": _DOCUMENTS[kind],
        "diff": _DIFFS[kind],
        "consequences": [_SAID[kind]],
    }


def made_example(kind: str) -> dict[str, Any]:
    return {
        **_shown_example(kind),
        **_proposed_example(kind),
        "version": 3,
        "revision": 17,
        "hash": "9f86d081884c7d65…",
    }


def _version_example(kind: str) -> dict[str, Any]:
    return {
        "version": 3,
        "action": "change",
        "overlay": {_DIFFS[kind][0]["path"].partition(".")[0]: _DIFFS[kind][0]["to"]},
        "diff": _DIFFS[kind],
        "actor": "sre",
        "reason": _PATCHES[kind]["reason"],
        "changed_at": "2026-10-05T09:00:00Z",
        "expires_at": None,
        "revision": 17,
    }


def described(what: str, kind: str) -> dict[str, Any]:
    """How an endpoint for documents of a kind is registered: its summary, its answers, its body."""
    own: dict[str, Any] = {kind: {"type": "string"}}
    everything = own | SHOWN | PROPOSED | TRAIL
    unknown = UNKNOWN[kind]
    summary, responses = {
        "list_all": (f"Every {kind}", _listed(kind, own)),
        "list_versions": (f"The history of a {kind}", _versions(kind, own)),
        "read": (
            f"A {kind}",
            answers("As it is live", own | SHOWN, _shown_example(kind), *READING, unknown, etag=True),
        ),
        "revert": (
            f"Have a {kind} be what it was",
            answers("What stands since", everything, made_example(kind), *REVERTING, unknown, etag=True),
        ),
    }.get(what) or (
        f"{what.capitalize()} a {kind}",
        answers("What stands since", everything, made_example(kind), *CHANGING, unknown, etag=True),
    )
    extra = _sent(what, kind)
    if what != "list_all":
        about = f"The {kind}'s name; its slashes may be sent as %2F."
        place = {"name": PLACES[kind], "in": "path", "required": True, "description": about}
        extra["parameters"] = [{**place, "schema": {"type": "string"}}]
    return {"summary": summary, "responses": responses, "openapi_extra": extra, "operation_id": f"{what}_{kind}"}


def _listed(kind: str, own: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    items = {"type": "object", "properties": own | SHOWN}
    return answers(
        "All that are in service",
        {f"{kind}s": {"type": "array", "items": items}},
        {f"{kind}s": [_shown_example(kind)]},
        *READING,
    )


def _versions(kind: str, own: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    properties = {**own, "versions": {"type": "array", "items": {"type": "object", "properties": _VERSION}}}
    example = {kind: _NAMES[kind], "versions": [_version_example(kind)]}
    return answers("Newest first", properties, example, *READING, UNKNOWN[kind])


def _sent(what: str, kind: str) -> dict[str, Any]:
    fields: dict[str, Any] = {name: {} for name in key_names(kind)}
    if what == "change":
        kinds = ("application/merge-patch+json", "application/json")
        return body(fields, ["reason"], _PATCHES[kind], *kinds)
    if what == "replace":
        example: dict[str, Any] = {"document": _DOCUMENTS[kind], "reason": "a new product"}
        return body({"document": {"type": "object", "properties": fields}}, ["document", "reason"], example)
    if what == "revert":
        example = {"version": 2, "reason": "slower than it looked"}
        return body({"version": {"type": "integer", "minimum": 0}}, ["version", "reason"], example)
    if what == "delete":
        example = {"reason": "its app is gone", "override": True}
        return body({}, [], example, needed=False)
    return {}
