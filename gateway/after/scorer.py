"""A process beside the worker, for what would hold up its event loop: scoring a pair takes a millisecond or more, and
reading a large request as long.

The process is started with the first pair, is asked one thing at a time, runs with low priority, ends with its worker
however that ends, and is started anew should it die.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from typing import Any, ParamSpec, TypeVar

from gateway.after.asking import asked
from gateway.after.sample import Pair
from gateway.face.openai import Endpoint
from gateway.packs import load_packs
from router_policies.checks.check import Answer, Request
from router_policies.checks.pii_find import find
from router_policies.checks.reading import read_answer, read_request
from router_policies.checks.verdict import verdict

_NICE = 10
_TIMEOUT_S = 30.0
LONGEST_TEXT = 64 * 1024  # characters that are kept to be looked at: of a request, and of each answer
_MOST_TURNS, _LONGEST_NAME = 200, 200
_LONGEST_SPAN = 512  # nearly all that is looked for is shorter
_P = ParamSpec("_P")
_R = TypeVar("_R")


class ScorerError(Exception):
    """It could not be done."""


@dataclass(frozen=True, slots=True)
class Scored:
    """`pack`: the key of the pack and its checks. `texts`: the request and both answers as JSON, redacted."""

    pack: str
    verdicts: tuple[dict[str, object], ...]
    texts: str


class Scorer:
    """Its methods raise `ScorerError`."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._one_at_a_time = asyncio.Lock()

    async def score(self, pair: Pair) -> Scored:
        return await self._run(_score, pair.packs, pair.endpoint, pair.request, pair.student, pair.teacher)

    async def asked(self, endpoint: Endpoint, body: bytes, model: str, *, stream: bool) -> bytes | None:
        """`asking.asked`, there."""
        return await self._run(_asked, endpoint, body, model, stream)

    async def close(self) -> None:
        self._end()

    async def _run(self, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        async with self._one_at_a_time:
            try:
                pool = self._pool or await self._started()
                try:
                    running = pool.submit(work, *args, **kwargs)
                except BrokenProcessPool:  # it has died since the last time
                    self._end()
                    running = (await self._started()).submit(work, *args, **kwargs)
                return await asyncio.wait_for(asyncio.wrap_future(running), _TIMEOUT_S)
            except (BrokenProcessPool, TimeoutError) as error:
                self._end()
                raise ScorerError(f"the scoring process was lost: {error or 'it took too long'}") from None
            except Exception as error:  # whatever a check fails on, or a pack that is no more
                raise ScorerError(f"{type(error).__name__}: {error}") from None

    async def _started(self) -> ProcessPoolExecutor:
        pool = self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin)
        await asyncio.to_thread(pool.submit, _nothing)  # starting the process takes milliseconds
        return pool

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)


# In the process.


def _begin() -> None:
    _give_way()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end_with_it, daemon=True).start()


def _give_way() -> None:
    """Whoever serves and wakes up gets the core at once. `SCHED_IDLE` does it (sched(7), Linux); a nice value only
    shares a core out more unevenly, and a first token can still wait for the end of a slice of milliseconds."""
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(_NICE)


def _nothing() -> None: ...


def _asked(endpoint: Endpoint, body: bytes, model: str, stream: bool) -> bytes | None:
    return asked(endpoint, body, model, stream=stream)


def _score(packs: tuple[str, ...], endpoint: str, request: bytes, student: bytes, teacher: bytes) -> Scored:
    pack = load_packs(packs)
    told = read_request(endpoint, request)
    ours, theirs = read_answer(endpoint, student), read_answer(endpoint, teacher)
    verdicts = [{**asdict(one), "path": one.path[:_LONGEST_NAME]} for one in verdict(pack, told, ours, theirs)]
    texts = {"request": _turns(told), "student": _shown(ours), "teacher": _shown(theirs)}
    return Scored(pack.key, tuple(json.loads(as_json(verdicts))), as_json(texts))


def as_json(document: Any) -> str:
    """Half a surrogate pair, which a model may say, is no text that could be stored."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace").decode()


def _turns(request: Request) -> list[dict[str, str]]:
    """If not all of it has room, the end of a conversation, which says the most."""
    turns: list[dict[str, str]] = []
    left = LONGEST_TEXT
    for turn in reversed(request.turns):
        if left <= 0 or len(turns) == _MOST_TURNS:
            break
        text = redacted(turn.text, left)
        turns.append({"role": turn.role[:_LONGEST_NAME], "text": text})
        left -= len(text)
    return turns[::-1]


def _shown(answer: Answer) -> dict[str, object]:
    text = redacted(answer.text)
    left = LONGEST_TEXT - len(text)
    calls = []
    for call in answer.calls[:_MOST_TURNS]:
        arguments = redacted(str(call.arguments), left)
        calls.append({"name": redacted(str(call.name), _LONGEST_NAME), "arguments": arguments})
        left -= len(arguments)
    return {"text": text, "calls": calls, "finish_reason": answer.finish_reason}


def redacted(text: str, most: int = LONGEST_TEXT) -> str:
    """The text with personal data and secrets replaced by their kind, and cut where it is too long to be kept: before
    what would be cut through."""
    parts: list[str] = []
    at = 0
    for span in find(text[: most + _LONGEST_SPAN]):
        if span.end > most:
            most = min(most, span.start)
            break
        parts += (text[at : span.start], f"[{span.kind}]")
        at = span.end
    return "".join((*parts, text[at:most]))
