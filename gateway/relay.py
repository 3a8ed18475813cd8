"""One request through the gateway: send the decided leg, relay its answer, end with one `Exchange`.

Event in, action out, no task and no timer of its own: the upstream's connection, the client's connection and the
worker's tick, which looks at `due_at`, call in here.
A streamed answer is not committed to the client before its first token, so that until then any failure is still an
honest HTTP status; a whole answer is held until it is complete. After tokens have gone out, a failure is told inside
the stream, as an error event without the end mark, which OpenAI clients raise on.
"""

from time import monotonic
from typing import Protocol

import msgspec

from gateway.exchange import Exchange, Outcome
from gateway.face.errors import (
    SHUTTING_DOWN,
    UNSUPPORTED_ENDPOINT,
    UPSTREAM_BROKE_OFF,
    UPSTREAM_INVALID,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    ApiError,
    ErrorKind,
)
from gateway.face.headers import forwarded, relayed
from gateway.face.openai import forwarded_parts
from gateway.face.sse import EventTooLong, StreamWatch, read_usage
from gateway.intake import Admitted
from gateway.state import Gateway
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers
from router_policies.prices import Usage, cost_nano_usd

MAX_ANSWER_BYTES = 64 * 1024 * 1024
BYTES_PER_TOKEN = 4  # of a prompt, for estimates where the upstream reported nothing

_FAULTS: dict[FaultKind, tuple[Outcome, ErrorKind, str]] = {
    FaultKind.CONNECT: (Outcome.CONNECT_ERROR, UPSTREAM_UNREACHABLE, "could not be reached"),
    FaultKind.RESET: (Outcome.TRUNCATED, UPSTREAM_BROKE_OFF, "closed the connection without an answer"),
    FaultKind.TRUNCATED: (Outcome.TRUNCATED, UPSTREAM_BROKE_OFF, "broke off its answer"),
    FaultKind.INVALID: (Outcome.INVALID, UPSTREAM_INVALID, "sent something that is no acceptable answer"),
    FaultKind.TIMEOUT: (Outcome.TIMEOUT, UPSTREAM_TIMEOUT, "did not answer in time"),
}
_JSON = b"content-type: application/json\r\n"
_NOTHING = Usage()
_encode = msgspec.json.Encoder().encode


