"""Many writers contend for a few routes through all gateways while Redis is killed and started again.

A client does what a careful operator does: it reads a route, then changes what it saw, with If-Match and a reason that
nobody else gives. Everything it was told is kept, with when, and `control_history` says whether one store that never
fails could have told it so. Redis is killed with SIGKILL: what it had not written to its file is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from control_client import Answer, Broken, Caller
from control_history import Entry, Outcome, Read, Violation, Write, check
from control_house import House, RedisServer, house, redis_server, trail
from control_report import Part, milliseconds, none_of, percentile
from report import Check

ROUTES = ("chat", "search", "mail", "code", "team/notes")
READERS = 8
CALL_S = 6.0  # longer than a gateway may take
UP_S, AWAY_S = (1.0, 3.5), (0.1, 3.0)
SETTLE_S = 10.0
DRAWN = {"made": "made", "version_conflict": "stale", "store_unavailable": "store away"}


@dataclass
class Books:
    """What was done and told. `answers`: of writes, when each came and what it was; `away`: from when to when Redis
    was; `failed`: reads that were not answered."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    away: list[tuple[float, float]] = field(default_factory=list)
    answers: list[tuple[float, str]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def saw(self, name: str, answer: Answer, shown: Mapping[str, Any]) -> None:
        self.reads.append(Read(name, shown["version"], shown["reason"] or "", answer.began, answer.ended))


async def _read(caller: Caller, books: Books, name: str) -> int | None:
    """The version that it is told; None if it is not."""
    try:
        answer = await caller.call("GET", f"/admin/routes/{name}", timeout_s=CALL_S)
    except Broken:
        books.failed["read: no answer"] += 1
        return None
    if answer.status != 200:
        books.failed[f"read: {answer.code}"] += 1
        return None
    books.saw(name, answer, answer.json)
    return answer.etag


async def _write(caller: Caller, books: Books, name: str, on: int, reason: str, percent: float) -> None:
    change = {"student_percent": percent, "reason": reason}
    began = monotonic()

    def told(outcome: Outcome, code: str, version: int | None = None) -> None:
        ended = monotonic()
        books.answers.append((ended, code))
        books.writes.append(Write(name, reason, on, began, ended, outcome, version))

    try:
        answer = await caller.call("PATCH", f"/admin/routes/{name}", change, {"if-match": f'"{on}"'}, timeout_s=CALL_S)
    except Broken as error:
        told(Outcome.UNKNOWN, f"no answer ({error})")
        return
    if answer.status == 200:
        told(Outcome.MADE, "made", answer.etag)
    elif answer.status < 500 or answer.code == "store_unavailable":
        told(Outcome.REFUSED, answer.code)
        if answer.status == 412 and (current := answer.json["current"]) is not None:  # None: the store went away
            books.saw(name, answer, current)
    else:
        told(Outcome.UNKNOWN, answer.code)


async def _writer(house: House, books: Books, number: int, until: float, numbers: random.Random) -> None:
    count = 0
    while monotonic() < until:
        name = numbers.choice(ROUTES)
        on = await _read(numbers.choice(house.callers), books, name)
        if on is None:
            await asyncio.sleep(numbers.uniform(0, 0.3))
            continue
        count += 1
        percent = numbers.randrange(10_000) / 100
        await _write(numbers.choice(house.callers), books, name, on, f"{number}-{count}", percent)


async def _reader(house: House, books: Books, until: float, numbers: random.Random) -> None:
    while monotonic() < until:
        await _read(numbers.choice(house.callers), books, numbers.choice(ROUTES))
        await asyncio.sleep(numbers.uniform(0, 0.1))


async def _killer(redis: RedisServer, books: Books, until: float, numbers: random.Random) -> None:
    """The last time it comes back is before the end."""
    while (pause_s := numbers.uniform(*UP_S)) < until - monotonic() - AWAY_S[1]:
        await asyncio.sleep(pause_s)
        killed = monotonic()
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(numbers.uniform(*AWAY_S))
        await asyncio.to_thread(redis.start)
        books.away.append((killed, monotonic()))


async def _settle(house: House) -> bool:
    """Whether all replicas come to serve the head."""
    deadline = monotonic() + SETTLE_S
    while monotonic() < deadline:
        await asyncio.sleep(0.2)
        answer = await house.callers[0].call("GET", "/admin/status", timeout_s=CALL_S)
        status = answer.json
        replicas = status["replicas"]
        if status["store"]["up"] and len(replicas) == len(house.gateways) and not any(r["behind"] for r in replicas):
            return True
    return False


async def writers(folder: Path, seconds: float, count: int, gateways: int, seed: str) -> Part:
    books = Books()
    async with redis_server(folder / "redis") as redis, house(folder, ROUTES, [None] * gateways, redis) as running:
        began = monotonic()
        until = began + seconds
        numbers = random.Random(seed)
        await asyncio.gather(
            _killer(redis, books, until, numbers),
            *(_writer(running, books, each, until, random.Random(f"{seed} {each}")) for each in range(count)),
            *(_reader(running, books, until, random.Random(f"{seed} r{each}")) for each in range(READERS)),
        )
        settled = await _settle(running)
        for name in ROUTES:
            for caller in running.callers:
                await _read(caller, books, name)
        whole = "yes"
        try:
            changes = await trail(running.callers[0])
        except ValueError as error:
            whole, changes = f"no: {error}", []
        await running.stop_gateways()
        tracebacks = running.tracebacks()
    entries = [Entry(one.draft.key.name, one.draft.version, one.draft.reason) for one in changes]
    return _part(books, entries, check(books.writes, books.reads, entries), whole, settled, tracebacks, began, seconds)


def _part(
    books: Books,
    entries: list[Entry],
    violations: list[Violation],
    whole: str,
    settled: bool,
    tracebacks: Counter[str],
    began: float,
    seconds: float,
) -> Part:
    outcomes = Counter(write.outcome for write in books.writes)
    codes = Counter(code for _, code in books.answers)
    there = {entry.reason for entry in entries}
    made_after_all = sum(write.outcome is Outcome.UNKNOWN and write.reason in there for write in books.writes)
    took = [write.ended - write.began for write in books.writes if write.outcome is Outcome.MADE]
    faults = Counter(violation.fault.name.lower() for violation in violations)
    for violation in violations[:10]:
        print(f"{violation.document}: {violation.fault.value}: {violation.text}")
    away_s = sum(back - killed for killed, back in books.away)
    rows = [
        ["writes", f"{len(books.writes):,}"],
        ["told that they were made", f"{outcomes[Outcome.MADE]:,}"],
        *([f"told: {code}", f"{count:,}"] for code, count in codes.most_common() if code != "made"),
        ["of the unknown ones, made after all", f"{made_after_all:,} of {outcomes[Outcome.UNKNOWN]:,}"],
        ["entries in the trail", f"{len(entries):,}"],
        ["reads, with those in refusals", f"{len(books.reads):,}"],
        ["Redis killed", f"{len(books.away)} times, {away_s:.1f} s away in all"],
        [
            "a write that was made took, p50 / p99",
            f"{milliseconds(percentile(took, 0.5))} / {milliseconds(percentile(took, 0.99))} ms",
        ],
    ]
    lost = faults["lost"] + faults["elsewhere"]
    checks = [
        Check("the hash chain is whole", "yes", whole, whole == "yes"),
        none_of("accepted changes lost", lost),
        none_of("changes made twice", faults["twice"]),
        none_of("refused changes made", faults["refused"]),
        none_of("changes made on another version than named, or by nobody", faults["overwrote"] + faults["unasked"]),
        none_of("reads of what never was", faults["unreal"] + faults["gap"]),
        none_of("versions for which no moment explains what was told (linearizable)", faults["order"]),
        Check("all replicas serve the head afterwards", "yes", "yes" if settled else "no", settled),
        Check("kills of Redis that writers met", "> 0", f"{len(books.away)}", bool(books.away) and len(codes) > 1),
        none_of("tracebacks in the gateways' logs", tracebacks.total()),
    ]
    figures = {
        "writes": {one.value: outcomes[one] for one in Outcome},
        "codes": dict(codes),
        "reads": len(books.reads),
        "reads_without_answer": dict(books.failed),
        "entries": len(entries),
        "unknown_but_made": made_after_all,
        "kills": len(books.away),
        "away_s": round(away_s, 2),
        "tracebacks": dict(tracebacks),
        "violations": [f"{v.document}: {v.fault.value}: {v.text}" for v in violations[:100]],
    }
    drawn = {
        "seconds": seconds,
        "ended": [(ended - began, DRAWN.get(code, "unknown")) for ended, code in books.answers],
        "away": [(killed - began, back - began) for killed, back in books.away],
    }
    note = (
        f"{outcomes[Outcome.MADE]:,} changes in {seconds:g} s, of {len(ROUTES)} routes. A refusal of a stale version "
        "shows what stands, which counts as a read. An unknown write may be in the trail or not, but at most once."
    )
    return Part("Writers while Redis is killed", note, ["", "count"], rows, checks, figures, drawn)
