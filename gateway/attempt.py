"""One leg of a request as the relay sees it: the upstream's answer, from its head to its end or its failure.

An answer is held back until it is good: a stream until its first token (or the tokens that the route holds back), a
whole answer until it is complete and has passed its checks. From then on it is served: what comes goes to the client
as it is.
"""

from time import monotonic, time
from typing import TYPE_CHECKING

from gateway.exchange import LostLeg, Outcome
from gateway.face.errors import (
    UPSTREAM_BROKE_OFF,
    UPSTREAM_BUSY,
    UPSTREAM_INVALID,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    UPSTREAM_UNREACHABLE,
    ErrorKind,
)
from gateway.face.logprobs import Logprobs
from gateway.face.sse import StreamWatch, read_answer, rewritten
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers
from gateway.upstream.pool import Leg
from gateway.upstream.upstream import Upstream
from router_policies import failures
from router_policies.attempts import Ask
from router_policies.failures import Failure, FailureKind
from router_policies.prices import Usage, cost_nano_usd
from router_policies.rescue import Mismatch, Seam, Transcript
from router_policies.routes import MidStream

if TYPE_CHECKING:
    from gateway.relay import Relay

MAX_ANSWER_BYTES = 64 * 1024 * 1024
BYTES_PER_TOKEN = 4  # of a prompt, for estimates where the upstream reported nothing
FINISH_S = 1.0  # how long an upstream that has given its finish reason may take to say the rest: usage, end mark
QUEUE_RETRY_S = 1.0  # what a client that waited in a queue in vain is told to wait
NEVER = float("inf")

_FAULTS: dict[FaultKind, tuple[FailureKind, Outcome, ErrorKind, str]] = {
    FaultKind.CONNECT: (FailureKind.CONNECT, Outcome.CONNECT_ERROR, UPSTREAM_UNREACHABLE, "could not be reached"),
    FaultKind.RESET: (
        FailureKind.CONNECT,
        Outcome.TRUNCATED,
        UPSTREAM_BROKE_OFF,
        "closed the connection without an answer",
    ),
    FaultKind.TRUNCATED: (
        FailureKind.INVALID_STREAM,
        Outcome.TRUNCATED,
        UPSTREAM_BROKE_OFF,
        "broke off its answer",
    ),
    FaultKind.INVALID: (
        FailureKind.INVALID_STREAM,
        Outcome.INVALID,
        UPSTREAM_INVALID,
        "sent something that is no acceptable answer",
    ),
    FaultKind.TIMEOUT: (FailureKind.TIMEOUT, Outcome.TIMEOUT, UPSTREAM_TIMEOUT, "did not answer in time"),
    FaultKind.BUSY: (FailureKind.BUSY, Outcome.UNAVAILABLE, UPSTREAM_BUSY, "has as many calls as it may"),
}
NO_USAGE = Usage()


