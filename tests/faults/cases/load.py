"""A provider that comes and goes, more requests than a provider may get, and requests that come in slowly."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

import httpx2

from tests.faults.answers import TEXT, always, error, good, response
from tests.faults.case import SLACK_S, Case, Mode, Stage
from tests.faults.client import RawCaller, Reply
from tests.faults.server import RESET, Provider, Refusing, Script

Play = Callable[[Stage], Awaitable[None]]
STATUS_500 = response(error("Oh."), "500 Internal Server Error")
STATUS_429 = response(error("Slow down.", "requests"), "429 Too Many Requests")
BACK_WITHIN_S = 10.0
EVERY_S = 0.05  # between two users' requests
STORM = 40
REQUESTS = 20
CONCURRENCY, QUEUE, QUEUE_S, CROWD, WORK_S = 4, 4, 1.0, 60, 0.4


@dataclass
class _Users:
    """Users who ask one after the other, all the time: who answered each, and whether anything went wrong."""

    stage: Stage
    replies: list[tuple[float, Reply]] = field(default_factory=list)
    stopped: bool = False

    async def ask_on(self) -> None:
        while not self.stopped:
            asked_at = monotonic()
            self.replies.append((asked_at, await self.stage.ask()))
            await asyncio.sleep(EVERY_S)

    def last_served_by(self, name: str) -> bool:
        return bool(self.replies) and self.stage.served_by(self.replies[-1][1]) == name


def _break(provider: Provider, script: Script) -> None:
    provider.script, provider.healthy = script, False


def _mend(provider: Provider) -> float:
    provider.script, provider.healthy = good(), True
    return monotonic()


async def _until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Wait for it; how long that took, seconds."""
    started = monotonic()
    while not condition():
        if monotonic() - started > timeout_s:
            raise TimeoutError(f"it did not happen within {timeout_s} s")
        await asyncio.sleep(0.01)
    return monotonic() - started


def _flapping(rounds: int, broken_s: float, min_requests: int, broken: Script) -> Play:
    """small breaks down and recovers, `rounds` times, under steady traffic."""

    async def play(stage: Stage) -> None:
        small = stage.small
        assert isinstance(small, Provider)
        users = _Users(stage)
        asking = [asyncio.create_task(users.ask_on()) for _ in range(2)]
        returns, reached = [], []
        try:
            await asyncio.sleep(0.3)
            for _ in range(rounds):
                before = len(small.calls)
                _break(small, broken)
                await asyncio.sleep(broken_s)
                probed = len(small.probes)
                calls_when_open = len(small.calls)
                mended_at = _mend(small)
                await _until(lambda: users.last_served_by("small"), BACK_WITHIN_S + 5)
                first = next(call for call in small.calls[calls_when_open:])
                returns.append(first.at - mended_at)
                reached.append(calls_when_open - before)
                stage.must(
                    any(probe.at > mended_at for probe in small.probes[probed:]),
                    "a user's request came back to small before any health check had",
                )
                await asyncio.sleep(0.3)
        finally:
            users.stopped = True
            await asyncio.gather(*asking)
        failed = [reply for _, reply in users.replies if reply.raised is not None or reply.text != TEXT]
        stage.must_be("users who did not get the whole answer", len(failed), 0)
        for count in reached:
            # Each of the window's requests may be tried twice; two users may be on their way when it opens.
            stage.must(count <= 2 * (2 * min_requests + 2), f"{count} calls reached small while it was broken")
        for back_s in returns:
            stage.must(back_s <= BACK_WITHIN_S, f"traffic was back only {back_s:.2f} s after the recovery")
        _probes_one_at_a_time(stage, small)
        asked = len(users.replies)
        stage.must_end("ok", asked)
        stage.caller_got = f"{asked} whole answers of {asked - len(failed)}"
        stage.providers_saw = (
            f"small: {' and '.join(map(str, reached))} calls while it was broken, "
            f"back after {' and '.join(f'{one:.1f} s' for one in returns)}, {len(small.probes)} health checks; "
            f"big: {len(stage.big.calls)} calls"
        )

    return play


def _probes_one_at_a_time(stage: Stage, server: Provider) -> None:
    gaps = [later.at - earlier.at for earlier, later in pairwise(server.probes)]
    stage.must(len(server.probes) > 0, "there was no health check")
    crowded = [gap for gap in gaps if gap < 0.2]
    stage.must(len(crowded) <= 1, f"health checks came in a crowd: {[f'{gap:.3f}' for gap in crowded]} s apart")


