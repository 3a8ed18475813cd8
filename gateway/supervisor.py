"""Owns every background task of a worker."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

_log = logging.getLogger(__name__)


class Supervisor:
    """`async with Supervisor() as supervisor: supervisor.every(1.0, "sweep", job)`.

    A job that raises is logged and run again at its next time; leaving the block ends all jobs and waits for them.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, interval_s: float, name: str, job: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(self._run(interval_s, name, job), name=name))

    async def _run(self, interval_s: float, name: str, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await job()
            except Exception:
                _log.exception("the background job %r failed; it goes on in %g s", name, interval_s)

    async def __aenter__(self) -> "Supervisor":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