class Attempt:
    """The `ResponseSink` of one call. `said` is what the client has of the answer, if it may have to be continued; with
    a `seam` this leg goes on with an answer that another one began.

    How it failed is told by `failure`, `outcome`, and `error` (a kind and a message) or `answer` (status, headers, body
    as they came).
    """

    __slots__ = (
        "_held",
        "_held_bytes",
        "_hold",
        "_last_event_at",
        "_relay",
        "_seam",
        "answer",
        "ask",
        "error",
        "failure",
        "first_token_at",
        "headers",
        "leg",
        "logprobs",
        "outcome",
        "over",
        "relayed",
        "reserved_at",
        "said",
        "serving",
        "status",
        "upstream",
        "usage",
        "watch",
    )

    def __init__(self, relay: "Relay", ask: Ask, upstream: Upstream, seam: Seam | None = None) -> None:
        self._relay = relay
        self._seam = seam
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._hold = 0  # tokens
        self._last_event_at = 0.0
        self.ask = ask
        self.upstream = upstream
        self.leg: Leg | None = None
        self.logprobs: Logprobs | None = None  # set if they were asked for
        self.reserved_at = 0.0  # its answer is good, and another's is waited for
        self.status = 0
        self.headers: Headers = []
        self.watch: StreamWatch | None = None  # set when the answer turns out to be a stream
        self.said: Transcript | None = None
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.relayed = 0  # chunks of an answer that was gone on with
        self.serving = False
        self.over = False
        self.outcome = Outcome.OK
        self.failure: Failure | None = None
        self.error: tuple[ErrorKind, str] | None = None
        self.answer: tuple[int, Headers, bytes] | None = None

    # From the upstream: `ResponseSink`.

    def head(self, status: int, headers: Headers) -> None:
        relay = self._relay
        if relay.paused and self.leg is not None:
            self.leg.pause()
        self.status = status
        self.headers = headers
        view = relay.request.view
        if status == 200 and view.stream and _content_type(headers).startswith(b"text/event-stream"):
            fallback = relay.request.decision.route.fallback
            if relay.request.endpoint.choices and self._seam is None and fallback.mid_stream is not MidStream.ERROR:
                self.said = Transcript()
            self._hold = fallback.hold if fallback.mid_stream is MidStream.HOLD and self._seam is None else 0
            self.watch = StreamWatch(
                relay.request.endpoint,
                strip_usage=relay.strip_usage,
                choices=view.choices,
                transcript=self.said,
            )

    def data(self, data: bytes) -> None:
        if self.over:
            return
        watch = self.watch
        if watch is None:
            self._keep(data)
            return
        seen = watch.events
        events = watch.feed(data)
        if watch.events != seen:
            self._last_event_at = monotonic()
        self._take(watch, events)

    def end(self) -> None:
        if self.over:
            return
        watch = self.watch
        if watch is None:
            self._whole(b"".join(self._held))
            return
        self._take(watch, watch.flush())
        if self.over:
            return
        if watch.finished:
            self._finish()
        else:
            self.fault(UpstreamFault(FaultKind.TRUNCATED, "the stream ended without a finish reason"))

    def fault(self, fault: UpstreamFault) -> None:
        if self.over:
            return
        if self.watch is not None and self.watch.finished:
            self._finish()  # all has been said: usage and end mark are nothing to fail for
            return
        kind, outcome, error, text = _FAULTS[fault.kind]
        retry_after_s = QUEUE_RETRY_S if fault.kind is FaultKind.BUSY else None
        self.fail(Failure(kind, retry_after_s), outcome, error, f"{text} ({fault.detail})")

    # From the relay.

    def unavailable(self, failure: Failure) -> None:
        """It was not asked."""
        kind, text = UPSTREAM_BUSY, "has as many calls as it may, and as many waiting"
        if failure.kind is FailureKind.BREAKER:
            kind, text = UPSTREAM_UNAVAILABLE, "has failed too often just now, and is left alone"
        self.fail(failure, Outcome.UNAVAILABLE, kind, text)

    def due_at(self, now: float) -> float:
        """When it is given up if nothing comes, monotonic seconds."""
        deadlines = self._relay.request.decision.route.deadlines
        if self.over:
            return NEVER
        if not self._relay.request.view.stream:
            return self.ask.since + deadlines.answer_s if self._relay.attempts.another else NEVER
        if self.first_token_at is None:
            return self.ask.since + deadlines.ttft_s
        last = now if self._relay.paused else self._last_event_at
        return last + (FINISH_S if self.watch is not None and self.watch.finished else deadlines.stall_s)

    def missed(self) -> None:
        """`due_at` has passed."""
        deadlines = self._relay.request.decision.route.deadlines
        if self.watch is not None and self.watch.finished:
            self._finish()
        elif not self._relay.request.view.stream:
            self._give_up(FaultKind.TIMEOUT, f"no whole answer within {deadlines.answer_s:g} s")
        elif self.first_token_at is None:
            self._give_up(FaultKind.TIMEOUT, f"no first token within {deadlines.ttft_s:g} s")
        else:
            self._give_up(FaultKind.TIMEOUT, f"nothing came for {deadlines.stall_s:g} s inside the answer")

    def resumed(self, now: float) -> None:
        """The client reads again: what was not asked for in the meantime does not count as silence."""
        self._last_event_at = now
        if self.leg is not None:
            self.leg.resume()

    def serve(self) -> bytes:
        """It is the one that is served: what was held back."""
        self.serving = True
        held, self._held = b"".join(self._held), []
        return held

    def drop(self, outcome: Outcome) -> None:
        """It is not needed any more: the upstream sees its connection close."""
        if not self.over:
            self.over = True
            self.outcome = outcome
            self._held.clear()
            if self.leg is not None:
                self.leg.cancel()

    def fail(self, failure: Failure, outcome: Outcome, kind: ErrorKind, text: str) -> None:
        self.error = (kind, f"The upstream {self.upstream.name!r} {text}.")
        self._fail(failure, outcome)

    def spent(self) -> tuple[Usage, bool]:
        """The tokens it used, and whether that is only an estimate."""
        usage = self.usage or (self.watch.usage if self.watch is not None else None)
        if usage is not None:
            return usage, False
        if not self._generated():
            return NO_USAGE, False
        tokens = self.watch.tokens if self.watch is not None else 0
        return Usage(len(self._relay.request.body) // BYTES_PER_TOKEN, tokens), True

    def lost(self) -> LostLeg:
        """The record of a leg that did not answer in the end."""
        usage, estimated = self.spent()
        cost = cost_nano_usd(self.upstream.price, usage)
        ask = self.ask
        return LostLeg(self.upstream.name, ask.candidate.role, ask.kind, self.outcome, usage, estimated, cost)

    # Within.

    def _take(self, watch: StreamWatch, events: bytes) -> None:
        mismatch: Mismatch | None = None
        if self.logprobs is not None and events:
            events = self.logprobs.events(events)
        if self._seam is not None and events:
            pieces: list[bytes] = []
            try:
                for piece in rewritten(events, self._joined):
                    pieces.append(piece)  # what came before a mismatch is relayed
            except Mismatch as found:
                mismatch = found
            events = b"".join(pieces)
        if self.serving:
            if events:
                self._relay.write(events)
        elif events:
            self._keep(events)
            if self.over:
                return
            if self.relayed:  # it is noted as said: it must go out, whatever comes behind it
                self._good(complete=False)
        if mismatch is not None:
            self._give_up_on(mismatch)
            return
        if watch.first_token and self.first_token_at is None:
            self.first_token_at = self._last_event_at
            self._relay.soon(self)
        if watch.news:
            watch.news = False
            if watch.error is not None:
                self._told(watch.error)
                return
            if watch.broken:
                self._give_up(FaultKind.INVALID, watch.broken)
                return
            if watch.done and not watch.finished:
                self._give_up(FaultKind.TRUNCATED, "its stream ended without a finish reason")
                return
            if watch.finished:
                self._relay.soon(self)
        complete = watch.done or (watch.closing_usage and watch.finished)
        if not self.serving and (complete or (watch.tokens > self._hold) or (watch.finished and not self._hold)):
            self._good(complete)
        if complete and not self.over:
            self._finish()

    def _good(self, complete: bool) -> None:
        if self.reserved_at:
            return
        if complete and self._hold and self.said is not None and not self.said.lost:
            finding = self._relay.checked(self, self.said.as_answer())
            if finding is not None:
                self._failed_check(finding)
                return
        if self.logprobs is None or not self._relay.deferred(self, self.logprobs):
            self._relay.good(self)

    def _joined(self, chunk: dict[str, object]) -> dict[str, object] | None:
        assert self._seam is not None
        joined = self._seam.feed(chunk)
        if joined is not None and self._relay.said is not None:
            self._relay.said.add(joined)
            self.relayed += 1
        return joined

    def _keep(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_ANSWER_BYTES:
            self._give_up(FaultKind.INVALID, f"an answer of over {MAX_ANSWER_BYTES} bytes")

    def _give_up(self, kind: FaultKind, detail: str) -> None:
        if self.leg is not None:
            self.leg.cancel()
        self.fault(UpstreamFault(kind, detail))

    def _give_up_on(self, mismatch: Mismatch) -> None:
        if self.leg is not None:
            self.leg.cancel()
        text = f"gave another answer than the one that broke off ({mismatch})"
        self.fail(Failure(FailureKind.MISMATCH), Outcome.TRUNCATED, UPSTREAM_BROKE_OFF, text)

    def _told(self, error: object) -> None:
        """The upstream told of an error inside its stream."""
        if self.leg is not None:
            self.leg.cancel()
        failure = failures.of_event(error)
        status = failures.in_stream_status(error)
        self.error = (UPSTREAM_INVALID, f"The upstream {self.upstream.name!r} told of an error inside its stream.")
        self._fail(failure, Outcome.UPSTREAM_ERROR if status >= 500 else Outcome.CLIENT_ERROR)

    def _finish(self) -> None:
        """The answer is whole. The rest of the upstream's message is read so that its connection can be used again."""
        watch = self.watch
        assert watch is not None
        if not self.serving:
            self._good(complete=True)
        if self.over:
            return
        self.over = True
        if self.leg is not None:
            self.leg.succeeded()
            self.leg.expect_end()
        if self.serving:
            self._relay.finish(self)

    def _whole(self, body: bytes) -> None:
        """An answer that is no stream."""
        status = self.status
        if 300 <= status < 400:
            self.fault(UpstreamFault(FaultKind.INVALID, f"a redirect ({status}), which is not followed"))
            return
        self.answer = (status, self.headers, body)
        if status >= 300:
            retry_after_s = _retry_after(self.headers)
            outcome = Outcome.UPSTREAM_ERROR if status >= 500 else Outcome.CLIENT_ERROR
            self._fail(failures.of_answer(status, body, retry_after_s), outcome)
            return
        if status != 200:
            self.answer = None
            self.fault(UpstreamFault(FaultKind.INVALID, f"the status {status}, which no answer of a model has"))
            return
        try:
            self.usage, error = read_answer(body, self._relay.request.endpoint)
            if self._relay.request.view.stream and not error:
                raise ValueError("a stream was asked for, and this is none")
        except ValueError as problem:
            self.answer = None
            self.fault(UpstreamFault(FaultKind.INVALID, str(problem)))
            return
        if error:
            self.answer = (failures.in_stream_status(error), self.headers, body)
            self._fail(failures.of_event(error), Outcome.UPSTREAM_ERROR)
            return
        if self.logprobs is not None:
            body = self.logprobs.whole(body)
            self.answer = (status, self.headers, body)
        if finding := self._relay.checked(self, body):
            self._failed_check(finding)
            return
        self._held.clear()
        self.over = True
        if self.leg is not None:
            self.leg.succeeded()
        if self.logprobs is None or not self._relay.deferred(self, self.logprobs):
            self._relay.good(self)

    def _failed_check(self, finding: str) -> None:
        if self.leg is not None:
            self.leg.cancel()
        self.fail(
            Failure(FailureKind.VERIFY),
            Outcome.INVALID,
            UPSTREAM_INVALID,
            f"gave an answer that fails its check ({finding})",
        )

    def _fail(self, failure: Failure, outcome: Outcome) -> None:
        self.over = True
        self.failure = failure
        self.outcome = outcome
        if failure.kind in failures.BLAMED and self.leg is not None:
            self.leg.failed()
        self._relay.failed(self, failure)

    def _generated(self) -> bool:
        """Whether the upstream had the prompt, and may have generated, though it did not say how much."""
        if self.first_token_at is not None:
            return True
        if self.outcome in (Outcome.CLIENT_ERROR, Outcome.UPSTREAM_ERROR, Outcome.UNAVAILABLE):
            return False
        return self.leg is not None and self.leg.sent


def _content_type(headers: Headers) -> bytes:
    return next((value.lower() for name, value in headers if name == b"content-type"), b"")


def _retry_after(headers: Headers) -> float | None:
    value = next((value for name, value in headers if name == b"retry-after"), None)
    return None if value is None else failures.read_retry_after(value, time())
