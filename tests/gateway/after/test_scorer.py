"""The process beside the worker: what it makes of odd answers, and that it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from gateway.after.sample import Pair
from gateway.after.scorer import LONGEST_TEXT, Scored, Scorer, ScorerError, as_json, redacted
from gateway.face.openai import CHAT
from tests.gateway.after.test_filing import record
from tests.support.upstream import completion


@asynccontextmanager
async def scorer() -> AsyncIterator[Scorer]:
    one = Scorer()
    try:
        yield one
    finally:
        await one.close()


def pair(student: Any, teacher: Any = "Hello", *, request: Any = None, packs: tuple[str, ...] = ("default",)) -> Pair:
    def body(answer: Any) -> bytes:
        return answer if isinstance(answer, bytes) else json.dumps(completion(answer)).encode()

    asked = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], **(request or {})}
    return Pair(record(1), packs, CHAT.path, json.dumps(asked).encode(), body(student), body(teacher))


def test_half_a_surrogate_pair_can_be_kept() -> None:
    """JSON inside an answer may hold what is no text; a record with it could never be filed."""
    assert as_json([{"evidence": "a\ud83d"}]).encode() == b'[{"evidence": "a?"}]'


@pytest.mark.parametrize(
    ("odd", "packs"),
    [(b"[]", ("default",)), (b'{"choices":' + b"[" * 5000, ("default",)), (b"\xff", ("default",)), ("x", ("/nope",))],
)
async def test_what_cannot_be_scored_says_why_and_the_next_can(odd: Any, packs: tuple[str, ...]) -> None:
    async with scorer() as one:
        with pytest.raises(ScorerError, match=r".+"):
            await one.score(pair(odd, packs=packs))
        assert isinstance(await one.score(pair("fine")), Scored)


async def test_it_is_started_anew_when_it_was_killed() -> None:
    async with scorer() as one:
        await one.score(pair("x"))
        (process,) = _children(os.getpid())
        process.kill()
        process.wait(5)
        await asyncio.sleep(0.2)
        await one.score(pair("x"))
        (process,) = _children(os.getpid())
        asked = asyncio.create_task(one.score(pair("x" * 3_000_000)))
        await asyncio.sleep(0.1)
        process.kill()
        with pytest.raises(ScorerError, match="lost"):
            await asked
        await one.score(pair("x"))
        assert len(_children(os.getpid())) == 1
    async with asyncio.timeout(5):
        while _children(os.getpid()):
            await asyncio.sleep(0.02)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has it")
async def test_it_runs_when_nobody_else_wants_to() -> None:
    async with scorer() as one:
        await one.score(pair("Hello"))
        policies = [os.sched_getscheduler(child.pid) for child in _children(os.getpid())]
    assert os.SCHED_IDLE in policies


def _children(pid: int) -> list[psutil.Process]:
    running = [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if "spawn_main" in " ".join(child.cmdline())]


_WORKER = """
import asyncio, sys
from tests.gateway.after.test_scorer import pair
from gateway.after.scorer import Scorer
async def main():
    await Scorer().score(pair("x"))
    print("scored", flush=True)
    await asyncio.sleep(60)
if __name__ == "__main__":
    asyncio.run(main())
"""


def test_it_ends_with_its_worker_however_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", _WORKER], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "scored\n"
        (process,) = _children(worker.pid)
        worker.send_signal(signal.SIGKILL)
        worker.wait(5)
    until = time.monotonic() + 5
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it outlives its worker"
        time.sleep(0.02)


async def test_texts_are_bounded_and_a_conversation_is_kept_from_its_end() -> None:
    turns = [{"role": "user", "content": f"{number} " + "x" * 30_000} for number in range(5)]
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "y" * 200_000}}
    answer = json.dumps(completion("z" * 100_000, tool_calls=[call] * 500)).encode()
    async with scorer() as one:
        scored = await one.score(pair(answer, request={"messages": turns}))
    texts = json.loads(scored.texts)
    assert [turn["text"][:2] for turn in texts["request"]] == ["2 ", "3 ", "4 "]
    assert len(texts["student"]["text"]) == LONGEST_TEXT
    assert len(scored.texts) < 3 * LONGEST_TEXT


def test_nothing_personal_is_kept_by_a_cut_through_it() -> None:
    text = "x" * 90 + " a@example.com"
    assert redacted(text) == "x" * 90 + " [email]"
    for most in range(91, 104):
        assert redacted(text, most) == "x" * 90 + " "
    assert redacted(text, 10) == "x" * 10
    assert redacted(text, 0) == ""
