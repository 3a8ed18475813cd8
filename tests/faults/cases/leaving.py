"""Callers that leave, in every phase of a request: each provider sees its connection close within 100 ms, nobody is
asked any more, and the request is counted as cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from tests.faults.answers import always, broken_after, error, good, response
from tests.faults.case import Case, Mode, Stage
from tests.faults.client import RawCaller
from tests.faults.server import CLOSE, SILENCE, Provider, Unreachable

SLOW = {"connect_s": 20.0, "ttft_s": 20.0, "stall_s": 20.0, "answer_s": 20.0, "total_s": 30.0}
STATUS_429 = response(error("Slow down.", "requests"), "429 Too Many Requests", "retry-after: 1\r\n")
STATUS_500 = response(error("Oh.", "server_error"), "500 Internal Server Error")
Ready = Callable[[Stage], bool]
AFTERWARDS_S = 0.3


def _calls(small: int, big: int = 0) -> Ready:
    def ready(stage: Stage) -> bool:
        return len(stage.small.calls) >= small and len(stage.big.calls) >= big

    return ready


def _leaving(
    when: Ready, *, wait_s: float = 0.05, seen: bytes = b"", quiet_s: float = AFTERWARDS_S
) -> Callable[[Stage], Awaitable[None]]:
    """Ask; when the providers have seen so much (and the client `seen`), wait a little and leave.

    For `quiet_s` after that no provider may be called again.
    """

    async def play(stage: Stage) -> None:
        raw = await RawCaller.connect(stage.port)
        await raw.post(stage.body())
        async with asyncio.timeout(5):
            while not when(stage):
                await asyncio.sleep(0.005)
        if seen:
            await raw.until(seen)
        await asyncio.sleep(wait_s)
        before = len(stage.small.calls), len(stage.big.calls)
        left_at = raw.leave()
        await stage.no_leg_left_open(left_at)
        stage.caller_got = "left"
        stage.providers_saw = _closings(stage, left_at)
        await asyncio.sleep(quiet_s)
        stage.must_be("calls after the caller had left", (len(stage.small.calls), len(stage.big.calls)), before)
        stage.must_end("cancelled")

    return play


def _closings(stage: Stage, left_at: float) -> str:
    said = []
    for name, server in (("small", stage.small), ("big", stage.big)):
        late = [call.closed_at - left_at for call in server.calls if call.answered_at is None and call.closed_at]
        count = f"{name}: {len(server.calls)} call{'s' if len(server.calls) > 1 else ''}"
        if late:
            count += f", closed {max(late) * 1000:.0f} ms later"
        if server.calls:
            said.append(count)
    return "; ".join(said) or "no call"


async def _leave_the_queue(stage: Stage) -> None:
    """One call occupies the upstream; a second request waits in its queue, and leaves."""
    first = await RawCaller.connect(stage.port)
    await first.post(stage.body())
    async with asyncio.timeout(5):
        while not stage.small.calls:
            await asyncio.sleep(0.005)
    second = await RawCaller.connect(stage.port)
    await second.post(stage.body())
    await asyncio.sleep(0.1)
    second.leave()
    await asyncio.sleep(0.1)
    reply = await first.reply()
    await asyncio.sleep(AFTERWARDS_S)
    stage.caller_got = "left; the request before it got its answer"
    stage.must_be("status of the request that stayed", reply.status, 200)
    stage.must_be("calls that small saw", len(stage.small.calls), 1)
    stage.must_be("calls that big saw", len(stage.big.calls), 0)
    stage.must_end("cancelled")
    stage.must_end("ok")


async def _leave_while_connecting(stage: Stage) -> None:
    raw = await RawCaller.connect(stage.port)
    await raw.post(stage.body())
    await asyncio.sleep(0.2)
    raw.leave()
    await asyncio.sleep(AFTERWARDS_S)
    stage.caller_got = "left"
    stage.must_be("calls that big saw", len(stage.big.calls), 0)
    stage.must_end("cancelled")
    stage.must_count("understudy_upstream_connections", 0, upstream=f"{stage.route}.small")


async def _reset_mid_stream(stage: Stage) -> None:
    raw = await RawCaller.connect(stage.port)
    await raw.post(stage.body())
    await raw.until("Zürich".encode())
    left_at = raw.leave(reset=True)
    await stage.no_leg_left_open(left_at)
    stage.caller_got = "reset its connection"
    stage.providers_saw = _closings(stage, left_at)
    stage.must_end("cancelled")


async def _leave_in_the_middle_of_the_request(stage: Stage) -> None:
    raw = await RawCaller.connect(stage.port)
    sending = asyncio.create_task(raw.post(stage.body(), piece=20, pause_s=0.05))
    await asyncio.sleep(0.2)
    sending.cancel()
    raw.leave()
    await asyncio.sleep(AFTERWARDS_S)
    stage.caller_got = "left before its request was whole"
    stage.providers_saw = "nothing"
    assert isinstance(stage.small, Provider)
    stage.must_be("calls that small saw", len(stage.small.calls), 0)
    started = monotonic()
    reply = await stage.ask()
    stage.must_be("status of the next request", reply.status, 200)
    stage.must(monotonic() - started < 0.5, "the next request was slow")


CASES = (
    Case(name="leave-uploading", fault="the caller leaves while it sends", play=_leave_in_the_middle_of_the_request),
    Case(
        name="leave-queued",
        fault="the caller leaves while its request is queued for small",
        small=good(first_s=0.8),
        small_config={"limits": {"concurrency": 1, "queue": 10, "queue_s": 10.0}},
        deadlines=SLOW,
        play=_leave_the_queue,
    ),
    Case(
        name="leave-connecting",
        fault="the caller leaves while small is being connected",
        small=Unreachable,
        deadlines=SLOW,
        play=_leave_while_connecting,
    ),
    Case(
        name="leave-waiting",
        fault="the caller leaves before small has sent headers",
        small=always(SILENCE),
        deadlines=SLOW,
        play=_leaving(_calls(1)),
    ),
    Case(
        name="leave-before-first-token",
        fault="the caller leaves between small's headers and its first token, or in half a body",
        small=broken_after(0, SILENCE),
        deadlines=SLOW,
        play=_leaving(_calls(1), wait_s=0.15),
    ),
    Case(
        name="leave-mid-stream",
        fault="the caller leaves after 5 words",
        small=broken_after(5, SILENCE),
        deadlines=SLOW,
        modes=(Mode.STREAMING,),
        play=_leaving(_calls(1), seen="Zürich".encode()),
    ),
    Case(
        name="reset-mid-stream",
        fault="the caller resets its connection after some words",
        small=broken_after(5, SILENCE),
        deadlines=SLOW,
        modes=(Mode.STREAMING,),
        play=_reset_mid_stream,
    ),
    Case(
        name="leave-in-back-off",
        fault="the caller leaves while a `Retry-After` is waited for",
        small=always(STATUS_429),
        deadlines=SLOW,
        play=_leaving(_calls(1), wait_s=0.3, quiet_s=1.2),
    ),
    Case(
        name="leave-in-fallback",
        fault="the caller leaves while big, the fallback, is silent",
        small=always(STATUS_500),
        big=always(SILENCE),
        deadlines=SLOW,
        play=_leaving(_calls(2, 1)),
    ),
    Case(
        name="leave-in-hedge",
        fault="the caller leaves while small and big race",
        small=always(SILENCE),
        big=always(SILENCE),
        deadlines=SLOW,
        fallback={"hedge_after_s": 0.2},
        modes=(Mode.STREAMING,),
        play=_leaving(_calls(1, 1)),
    ),
    Case(
        name="leave-in-rescue",
        fault="the caller leaves while big is asked to continue",
        small=broken_after(5, CLOSE),
        big=always(SILENCE),
        deadlines=SLOW,
        modes=(Mode.STREAMING,),
        play=_leaving(_calls(1, 1), seen="Zürich".encode()),
    ),
    Case(
        name="leave-after-rescue",
        fault="the caller leaves while big continues small's answer",
        small=broken_after(5, CLOSE),
        big=good(each_s=0.5),
        deadlines=SLOW,
        modes=(Mode.STREAMING,),
        play=_leaving(_calls(1, 1), wait_s=0.4),
    ),
)
