"""One request through the gateway: carry out its attempts, relay the answer, end with one `Exchange`.

What is tried when is `router_policies.attempts`' to say; here its commands become calls, and what comes of them its
events. Event in, action out, no task and no timer of its own: the upstreams' connections, the client's connection and
the worker's tick, which looks at `due_at`, call in here.

Nothing is committed to the client before an answer is good, so that until then a failure can be made up for unseen, or
be told as an honest HTTP status. After that a stream that breaks is continued by another upstream, or ends with an
error event and without the end mark, which OpenAI clients raise on.
"""

from functools import partial
from time import monotonic

import msgspec

from gateway.after.captures import Begun
from gateway.after.sample import Tape
from gateway.after.shadows import HEADER, Sampled
from gateway.answering import JSON, Client, our_headers, says_no_such_path
from gateway.attempt import NEVER, Attempt
from gateway.closing import close
from gateway.continuing import continued
from gateway.exchange import Outcome
from gateway.face.errors import (
    SHUTTING_DOWN,
    UNSUPPORTED_ENDPOINT,
    UPSTREAM_TIMEOUT,
    ApiError,
    ErrorKind,
)
from gateway.face.headers import forwarded, relayed
from gateway.face.logprobs import Logprobs
from gateway.face.openai import affinity, forwarded_parts, read_needs
from gateway.face.sse import DONE
from gateway.intake import Admitted
from gateway.scrutiny import Doubt, checked, withheld_of
from gateway.state import Gateway
from gateway.upstream.upstream import Unavailable, Upstream
from router_policies import failures
from router_policies.attempts import Ask, Attempts, BreakOff, Cancel, Command, GiveUp, Kind, Serve
from router_policies.failures import Failure, FailureKind
from router_policies.rescue import Seam, Transcript
from router_policies.risk.deferral import Deferred
from router_policies.routes import Candidate, Role

_encode = msgspec.json.Encoder().encode


