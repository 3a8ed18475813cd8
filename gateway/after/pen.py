"""What one worker has captured of one route, on its way to the disk: in memory, bounded, and then in files.

The event loop puts lines in and never waits. About once a second, or sooner if much has come, a thread writes it, and
what is on the disk then is counted as kept. What cannot be written waits as long as there is room.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar
from urllib.parse import quote

from gateway.after import segments
from gateway.after.segments import Full, Run
from gateway.config import CaptureConfig
from gateway.telemetry.capture import CaptureMetrics, Fate

_LOOK_S = 60.0  # how often old segments are looked for
_log = logging.getLogger(__name__)
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Files:
    """Where to, how, and for how long. `file_bytes`: of a segment; `max_bytes`: of all of them."""

    folder: Path
    key: bytes | None
    days: float
    file_bytes: int
    max_bytes: int | None

    @classmethod
    def of(cls, route: str, config: CaptureConfig) -> "Files":
        """A route's name may have characters that a folder's cannot: those are written as in a URL."""
        folder = Path(config.dir) / quote(route, safe="")
        return cls(folder, config.key, config.retention_days, config.file_bytes, config.max_bytes)


class Pen:
    """Mutable state: the lines that wait, what else there is room kept for (`undecided`), the run that is written, and
    why it cannot be, "" if it can. `files`: None if nothing more is to come. A request that is in here is owed to the
    disk: see `segments.Tally`."""

    def __init__(self, route: str, io: Executor, metrics: CaptureMetrics) -> None:
        self.route = route
        self._io = io
        self._metrics = metrics
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._undecided = 0
        self._writing: asyncio.Task[None] | None = None
        self._run: Run | None = None
        self._run_files: Files | None = None
        self._looked_at = 0.0
        self.files: Files | None = None
        self._refused = 0  # bytes that were too many for `max_bytes`
        self.error = ""

    @property
    def waiting(self) -> int:
        return len(self._waiting) + self._undecided

    @property
    def waiting_bytes(self) -> int:
        return self._bytes

    # From the event loop, for each request.

    def refuses(self, size: int, most: int, most_bytes: int) -> Fate | None:
        """Why there is no room for something of `size` bytes, where there is none."""
        if self._refused:
            return Fate.FULL
        if self.waiting >= most or self._bytes + size > most_bytes:
            return Fate.WRITE_FAILED if self.error else Fate.QUEUE_FULL
        return None

    def put(self, line: bytes, most: int, most_bytes: int) -> None:
        """When half of the room is taken, it is time to write."""
        self._waiting.append(line)
        self._bytes += len(line)
        self._owe(1)
        if (len(self._waiting) >= most / 2 or self._bytes >= most_bytes / 2) and not self.error:
            self.write_soon()

    def reserve(self, size: int) -> None:
        """Keep room for what may be put later."""
        self._undecided += 1
        self._bytes += size
        self._owe(1)

    def release(self, size: int) -> None:
        """It is decided."""
        self._undecided -= 1
        self._bytes -= size
        self._owe(-1)

    def _owe(self, more: int) -> None:
        if self._run is not None:
            self._run.tally.owe(more)

    # From the worker, now and then.

    def write_soon(self) -> asyncio.Task[None]:
        """Write what waits, unless that is being done."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())
        return self._writing

    async def _write(self) -> None:
        try:
            if self.files != self._run_files and (self.files is not None or not self.waiting):
                await self._change_run()
            run, files = self._run, self._run_files
            if run is None or files is None:
                return
            lines = list(self._waiting)
            looks = monotonic() - self._looked_at > _LOOK_S
            if lines or looks or self._refused:
                before = run.written
                more = max(sum(map(len, lines)), self._refused)
                try:
                    await self._in_thread(lambda: _append(run, files, lines, more, looks=looks))
                finally:
                    self._let_go(run.written - before, Fate.KEPT)
                if looks:
                    self._looked_at = monotonic()
            self._say("")
            self._refused = 0
        except Full as full:
            self._say(str(full))
            self._refused = more
            self._owe(-len(self._waiting))
            self._let_go(len(self._waiting), Fate.FULL)
        except (OSError, ValueError) as error:
            self._say(f"{type(error).__name__}: {error}")

    async def _change_run(self) -> None:
        """Go on in other files, or in none."""
        old, files, owed = self._run, self.files, self.waiting
        self._run, self._run_files = None, None
        opened = await self._in_thread(lambda: _open(old, files, owed))
        if opened is None:
            return
        self._run, lost = opened
        self._run_files = files
        self._looked_at = 0.0
        self._owe(self.waiting - owed)
        for run, requests in lost.items():
            self._metrics.count(self.route, Fate.KILLED, requests)
            if requests:
                _log.warning("capture of %s: %d requests were lost when run %s was killed", self.route, requests, run)

    async def _in_thread(self, work: Callable[[], _R]) -> _R:
        return await asyncio.wrap_future(self._io.submit(work))

    def _let_go(self, lines: int, fate: Fate) -> None:
        for _ in range(lines):
            self._bytes -= len(self._waiting.popleft())
        if lines:
            self._metrics.count(self.route, fate, lines)

    def _say(self, error: str) -> None:
        if error and not self.error:
            _log.warning("capture of %s: nothing can be written: %s", self.route, error)
        elif self.error and not error:
            _log.warning("capture of %s: it is written again", self.route)
        self.error = error

    async def close(self) -> None:
        """After a last `write_soon`. What still waits is lost."""
        if self.waiting:
            _log.error("capture of %s: %d requests are lost: %s", self.route, self.waiting, self.error)
        self._let_go(len(self._waiting), Fate.WRITE_FAILED)
        run, self._run = self._run, None
        if run is not None and (self._writing is None or self._writing.done()):
            await self._in_thread(run.close)


def _open(old: Run | None, files: Files | None, owed: int) -> tuple[Run, dict[str, int]] | None:
    try:
        if files is None:
            return None
        segments.opened(files.folder)
        lost = segments.recovered(files.folder)
        return Run(files.folder, files.key, files.file_bytes, owed), lost
    finally:
        if old is not None:
            old.close()


def _append(run: Run, files: Files, lines: list[bytes], more: int, *, looks: bool) -> None:
    run.turn_day()
    if looks:
        segments.expire(files.folder, files.days)
    if files.max_bytes is not None:
        there = segments.used(files.folder)
        if there + more > files.max_bytes:
            raise Full(f"{files.folder} has {there} bytes, {more} more would be over max_bytes {files.max_bytes}")
    if lines:
        run.append(lines)
