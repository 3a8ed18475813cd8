"""The client of `chaos.py`: it believes nothing, and knows what every answer must have been.

A raw HTTP/1.1 client on asyncio, for it must see what a library hides: whether a message was ended in order, what came
before it broke, and how long nothing came. `judge` says what a user would have made of a reply, and what is wrong with
it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import cast

import msgspec
from chaos_text import answers

KILLED_WITHIN_S = 1.0  # a connection that ends so soon after a gateway worker was killed was that worker's
USERS = 500
PAUSE_S = (0.1, 0.4)  # of a client that was told of an error


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    choices: list[_Choice] | None = None
    usage: object = None
    error: dict[str, object] | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


@dataclass(frozen=True)
class Ask:
    """A request. `leave_s`: seconds after which the client leaves, None if it stays."""

    prompt: int
    stream: bool
    tool: bool
    usage: bool
    leave_s: float | None

    @classmethod
    def draw(cls, numbers: Random, stream: bool, abandon: float) -> Ask:
        leave_s = numbers.uniform(0, 4) if numbers.random() < abandon else None
        usage = stream and numbers.random() < 0.3
        return cls(numbers.getrandbits(40), stream, numbers.random() < 0.1, usage, leave_s)

    def bytes(self, route: str) -> bytes:
        body: dict[str, object] = {"model": route, "messages": [{"role": "user", "content": str(self.prompt)}]}
        body["user"] = f"user-{self.prompt % USERS}"
        if self.stream:
            body["stream"] = True
        if self.usage:
            body["stream_options"] = {"include_usage": True}
        if self.tool:
            body["tools"] = [{"type": "function", "function": {"name": "note", "parameters": {"type": "object"}}}]
        data = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: chaos\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


@dataclass
class Reply:
    """What came. Times are monotonic seconds. `whole`: the HTTP message was ended in order; `lost`: the connection
    ended before. `oddities`: what no OpenAI server would send."""

    asked_at: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    first_at: float | None = None
    last_at: float = 0.0
    silence_s: float = 0.0
    ended_at: float = 0.0
    whole: bool = False
    lost: bool = False
    error: dict[str, object] | None = None
    finish: str | None = None
    done: bool = False
    by: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    roles: int = 0
    usage: bool = False
    oddities: set[str] = field(default_factory=set)

    def came(self, now: float) -> None:
        self.silence_s = max(self.silence_s, now - (self.last_at or self.asked_at))
        self.last_at = now


class Connection(asyncio.Protocol):
    """One call at a time. Mutable state: the call under way, and what is left of bytes that make no whole yet."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.events = b""
        self.left: int | None = None  # of a body with a length
        self.reply: Reply | None = None
        self.ended: asyncio.Future[None] | None = None

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def ask(self, request: bytes) -> tuple[Reply, asyncio.Future[None]]:
        assert self.transport is not None
        self.buffer = self.events = b""
        self.left = None
        self.reply = Reply(monotonic())
        self.ended = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.reply, self.ended

    def abort(self) -> None:
        self.reply = None
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        if self.reply is not None:
            self.reply.lost = True
            self._end()

    def data_received(self, data: bytes) -> None:
        reply = self.reply
        if reply is None:
            return
        reply.came(monotonic())
        self.buffer += data
        try:
            while self.reply is not None and self._step(reply):
                pass
        except (ValueError, IndexError) as error:
            reply.oddities.add(f"no HTTP, or no JSON: {error}"[:100])
            self._end()
            self.abort()

    def _step(self, reply: Reply) -> bool:
        """Take the next part of the message; False if it is not there yet."""
        if not reply.status:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if mark:
                self.buffer = rest
                first, *lines = head.decode("latin-1").split("\r\n")
                reply.status = int(first.split(" ")[1])
                parts = (line.partition(":") for line in lines)
                reply.headers = {name.lower(): value.strip() for name, _, value in parts}
                if "chunked" not in reply.headers.get("transfer-encoding", ""):
                    self.left = int(reply.headers.get("content-length", 1 << 60))
            return bool(mark)
        if self.left is not None:
            return self._body(reply, self.left)
        size, mark, rest = self.buffer.partition(b"\r\n")
        if not mark:
            return False
        length = int(size, 16)
        if len(rest) < length + 2:
            return False
        if rest[length : length + 2] != b"\r\n":
            raise ValueError("a chunk without its end")
        self.buffer = rest[length + 2 :]
        if length:
            self._events(reply, rest[:length])
        else:
            reply.whole = True
            if self.events.strip():
                reply.oddities.add("ended inside an event")
            self._end()
        return True

    def _body(self, reply: Reply, length: int) -> bool:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):  # delimited by the connection's end
            data, self.buffer = self.buffer, b""
            self._events(reply, data)
            return False
        if len(self.buffer) < length:
            return False
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        if reply.status != 200 and not reply.headers.get("content-type", "").startswith("application/json"):
            reply.error = {"code": "no JSON"}  # a model server's own words, passed on as they came
        elif body:
            self._chunk(reply, body)
        reply.whole = True
        self._end()
        return True

    def _events(self, reply: Reply, data: bytes) -> None:
        *events, self.events = (self.events + data).split(b"\n\n")
        for event in events:
            if not event.startswith(b"data: "):
                if not event.startswith(b":"):
                    reply.oddities.add(f"an event without data: {event[:40]!r}")
            elif reply.error is not None:
                reply.oddities.add("went on after an error")
            elif reply.done:
                reply.oddities.add("went on after [DONE]")
            elif event == b"data: [DONE]":
                reply.done = True
            else:
                self._chunk(reply, event[6:])

    def _chunk(self, reply: Reply, data: bytes) -> None:
        chunk = _decode(data)
        if chunk.error is not None:
            reply.error = chunk.error
            return
        if chunk.usage is not None:
            reply.usage = True
        if chunk.system_fingerprint:
            reply.by.add(chunk.system_fingerprint)
        if chunk.id:
            reply.ids.add(chunk.id)
        for choice in chunk.choices or ():
            if reply.finish is not None:
                reply.oddities.add("went on after its finish reason")
            if (said := choice.delta or choice.message) is not None:
                self._said(reply, said)
            reply.finish = choice.finish_reason or reply.finish

    def _said(self, reply: Reply, said: _Delta) -> None:
        reply.roles += said.role is not None
        text = said.content or ""
        for call in said.tool_calls or ():
            text += (call.function.arguments or "") if call.function is not None else ""
        if text:
            reply.text.append(text)
            reply.first_at = reply.first_at or reply.last_at

    def _end(self) -> None:
        reply, self.reply = self.reply, None
        if reply is not None and self.ended is not None:
            reply.ended_at = monotonic()
            if not self.ended.done():
                self.ended.set_result(None)