class Client(Protocol):
    """The client's side of a request. `headers` are whole header lines, each ending in CRLF."""

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer."""

    def begin(self, status: int, headers: bytes) -> None:
        """The head of an answer whose body comes by `write` and ends with `finish`."""

    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...

    def abort(self) -> None:
        """Close the connection, whatever is still to be written."""


class Relay:
    """The upstream's `ResponseSink` on one side, the client's interlocutor on the other."""

    __slots__ = (
        "_client",
        "_committed",
        "_ended",
        "_first_token_at",
        "_gateway",
        "_headers",
        "_held",
        "_held_bytes",
        "_last_data_at",
        "_leg",
        "_paused",
        "_request",
        "_sent_at",
        "_status",
        "_strip_usage",
        "_upstream",
        "_watch",
        "due_at",
    )

    def __init__(self, gateway: Gateway, client: Client, request: Admitted) -> None:
        self._gateway = gateway
        self._client = client
        self._request = request
        self._upstream = gateway.upstreams[request.decision.upstream]
        self._watch: StreamWatch | None = None  # set when the answer turns out to be a stream
        self._status = 0  # the upstream's
        self._headers = b""
        self._held: list[bytes] = []  # what is held back: a whole answer, or a stream before its first token
        self._held_bytes = 0
        self._committed = False
        self._ended = False
        self._first_token_at: float | None = None
        self._last_data_at = 0.0
        self._paused = False  # while the client reads too slowly, a silent upstream is not to blame

        view, endpoint = request.view, request.endpoint
        self._strip_usage = bool(view.stream) and endpoint.usage_option and not view.asks_usage
        body = forwarded_parts(request.body, view, self._upstream.model, ask_usage=self._strip_usage)
        head = b"%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            self._upstream.head(endpoint.path, request.query),
            forwarded(request.headers),
            request.request_id.encode(),
            sum(map(len, body)),
        )
        deadlines = request.decision.route.deadlines
        self.due_at = request.received_at + (
            min(deadlines.ttft_s, deadlines.total_s) if view.stream else deadlines.total_s
        )
        gateway.in_flight.add(self)
        self._leg = self._upstream.pool.send(b"".join((head, *body)), self, deadlines.connect_s)
        self._sent_at = monotonic()

    # From the client's side.

    def client_gone(self) -> None:
        """The client left: so does the gateway, and the upstream sees its connection close."""
        if not self._ended:
            self._leg.cancel()
            self._end(Outcome.CANCELLED, self._status if self._committed else 0)

    def client_slow(self) -> None:
        self._paused = True
        self._leg.pause()

    def client_ready(self) -> None:
        self._paused = False
        self._last_data_at = monotonic()
        self._leg.resume()

    # From the worker.

    def deadline(self, now: float) -> None:
        """`due_at` has passed: one of the deadlines has, or what came meanwhile has put it off."""
        deadlines, received_at = self._request.decision.route.deadlines, self._request.received_at
        total_at = received_at + deadlines.total_s
        stalled_at = (now if self._paused else self._last_data_at) + deadlines.stall_s
        if now >= total_at:
            missed = f"no whole answer within {deadlines.total_s:g} s"
        elif self._first_token_at is None:
            missed = f"no first token within {deadlines.ttft_s:g} s"
        elif now >= stalled_at:
            missed = f"nothing came for {deadlines.stall_s:g} s inside the answer"
        else:
            self.due_at = min(total_at, stalled_at)
            return
        self._give_up(FaultKind.TIMEOUT, missed)
        if self._paused:
            self._client.abort()  # it does not read, and would be waited for in vain

    def shut_down(self) -> None:
        """The grace period is over."""
        if not self._ended:
            self._leg.cancel()
            self._break_off(Outcome.SHUTDOWN, SHUTTING_DOWN, "The gateway is shutting down.")

    # From the upstream's side: `ResponseSink`.

    def head(self, status: int, headers: Headers) -> None:
        if self._paused:
            self._leg.pause()
        self._status = status
        self._headers = relayed(headers)
        if status == 200 and self._request.view.stream and _is_event_stream(headers):
            self._watch = StreamWatch(self._request.endpoint, strip_usage=self._strip_usage)

    def data(self, data: bytes) -> None:
        if self._ended:
            return
        self._last_data_at = monotonic()
        watch = self._watch
        if watch is None:
            self._hold(data)
            return
        try:
            events = watch.feed(data)
        except EventTooLong:
            self._give_up(FaultKind.INVALID, "an event of its stream is too long")
            return
        if self._committed:
            if events:
                self._client.write(events)
        elif watch.error is not None and not watch.first_token:
            self._leg.cancel()
            self._refuse_in_stream(watch.error)
            return
        elif watch.first_token or watch.finished or watch.done:
            self._commit(events)
        elif events:
            self._hold(events)
        if watch.first_token and self._first_token_at is None:
            self._first_token_at = monotonic()
            self.due_at = min(self.due_at, self._first_token_at)  # from here on it is stalls that are timed
        if watch.error is not None:
            self._leg.cancel()
            self._end_stream()
        elif watch.done:
            # The answer is whole. The rest of the upstream's message is read so that its connection can be used again.
            self._end_stream()
            self._leg.expect_end()

    def end(self) -> None:
        if self._ended:
            return
        watch = self._watch
        if watch is None:
            self._whole_answer()
            return
        last = watch.flush()
        if watch.finished or watch.done or watch.error is not None:
            self._end_stream(last)
        else:
            self.fault(UpstreamFault(FaultKind.TRUNCATED, "the stream ended without a finish reason"))

    def fault(self, fault: UpstreamFault) -> None:
        if self._ended:
            return
        watch = self._watch
        if watch is not None and self._committed and (watch.done or watch.usage is not None or watch.error is not None):
            self._end_stream()  # all had been said: usage comes after the last choice, and an error has been told
            return
        outcome, kind, text = _FAULTS[fault.kind]
        self._break_off(outcome, kind, f"The upstream {self._upstream.name!r} {text} ({fault.detail}).")

    # Answering.

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_ANSWER_BYTES:
            self._give_up(FaultKind.INVALID, f"an answer of over {MAX_ANSWER_BYTES} bytes")

    def _give_up(self, kind: FaultKind, detail: str) -> None:
        self._leg.cancel()
        self.fault(UpstreamFault(kind, detail))

    def _commit(self, events: bytes) -> None:
        self._committed = True
        self._client.begin(self._status, self._headers + self._our_headers())
        if first := b"".join((*self._held, events)):
            self._client.write(first)
        self._held.clear()

    def _whole_answer(self) -> None:
        done_at = monotonic()
        status, headers, body = self._status, self._headers, b"".join(self._held)
        if 300 <= status < 400:
            self.fault(UpstreamFault(FaultKind.INVALID, f"a redirect ({status}), which is not followed"))
            return
        if status in (404, 405, 501) and _says_no_such_path(body):
            message = f"The upstream {self._upstream.name!r} does not serve {self._request.endpoint.path} ({status})."
            status, headers = UNSUPPORTED_ENDPOINT.status, _JSON
            body = ApiError(UNSUPPORTED_ENDPOINT, message).body
        self._client.respond(status, headers + self._our_headers(), body)
        if status < 300:
            self._first_token_at = monotonic()
            self._end(Outcome.OK, status, usage=read_usage(body), done_at=done_at)
        else:
            self._end(Outcome.UPSTREAM_ERROR if status >= 500 else Outcome.CLIENT_ERROR, status, done_at=done_at)

    def _end_stream(self, last: bytes = b"") -> None:
        done_at = monotonic()
        watch = self._watch
        assert watch is not None
        if not self._committed:
            self._commit(last)
        elif last:
            self._client.write(last)
        self._client.finish()
        outcome = Outcome.UPSTREAM_ERROR if watch.error is not None else Outcome.OK
        self._end(outcome, self._status, usage=watch.usage, done_at=done_at)

    def _break_off(self, outcome: Outcome, kind: ErrorKind, message: str) -> None:
        error = ApiError(kind, message)
        if self._committed:
            self._client.write(b"data: %b\n\n" % error.body)
            self._client.finish()
            self._end(outcome, self._status)
        else:
            self._client.respond(kind.status, _JSON + self._our_headers(), error.body)
            self._end(outcome, kind.status)

    def _refuse_in_stream(self, error: object) -> None:
        """An error came in the first token's place: it gets the status that it would have had without streaming."""
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        self._client.respond(status, _JSON + self._our_headers(), _encode({"error": error}))
        self._end(Outcome.UPSTREAM_ERROR if status >= 500 else Outcome.CLIENT_ERROR, status)

    def _our_headers(self) -> bytes:
        request = self._request
        routing = self._upstream.routing_headers(request.decision.reason)
        return b"x-request-id: %b\r\n%b" % (request.request_id.encode(), routing)

    def _end(self, outcome: Outcome, status: int = 0, usage: Usage | None = None, done_at: float | None = None) -> None:
        self._ended = True
        gateway, request, watch = self._gateway, self._request, self._watch
        gateway.in_flight.discard(self)
        now = monotonic()
        if watch is not None:
            usage = usage or watch.usage
            if watch.malformed:
                gateway.metrics.malformed(self._upstream.name, watch.malformed)
        estimated = usage is None and self._generated(outcome)
        if usage is None:
            usage = self._guess() if estimated else _NOTHING
        first = self._first_token_at
        gateway.metrics.record(
            Exchange(
                request_id=request.request_id,
                endpoint=request.endpoint.path,
                tenant=request.identity.tenant,
                key_name=request.identity.name,
                decision=request.decision,
                stream=bool(request.view.stream),
                status=status,
                outcome=outcome,
                ttft_s=None if first is None else first - request.received_at,
                ttlt_s=now - request.received_at,
                overhead_s=self._sent_at - request.received_at + (now - done_at if done_at is not None else 0.0),
                usage=usage,
                estimated=estimated,
                cost_nano_usd=cost_nano_usd(self._upstream.price, usage),
            )
        )

    def _generated(self, outcome: Outcome) -> bool:
        """Whether the upstream had the prompt, and may have generated, though it did not say how much."""
        if outcome in (Outcome.CLIENT_ERROR, Outcome.UPSTREAM_ERROR):
            return self._first_token_at is not None
        return self._leg.sent

    def _guess(self) -> Usage:
        return Usage(len(self._request.body) // BYTES_PER_TOKEN, self._watch.events if self._watch is not None else 0)


def _is_event_stream(headers: Headers) -> bool:
    return any(name == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in headers)


def _says_no_such_path(body: bytes) -> bool:
    """Whether a 404 is the web server's and not the model API's.

    It is no JSON, FastAPI's (vLLM) {"detail": "Not Found"}, or an error that says no more than llama.cpp's.
    """
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    if not isinstance(decoded, dict):
        return True
    error = decoded.get("error")
    said = error.get("message") if isinstance(error, dict) else decoded.get("detail")
    return said in ("Not Found", "File Not Found", "Method Not Allowed")
