"""Shadow mode as it is: what was mirrored and what not, and why; and the pairs themselves, redacted."""

import asyncio
from collections.abc import Iterator
from heapq import nlargest
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin.answers import Json, moment, translated
from gateway.admin.caller import Admin, AdminRoute, gateway_of
from gateway.admin.described import READING, answers
from gateway.after.summary import arms, disagrees, to_review
from gateway.config import cut
from gateway.config.shadow import ShadowConfig
from gateway.control.door import ANSWER_S, Door
from gateway.face.errors import UNKNOWN_ROUTE, ApiError
from gateway.state import Gateway
from gateway.stores.pairs import Kept, PairStore
from router_policies.prices import NANO_USD_PER_USD
from router_policies.shadow import Arm

router = APIRouter(prefix="/admin", tags=["shadow"], route_class=AdminRoute)
_PAGE = 200
_MOST_LOOKED_AT = 5000  # records, in one call, for pairs that are asked for
_decode = msgspec.json.Decoder().decode

Counts = dict[tuple[str, str, str], int]
"""By metric, arm and reason, "" where it has none."""

Newest = Annotated[int, Query(ge=1, le=10_000, description="How many of the newest records the shares are of.")]
RouteName = Annotated[str, Path(description="The route's name; its slashes may be sent as %2F.")]

_STATE: dict[str, Any] = {
    "route": "support-chat",
    "settings": {
        "sample": {"default": 0.1, "high_risk": 1.0},
        "aa_sample": 0.02,
        "queue": 1000,
        "queue_bytes": 67108864,
        "workers": 8,
        "timeout_s": 60.0,
        "max_usd_per_day": 50.0,
        "max_body_bytes": 4194304,
        "judge": {"upstream": "other", "sample": 0.05, "max_usd_per_day": 5.0, "timeout_s": 60.0, "rubric": "Be fair."},
        "embedding": {"upstream": "embedder", "sample": 1.0, "max_usd_per_day": 5.0, "timeout_s": 10.0},
    },
    "stopped": [{"because": "budget", "detail": "50.0003 of 50 dollars are spent today (UTC)"}],
    "here": {
        "ab": {"sampled": 1200, "pairs": 1180, "lost": {"timeout": 12, "budget": 5}, "under_way": 3},
        "aa": {"sampled": 240, "pairs": 240, "lost": {}, "under_way": 0},
        "queue": 1,
        "queue_bytes": 2048,
    },
    "usd_today": 50.0003,
    "opinions_usd_today": {"judge": 0.41, "embedding": 0.02},
    "newest": {
        "since": "2026-10-05T08:00:00Z",
        "until": "2026-10-05T09:00:00Z",
        "ab": {
            "records": 900,
            "pairs": 885,
            "lost": {"timeout": 12, "budget": 3},
            "families": {
                "format": {
                    "pairs": 885,
                    "disagree": 18,
                    "student_worse": 11,
                    "disagree_share": 0.0203,
                    "student_worse_share": 0.0124,
                }
            },
            "opinions": {
                "embedding": {"drawn": 885, "outcomes": {"measured": 880, "unfit": 5}, "median_similarity": 0.94},
                "judge": {"drawn": 44, "outcomes": {"tie": 24, "inconsistent": 12, "consistent_teacher": 8}},
            },
        },
        "aa": {
            "records": 100,
            "pairs": 100,
            "lost": {},
            "families": {},
            "opinions": {"embedding": {"drawn": 100, "outcomes": {"measured": 100}, "median_similarity": 0.97}},
        },
    },
}
_SCHEMA: dict[str, Any] = {
    "route": {"type": "string"},
    "settings": {"type": ["object", "null"], "description": "The route's `shadow`; null: it mirrors nothing."},
    "stopped": {"type": "array", "items": {"type": "object"}, "description": "Why nothing is mirrored just now."},
    "here": {"type": "object", "description": "Of all workers of the host that answers, since it was started."},
    "usd_today": {"type": "number", "description": "Of all replicas, since midnight UTC."},
    "opinions_usd_today": {
        "type": "object",
        "description": "The same of second opinions on pairs, by kind; their money is in nothing else.",
    },
    "newest": {"type": "object", "description": "Of the newest records in the store, which all replicas share."},
}
_SIDE: Json = {
    "upstream": "small",
    "model": "student-v7",
    "revision": "2026-10",
    "served": True,
    "ttft_s": 0.12,
    "ttlt_s": 0.9,
    "usage": {"input": 812, "output": 44, "cached_input": 0},
    "estimated": False,
    "cost_nano_usd": 98800,
    "sure": -0.35,
    "quantile": 0.1,
}
_PAIR: Json = {
    "number": 4711,
    "pair_id": "9f86d081884c7d65-17",
    "arm": "ab",
    "at": 1791187200.0,
    "route": "support-chat",
    "route_version": 3,
    "revision": 17,
    "endpoint": "/v1/chat/completions",
    "stream": True,
    "request_id": "req-1",
    "tenant": "shop",
    "answered": "student",
    "point": 0.07,
    "probability": 0.1,
    "reason": None,
    "detail": "",
    "student": _SIDE,
    "teacher": {**_SIDE, "upstream": "big", "model": "teacher", "served": False},
    "evidence_key": "small/student-v7@2026-10|big/teacher@2026-10|default.5d41402a",
    "verdicts": [
        {
            "check": "json",
            "version": 1,
            "family": "format",
            "student": "fail",
            "teacher": "pass",
            "agree": False,
            "student_worse": True,
            "severity": "high",
            "path": "",
            "evidence": "fenced",
        }
    ],
    "decided": "student",
    "by_split": True,
    "stratum": "default",
    "least": 0.1,
    "twinned": False,
    "opinions": [
        {
            "kind": "embedding",
            "outcome": "measured",
            "by": "embedder/embed-1@",
            "version": "1",
            "probability": 1.0,
            "similarity": 0.71,
            "cost_nano_usd": 800,
            "took_s": 0.04,
            "detail": "",
        },
        {
            "kind": "judge",
            "outcome": "consistent_teacher",
            "by": "other/judge-1@2026-09",
            "version": "1",
            "probability": 0.05,
            "similarity": None,
            "cost_nano_usd": 410000,
            "took_s": 3.1,
            "detail": "",
        },
    ],
    "review": 1.0,
    "texts": {
        "request": [{"role": "user", "text": "Where is my order? I am [email]."}],
        "student": {"text": "```json\n{}\n```", "calls": [], "finish_reason": "stop"},
        "teacher": {"text": "{}", "calls": [], "finish_reason": "stop"},
        "why": {"student_first": "A has a fence around it.", "teacher_first": "B has a fence around it."},
    },
}
_PAIRS: dict[str, Any] = {
    "route": {"type": "string"},
    "pairs": {"type": "array", "items": {"type": "object", "required": [name for name in _PAIR if name != "reason"]}},
    "next": {"type": ["integer", "null"], "description": "What to send as `before` for older ones; null: no more."},
}


