"""How long from a change until every replica serves by it, seen from outside.

A route is flipped between 0 and 100 %, through any gateway, while each gateway is asked by whom it serves, again and
again. A gateway serves by the change when the first answer by the other upstream is there, so the time of that request
is in the figure. Once with Redis's messages and once without: then only the replicas' own looking finds out.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from control_client import Caller
from control_house import House, flip, house, redis_server, served_by, standing
from control_report import Part, below, milliseconds, none_of, spread

ROUTE = "chat"
UPSTREAM = {0: "big", 100: "small"}
PAUSE_S = 0.002  # between two looks at a gateway
LOST_S = 10.0  # a change that is not served by then is given up
CUT_SHARE = 5  # without messages a change takes longer, so so much fewer are made
_MESSAGE = b"*3\r\n$7\r\nmessage\r\n"


class Muted:
    """A proxy before Redis that swallows what is published, and lets everything else pass. `swallowed` counts."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0
        self.swallowed = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._passing:
            task.cancel()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        its_reader, its_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for task in (
            asyncio.ensure_future(self._pump(reader, its_writer)),
            asyncio.ensure_future(self._pump(its_reader, writer)),
        ):
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if data.startswith(_MESSAGE):
                    self.swallowed += 1
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@dataclass
class Times:
    """Of each change and replica, in seconds until it served by it: from when it was sent and from when it was
    confirmed, which may be below 0. `back`: times that a replica served by an older version again."""

    sent: list[float] = field(default_factory=list)
    confirmed: list[float] = field(default_factory=list)
    back: int = 0
    lost: int = 0


async def _live_at(caller: Caller, upstream: str, until: float) -> float | None:
    while monotonic() < until:
        by, at = await served_by(caller, ROUTE)
        if by == upstream:
            return at
        await asyncio.sleep(PAUSE_S)
    return None


async def _measure(running: House, changes: int, numbers: random.Random) -> Times:
    times = Times()
    version = await standing(running.callers[0], ROUTE)
    for number in range(changes):
        percent = 0 if number % 2 else 100
        sent = monotonic()
        looking = [
            asyncio.ensure_future(_live_at(caller, UPSTREAM[percent], sent + LOST_S)) for caller in running.callers
        ]
        answer = await flip(numbers.choice(running.callers), ROUTE, percent, version)
        if answer.status != 200:
            raise RuntimeError(f"a flip was refused: {answer.status} {answer.code}")
        version = answer.etag
        for at in await asyncio.gather(*looking):
            if at is None:
                times.lost += 1
            else:
                times.sent.append(at - sent)
                times.confirmed.append(at - answer.ended)
        if times.lost > len(running.callers):  # the target is missed; all others would be waited for as well
            return times
        after = await asyncio.gather(*(served_by(caller, ROUTE) for caller in running.callers))
        times.back += sum(by != UPSTREAM[percent] for by, _ in after)
        await asyncio.sleep(numbers.uniform(0, 0.05))
    return times


async def convergence(folder: Path, changes: int, gateways: int, seed: str) -> Part:
    numbers = random.Random(seed)
    fewer = max(1, changes // CUT_SHARE)
    async with redis_server(folder / "redis") as redis:
        async with house(folder / "told", [ROUTE], [None] * gateways, redis) as running:
            told = await _measure(running, changes, numbers)
            await running.stop_gateways()
        muted = Muted(redis.port)
        await muted.start()
        try:
            async with house(folder / "not-told", [ROUTE], [muted.port] * gateways, redis) as running:
                cut = await _measure(running, fewer, numbers)
                await running.stop_gateways()
        finally:
            muted.stop()
    return _part(told, cut, changes, fewer, gateways, muted.swallowed)


def _part(told: Times, cut: Times, changes: int, fewer: int, gateways: int, swallowed: int) -> Part:
    figures = {}
    rows = []
    for name, times in (("with messages", told), ("messages lost", cut)):
        for since, values in (("sent", times.sent), ("confirmed", times.confirmed)):
            found = figures[f"{name}, since {since}"] = spread(values)
            rows.append([f"{name}, since it was {since}", *(milliseconds(value) for value in found.values())])
    before = sum(value <= 0 for value in told.confirmed)
    checks = [
        below(
            f"p99 of {changes} changes on {gateways} replicas, since sent",
            1.0,
            figures["with messages, since sent"]["p99"],
        ),
        below(f"longest of {fewer} changes with all messages lost", 3.0, figures["messages lost, since sent"]["max"]),
        none_of("changes that a replica did not serve within 10 s", told.lost + cut.lost),
        none_of("replicas that went back to an older version", told.back + cut.back),
    ]
    early = before / max(1, len(told.confirmed))
    note = (
        f"{changes} changes with Redis's messages, {fewer} with all {swallowed:,} of them swallowed by a proxy; "
        f"{gateways} replicas. In {early:.0%} of the cases a replica served by a change before it was confirmed to "
        "whoever made it: below 0."
    )
    columns = ["until a replica serves by a change, ms", "p50", "p99", "max"]
    drawn = {"with messages": told.sent, "messages lost": cut.sent}
    return Part("Convergence", note, columns, rows, checks, {**figures, "swallowed": swallowed}, drawn)
