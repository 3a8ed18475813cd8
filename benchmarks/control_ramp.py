"""Ramping up, down and up again with thousands of sessions: does one move back to the teacher on the way up?

Each session asks again and again, any gateway, one request after the other, also in the moments of the changes. The
exchange log says which version each request was decided by. Over the versions of a way up a session goes from the
teacher to the student once, or not at all.

A replica that does not know of a change yet decides by the version before. So for as long as convergence takes, a
session that asks two replicas may see student and then teacher. That is no move back in the log's versions; how often
it happened, and for how long, is told beside.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from control_client import Broken
from control_flips import Versions
from control_house import House, asked_of, flip, house, redis_server, standing, trail
from control_report import Part, milliseconds, none_of
from report import Check

ROUTE = "chat"
STEPS = (5, 15, 25, 5, 25, 60, 100)
LANES = 24
ROUND_S = 60.0  # within which every session must have asked


@dataclass
class Lane:
    """Sessions that ask in turn. `rounds`: how often all of them have; `failed`: requests that did not go well."""

    sessions: Sequence[int]
    rounds: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    stop: bool = False
    _round_ends: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended_rounds(self, count: int) -> None:
        """Wait until so many more rounds have ended."""
        for _ in range(count):
            await self._round_ends.wait()

    async def run(self, running: House, numbers: random.Random) -> None:
        while not self.stop:
            for session in self.sessions:
                await self._ask(running, numbers, session)
            self.rounds += 1
            self._round_ends.set()
            self._round_ends = asyncio.Event()

    async def _ask(self, running: House, numbers: random.Random, session: int) -> None:
        headers = {"x-session-id": f"session {session}", "x-request-id": f"s{session}-{self.rounds}"}
        caller = numbers.choice(running.callers)
        try:
            answer = await caller.call("POST", "/v1/chat/completions", asked_of(ROUTE), headers)
        except Broken as error:
            self.failed[f"no answer ({error})"] += 1
            return
        if answer.status != 200:
            self.failed[f"{answer.status} {answer.code}"] += 1


async def _ramp(running: House, lanes: Sequence[Lane], numbers: random.Random) -> None:
    """Every session asks once or more under each version."""
    version = await standing(running.callers[0], ROUTE)
    for percent in STEPS:
        answer = await flip(numbers.choice(running.callers), ROUTE, percent, version)
        if answer.status != 200:
            raise RuntimeError(f"a step was refused: {answer.status} {answer.code}")
        version = answer.etag
        async with asyncio.timeout(ROUND_S):  # the round under way began before the change
            await asyncio.gather(*(lane.ended_rounds(2) for lane in lanes))


async def ramp(folder: Path, sessions: int, gateways: int, seed: str) -> Part:
    numbers = random.Random(seed)
    lanes = [Lane(range(number, sessions, LANES)) for number in range(LANES)]
    async with redis_server(folder / "redis") as redis, house(folder, [ROUTE], [None] * gateways, redis) as running:
        asking = [
            asyncio.ensure_future(lane.run(running, random.Random(f"{seed} {number}")))
            for number, lane in enumerate(lanes)
        ]
        try:
            await _ramp(running, lanes, numbers)
        finally:
            for lane in lanes:
                lane.stop = True
            await asyncio.gather(*asking)
        versions = Versions.of(await trail(running.callers[0]), ROUTE)
        await running.stop_gateways()
        lines = running.exchanges()
    failed = sum((lane.failed for lane in lanes), Counter[str]())
    return _part(versions, lines, sessions, failed)


def ways_up(percent: Mapping[int, float]) -> list[list[int]]:
    """The versions in order, cut where the percentage falls."""
    ways: list[list[int]] = [[]]
    for version in sorted(percent):
        if ways[-1] and percent[version] < percent[ways[-1][-1]]:
            ways.append([])
        ways[-1].append(version)
    return ways


def moved_back(versions: Versions, asked: Sequence[Mapping[str, Any]]) -> int:
    """How often a session's requests, in the order of the versions, go from the student to the teacher on a way up."""
    count = 0
    for way in ways_up(versions.percent):
        own = sorted((line for line in asked if line["route_version"] in way), key=lambda line: line["route_version"])
        roles = [line["role"] for line in own]
        count += sum(pair == ("student", "teacher") for pair in pairwise(roles))
    return count


def seen_back(versions: Versions, asked: Sequence[Mapping[str, Any]]) -> list[float]:
    """How long after a change, in seconds, requests of a session began that were still decided by a version before,
    and so went to the teacher after one that had gone to the student."""
    found = []
    for one, other in pairwise(asked):
        back = (one["role"], other["role"]) == ("student", "teacher")
        if back and other["route_version"] < one["route_version"]:
            began = other["ended_at"] - (other["ttlt_s"] or 0)
            found.append(began - versions.made_at[one["route_version"]])
    return found


def _part(versions: Versions, lines: Sequence[Mapping[str, Any]], sessions: int, failed: Counter[str]) -> Part:
    by_session: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        by_session[line["request_id"].partition("-")[0]].append(line)
    for asked in by_session.values():
        asked.sort(key=lambda line: int(line["request_id"].partition("-")[2]))
    back = sum(moved_back(versions, asked) for asked in by_session.values())
    seen = [each for asked in by_session.values() for each in seen_back(versions, asked)]
    misfits = sum(not versions.fits(line) for line in lines)
    rows, shares = [], []
    for version in sorted(versions.percent)[1:]:
        own = [line for line in lines if line["route_version"] == version]
        students = {line["request_id"].partition("-")[0] for line in own if line["role"] == "student"}
        everyone = {line["request_id"].partition("-")[0] for line in own}
        share = 100 * len(students) / max(1, len(everyone))
        shares.append(share)
        percent = versions.percent[version]
        rows.append([f"{percent:g} %", f"{len(own):,}", f"{len(everyone):,}", f"{len(students):,}", f"{share:.1f} %"])
    all_seen = all(int(row[2].replace(",", "")) == sessions for row in rows)
    checks = [
        none_of("sessions that moved back to the teacher on the way up", back),
        none_of("lines of the ramp that do not fit their version", misfits),
        none_of("requests that failed during the ramp", sum(failed.values())),
        Check("every session asked under every version", "yes", "yes" if all_seen else "no", all_seen),
    ]
    note = (
        f"{sessions:,} sessions, {len(lines):,} requests. {len(seen)} of them went to the teacher after one of the "
        "same session had gone to the student, because a replica did not know of the change yet"
    )
    note += f"; the last began {milliseconds(max(seen))} ms after the change." if seen else "."
    figures = {
        "requests": len(lines),
        "moved_back": back,
        "misfits": misfits,
        "behind": {"requests": len(seen), "longest_s": round(max(seen, default=0.0), 4)},
        "shares": [round(share, 2) for share in shares],
    }
    columns = ["step", "requests", "sessions", "with the student", "share"]
    return Part("Ramp " + " → ".join(map(str, STEPS)), note, columns, rows, checks, figures)