@router.get(
    "/shadow",
    responses=answers(
        "Every route",
        {"routes": {"type": "array", "items": {"type": "object", "properties": _SCHEMA}}},
        {"routes": [_STATE]},
        *READING,
    ),
    summary="What shadow mode does, on every route",
)
async def read_all_shadows(request: Request, _: Admin, newest: Newest = 1000) -> JSONResponse:
    """See `GET /admin/shadow/{route}`."""
    here = await _here(gateway_of(request))
    names = gateway_of(request).routes.by_name
    return JSONResponse({"routes": [await _state(request, name, here, newest) for name in names]})


@router.get(
    "/shadow/{route:path}",
    responses=answers("The route", _SCHEMA, _STATE, *READING, UNKNOWN_ROUTE),
    summary="What shadow mode does, on a route",
)
async def read_shadow(request: Request, route: RouteName, _: Admin, newest: Newest = 1000) -> JSONResponse:
    """`here`: how many requests were drawn (`sampled`), how many of them became pairs, and what became of the others,
    by reason: once nothing is under way, pairs and lost are all that were sampled. `newest`: the same of the newest
    records, and for each family of checks, in how many pairs the answers differ and the student fails a check that the
    teacher passes. Arm `ab` is student and teacher, `aa` the teacher with itself: how much it differs from itself.
    """
    if route not in gateway_of(request).routes.by_name:
        raise ApiError(UNKNOWN_ROUTE, f"There is no route {cut(repr(route))}. GET /admin/routes lists them.")
    return JSONResponse(await _state(request, route, await _here(gateway_of(request)), newest))


@router.get(
    "/pairs/{route:path}",
    responses=answers(
        "Newest first",
        _PAIRS,
        {"route": "support-chat", "pairs": [_PAIR], "next": 4711},
        *READING,
        UNKNOWN_ROUTE,
    ),
    summary="The pairs of a route, with their redacted texts",
)
async def read_pairs(
    request: Request,
    route: RouteName,
    _: Admin,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="Only records before this number.")] = None,
    limit: Annotated[int, Query(ge=1, le=_PAGE)] = 50,
    arm: Annotated[Arm | None, Query(description="Only of this arm.")] = None,
    disagree: Annotated[bool, Query(description="Only pairs whose answers differ in any check.")] = False,
    lost: Annotated[bool, Query(description="Instead of pairs, samples that have none: `reason` says why.")] = False,
    review: Annotated[
        bool, Query(description="Those that are most worth a look first, by `review`, of all that are looked at.")
    ] = False,
) -> JSONResponse:
    """`texts` is null where they are not kept any more: records stay longer. `review` says from 0 to 1 how soon a pair
    is worth a look, by what the check `content` and second opinions say of it. Looks at 5000 records at most; if there
    are older ones, `next` says where to go on, also when nothing was found.
    """
    door: Door = request.state.door
    pairs: PairStore = request.state.pairs
    found: list[Json] = []
    end, looked_at = before, 0
    while (review or len(found) < limit) and looked_at < _MOST_LOOKED_AT:
        page = await translated(door.ask(ANSWER_S, pairs.newest, route, before=end, limit=_PAGE), door)
        for kept in page:
            end, looked_at = kept.number, looked_at + 1
            shown = _shown(kept)
            wanted = (arm is None or shown["arm"] == arm) and (shown["reason"] is not None) is lost
            if wanted and (not disagree or disagrees(shown)):
                found.append(shown)
                if len(found) == limit and not review:
                    break
        else:
            if review:
                found = nlargest(limit, found, key=itemgetter("review"))
            if len(page) < _PAGE:
                end = None
                break
    if before is None and not looked_at and route not in gateway_of(request).routes.by_name:
        raise ApiError(
            UNKNOWN_ROUTE, f"There is no route {cut(repr(route))}, and no pair of one. See GET /admin/routes."
        )
    for shown in found:
        shown["texts"] = None if shown["texts"] is None else _decode(shown["texts"])
    return JSONResponse({"route": route, "pairs": found, "next": end})


