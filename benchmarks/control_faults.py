"""Redis fails in every way: what do requests notice, what is said of it, and does all catch up without a restart?

Two gateways are asked in turn, at the same rate: one goes to Redis by a proxy that fails, one beside it straight. What
the machine does at the time is in both figures, so their difference is the fault's. While the fault lasts a change is
tried at the first (it must be refused with 503 and not be made) and made at the second; afterwards the first must serve
by it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import harness
from control_client import Answer, Broken, Caller
from control_house import House, asked_of, flip, house, redis_server, standing, trail
from control_report import Part, milliseconds, none_of, percentile
from report import Check

from tests.support.processes import free_port
from tests.support.proxy import Proxy

ROUTE = "chat"
PER_S = 100  # requests, of each of the two gateways
MOST_MORE_S = 0.05
NOTICED_S = 6.0  # within which a gateway must say that the store is down
CALL_S = 10.0
BACK_S = 20.0
DELAYS_S = {"slow (2 s)": 2.0, "slow (100 ms)": 0.1}
NO_FAULT = "no fault"


def _refuse(proxy: Proxy) -> None:
    proxy.refuse()


def _black_hole(proxy: Proxy) -> None:
    proxy.black_hole = True


def _reset(proxy: Proxy) -> None:
    """Every connection is accepted and reset at once."""
    proxy.target = free_port()
    proxy.reset()


def _delay(name: str) -> Callable[[Proxy], None]:
    def slow(proxy: Proxy) -> None:
        proxy.delay_s = DELAYS_S[name]

    return slow


# What is done to the proxy, and whether the store can then not be used.
FAULTS: dict[str, tuple[Callable[[Proxy], None], bool]] = {
    NO_FAULT: (lambda proxy: None, False),
    "refused": (_refuse, True),
    "black-holed": (_black_hole, True),
    "reset": (_reset, True),
    "slow (2 s)": (_delay("slow (2 s)"), True),
    "slow (100 ms)": (_delay("slow (100 ms)"), False),
}


@dataclass
class Found:
    """Of one fault. Seconds; `cpu` in cores, of the gateway behind the proxy and of that beside. `tried`: what became
    of the change that was tried at the gateway behind the proxy."""

    faulty: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    cpu: tuple[float, float] = (0.0, 0.0)
    failed: int = 0
    noticed_s: float | None = None
    gauge: float | None = None
    degraded: bool | None = None
    tried: str = ""
    tried_s: float = 0.0
    caught_up_s: float | None = None
    well_after: bool = False


async def _load(running: House, found: Found, until: float, numbers: random.Random) -> None:
    """Requests when they are due, whether or not the last ones are answered; both gateways, in turn."""
    due = monotonic()
    asking: set[asyncio.Task[None]] = set()

    async def ask(caller: Caller, took: list[float], due: float) -> None:
        try:
            answer = await caller.call("POST", "/v1/chat/completions", asked_of(ROUTE), timeout_s=CALL_S)
            found.failed += answer.status != 200
            took.append(answer.ended - due)
        except Broken:
            found.failed += 1

    while due < until:
        for caller, took in zip(running.callers, (found.faulty, found.beside), strict=True):
            due += numbers.expovariate(2 * PER_S)
            await asyncio.sleep(max(0.0, due - monotonic()))
            asking.add(asyncio.ensure_future(ask(caller, took, max(due, monotonic()))))
    await asyncio.gather(*asking)


async def _status(caller: Caller) -> bool | None:
    """Whether it says degraded."""
    answer = await caller.call("GET", "/admin/status", timeout_s=CALL_S)
    return bool(answer.json["store"]["degraded"]) if answer.status == 200 else None


async def _gauge(running: House) -> float:
    return await asyncio.to_thread(running.gateways[0].metric, "understudy_store_up")


async def _change(caller: Caller, found: Found, version: int, reason: str) -> Answer | None:
    began = monotonic()
    try:
        answer = await caller.call(
            "PATCH",
            f"/admin/routes/{ROUTE}",
            {"student_percent": 50, "reason": reason},
            {"if-match": f'"{version}"'},
            timeout_s=CALL_S,
        )
    except Broken as error:
        found.tried, found.tried_s = f"no answer ({error})", monotonic() - began
        return None
    found.tried = "made" if answer.status == 200 else f"{answer.status} {answer.code}"
    found.tried_s = monotonic() - began
    return answer


async def _suffer(running: House, found: Found, *, name: str, down: bool, percent: float, until: float) -> int:
    """What is said while the fault lasts. Returns the version that is made beside."""
    behind, beside = running.callers
    began = monotonic()
    while down and found.noticed_s is None and monotonic() - began < NOTICED_S:
        if await _gauge(running) == 0:
            found.noticed_s = monotonic() - began
        await asyncio.sleep(0.1)
    found.gauge, found.degraded = await _gauge(running), await _status(behind)
    await _change(behind, found, await standing(beside, ROUTE), f"tried while {name}")
    answer = await flip(beside, ROUTE, percent, await standing(beside, ROUTE), f"made beside while {name}")
    if answer.status != 200:
        raise RuntimeError(f"the gateway beside refused a change: {answer.status} {answer.code}")
    await asyncio.sleep(max(0.0, until - monotonic()))
    return answer.etag


async def _recover(running: House, found: Found, version: int, began: float) -> None:
    """Whether the gateway that suffered serves by what was changed meanwhile, says that all is well, and takes
    changes again."""
    served = f'understudy_route_version{{route="{ROUTE}"}}'
    while monotonic() - began < BACK_S and found.caught_up_s is None:
        metrics = await asyncio.to_thread(running.gateways[0].metrics)
        if metrics.get(served) == version and metrics.get("understudy_store_up") == 1:
            found.caught_up_s = monotonic() - began
        await asyncio.sleep(0.05)
    answer = await flip(running.callers[0], ROUTE, 50, version, "back to normal")
    found.well_after = answer.status == 200 and await _status(running.callers[0]) is False


def _cpu_s(running: House) -> list[float]:
    return [harness.cpu_seconds(harness.tree(gateway.process.pid)) for gateway in running.gateways]


async def faults(folder: Path, names: Sequence[str], fault_s: float, seed: str) -> Part:
    results: dict[str, Found] = {}
    numbers = random.Random(seed)
    async with redis_server(folder / "redis") as redis:
        with Proxy(redis.port) as proxy:
            async with house(folder, [ROUTE], [proxy.port, None], redis) as running:
                for name in names:
                    begin, down = FAULTS[name]
                    found = results[name] = Found()
                    until = monotonic() + fault_s
                    began, spent = monotonic(), _cpu_s(running)
                    load = asyncio.ensure_future(_load(running, found, until, numbers))
                    begin(proxy)
                    percent = numbers.randrange(10_000) / 100
                    version = await _suffer(running, found, name=name, down=down, percent=percent, until=until)
                    await load
                    used = [now - before for now, before in zip(_cpu_s(running), spent, strict=True)]
                    found.cpu = used[0] / (monotonic() - began), used[1] / (monotonic() - began)
                    proxy.target, proxy.delay_s, proxy.black_hole = redis.port, 0.0, False
                    proxy.accept()
                    await _recover(running, found, version, monotonic())
                made = await trail(running.callers[1])
                await running.stop_gateways()
                tracebacks = running.tracebacks()
    return _part(results, {change.draft.reason for change in made}, tracebacks)


def _p99(found: Found) -> tuple[float, float]:
    faulty, beside = percentile(found.faulty, 0.99), percentile(found.beside, 0.99)
    assert faulty is not None
    assert beside is not None
    return faulty, beside


def _part(results: dict[str, Found], reasons: set[str], tracebacks: Counter[str]) -> Part:
    rows, checks, drawn = [], [], {}
    figures: dict[str, Any] = {}
    half_done = 0
    for name, found in results.items():
        faulty, beside = _p99(found)
        half_done += found.tried.endswith("store_unavailable") and f"tried while {name}" in reasons
        down = FAULTS[name][1]
        said = "–" if not down else f"{found.noticed_s:.1f} s" if found.noticed_s is not None else "never"
        rows.append(
            [
                *(name, milliseconds(percentile(found.beside, 0.5), 1), milliseconds(percentile(found.faulty, 0.5), 1)),
                *(milliseconds(beside, 1), milliseconds(faulty, 1)),
                *(f"{found.cpu[1]:.0%}", f"{found.cpu[0]:.0%}"),
                *(said, f"{found.tried} ({found.tried_s:.1f} s)"),
                "never" if found.caught_up_s is None else f"{found.caught_up_s:.1f} s",
            ]
        )
        more = faulty - beside
        checks.append(Check(f"{name}: p99 beyond that beside", "< 50 ms", f"{more * 1000:+.1f} ms", more < MOST_MORE_S))
        ok = (found.gauge, found.degraded, found.tried[:3]) == ((0, True, "503") if down else (1, False, "mad"))
        wanted = "store_up 0, degraded, 503" if down else "store_up 1, not degraded, made"
        told = f"store_up {found.gauge:g}, {'degraded' if found.degraded else 'not degraded'}, {found.tried}"
        checks.append(Check(f"{name}: what is said", wanted, told, ok))
        drawn[name] = {"faulty": faulty, "beside": beside}
        figures[name] = {
            "p50_s": [percentile(found.beside, 0.5), percentile(found.faulty, 0.5)],
            "p99_s": [beside, faulty],
            "requests": len(found.faulty) + len(found.beside),
            "cpu_cores": [round(found.cpu[1], 3), round(found.cpu[0], 3)],
            "failed": found.failed,
            "noticed_s": found.noticed_s,
            "store_up": found.gauge,
            "degraded": found.degraded,
            "change": found.tried,
            "change_took_s": found.tried_s,
            "caught_up_s": found.caught_up_s,
        }
    figures["tracebacks"] = dict(tracebacks)
    stuck = sum(found.caught_up_s is None or not found.well_after for found in results.values())
    checks += [
        none_of("requests that failed during Redis's faults", sum(found.failed for found in results.values())),
        none_of("changes that were refused as not made, and were", half_done),
        none_of("faults after which the gateway did not catch up by itself", stuck),
        none_of("tracebacks in the gateways' logs during faults", tracebacks.total()),
    ]
    columns = ["Redis", "p50 beside, ms", "p50", "p99 beside", "p99", "CPU beside", "CPU"]
    columns += ["store_up 0 after", "a change", "caught up after"]
    note = (
        f"{PER_S} requests per second to each of two gateways, the one beside with a Redis that is well. A change was "
        "tried at the gateway whose Redis failed, and another made beside, which it had to serve once Redis was back."
    )
    return Part("Redis fails", note, columns, rows, checks, figures, drawn)
