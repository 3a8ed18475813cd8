"""Changes under load: does a request fail, or change its version while it is served?

Streams and plain requests run through all gateways while one route is flipped to any percentage, and now and then the
student's price is changed, which replaces its upstream with all its connections. Afterwards each line of the exchange
log must fit the version that it names: its point lies below that version's percentage if and only if it was sent to the
student; and what its client saw must be of that one model, in the header and in every piece.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control_client import Answer, Broken, Caller, events
from control_house import MODELS, House, asked_of, flip, house, redis_server, standing, trail
from control_report import Part, milliseconds, none_of, spread
from report import Check

from gateway.stores.protocols import Change

ROUTE = "chat"
STREAMS, PLAIN = 8, 3  # at once, of each gateway
PAUSE_S = (0.05, 0.12)  # between two flips
PRICE_EVERY = 10
SESSIONS = 400


@dataclass
class Seen:
    """What clients saw: of each request the upstream named and the models that spoke; and of those that failed, how."""

    by: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    stop: bool = False


async def _ask(caller: Caller, seen: Seen, name: str, session: str, pieces: int, *, stream: bool) -> None:
    headers = {"x-request-id": name, "x-session-id": session}
    try:
        answer = await caller.call("POST", "/v1/chat/completions", asked_of(ROUTE, stream=stream), headers)
    except Broken as error:
        seen.failed[f"no answer ({error})"] += 1
        return
    if answer.status != 200:
        seen.failed[f"{answer.status} {answer.code}"] += 1
        return
    said = _said(answer, stream=stream)
    if stream and (len(said) != pieces or events(answer)[-1:] != ["[DONE]"]):
        seen.failed["a stream that is not whole"] += 1
    seen.by[name] = answer.headers["x-understudy-upstream"], frozenset(said)


def _said(answer: Answer, *, stream: bool) -> list[str]:
    """Each piece of the text; it is the name of the model that was asked."""
    if not stream:
        return [answer.json["choices"][0]["message"]["content"]]
    chunks = [event for event in events(answer) if event != "[DONE]"]
    said = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk.get("choices")]
    return [text for text in said if text]


async def _lane(running: House, seen: Seen, gateway: int, lane: int, numbers: random.Random) -> None:
    count = 0
    while not seen.stop:
        count += 1
        name = f"{gateway}-{lane}-{count}"
        session = f"session {numbers.randrange(SESSIONS)}"
        stream = lane < STREAMS
        await _ask(running.callers[gateway], seen, name, session, running.models.pieces, stream=stream)
        await asyncio.sleep(numbers.uniform(0, 0.06))


async def _flip_all(running: House, changes: int, numbers: random.Random) -> None:
    version = await standing(running.callers[0], ROUTE)
    for number in range(changes):
        caller = numbers.choice(running.callers)
        percent = numbers.choice([0, 100, numbers.randrange(10_000) / 100])
        answer = await flip(caller, ROUTE, percent, version)
        if answer.status != 200:
            raise RuntimeError(f"a flip was refused: {answer.status} {answer.code}")
        version = answer.etag
        if number % PRICE_EVERY == 0:
            change = {"price": {"input": 1 + number, "output": 2}, "reason": "a new price"}
            answer = await caller.call("PATCH", "/admin/upstreams/small", change, {"if-match": "*"})
            if answer.status != 200:
                raise RuntimeError(f"a new price was refused: {answer.status} {answer.code}")
        await asyncio.sleep(numbers.uniform(*PAUSE_S))


async def flips(folder: Path, changes: int, gateways: int, seed: str) -> Part:
    seen = Seen()
    async with redis_server(folder / "redis") as redis, house(folder, [ROUTE], [None] * gateways, redis) as running:
        lanes = [
            asyncio.ensure_future(_lane(running, seen, gateway, lane, random.Random(f"{seed} {gateway} {lane}")))
            for gateway in range(gateways)
            for lane in range(STREAMS + PLAIN)
        ]
        try:
            await _flip_all(running, changes, random.Random(seed))
        finally:
            seen.stop = True
            await asyncio.gather(*lanes)
        made = await trail(running.callers[0])
        await running.stop_gateways()
        lines, tracebacks = running.exchanges(), running.tracebacks()
    return _part(seen, made, lines, changes, tracebacks)


@dataclass(frozen=True)
class Versions:
    """The percentage of each version of a route, and when it was made (seconds since the epoch)."""

    percent: Mapping[int, float]
    made_at: Mapping[int, float]

    @classmethod
    def of(cls, made: Sequence[Change], route: str) -> Versions:
        drafts = [one.draft for one in made if (one.draft.key.kind, one.draft.key.name) == ("route", route)]
        percents = {draft.version: float(draft.document["student_percent"]) for draft in drafts}
        return cls({0: 0.0, **percents}, {draft.version: draft.changed_at for draft in drafts})

    def fits(self, line: Mapping[str, Any]) -> bool:
        """Whether a line of the exchange log was decided and served by the version that it names."""
        decided = line["decided"]
        below = decided["point"] < self.percent[line["route_version"]] / 100
        return below is (decided["role"] == "student") and line["role"] == decided["role"]


def _part(
    seen: Seen, made: Sequence[Change], lines: Sequence[Mapping[str, Any]], changes: int, tracebacks: Counter[str]
) -> Part:
    versions = Versions.of(made, ROUTE)
    by_id = {line["request_id"]: line for line in lines}
    misfits = sum(not versions.fits(line) for line in lines)
    mixed = other = 0
    for name, (upstream, models) in seen.by.items():
        mixed += models != {upstream}
        line = by_id.get(name)
        other += line is None or (line["upstream"], line["role"]) != (upstream, MODELS[upstream])
    passed = 0
    behind = []
    for line in lines:
        began = line["ended_at"] - (line["ttlt_s"] or 0)
        next_at = versions.made_at.get(line["route_version"] + 1)
        if next_at is not None:
            passed += began < next_at < line["ended_at"]
            behind.append(max(0.0, began - next_at))
    roles = Counter(line["role"] for line in lines)
    late = spread(behind)
    rows = [
        ["flips", f"{changes:,}"],
        ["requests", f"{len(seen.by) + sum(seen.failed.values()):,}"],
        ["of these streams", f"{sum(line['stream'] for line in lines):,}"],
        ["answered by student / teacher", f"{roles['student']:,} / {roles['teacher']:,}"],
        ["under way while their route was changed", f"{passed:,}"],
        [
            "began by a version that was replaced so long before, p99 / max",
            f"{milliseconds(late['p99'])} / {milliseconds(late['max'])} ms",
        ],
    ]
    rows += [[f"failed: {how}", f"{count:,}"] for how, count in seen.failed.most_common()]
    checks = [
        none_of(f"requests that failed during {changes} flips", sum(seen.failed.values())),
        none_of("lines of the exchange log that do not fit their version", misfits),
        none_of("answers whose pieces are not all of the model that the header names", mixed),
        none_of("requests that the log lacks, or tells otherwise than the client", other + len(lines) - len(by_id)),
        Check("requests under way while their route was changed", "> 0", f"{passed:,}", passed > 0),
        none_of("tracebacks in the gateways' logs during flips", tracebacks.total()),
    ]
    figures = {
        "requests": len(lines),
        "failed": dict(seen.failed),
        "misfits": misfits,
        "mixed": mixed,
        "under_way": passed,
        "behind_s": late,
        "roles": dict(roles),
        "tracebacks": dict(tracebacks),
    }
    note = (
        "Streams and plain requests through all gateways. A request that is under way when its route is changed is "
        "decided, served and logged by the version it began with."
    )
    return Part("Flips under load", note, ["", "count"], rows, checks, figures)
