"""Blocking work, done in a few threads of its own: a store that does not answer takes none of anybody else's, and
nobody waits for it for longer than they said."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_THREADS = 8
_P = ParamSpec("_P")
_R = TypeVar("_R")


class NotBegun(TimeoutError):
    """The time was over before the work was begun, and it will not be."""


class Offload:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")

    async def run(self, within_s: float, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """What the work returns. Raises `NotBegun`, and `TimeoutError` if it takes longer: its thread is then left to
        end by itself."""
        if within_s <= 0:
            raise NotBegun
        running = self._threads.submit(work, *args, **kwargs)
        future = asyncio.wrap_future(running)
        done, _ = await asyncio.wait([future], timeout=within_s)
        if done:
            return future.result()
        future.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody asks for it any more
        if running.cancel():
            raise NotBegun
        raise TimeoutError

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