class Relay:
    """The client's interlocutor. Mutable state: the legs, open and over, and what the client has got so far.

    `said` is the answer as far as the client has it, if it can be continued. `paused`: the client reads too slowly, and
    a silent upstream is not to blame.
    """

    __slots__ = (
        "_begun",
        "_committed",
        "_current",
        "_doubt",
        "_ended",
        "_first_token_at",
        "_gateway",
        "_legs",
        "_sampled",
        "_sent_at",
        "_tapes",
        "_told",
        "_total_at",
        "_upstreams",
        "attempts",
        "client",
        "due_at",
        "paused",
        "request",
        "said",
        "strip_usage",
    )

    def __init__(self, gateway: Gateway, client: Client, request: Admitted) -> None:
        view, route = request.view, request.decision.route
        self._gateway = gateway
        self._upstreams = gateway.upstreams  # of the snapshot that the request began with
        self.client = client
        self.request = request
        self.strip_usage = bool(view.stream) and request.endpoint.usage_option and not view.asks_usage
        self._doubt = Doubt.of(request, route.deferral) if route.deferral is not None else None
        sampled = self._sampled = gateway.shadows.sample(request) if route.shadow is not None else None
        begun = self._begun = _begun(gateway, request, sampled) if route.capture is not None else None
        self._tapes: tuple[Tape, ...] = () if sampled is None else (sampled.tape,)
        if begun is not None and begun.refused is None:
            self._tapes += (begun.tape,)
        self._legs: list[Attempt] = []
        self._current: Attempt | None = None  # the leg that is served, or else the last that was asked
        self._told: Attempt | None = None  # whose failure inside the answer the client would be told of
        self._committed = False
        self._ended = False
        self._first_token_at: float | None = None
        self.said: Transcript | None = None
        self.paused = False
        self._total_at = request.received_at + route.deadlines.total_s
        careful = request.decision.judged is not None and request.decision.teacher_for_risk
        self.attempts = Attempts(
            route.careful if careful else route.plans[request.decision.role],
            route.fallback,
            ttft_s=route.deadlines.ttft_s if view.stream else route.deadlines.answer_s,
            capabilities=self._upstreams.capabilities,
            needs=partial(read_needs, request.body),
            draw=gateway.draw,
        )
        self.due_at = NEVER
        self._sent_at = 0.0

    @property
    def began_at(self) -> float:
        return self.request.received_at

    def start(self) -> None:
        """Ask the primary. The client may be answered before this returns."""
        gateway, request = self._gateway, self.request
        gateway.in_flight.add(self)
        hedge_after_s = None
        if request.view.stream and not request.decision.teacher_for_risk:  # slow is not down
            hedge_after_s = gateway.hedge_after_s(request.decision.route.fallback, request.decision.upstream)
        try:
            self._run(self.attempts.start(request.received_at, hedge_after_s))
        except Exception:  # a body that cannot be forwarded, or a defect of ours: the cycle tells the client
            gateway.in_flight.discard(self)
            self._ended = True
            raise
        self._sent_at = monotonic()

    # From the client's side.

    def client_gone(self) -> None:
        """The client left: so does the gateway, and every upstream sees its connection close."""
        if not self._ended:
            self._end(Outcome.CANCELLED, self._current.status if self._committed and self._current else 0)

    def client_slow(self) -> None:
        self.paused = True
        for attempt in self._legs:
            if attempt.leg is not None:
                attempt.leg.pause()

    def client_ready(self) -> None:
        self.paused = False
        now = monotonic()
        for attempt in self._legs:
            attempt.resumed(now)

    # From the worker.

    def deadline(self, now: float) -> None:
        """`due_at` has passed: one of the deadlines has, or what came meanwhile has put it off."""
        if now >= self._total_at:
            if not self.attempts.in_reserve:
                self._out_of_time()
                return
            self._run(self.attempts.settle())
        for attempt in list(self._legs):
            if now >= attempt.due_at(now):
                attempt.missed()
        if not self._ended and now >= self.attempts.due_at:
            self._run(self.attempts.due(now))
        if not self._ended:
            self.due_at = self._next_due(now)

    def shut_down(self) -> None:
        """The grace period is over."""
        if not self._ended:
            self._break_off(Outcome.SHUTDOWN, SHUTTING_DOWN, "The gateway is shutting down.")

    # From the attempts.

    def soon(self, attempt: Attempt) -> None:
        """What an attempt waits for has changed."""
        self.due_at = min(self.due_at, attempt.due_at(monotonic()))

    def checked(self, attempt: Attempt, answer: bytes) -> str | None:
        """What is wrong with a whole answer, None if nothing is or nothing was asked for."""
        return checked(self._gateway, self.request, attempt, answer)

    def deferred(self, attempt: Attempt, logprobs: Logprobs) -> bool:
        """Whether a good answer is kept back, since its model was not sure of it, and the teacher is asked."""
        doubt, route = self._doubt, self.request.decision.route
        if doubt is None or not doubt.defers(self._gateway, self.request, logprobs):
            return False
        attempt.reserved_at = now = monotonic()
        self._run(self.attempts.deferred(attempt.ask.leg, Candidate(route.teacher, Role.TEACHER), now))
        return True

    def good(self, attempt: Attempt) -> None:
        """An attempt's answer is good: it is served."""
        self._current = attempt
        self._run(self.attempts.good(attempt.ask.leg))
        if self._first_token_at is None:
            self._first_token_at = monotonic()
        if attempt.watch is None:
            assert attempt.answer is not None
            self._answer(attempt, *attempt.answer)
            return
        held = attempt.serve()
        if not self._committed:
            self._committed = True
            self.said = attempt.said
            self.client.begin(attempt.status, relayed(attempt.headers) + our_headers(self.request, attempt))
        if held:
            self.write(held)

    def write(self, events: bytes) -> None:
        """Part of the answer goes out."""
        self.client.write(events)
        for tape in self._tapes:
            tape.add(events)

    def _respond(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer goes out."""
        self.client.respond(status, headers, body)
        for tape in self._tapes:
            tape.add(body)

    def finish(self, attempt: Attempt) -> None:
        """The served stream is whole."""
        done_at = monotonic()
        if attempt.watch is not None and not attempt.watch.done and self.request.endpoint.usage_option:
            self.write(DONE)  # which it lacks
        self.client.finish()
        self._end(Outcome.OK, attempt.status, done_at)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        if attempt.serving and self._told is None:
            self._told = attempt
        self._run(self.attempts.failed(attempt.ask.leg, failure, monotonic()))
        self.due_at = min(self.due_at, self.attempts.due_at)

    # Carrying out.

    def _run(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if self._ended:
                return
            match command:
                case Ask():
                    self._ask(command)
                case Cancel(leg):
                    self._legs[leg].drop(Outcome.CANCELLED)
                case GiveUp(leg):
                    self._give_up(self._legs[leg])
                case Serve(leg):
                    self._serve_reserve(self._legs[leg])
                case BreakOff():
                    self._end_broken()

    def _ask(self, ask: Ask) -> None:
        request = self.request
        upstream = self._upstreams[ask.candidate.upstream]
        seam = None
        body: list[bytes] | None = None
        if ask.kind is Kind.RESCUE:
            continued = self._continued(upstream)
            if continued is None:
                self._end_broken()
                return
            seam, body = continued
        attempt = Attempt(self, ask, upstream, seam)
        self._legs.append(attempt)
        if not self._committed:
            self._current = attempt
        asks = None
        if self._doubt is not None and (logprobs := self._doubt.watch(request, ask)) is not None:
            attempt.logprobs, asks = logprobs, self._doubt.asks
        if body is None:
            body = forwarded_parts(
                request.body, request.view, upstream.model, ask_usage=self.strip_usage, logprobs=asks
            )
        lines = b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            forwarded(request.headers),
            request.request_id.encode(),
            sum(map(len, body)),
        )
        connect_s = request.decision.route.deadlines.connect_s
        beginning = affinity(request.body) if upstream.needs_affinity else None
        try:
            attempt.leg = upstream.send(
                request.endpoint.path, request.query, (lines, *body), attempt, connect_s, affinity=beginning
            )
        except Unavailable as unavailable:
            kind = FailureKind(unavailable.kind)
            attempt.unavailable(Failure(kind, unavailable.retry_after_s))
            return
        self.due_at = min(self.due_at, self._next_due(ask.since))

    def _continued(self, upstream: Upstream) -> tuple[Seam, list[bytes]] | None:
        if self.said is None:
            return None
        return continued(self.request, upstream, self.said, self._told, self._legs, ask_usage=self.strip_usage)

    def _next_due(self, now: float) -> float:
        due = min(self._total_at, self.attempts.due_at)
        for attempt in self._legs:
            due = min(due, attempt.due_at(now))
        return due

    # Answering.

    def _answer(self, attempt: Attempt, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """A whole answer, as it came."""
        done_at = monotonic()
        lines = relayed(headers)
        if status in (404, 405, 501) and says_no_such_path(body):
            path = self.request.endpoint.path
            message = f"The upstream {attempt.upstream.name!r} does not serve {path} ({status})."
            status, lines = UNSUPPORTED_ENDPOINT.status, JSON
            body = ApiError(UNSUPPORTED_ENDPOINT, message).body
        self._respond(status, lines + our_headers(self.request, attempt), body)
        outcome = Outcome.OK
        if status >= 300:
            outcome = Outcome.UPSTREAM_ERROR if status >= 500 else Outcome.CLIENT_ERROR
        self._end(outcome, status, done_at)

    def _give_up(self, attempt: Attempt) -> None:
        """Nobody is left: answer with how this attempt failed."""
        self._current = attempt
        failure = attempt.failure
        assert failure is not None
        if failure.kind is FailureKind.VERIFY and self.request.decision.route.fallback.serve_unverified:
            if attempt.answer is not None:
                self._first_token_at = monotonic()
                self._answer(attempt, *attempt.answer)
            else:
                self._serve_unverified(attempt)
        elif attempt.answer is not None and failure.kind is not FailureKind.VERIFY:
            self._answer(attempt, *attempt.answer)
        elif attempt.watch is not None and attempt.watch.error is not None:
            error = attempt.watch.error
            status = failures.in_stream_status(error)
            self._respond(status, JSON + our_headers(self.request, attempt), _encode({"error": error}))
            self._end(attempt.outcome, status)
        else:
            assert attempt.error is not None
            kind, message = attempt.error
            headers = JSON + our_headers(self.request, attempt)
            if failure.retry_after_s is not None:
                headers += b"retry-after: %d\r\n" % max(1, round(failure.retry_after_s + 0.5))
            self._respond(kind.status, headers, ApiError(kind, message).body)
            self._end(attempt.outcome, kind.status)

    def _serve_reserve(self, attempt: Attempt) -> None:
        """The teacher has no better one."""
        assert self._doubt is not None
        self._doubt.became = Deferred.FAILED
        self._current = attempt
        self._first_token_at = attempt.first_token_at or monotonic()
        if attempt.answer is not None:
            self._answer(attempt, *attempt.answer)
            return
        self._committed = True
        self.said = attempt.said
        self.client.begin(attempt.status, relayed(attempt.headers) + our_headers(self.request, attempt))
        self.write(attempt.serve())
        if attempt.over:
            self.finish(attempt)

    def _serve_unverified(self, attempt: Attempt) -> None:
        """A held stream that failed its check, and there is no better one."""
        self._committed = True
        self._first_token_at = attempt.first_token_at
        self.client.begin(attempt.status, relayed(attempt.headers) + our_headers(self.request, attempt))
        self.write(attempt.serve())
        self.client.finish()
        self._end(Outcome.OK, attempt.status)

    def _end_broken(self) -> None:
        """The rest of the stream will not come."""
        attempt = self._told
        assert attempt is not None
        if attempt.watch is not None and attempt.watch.error is not None:
            self.write(attempt.watch.error_event)
        else:
            assert attempt.error is not None
            self.write(b"data: %b\n\n" % ApiError(*attempt.error).body)
        self.client.finish()
        self._end(attempt.outcome, attempt.status)

    def _out_of_time(self) -> None:
        total_s = self.request.decision.route.deadlines.total_s
        name = self._current.upstream.name if self._current is not None else ""
        message = f"The upstream {name!r} did not answer in time (no whole answer within {total_s:g} s)."
        self._break_off(Outcome.TIMEOUT, UPSTREAM_TIMEOUT, message)

    def _break_off(self, outcome: Outcome, kind: ErrorKind, message: str) -> None:
        error = ApiError(kind, message)
        if self._committed:
            self.write(b"data: %b\n\n" % error.body)
            self.client.finish()
            status = 200
        else:
            assert self._current is not None
            self._respond(kind.status, JSON + our_headers(self.request, self._current), error.body)
            status = kind.status
        if self.paused:
            self.client.abort()  # it does not read, and would be waited for in vain
        self._end(outcome, status)

    # The record.

    def _end(self, outcome: Outcome, status: int = 0, done_at: float | None = None) -> None:
        self._ended = True
        gateway, request, attempt = self._gateway, self.request, self._current
        gateway.in_flight.discard(self)
        now = monotonic()
        for leg in self._legs:
            if not leg.over:
                leg.drop(outcome if leg is attempt else Outcome.CANCELLED)
        assert attempt is not None
        attempt.outcome = outcome
        exchange = close(  # by place, which is quicker than by name
            gateway,
            request,
            self._legs,
            attempt,
            outcome,
            status,
            self._first_token_at,
            self._sent_at,
            done_at or 0.0,
            now,
            self._doubt,
        )
        gateway.record(exchange)
        if self._begun is not None:
            pair_id = self._sampled.compared_as if self._sampled is not None else None
            gateway.captures.offer(self._begun, request, exchange, pair_id)
        if self._sampled is not None:
            withheld = withheld_of(request, self._legs) if exchange.kind is Kind.DEFERRAL else None
            gateway.shadows.offer(self._sampled, request, exchange, gateway.revision, withheld)
        self._legs.clear()  # they refer to this relay, which would otherwise wait for the garbage collector
        self._current = self._told = None


def _begun(gateway: Gateway, request: Admitted, sampled: Sampled | None) -> Begun | None:
    """A request of a route that captures."""
    mirrored = sampled is not None and sampled.compared_as is not None
    return gateway.captures.begin(
        request, mirrored=mirrored, is_mirror=gateway.shadows.is_mirror(request.headers.get(HEADER))
    )