@dataclass(frozen=True)
class Verdict:
    """`outcome`: what the user had of it. `wrong`: what must never be, "" if nothing is; `detail` explains that."""

    outcome: str
    wrong: str = ""
    detail: str = ""


# Outcomes
WELL = "answered"
ELSEWHERE = "answered by another"
RACED = "answered by a hedge"
RESCUED = "rescued"
TOLD = "told of an error"
LEFT = "left by the client"
KILLED = "broken by a kill"
WRONG = "wrong"
OUTCOMES = (WELL, ELSEWHERE, RACED, RESCUED, TOLD, LEFT, KILLED, WRONG)
# What is wrong
TRUNCATED = "truncated, shown as success"
MISSPELT = "text doubled, missing or of another answer"
STUCK = "stuck"
BROKEN = "connection broken without a kill"
PROTOCOL = "against the protocol"
WRONGS = (TRUNCATED, MISSPELT, STUCK, BROKEN, PROTOCOL)


def judge(ask: Ask, reply: Reply, *, left: bool, stuck: bool, killed: Callable[[float], bool]) -> Verdict:
    """`left`: the client did; `stuck`: it waited too long. `killed(at)`: whether a gateway worker was just then."""
    text = "".join(reply.text)
    right = [json.dumps({"note": one}, ensure_ascii=False) if ask.tool else one for one in answers(ask.prompt)]
    if not any(one.startswith(text) for one in right):
        return Verdict(WRONG, MISSPELT, _difference(text, right[0]))
    if reply.oddities:
        return Verdict(WRONG, PROTOCOL, "; ".join(sorted(reply.oddities)))
    if stuck:
        return Verdict(WRONG, STUCK, f"status {reply.status}, {len(text)} characters")
    if left:
        return Verdict(LEFT)
    if reply.error is not None:
        if reply.done:
            return Verdict(WRONG, PROTOCOL, "an error and [DONE]")
        if reply.whole or killed(reply.ended_at):
            return Verdict(TOLD)
        return Verdict(WRONG, BROKEN, "after an error event")
    ended = reply.done if ask.stream else reply.whole
    if reply.lost and not (ask.stream and reply.done):
        if killed(reply.ended_at):
            return Verdict(KILLED)
        return Verdict(WRONG, BROKEN, f"status {reply.status}, {len(text)} characters")
    if reply.status != 200:
        return Verdict(WRONG, PROTOCOL, f"status {reply.status} without an error")
    if text not in right:
        how = f"finish reason {reply.finish}, {'with' if ended else 'without'} an end mark"
        return Verdict(WRONG, TRUNCATED, f"{len(text)} of {len(right[0])} characters, {how}")
    if not ended or reply.finish is None:
        return Verdict(WRONG, PROTOCOL, "all of the text, but not its finish reason and end mark")
    if len(reply.ids) > 1 or (ask.stream and reply.roles != 1) or (ask.stream and reply.usage and not ask.usage):
        detail = f"{len(reply.ids)} ids, {reply.roles} roles, {'' if reply.usage else 'no '}usage"
        return Verdict(WRONG, PROTOCOL, detail)
    reason = reply.headers.get("x-understudy-reason", "")
    if len(reply.by) > 1:
        return Verdict(RESCUED)
    return Verdict(RACED if reason.startswith("hedge") else ELSEWHERE if reason.startswith("fallback") else WELL)


