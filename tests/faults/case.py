"""What a case of the scorecard is, and the stage on which one of them is played.

A case names a fault, scripts the providers, and says what the caller must get and what the providers must see. Most
are one request, described by an `Expect`; others have a `play` of their own. A case is played once for each of its
modes, streaming and not, with upstreams and a route of its own, so that no case can disturb another's breaker.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from time import monotonic
from typing import Any

from tests.faults.answers import TEXT, good
from tests.faults.client import Caller, RawCaller, Reply, how_raised
from tests.faults.server import Call, Provider, Refusing, Script, Unreachable

CLOSED_WITHIN_S = 0.1
DEADLINES = {"connect_s": 1.0, "ttft_s": 0.8, "stall_s": 0.6, "answer_s": 0.8, "total_s": 15.0}
GOOD = good()
SLACK_S = 0.5  # that a deadline may be late: the tests share two cores


class Mode(StrEnum):
    """How the caller asks."""

    STREAMING = "streaming"
    WHOLE = "not streaming"


BOTH = (Mode.STREAMING, Mode.WHOLE)
Server = Script | type[Refusing] | type[Unreachable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What one request must come to.

    `text`: what the client has in the end; None if it must raise. `by`, `why`: who answered and the reason, as the
    headers say. `status`, `code`, `body`: of an error, and whether it must be one event inside the stream (`in_stream`:
    then status 200, with some text before). `small`, `big`: calls each provider sees. `gap_s`: bounds of the time
    between small's calls. `within_s`: bounds of the caller's time. `rescued`: big ends what small began.
    `outcome`: as counted in /metrics. `malformed`: events of small counted as such. `open_s`: how long a provider's
    call may stay open after that. `usage`: whether the answer reports any.
    """

    text: str | None = TEXT
    by: str = "big"
    why: str = "split"
    status: int = 200
    code: str | None = None
    body: bytes | None = None
    in_stream: bool = False
    small: int = 1
    big: int = 1
    gap_s: tuple[float, float] | None = None
    within_s: tuple[float, float] = (0.0, SLACK_S)
    rescued: bool = False
    outcome: str | None = "ok"
    malformed: int | None = None
    open_s: float = CLOSED_WITHIN_S
    usage: bool = True

    def but(self, **changes: Any) -> "Expect":
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`small` is asked first, `big` is its fallback. `route`, `deadlines`, `fallback` and the upstreams' configs add
    to the defaults of the stage. `ask` adds to the request."""

    name: str
    fault: str
    small: Server = GOOD
    big: Server = GOOD
    expect: Expect | None = None
    expect_whole: Expect | None = None  # where it differs without streaming
    play: "Callable[[Stage], Awaitable[None]] | None" = None
    modes: tuple[Mode, ...] = BOTH
    ask: Mapping[str, Any] = field(default_factory=dict)
    deadlines: Mapping[str, float] = field(default_factory=dict)
    fallback: Mapping[str, Any] = field(default_factory=dict)
    small_config: Mapping[str, Any] = field(default_factory=dict)
    big_config: Mapping[str, Any] = field(default_factory=dict)
    replicas: tuple[Server, ...] = ()  # further servers of small
    big_owner: str = "somebody"  # as big's list of models says
    alone: bool = False  # it loads the machine: nothing else is played at the same time
    first: bool = False  # it takes long: begun before the others


class Stage:
    """One case in one mode: its providers, its route, its caller, and what was found."""

    def __init__(self, case: Case, mode: Mode) -> None:
        self.case = case
        self.mode = mode
        self.route = f"{case.name}.{'stream' if mode is Mode.STREAMING else 'whole'}"
        self.small = _server(case.small)
        self.big = _server(case.big)
        if isinstance(self.big, Provider):
            self.big.owned_by = case.big_owner
        self.replicas = [_server(server) for server in case.replicas]
        self.problems: list[str] = []
        self.caller_got = ""
        self.providers_saw = ""
        self.took_s = 0.0
        self.counted: dict[str, float] = {}  # samples of /metrics that must be there, with their values
        self.caller: Caller
        self.port = 0

    @property
    def streaming(self) -> bool:
        return self.mode is Mode.STREAMING

    @property
    def servers(self) -> list[Provider | Refusing | Unreachable]:
        return [self.small, self.big, *self.replicas]

    def upstreams(self) -> dict[str, dict[str, Any]]:
        configs: dict[str, dict[str, Any]] = {
            f"{self.route}.{name}": {
                "base_url": f"http://127.0.0.1:{server.port}/v1",
                "model": f"{name}-model",
                "continues": "prefill",
                "price": {"input": 1.0, "output": 2.0},
                **config,
            }
            for name, server, config in (
                ("small", self.small, self.case.small_config),
                ("big", self.big, self.case.big_config),
            )
        }
        if self.replicas:
            small = configs[f"{self.route}.small"]
            others = [f"http://127.0.0.1:{server.port}/v1" for server in self.replicas]
            small["base_urls"] = [small.pop("base_url"), *others]
        return configs

    def route_config(self) -> dict[str, Any]:
        return {
            "teacher": f"{self.route}.big",
            "student": f"{self.route}.small",
            "student_percent": 100,
            "deadlines": {**DEADLINES, **self.case.deadlines},
            "fallback": {"order": ["teacher"], "retries": 1, **self.case.fallback},
        }

    def body(self, **more: Any) -> dict[str, Any]:
        """A request on this stage's route."""
        body: dict[str, Any] = {"model": self.route, "messages": [{"role": "user", "content": "Where is my order?"}]}
        if self.streaming:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return {**body, **self.case.ask, **more}

    async def ask(self, **more: Any) -> Reply:
        """Ask as an app does, through the official client."""
        reply = await self.caller.ask(self.body(**more))
        if self.streaming and reply.is_stream:
            self._check_stream(reply)
        return reply

    async def ask_raw(self) -> Reply:
        """Ask with as little work on this side as possible, for crowds: this process has to serve them too."""
        raw = await RawCaller.connect(self.port)
        await raw.post(self.body())
        reply = await raw.reply()
        raw.leave()
        return reply

    def must(self, condition: object, problem: str) -> None:
        if not condition:
            self.problems.append(problem)

    def must_be(self, what: str, got: object, expected: object) -> None:
        if got != expected:
            self.problems.append(f"{what}: expected {_short(expected)}, got {_short(got)}")

    def must_lie(self, what: str, value: float, bounds: tuple[float, float]) -> None:
        low, high = bounds
        if not low <= value <= high:
            self.problems.append(f"{what}: expected {low:.2f} to {high:.2f} s, got {value:.3f} s")

    def must_count(self, name: str, value: float, **labels: str) -> None:
        """What /metrics must say in the end, of this stage's route or upstreams."""
        self.counted[" ".join((name, *(f'{key}="{label}"' for key, label in labels.items())))] = value

    def must_count_some(self, name: str, **labels: str) -> None:
        """As `must_count`, of something that is estimated: above 0."""
        self.must_count(name, _SOME, **labels)

    def must_end(self, outcome: str, requests: int = 1) -> None:
        self.must_count("understudy_requests_total", requests, route=self.route, outcome=outcome)

    def check_metrics(self, samples: Mapping[str, float]) -> None:
        for wanted, expected in self.counted.items():
            name, *labels = wanted.split(" ")
            found = [v for k, v in samples.items() if k.partition("{")[0] == name and all(la in k for la in labels)]
            if expected == _SOME:
                self.must(sum(found) > 0, f"{wanted}: expected more than 0")
            else:
                self.must_be(wanted, sum(found), float(expected))

    def served_by(self, reply: Reply) -> str:
        return reply.headers.get("x-understudy-upstream", "nobody").removeprefix(f"{self.route}.")

    async def no_leg_left_open(self, since: float, open_s: float = CLOSED_WITHIN_S) -> None:
        """Everything that providers were still at, at `since`, was closed by the gateway within `open_s`."""
        while monotonic() < since + open_s + 0.02 and self._open_calls():
            await asyncio.sleep(0.01)
        for name, server in (("small", self.small), ("big", self.big)):
            for call in server.calls:
                if call.answered_at is None:
                    closed = call.closed_at is not None and call.closed_at <= since + open_s
                    when = "never" if call.closed_at is None else f"{call.closed_at - since:.3f} s later"
                    self.must(closed, f"{name}: its open call was to be closed within {open_s} s, was {when}")

    def _open_calls(self) -> bool:
        return any(one.answered_at is None and one.closed_at is None for one in (*self.small.calls, *self.big.calls))

    async def perform(self) -> None:
        """Play the case; what went wrong is in `problems` then."""
        started = monotonic()
        try:
            async with asyncio.timeout(60):
                await (self.case.play(self) if self.case.play is not None else self._ask_once())
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        self.took_s = monotonic() - started
        self.caller_got = self.caller_got or "nothing"
        self.providers_saw = self.providers_saw or self.describe_calls()

    async def _ask_once(self) -> None:
        case = self.case
        expect = case.expect if self.streaming or case.expect_whole is None else case.expect_whole
        assert expect is not None, f"{case.name} expects nothing"
        reply = await self.ask()
        self.caller_got = self.describe(reply)
        await self.no_leg_left_open(reply.ended_at, expect.open_s)
        self.check(reply, expect)

    def check(self, reply: Reply, expect: Expect) -> None:
        """Both views of one request against what is expected."""
        self.must(reply.whole, "the gateway's message did not end as its framing says")
        if expect.text is None:
            self._check_error(reply, expect)
        else:
            self.must(reply.raised is None, f"the client raised {reply.raised!r}")
            self.must_be("the client's text", reply.text, expect.text)
            self.must_be("the usage in the answer", bool(self._usage(reply)), expect.usage)
        self.must_be("status", reply.status, expect.status)
        self.must_be("answered by", self.served_by(reply), expect.by)
        self.must_be("reason", reply.headers.get("x-understudy-reason"), expect.why)
        self.must_lie("the caller's time", reply.took_s, expect.within_s)
        for name, server, calls in (("small", self.small, expect.small), ("big", self.big, expect.big)):
            if isinstance(server, Provider):
                self.must_be(f"calls that {name} saw", len(server.calls), calls)
        if expect.gap_s is not None:
            for earlier, later in pairwise(self.small.calls):
                self.must_lie("between calls to small", later.at - earlier.at, expect.gap_s)
        if expect.rescued:
            models = [one["model"] for one in reply.chunks]
            self.must_be("models named, in order", list(dict.fromkeys(models)), ["small-model", "big-model"])
        if expect.outcome is not None:
            self.must_end(expect.outcome)
        if isinstance(self.small, Provider) and isinstance(self.big, Provider):
            self.must_count("understudy_legs_total", len(self.small.calls) + len(self.big.calls), route=self.route)
        if expect.rescued:  # what small said is paid for, and counted by itself
            self.must_count_some("understudy_fallback_cost_nano_usd_total", route=self.route)
        if expect.malformed is not None:
            self.must_count("understudy_malformed_events_total", expect.malformed, upstream=f"{self.route}.small")

    def _check_error(self, reply: Reply, expect: Expect) -> None:
        self.must(reply.raised is not None, f"the client raised nothing, and has {_short(reply.text)}")
        error = reply.error
        self.must(
            error is not None and isinstance(error.get("message"), str), f"no OpenAI error in {reply.body!r:.300}"
        )
        if expect.code is not None:
            self.must_be("error code", reply.code, expect.code)
        if expect.body is not None:
            self.must_be("the error's body", reply.body, expect.body)
        if expect.in_stream:
            self.must("[DONE]" not in reply.events, "a stream that failed ended with [DONE]")
            self.must(TEXT.startswith(reply.text), f"the text before the error is none of the answer's: {reply.text!r}")

    def _check_stream(self, reply: Reply) -> None:
        """What every stream must be like, however it came about."""
        self.must_be("the text in the bytes", reply.streamed_text, reply.text)
        self.must(all(one is not None for one in reply.events), "an event that is no JSON was relayed")
        self.must("\ufffd" not in reply.body.decode("utf-8", "replace"), "bytes that are no UTF-8 were relayed")
        ids = {one["id"] for one in reply.chunks}
        self.must(len(ids) <= 1, f"the stream's id changes: {ids}")
        roles = sum("role" in delta for delta in reply.deltas)
        self.must(roles <= 1, f"{roles} chunks say a role")
        if reply.error is None:
            self.must_be("end mark", reply.events[-1:], ["[DONE]"])
            self.must_be("finish reasons", len(reply.finishes), 1)

    def _usage(self, reply: Reply) -> object:
        if reply.is_stream:
            return next((one["usage"] for one in reply.chunks if one.get("usage") and not one["choices"]), None)
        return b'"usage"' in reply.body

    # For the table.

    def describe(self, reply: Reply) -> str:
        by, why = self.served_by(reply), reply.headers.get("x-understudy-reason", "")
        after = f"after {reply.took_s:.2f} s"
        if reply.raised is not None:
            code = f" `{reply.code}`" if reply.code else ""
            if reply.is_stream:
                return f"{len(reply.text)} characters, then an error{code} {after}"
            return f"{how_raised(reply.raised)}{code} {after}"
        what = "the whole answer" if reply.text == TEXT else f"{len(reply.text)} characters"
        if reply.tool_calls:
            what = "the tool call"
        models = list(dict.fromkeys(one["model"] for one in reply.chunks))
        if len(models) > 1:
            by, why = "small, then big", "rescue"
        return f"{what} from {by} ({why}) {after}"

    def describe_calls(self) -> str:
        return "; ".join(
            f"{name}: {_calls(server)}" for name, server in (("small", self.small), ("big", self.big)) if server.calls
        )


_SOME = -1.0


def _server(server: Server) -> Provider | Refusing | Unreachable:
    return server() if isinstance(server, type) else Provider(server)


def _calls(server: Provider | Refusing | Unreachable) -> str:
    calls = server.calls
    said = f"{len(calls)} call{'s' if len(calls) > 1 else ''}"
    if 1 < len(calls) <= 3:
        gaps = [f"{later.at - earlier.at:.2f} s" for earlier, later in pairwise(calls)]
        said += f" {' and '.join(gaps)} apart"
    cut = [call for call in calls if call.closed_by == "gateway" and call.answered_at is None]
    if cut and len(calls) <= 3:
        said += f", closed by the gateway after {_age(cut[-1]):.2f} s"
    return said


def _age(call: Call) -> float:
    assert call.closed_at is not None
    return call.closed_at - call.at


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}…{text[-80:]}"
