"""Malformed answers of model servers: the cases, the server that gives them, and the clients behind the gateway.

Client and server agree on a case by the request's `x-request-id`, which the gateway hands on. What the client may get
follows from what was done to the answer: `Case.payload` says whether its content was touched or only its wrapping.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from fuzz_corpus import ANSWER_CHUNKS, ANSWER_FIELDS, EVENTS, STATUS_LINES
from fuzz_mutate import deep_text, json_bytes, mutate_bytes, mutate_json, mutate_tree, odd_value
from fuzz_upstream import chunks, sse, whole

CLOSE, RESET, STALL = "close", "reset", "stall"
PATHS = (
    "/v1/chat/completions",
    "/v1/chat/completions",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
)
ROUTES = ("alone", "alone", "rescue", "hold")


@dataclass(frozen=True, slots=True)
class Case:
    """`steps`: what the server does: bytes to send, seconds to wait, or how it ends the connection. `payload`: whether
    the content itself was touched; else a success must have `text`, and be of this case and no other."""

    kind: str
    path: str
    route: str
    stream: bool
    steps: tuple[bytes | float | str, ...]
    payload: bool
    text: str

    @property
    def request(self) -> dict[str, Any]:
        said = (
            {"messages": [{"role": "user", "content": "hi"}]}
            if "chat" in self.path
            else {"prompt": "hi", "input": "hi"}
        )
        return {"model": self.route, "stream": self.stream, **said}


def case(seed: int, number: int) -> Case:
    """The `number`-th case of a seed."""
    rng = Random(f"{seed}/{number}/response")
    path = rng.choice(PATHS)
    stream = path != "/v1/embeddings" and rng.random() < 0.65
    words = [
        f"w{number}",
        *(rng.choice((" a", " \u00e9", "\n", " 1{", " \U0001f600")) for _ in range(rng.randrange(6))),
    ]
    kind = rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
    steps, payload = _KINDS[kind][1](rng, path, words, f"id-{number}", stream)
    return Case(kind, path, rng.choice(ROUTES), stream, tuple(steps), payload, "".join(words))


Steps = tuple[list[Any], bool]


def _events(path: str, words: list[str], name: str) -> list[bytes]:
    return sse(path, chunks(path, words, name))


def _body(path: str, words: list[str], name: str, stream: bool) -> bytes:
    return b"".join(_events(path, words, name)) if stream else json_bytes(whole(path, "".join(words), name))


def _head(
    stream: bool, length: int | None, status: bytes = b"HTTP/1.1 200 OK", fields: tuple[bytes, ...] = ()
) -> bytes:
    kind = b"text/event-stream" if stream else b"application/json"
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"\r\n".join((status, b"content-type: " + kind, framing, *fields)) + b"\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _wire(rng: Random, stream: bool, body: bytes) -> bytes:
    """A whole answer with this body, in order."""
    if stream or rng.random() < 0.3:
        cuts = [0, *sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(6))), len(body)]
        pieces = [body[a:b] for a, b in pairwise(cuts) if a < b]
        return _head(stream, None) + b"".join(map(_chunk, pieces)) + b"0\r\n\r\n"
    return _head(stream, len(body)) + body


def _split(rng: Random, data: bytes) -> list[Any]:
    if rng.random() < 0.6:
        return [data]
    cuts = [0, *sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 3, 8)))), len(data)]
    steps: list[Any] = []
    for a, b in pairwise(cuts):
        steps += [data[a:b], 0.001]
    return steps


def _wrapping(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """Odd but right: everything in it must reach the client."""
    body = _body(path, words, name, stream)
    if stream:
        events = _events(path, words, name)
        end = rng.choice((b"\n\n", b"\r\n\r\n", b"\r\r"))
        events = [one[:-2] + end if b"\n" not in one[:-2] else one for one in events]
        for _ in range(rng.randrange(3)):
            events.insert(
                rng.randrange(len(events)),
                rng.choice((b": ping\n\n", b": \xff\n\n", b"\n", b"id: 1\n\n", b"event: x\n\n")),
            )
        body = b"".join(events)
    wire = _wire(rng, stream, body)
    before = b"".join(
        rng.choice((b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n"))
        for _ in range(rng.randrange(3))
    )
    if wire.endswith(b"\r\n0\r\n\r\n"):
        wire = wire[:-5] + rng.choice((b"0\r\n\r\n", b"000\r\n\r\n", b"0;a=b\r\n\r\n", b"0\r\nx-checksum: 1\r\n\r\n"))
    return _split(rng, before + wire), False


def _status(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    body = rng.choice(
        (
            _body(path, words, name, stream),
            b'{"error":{"message":"no","code":"x"}}',
            b"<html>",
            b"",
            mutate_json(rng, {"error": {"message": "m", "type": "t", "code": "c"}}),
        )
    )
    return _split(
        rng,
        _head(
            rng.random() < 0.2,
            len(body),
            rng.choice(STATUS_LINES),
            (rng.choice(ANSWER_FIELDS),) if rng.random() < 0.4 else (),
        )
        + body,
    ), True


def _headers(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    body = _body(path, words, name, stream)
    fields = [rng.choice(ANSWER_FIELDS) for _ in range(rng.choice((1, 1, 2, 4)))]
    data = _head(stream, len(body), fields=tuple(fields)) + body
    return [*_split(rng, data), *rng.choice(((), (CLOSE,)))], True


def _chunking(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    pieces = [_chunk(one) for one in (_events(path, words, name) if stream else [_body(path, words, name, False)])] + [
        b"0\r\n\r\n"
    ]
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(pieces))
        pieces[at : at + rng.randrange(2)] = [
            rng.choice(ANSWER_CHUNKS) if rng.random() < 0.7 else mutate_bytes(rng, pieces[at])
        ]
    return [
        *_split(rng, _head(stream, None) + b"".join(pieces)),
        rng.choice((CLOSE, CLOSE, STALL) if rng.random() < 0.1 else (CLOSE,)),
    ], True


def _sse(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """Events put in, left out, doubled, swapped or damaged."""
    if not stream:
        return _json(rng, path, words, name, False)
    events = _events(path, words, name)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(events))
        match rng.randrange(8):
            case 0:
                del events[at]
                events = events or [b"\n"]
            case 1:
                events.insert(at, events[rng.randrange(len(events))])
            case 2:
                events[at] = mutate_bytes(rng, events[at])
            case _:
                events.insert(at + rng.randrange(2), rng.choice(EVENTS))
    return _split(rng, _wire(rng, True, b"".join(events))), True


def _json(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """The JSON in it, with types, numbers and texts as nobody expects them."""
    if not stream:
        value = whole(path, "".join(words), name)
        return _split(
            rng, _wire(rng, False, deep_text(rng, value) if rng.random() < 0.05 else mutate_json(rng, value))
        ), True
    told = chunks(path, words, name)
    at = rng.randrange(len(told))
    if rng.random() < 0.3:
        told[at] = {**told[at], "usage": odd_value(rng)}
    events = sse(path, told)
    data = mutate_json(rng, told[at]) if rng.random() < 0.6 else json_bytes(mutate_tree(rng, told[at]))
    events[at] = b"data: " + data.replace(b"\n", b" ") + b"\n\n"
    return _split(rng, _wire(rng, True, b"".join(events))), True


def _cut(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """Broken off: in order, by a reset, or by silence."""
    wire = _wire(rng, stream, _body(path, words, name, stream))
    end = rng.choices((CLOSE, RESET, STALL), (8, 8, 1))[0]
    return [*_split(rng, wire[: rng.randrange(len(wire) + 1)]), end], False


def _until_close(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """A body that ends with the connection, whole or not."""
    body = _body(path, words, name, stream)
    head = _head(stream, 0).replace(b"content-length: 0\r\n", b"")
    return [
        *_split(rng, head + body[: rng.choice((len(body), rng.randrange(len(body) + 1)))]),
        rng.choice((CLOSE, CLOSE, RESET)),
    ], True


def _surplus(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """A whole answer, and more: another one, a head, noise."""
    wire = _wire(rng, stream, _body(path, words, name, stream))
    more = rng.choice(
        (
            _wire(rng, stream, _body(path, ["poison"], "id-poison", stream)),
            wire,
            b"HTTP/1.1 200 OK\r\n",
            b"\r\n",
            b"\x00",
            rng.randbytes(50),
        )
    )
    return [wire + more], False


def _bytes(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    wire = mutate_bytes(rng, _wire(rng, stream, _body(path, words, name, stream)), rng.choice((1, 1, 2, 5, 20)))
    return [*_split(rng, wire), CLOSE], True


def _noise(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    data = rng.choice(
        (
            b"",
            rng.randbytes(rng.randrange(1, 400)),
            b"HTTP/1.1 200 OK\r\n" * 3,
            b"\r\n" * 50,
            b"SSH-2.0-x\r\n",
            b"\x15\x03\x01\x00\x02\x02\x46",
        )
    )
    return [data, rng.choice((CLOSE, RESET))], True


def _slow(rng: Random, path: str, words: list[str], name: str, stream: bool) -> Steps:
    """Comments without end, or 1xx without end: not silence, and not an answer."""
    if stream and rng.random() < 0.7:
        return [_head(True, None), *[_chunk(b": ping\n\n"), 0.1] * 40, STALL], True
    return [*[b"HTTP/1.1 102 Wait\r\n\r\n", 0.1] * 40, STALL], True


_KINDS: dict[str, tuple[float, Any]] = {
    "wrapping": (15, _wrapping),
    "status": (9, _status),
    "headers": (10, _headers),
    "chunking": (10, _chunking),
    "sse": (18, _sse),
    "json": (14, _json),
    "cut": (8, _cut),
    "until close": (4, _until_close),
    "surplus": (4, _surplus),
    "bytes": (6, _bytes),
    "noise": (1.5, _noise),
    "slow": (0.3, _slow),
}


class Malformer(asyncio.Protocol):
    """The model server under fuzz: it plays the case that the request's id names."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._data = b""
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._playing is not None:
            self._playing.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, rest = self._data.partition(b"\r\n\r\n")
        if not mark:
            return
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(rest) >= int(fields[b"content-length"]):
            self._data = b""
            steps = case(self._seed, int(fields[b"x-request-id"].rpartition(b"-")[2])).steps
            self._playing = asyncio.ensure_future(self._play(steps))

    async def _play(self, steps: tuple[bytes | float | str, ...]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                if self._transport.is_closing():
                    return
                self._transport.write(step)
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step is RESET:
                await asyncio.sleep(0)
                self._transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self._transport.abort()
            elif step is CLOSE:
                self._transport.close()
