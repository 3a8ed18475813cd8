"""A model server for `chaos.py` that fails at a share of its calls: `chaos_model.py PORT NAME SHARE SEED`.

Raw asyncio, because it must reset, stall, cut and corrupt exactly. It answers `POST /v1/chat/completions`, streamed or
not, as text or as a tool call, with the text that belongs to the prompt (see `chaos_text`), and goes on with an answer
whose beginning it is given as a last message of the assistant's. How it fails is in `chaos_faults`, how often it did
at `GET /__stats`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import sys
from collections import Counter
from typing import Any, cast

import uvloop
from chaos_faults import BODY_FAULTS, FIN, REFUSE, SILENCE, STREAM_FAULTS, End, Good, Step, Steps, good, response
from chaos_text import answer, pieces


class Model:
    """Mutable state: the connections, the counts, and whether the door is shut."""

    def __init__(self, port: int, name: str, share: float, seed: int) -> None:
        self.port = port
        self.name = name
        self.share = share
        self.numbers = random.Random(seed)
        self.stats: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.open: set[Connection] = set()
        self.server: asyncio.Server | None = None
        self.shutting: asyncio.Task[None] | None = None  # kept, or it might be collected

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=1024)

    async def shut(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            server.close()
            await asyncio.sleep(0.3)
            await self.listen()

    def steps(self, request: dict[str, Any]) -> Steps:
        self.stats["calls"] += 1
        stream = bool(request.get("stream"))
        one = self.answer(request)
        if self.numbers.random() >= self.share:
            return good(one)
        faults = STREAM_FAULTS if stream else BODY_FAULTS
        kind = self.numbers.choice(list(faults))
        self.faults[kind] += 1
        return faults[kind](one)

    def answer(self, request: dict[str, Any]) -> Good:
        messages = request["messages"]
        prompt = int(messages[0]["content"])
        text = answer(prompt, 1 if self.name == "spare" else 0)
        if request.get("tools"):
            text = json.dumps({"note": text}, ensure_ascii=False)
        elif messages[-1]["role"] == "assistant":
            text = self.rest(prompt, messages[-1]["content"])
        numbers = random.Random(self.numbers.random())
        chunk = {"id": f"chatcmpl-{numbers.getrandbits(40):x}", "created": 1, "model": self.name}
        chunk["system_fingerprint"] = f"{os.getpid()}-{self.stats['calls']}"
        if not request.get("stream"):
            return _whole(chunk, text, bool(request.get("tools")), numbers)
        usage = bool((request.get("stream_options") or {}).get("include_usage"))
        return _stream(chunk, text, bool(request.get("tools")), usage, numbers)

    def rest(self, prompt: int, begun: str) -> str:
        """What follows the beginning of an answer. A beginning of none shows in what the client gets."""
        for variant in (0, 1):
            if (text := answer(prompt, variant)).startswith(begun):
                self.stats["continued"] += 1
                return text[len(begun) :]
        self.stats["asked_to_continue_what_was_not_said"] += 1
        return f"<asked to continue {begun!r}>"


def _whole(chunk: dict[str, object], text: str, tool: bool, numbers: random.Random) -> Good:
    call = {"id": "call_1", "type": "function", "function": {"name": "note", "arguments": text}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]} if tool else {"content": text}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tool else "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 50, "total_tokens": 59}
    body = json.dumps({**chunk, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return Good(head.encode(), [body], b"", numbers, chunked=True)  # delimited, that is: the connection stays


def _stream(chunk: dict[str, object], text: str, tool: bool, usage: bool, numbers: random.Random) -> Good:
    chunk["object"] = "chat.completion.chunk"
    ascii_only = numbers.random() < 0.3

    def event(choices: list[object], **more: object) -> bytes:
        data = json.dumps({**chunk, "choices": choices, **more}, ensure_ascii=ascii_only, separators=(",", ":"))
        return f"data: {data}\n\n".encode()

    def delta(finish: str | None = None, **what: object) -> bytes:
        return event([{"index": 0, "delta": what, "finish_reason": finish}])

    events = [delta(role="assistant", content=None if tool else "")]
    if tool:
        function: dict[str, object] = {"name": "note", "arguments": ""}
        events.append(delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": function}]))
    for piece in pieces(text, numbers):
        call = {"index": 0, "function": {"arguments": piece}}
        events.append(delta(tool_calls=[call]) if tool else delta(content=piece))
    events.append(delta("tool_calls" if tool else "stop"))
    if usage:
        told = {"prompt_tokens": 9, "completion_tokens": len(events) - 2, "total_tokens": len(events) + 7}
        events.append(event([], usage=told))
    events.append(b"data: [DONE]\n\n")
    framing = "transfer-encoding: chunked" if (chunked := numbers.random() < 0.8) else "connection: close"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n".encode()
    made = Good(head, events, b"0\r\n\r\n" if chunked else b"", numbers, chunked)
    made.body = [made.framed(event) for event in events]
    return made


class Connection(asyncio.Protocol):
    """Mutable state: what has been read of a request, and the steps of the answer that is being played, if one is."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.buffer = b""
        self.playing: Steps | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.ended_here = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.model.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.model.open.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.playing is not None and not self.ended_here:
            self.model.stats["calls_left_by_the_gateway"] += 1
        self.playing = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.playing is None:
            self.next_request()

    def next_request(self) -> None:
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        lines = head.decode("latin-1").split("\r\n")
        lengths = [line.partition(":")[2] for line in lines[1:] if line.lower().startswith("content-length:")]
        length = int(lengths[0]) if lengths else 0
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, target, _ = lines[0].split(" ", 2)
        if method == "GET":
            told: list[Step] = [response("200 OK", self.told(target)), FIN]
            self.playing = iter(told)
        else:
            self.playing = self.model.steps(json.loads(rest[:length]))
        self.play()

    def told(self, target: str) -> bytes:
        model = self.model
        if target != "/__stats":
            return json.dumps({"object": "list", "data": [{"id": model.name, "object": "model"}]}).encode()
        busy = sum(one.playing is not None for one in model.open if one is not self)
        stats = {"open": len(model.open) - 1, "busy": busy, **model.stats}
        return json.dumps({"stats": stats, "faults": model.faults}).encode()

    def play(self) -> None:
        self.timer = None
        assert self.playing is not None
        for step in self.playing:
            if self.transport.is_closing():
                return
            if isinstance(step, bytes):
                self.transport.write(step)
            elif isinstance(step, float):
                self.timer = asyncio.get_running_loop().call_later(step, self.play)
                return
            else:
                self.end(step)
                return
        self.playing = None
        self.next_request()

    def end(self, how: End) -> None:
        if how is SILENCE:
            return
        self.ended_here = True
        if how is FIN:
            self.transport.close()
            return
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        if how is REFUSE:
            self.model.shutting = asyncio.ensure_future(self.model.shut())


async def serve(port: int, name: str, share: float, seed: int) -> None:
    await Model(port, name, share, seed).listen()
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