async def _storm(stage: Stage) -> None:
    """Many users at once meet a provider that says 429: nobody hammers it, and the retries do not come as one."""
    replies = await asyncio.gather(*(stage.ask_raw() for _ in range(STORM)))
    stage.must_be("whole answers", sum(reply.text == TEXT for reply in replies), STORM)
    small = stage.small.calls
    stage.must(len(small) <= 2 * STORM, f"{STORM} requests became {len(small)} calls")
    half = small[STORM:]
    if len(half) > 5:
        spread = statistics.pstdev(call.at for call in half)
        stage.must(spread > 0.02, f"the retries came as one: {spread * 1000:.1f} ms standard deviation")
    stage.caller_got = f"{STORM} whole answers of {STORM}"
    stage.providers_saw = f"small: {len(small)} calls; big: {len(stage.big.calls)}"
    stage.must_end("ok", STORM)


async def _overload(stage: Stage) -> None:
    """More requests at once than may be under way and may wait: the rest is told so at once."""
    small = stage.small
    assert isinstance(small, Provider)
    root = f"http://127.0.0.1:{stage.port}"
    slowest = 0.0
    crowd = asyncio.gather(*(stage.ask_raw() for _ in range(CROWD)))
    async with httpx2.AsyncClient(timeout=5) as http:
        while not crowd.done():
            for path in ("/healthz", "/readyz", "/admin/routes"):
                started = monotonic()
                answer = await http.get(root + path)
                slowest = max(slowest, monotonic() - started)
                stage.must_be(f"status of {path}", answer.status_code, 200)
            await asyncio.sleep(0.05)
    replies = await crowd
    served = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status != 200]
    stage.must_be("whole answers", sum(reply.text == TEXT for reply in served), len(served))
    stage.must_be("served", len(served), CONCURRENCY + QUEUE)
    stage.must_be("status of the others", {reply.status for reply in refused}, {503})
    stage.must_be("code of the others", {reply.code for reply in refused}, {"upstream_busy"})
    stage.must(all("retry-after" in reply.headers for reply in refused), "a refusal has no Retry-After")
    early = max(reply.took_s for reply in refused)
    stage.must(early < WORK_S, f"a refusal took {early:.2f} s")
    late = max(reply.took_s for reply in served)
    stage.must(late < 2 * WORK_S + SLACK_S, f"one that was admitted took {late:.2f} s")
    stage.must(small.most_at_once <= CONCURRENCY, f"{small.most_at_once} calls at once reached small")
    stage.must(slowest < 0.25, f"a health or admin endpoint took {slowest:.2f} s")
    stage.caller_got = f"{len(served)} whole answers; {len(refused)} times 503 within {early:.2f} s"
    stage.providers_saw = f"small: {len(small.calls)} calls, at most {small.most_at_once} at once"
    stage.must_end("ok", CONCURRENCY + QUEUE)


async def _queue_timeout(stage: Stage) -> None:
    """A place in the queue is waited for so long and no longer."""
    first = asyncio.create_task(stage.ask())
    await asyncio.sleep(0.1)
    reply = await stage.ask()
    stage.caller_got = stage.describe(reply)
    stage.must_be("status", reply.status, 503)
    stage.must("retry-after" in reply.headers, "the refusal has no Retry-After")
    stage.must_lie("the caller's time", reply.took_s, (0.4, 0.4 + SLACK_S))
    stage.must_be("text of the first", (await first).text, TEXT)
    stage.must_be("calls that small saw", len(stage.small.calls), 1)


async def _full_with_fallback(stage: Stage) -> None:
    """small is full: whoever does not fit there is served by big, at once."""
    replies = await asyncio.gather(*(stage.ask_raw() for _ in range(6)))
    by = [stage.served_by(reply) for reply in replies]
    stage.must_be("whole answers", sum(reply.text == TEXT for reply in replies), 6)
    stage.must_be("served by small and big", (by.count("small"), by.count("big")), (2, 4))
    stage.must_be("reasons", {reply.headers["x-understudy-reason"] for reply in replies}, {"split", "fallback:busy"})
    stage.caller_got = "6 whole answers: 2 from small (split), 4 from big (fallback:busy)"