def _shown(kept: Kept) -> Json:
    """Its texts as they are kept: to read those of all that are looked at would take long."""
    record = {"opinions": [], **_decode(kept.record)}  # older records have none
    return {"number": kept.number, **record, "review": round(to_review(record), 3), "texts": kept.texts}


async def _state(request: Request, route: str, here: dict[str, Counts], newest: int) -> Json:
    gateway = gateway_of(request)
    settings = gateway.config.routes[route].shadow
    spent = gateway.shadows.spent_today_on(route)
    return {
        "route": route,
        "settings": None if settings is None else _settings(settings),
        "stopped": [] if settings is None else list(_stops(gateway, route, here.get(route, {}))),
        "here": _counted(here.get(route, {})),
        "usd_today": spent / NANO_USD_PER_USD,
        "opinions_usd_today": {
            kind.value: spending.today(route) / NANO_USD_PER_USD
            for kind, spending in gateway.shadows.opinions.spending.items()
        },
        "newest": await _newest(request, route, newest),
    }


def _settings(settings: ShadowConfig) -> Json:
    shown = settings.model_dump(mode="json")
    for capped in (shown, *(shown[key] for key in settings.opinions())):
        cap = capped["max_usd_per_day"]
        capped["max_usd_per_day"] = None if cap is None else float(cap)
    return shown


def _stops(gateway: Gateway, route: str, here: Counts) -> Iterator[Json]:
    shadow = gateway.routes.by_name[route].shadow
    cap = shadow.max_nano_usd_per_day if shadow is not None else None
    spent = gateway.shadows.spent_today_on(route)
    if cap is not None and spent >= cap:
        shown = f"{spent / NANO_USD_PER_USD:.6g} of {cap / NANO_USD_PER_USD:g} dollars are spent today (UTC)"
        yield {"because": "budget", "detail": shown}
    for upstream in gateway.shadows.unusable(route):
        yield {"because": "circuit_open", "detail": f"no server of {upstream!r} is usable: its breakers are open"}
    if here.get(("paused", "", "")):
        yield {"because": "disabled", "detail": "a worker of this host is too busy: its event loop is late"}


async def _newest(request: Request, route: str, count: int) -> Json:
    door: Door = request.state.door
    pairs: PairStore = request.state.pairs

    def read() -> list[Kept]:
        last = pairs.newest(route, limit=1)
        return pairs.records(route, max(0, last[0].number - count), count) if last else []

    records = [_decode(kept.record) for kept in await translated(door.ask(ANSWER_S, read), door)]
    times = [record["at"] for record in records]
    span = {"since": moment(min(times, default=None)), "until": moment(max(times, default=None))}
    return {**span, **arms(records)}


# From the metrics, which are those of all workers of this host.

_COUNTED = ("samples", "pairs", "lost", "queue_length", "queue_bytes", "paused")


async def _here(gateway: Gateway) -> dict[str, Counts]:
    """By route."""
    gateway.metrics.flush()
    exposition = await asyncio.to_thread(gateway.metrics.exposition)
    lines = [line for line in exposition.decode().splitlines() if "understudy_shadow_" in line]
    found: dict[str, Counts] = {}
    for family in text_string_to_metric_families("\n".join((*lines, ""))):
        for sample in family.samples:
            name = sample.name.removeprefix("understudy_shadow_").removesuffix("_total")
            if name in _COUNTED:
                route, arm, reason = (sample.labels.get(label, "") for label in ("route", "arm", "reason"))
                found.setdefault(route, {})[name, arm, reason] = int(sample.value)
    return found


def _counted(here: Counts) -> Json:
    return {
        **{arm.value: _arm(here, arm) for arm in Arm},
        "queue": here.get(("queue_length", "", ""), 0),
        "queue_bytes": here.get(("queue_bytes", "", ""), 0),
    }


def _arm(here: Counts, arm: Arm) -> Json:
    sampled, pairs = (here.get((name, arm.value, ""), 0) for name in ("samples", "pairs"))
    lost = {key[2]: count for key, count in here.items() if key[:2] == ("lost", arm.value) and count}
    under_way = max(0, sampled - pairs - sum(lost.values()))
    return {"sampled": sampled, "pairs": pairs, "lost": lost, "under_way": under_way}