def _difference(text: str, right: str) -> str:
    at = next((i for i, (one, other) in enumerate(zip(text, right, strict=False)) if one != other), len(right))
    return f"at {at}: {text[max(0, at - 12) : at + 24]!r} in place of {right[max(0, at - 12) : at + 24]!r}"


@dataclass
class Load:
    """Lanes that ask one thing after the other, and the books of what came. `limit_s`: how long a request may take,
    margin included; `kills`: when workers of the gateway were killed, monotonic seconds."""

    port: int
    route: str
    abandon: float
    limit_s: float
    kills: list[float] = field(default_factory=list)
    stopping: bool = False
    asked: int = 0
    open: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    timeline: Counter[tuple[int, str]] = field(default_factory=Counter)  # by second
    wrongs: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)  # streams that ended with an error event, by what it said
    ttft_s: list[float] = field(default_factory=list)
    silence_s: float = 0.0  # the longest in a stream
    began: float = field(default_factory=monotonic)

    async def lane(self, numbers: Random, stream: bool) -> None:
        """Asks until the load is `stopping`."""
        connection = Connection()
        await asyncio.sleep(numbers.uniform(0, 2))
        while not self.stopping:
            ask = Ask.draw(numbers, stream, self.abandon if stream else 0.0)
            self.asked += 1
            self.open += 1
            try:
                if not connection.usable or numbers.random() < 0.2:
                    connection.abort()
                    connection = await self._connect()
                verdict, reply = await self._ask(connection, ask)
            except OSError as error:
                self._count(ask, Verdict(WRONG, BROKEN, f"no connection: {error}"), None)
                await asyncio.sleep(numbers.uniform(*PAUSE_S))
                continue
            finally:
                self.open -= 1
            self._count(ask, verdict, reply)
            if verdict.outcome in (TOLD, KILLED):
                await asyncio.sleep(numbers.uniform(*PAUSE_S))
        connection.abort()

    def killed(self, at: float) -> bool:
        return any(kill <= at <= kill + KILLED_WITHIN_S for kill in self.kills)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, "127.0.0.1", self.port))[1]

    async def _ask(self, connection: Connection, ask: Ask) -> tuple[Verdict, Reply]:
        reply, ended = connection.ask(ask.bytes(self.route))
        wait_s = self.limit_s if ask.leave_s is None else min(ask.leave_s, self.limit_s)
        await asyncio.wait([ended], timeout=wait_s)
        unfinished = not ended.done()
        if unfinished:
            connection.abort()
        left = unfinished and ask.leave_s is not None
        verdict = judge(ask, reply, left=left, stuck=unfinished and not left, killed=self.killed)
        return verdict, reply

    def _count(self, ask: Ask, verdict: Verdict, reply: Reply | None) -> None:
        self.outcomes[verdict.outcome] += 1
        self.timeline[int(monotonic() - self.began), verdict.outcome] += 1
        if verdict.wrong:
            self.wrongs[verdict.wrong] += 1
            if len(self.examples) < 15:
                at = monotonic() - self.began
                self.examples.append(f"{at:.1f} s, {verdict.wrong}: {verdict.detail} ({ask}; {_said_by(reply)})")
        if reply is None:
            return
        if ask.stream:
            self.silence_s = max(self.silence_s, reply.silence_s)
        if ask.stream and reply.first_at is not None:
            self.ttft_s.append(reply.first_at - reply.asked_at)
        if verdict.outcome == TOLD and reply.error is not None:
            said = str(reply.error.get("code") or reply.error.get("type"))
            where = self.broken if reply.status == 200 else self.errors
            where[said if reply.status == 200 else f"{reply.status} {said}"] += 1


def _said_by(reply: Reply | None) -> str:
    if reply is None:
        return "no reply"
    shown = ("x-understudy-upstream", "x-understudy-reason", "x-request-id")
    told = {name: reply.headers.get(name) for name in shown}
    return f"{told}, parts by {sorted(reply.by)}, error {reply.error}"
