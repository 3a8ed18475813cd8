"""Plays cases: all of them through one gateway process, many at a time."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.case import Case, Mode, Stage
from tests.faults.client import Caller
from tests.support.processes import GatewayProcess

AT_ONCE = 12
SETTLE_S = 0.5  # until what was counted shows in /metrics


@dataclass(frozen=True, slots=True)
class Result:
    """One case in one mode: both views, in words, and what was not as it must be."""

    case: Case
    mode: Mode
    caller: str
    providers: str
    problems: tuple[str, ...]
    took_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """What came of each case, in the order given, and what is wrong with the gateway that no one case tells of."""

    results: tuple[Result, ...]
    problems: tuple[str, ...]


async def play(chosen: Sequence[tuple[Case, Mode]]) -> Run:
    """Play these cases."""
    stages = [Stage(case, mode) for case, mode in chosen]
    for stage in stages:
        for server in stage.servers:
            await server.start()
    config = {
        "upstreams": {name: upstream for stage in stages for name, upstream in stage.upstreams().items()},
        "routes": {stage.route: stage.route_config() for stage in stages},
    }
    with tempfile.TemporaryDirectory() as directory:
        gateway = await asyncio.to_thread(GatewayProcess, config, Path(directory))
        try:
            async with Caller(f"{gateway.url}/v1") as caller:
                for stage in stages:
                    stage.caller, stage.port = caller, gateway.port
                await caller.ask({**stages[0].body(), "model": "nobody"})  # the client's first request is slow
                await _perform(stages)
            await asyncio.sleep(SETTLE_S)
            samples = await asyncio.to_thread(gateway.metrics)
            code = await asyncio.to_thread(gateway.stop)
            log = gateway.log
        finally:
            gateway.kill()
            for stage in stages:
                for server in stage.servers:
                    await server.stop()
    for stage in stages:
        stage.check_metrics(samples)
    results = (
        Result(stage.case, stage.mode, stage.caller_got, stage.providers_saw, tuple(stage.problems), stage.took_s)
        for stage in stages
    )
    problems = []
    if "Traceback" in log:
        problems.append(f"it logged a traceback:\n{log[log.index('Traceback') :][:3000]}")
    if code != 0:
        problems.append(f"its exit code is {code}")
    if in_flight := samples["understudy_in_flight_requests"]:
        problems.append(f"{in_flight:g} requests are in flight after all of them have ended")
    return Run(tuple(results), tuple(problems))


async def _perform(stages: Sequence[Stage]) -> None:
    """The long ones from the start, the others a dozen at a time, at last one by one those that load the machine."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def in_turn(stage: Stage) -> None:
        async with turn:
            await stage.perform()

    async with asyncio.TaskGroup() as group:
        for stage in stages:
            if stage.case.first:
                group.create_task(stage.perform())
            elif not stage.case.alone:
                group.create_task(in_turn(stage))
    for stage in stages:
        if stage.case.alone:
            await stage.perform()