async def _one_of_two_is_down(stage: Stage) -> None:
    """Two servers are small, one of them does not work: small answers all the same, and the broken one is avoided."""
    broken = stage.replicas[0]
    replies = []
    for _ in range(REQUESTS):
        replies.append(await stage.ask())
    stage.must_be("whole answers", sum(reply.text == TEXT for reply in replies), REQUESTS)
    stage.must_be("served by", {stage.served_by(reply) for reply in replies}, {"small"})
    stage.must_be("calls that big saw", len(stage.big.calls), 0)
    if isinstance(broken, Provider):
        stage.must(0 < len(broken.calls) <= 6, f"the broken server was called {len(broken.calls)} times")
    stage.caller_got = f"{REQUESTS} whole answers from small (split)"
    stage.providers_saw = f"the broken server: {len(broken.calls) or 'no'} calls; the other: {len(stage.small.calls)}"
    stage.must_end("ok", REQUESTS)


async def _slow_upload(stage: Stage) -> None:
    """A request that comes in a few bytes at a time is sent on once it is whole, and its clock starts there."""
    raw = await RawCaller.connect(stage.port)
    started = monotonic()
    await raw.post(stage.body(), piece=7, pause_s=0.03)
    took_s = monotonic() - started
    reply = await raw.reply()
    stage.must_be("status", reply.status, 200)
    stage.must_be("calls that small saw", len(stage.small.calls), 1)
    stage.must(stage.small.calls[0].at - started >= took_s - 0.2, "small was called before the request was whole")
    stage.must(took_s > 0.8, "the upload was to take longer than the deadline")
    stage.caller_got = f"its answer {reply.took_s:.2f} s after an upload of {took_s:.2f} s"
    stage.must_end("ok")


PATIENT = {"ttft_s": 10.0, "answer_s": 10.0}

CASES = (
    Case(
        name="flapping",
        fault="500 for 3 s under steady traffic, then well; the breaker's default settings",
        play=_flapping(1, 3.0, 20, always(STATUS_500)),
        first=True,
    ),
    Case(
        name="flapping-thrice",
        fault="resets for 3 s, then well, three times over; `open_s: 1`, `min_requests: 5`",
        small_config={"breaker": {"min_requests": 5, "open_s": 1.0, "window_s": 2.0}},
        play=_flapping(3, 3.0, 5, always(RESET)),
        first=True,
    ),
    Case(
        name="429-storm",
        fault=f"{STORM} requests at once, all of them 429",
        small=always(STATUS_429),
        deadlines=PATIENT,
        play=_storm,
        alone=True,
    ),
    Case(
        name="overload",
        fault=f"{CROWD} requests at once for {CONCURRENCY} places and a queue of {QUEUE}, no fallback",
        small=good(first_s=WORK_S),
        small_config={"limits": {"concurrency": CONCURRENCY, "queue": QUEUE, "queue_s": QUEUE_S}},
        deadlines=PATIENT,
        fallback={"order": []},
        play=_overload,
        alone=True,
    ),
    Case(
        name="queue-timeout",
        fault="the only place is taken for longer than `queue_s`, no fallback",
        small=good(first_s=1.0),
        small_config={"limits": {"concurrency": 1, "queue": 5, "queue_s": 0.4}},
        deadlines=PATIENT,
        fallback={"order": []},
        play=_queue_timeout,
    ),
    Case(
        name="full",
        fault="6 requests at once for 2 places without a queue, and a fallback on `busy`",
        small=good(first_s=WORK_S),
        small_config={"limits": {"concurrency": 2, "queue": 0, "queue_s": 1.0}},
        deadlines=PATIENT,
        fallback={"on": ["busy"]},
        play=_full_with_fallback,
    ),
    Case(
        name="replica-refuses",
        fault="small is two servers, one refuses connections",
        replicas=(Refusing,),
        play=_one_of_two_is_down,
    ),
    Case(
        name="replica-fails",
        fault="small is two servers, one answers 500",
        replicas=(always(STATUS_500),),
        play=_one_of_two_is_down,
    ),
    Case(
        name="slow-upload",
        fault="a request that takes over a second to come in: no fault",
        modes=(Mode.STREAMING, Mode.WHOLE),
        play=_slow_upload,
    ),
)
