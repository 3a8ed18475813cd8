"""One call to an upstream whose answer nobody waits for: kept whole, timed, and bounded in time and size."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from gateway.face.openai import Endpoint
from gateway.face.sse import StreamWatch, read_answer
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers
from gateway.upstream.pool import Leg
from gateway.upstream.upstream import Unavailable, Upstream
from router_policies.failures import FailureKind
from router_policies.prices import Usage, cost_nano_usd
from router_policies.shadow import Reason

_CONNECT_S = 5.0
_FINISH_S = 1.0  # how long a stream that has given its finish reason may take to say the rest
# A stream is read no faster than this: an event costs microseconds to look at, and a server that sends them without end
# would take the event loop from those who are served. It is ten times what the fastest model says.
_SLICE, _PACE_S = 16 * 1024, 0.05
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a call: the answer, a JSON body or the events of a stream, or why there is none. Times are seconds
    from when it was sent; `ttft_s` of an answer without streaming is that of all of it."""

    body: bytes
    usage: Usage
    estimated: bool
    cost_nano_usd: int
    ttft_s: float | None
    ttlt_s: float
    failed: Reason | None = None
    detail: str = ""

    @classmethod
    def none(cls, failed: Reason, detail: str = "") -> "Answered":
        """Of a call that was not made."""
        return cls(b"", Usage(), False, 0, None, 0.0, failed, detail)


class _Collector:
    """A `ResponseSink` that keeps what comes. `blames`: whether the server is to blame for what was wrong, and not the
    request, or that it was not sent. Mutable state besides: of a stream `_held`, what has come and was not looked at
    yet, `_sliced`, how much was since `_slice_at`, and `_after`, what has come after it."""

    def __init__(self, endpoint: Endpoint, *, stream: bool, choices: int, most_bytes: int) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()  # what was wrong, "" for nothing
        self.leg: Leg | None = None
        self.parts: list[bytes] = []
        self.usage: Usage | None = None
        self.tokens = 0
        self.ttft_at: float | None = None
        self.blames = True
        self._endpoint = endpoint
        self._stream, self._choices = stream, choices
        self._left = most_bytes
        self._status = 0
        self._finishing = False
        self._watch: StreamWatch | None = None
        self._held = bytearray()
        self._sliced, self._slice_at = 0, 0.0
        self._after: Callable[[], None] | None = None

    def head(self, status: int, headers: Headers) -> None:
        self._status = status
        streams = any(name == b"content-type" and value.lower().startswith(b"text/event-st") for name, value in headers)
        if status == 200 and self._stream and streams:
            self._watch = StreamWatch(self._endpoint, strip_usage=False, choices=self._choices)

    def data(self, data: bytes) -> None:
        if self.over.done():
            return
        self._left -= len(data)  # before anything is left out of it: what is held back counts too
        if self._left < 0:
            self._end("its answer is too large to be compared")
        elif self._watch is None:
            self.parts.append(data)
        elif self._held:
            self._held += data
        else:
            self._look(self._watch, data)

    def end(self) -> None:
        if self._held:
            self._after = self._ended
        else:
            self._ended()

    def fault(self, fault: UpstreamFault) -> None:
        if self._held:
            self._after = partial(self._failed, fault)
        else:
            self._failed(fault)

    def _look(self, watch: StreamWatch, data: bytes) -> None:
        """At as much of a stream as there is time for."""
        now = monotonic()
        if now - self._slice_at >= _PACE_S:
            self._sliced, self._slice_at = 0, now
        room = max(0, _SLICE - self._sliced)
        self._sliced += min(room, len(data))
        if len(data) > room:
            self._held += data[room:]
            self._pace(now)
            data = data[:room]
        self.parts.append(watch.feed(data))
        self.tokens = watch.tokens
        if watch.first_token and self.ttft_at is None:
            self.ttft_at = now
        if watch.error is not None or watch.broken or watch.done:
            self._judge(watch)
        elif watch.finished and not self._finishing:
            self._finishing = True
            asyncio.get_running_loop().call_later(_FINISH_S, self._judge, watch)

    def _pace(self, now: float) -> None:
        if self.leg is not None:
            self.leg.pause()
        asyncio.get_running_loop().call_later(self._slice_at + _PACE_S - now, self._go_on)

    def _go_on(self) -> None:
        assert self._watch is not None
        held, self._held = self._held, bytearray()
        if self.over.done():
            return
        self._look(self._watch, bytes(held))
        if self._held:
            return
        if self._after is not None:
            self._after()
        elif self.leg is not None:
            self.leg.resume()

    def _ended(self) -> None:
        watch = self._watch
        if self.over.done():
            return
        if watch is not None:
            self.parts.append(watch.flush())
            self._judge(watch)
            return
        if self._status != 200:
            self.blames = self._status >= 500 or self._status in (401, 408, 429)
            self._end(f"it answered with the status {self._status}")
            return
        self.parts = [b"".join(self.parts)]
        try:
            self.usage, error = read_answer(self.parts[0], self._endpoint)
            self._end("it answered with an error" if error else "" if not self._stream else "a stream was asked for")
        except ValueError as problem:
            self._end(str(problem))

    def _failed(self, fault: UpstreamFault) -> None:
        if self._watch is not None and self._watch.finished:
            self._judge(self._watch)
        else:
            self.blames = fault.kind is not FaultKind.BUSY
            self._end(f"{fault.kind.value}: {fault.detail}")

    def _judge(self, watch: StreamWatch) -> None:
        self.usage = watch.usage
        if watch.error is not None:
            self._end("it told of an error inside its stream")
        elif watch.broken or not watch.finished:
            self._end(watch.broken or "its stream ended without a finish reason")
        else:
            self._end("")

    def _end(self, problem: str) -> None:
        if not self.over.done():
            self.over.set_result(problem)


async def call(
    upstream: Upstream,
    endpoint: Endpoint,
    query: bytes,
    headers: bytes,
    body: bytes,
    spent: Callable[[Answered], None],
    *,
    stream: bool,
    choices: int,
    timeout_s: float,
    most_bytes: int,
) -> Answered:
    """Ask once. However it ends, also if it is cancelled, the upstream's connection is closed or free again, and what
    it cost is told to `spent`."""
    sink = _Collector(endpoint, stream=stream, choices=choices, most_bytes=most_bytes)
    sent_at = monotonic()
    lines = b"%bcontent-length: %d\r\n\r\n" % (headers, len(body))
    try:
        leg = upstream.send(endpoint.path, query, (lines, body), sink, min(_CONNECT_S, timeout_s))
    except Unavailable as unavailable:
        if unavailable.kind is FailureKind.BREAKER:
            return Answered.none(Reason.CIRCUIT_OPEN, "the breaker of its mirrored calls is open")
        return Answered.none(Reason.SHADOW_FAILED, "as many calls to it are under way and wait as may")
    sink.leg = leg
    failed: Reason | None = Reason.CANCELLED
    problem = ""
    try:
        async with asyncio.timeout(timeout_s):
            problem = await sink.over
        failed = Reason.SHADOW_FAILED if problem else None
    except TimeoutError:
        problem, failed = f"no whole answer within {timeout_s:g} s", Reason.TIMEOUT
    finally:
        answered = _answered(upstream, leg, sink, len(body), sent_at, failed, problem)
        _let_go(leg, sink, failed)
        spent(answered)
    return answered


def _let_go(leg: Leg, sink: _Collector, failed: Reason | None) -> None:
    if failed is None:
        leg.succeeded()
        leg.expect_end()
        return
    if failed is not Reason.CANCELLED and sink.blames:
        leg.failed()
    leg.cancel()


def _answered(
    upstream: Upstream, leg: Leg, sink: _Collector, size: int, sent_at: float, failed: Reason | None, detail: str
) -> Answered:
    took_s = monotonic() - sent_at
    usage = sink.usage or (Usage(size // _BYTES_PER_TOKEN, sink.tokens) if leg.sent else Usage())
    ttft_s = None if sink.ttft_at is None else sink.ttft_at - sent_at
    return Answered(
        body=b"".join(sink.parts) if failed is None else b"",
        usage=usage,
        estimated=sink.usage is None and leg.sent,
        cost_nano_usd=cost_nano_usd(upstream.price, usage),
        ttft_s=took_s if ttft_s is None and failed is None else ttft_s,
        ttlt_s=took_s,
        failed=failed,
        detail=detail,
    )
