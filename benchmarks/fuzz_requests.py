"""Malformed requests: the cases, and the clients that send them.

A case is bytes for one connection. After them comes a request that asks for the connection to be closed, so that every
connection ends by the gateway's doing: it has answered, or refused and closed. Where the case took that request for
part of itself, the gateway's own limits on time must end it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fuzz_corpus import METHODS, PATHS, REQUEST_CHUNKS, REQUEST_FIELDS, ROUTE, VERSIONS
from fuzz_mutate import mutate_bytes, mutate_json, odd_value
from fuzz_wire import Answer, Link, Malformed

APP_KEY, ADMIN_KEY, TIGHT_KEY = "fuzz-app-key", "fuzz-admin-key", "fuzz-tight-key"
HANG_S = 9.0  # above all limits: a head or body may take 1 s and is looked at every second, a refused upload lingers 2
QUIET_S = 3.0
LAST = b"GET /healthz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n"
_MANY = 200  # more than any body that is answered before it has come is short of
_HEAD_PATHS = (b"/v1/models", b"/v1/chat/completions", b"/healthz", b"/docs", b"/admin/routes", b"/v1/files")
_CODINGS = [one for one in REQUEST_FIELDS if one.lower().startswith(b"transfer-encoding:")]
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
_PARTS = [
    {"type": "text", "text": "what is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
]
_USER = {"role": "user", "content": "hi \u00e9"}
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"model": ROUTE, "messages": [{"role": "system", "content": "s"}, _USER]}),
    ("/v1/chat/completions", {"model": ROUTE, "messages": [_USER], "stream": True, "user": "u1", "n": 1}),
    (
        "/v1/chat/completions",
        {"model": ROUTE, "messages": [_USER], "stream": True, "stream_options": {"include_usage": True}},
    ),
    (
        "/v1/chat/completions",
        {"model": ROUTE, "messages": [{"role": "user", "content": _PARTS}], "tools": [_TOOL], "max_tokens": 5},
    ),
    (
        "/v1/chat/completions",
        {"model": ROUTE, "messages": [_USER], "response_format": {"type": "json_object"}, "tool_choice": "auto"},
    ),
    (
        "/v1/chat/completions",
        {
            "model": ROUTE,
            "messages": [_USER],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
            },
        },
    ),
    ("/v1/completions", {"model": ROUTE, "prompt": "once upon", "stream": False, "max_tokens": 8}),
    ("/v1/completions", {"prompt": ["a", "b"], "stream": True, "model": ROUTE, "logprobs": 1}),
    ("/v1/responses", {"model": ROUTE, "input": [_USER], "stream": True, "safety_identifier": "u2"}),
    ("/v1/responses", {"model": ROUTE, "input": "hello", "text": {"format": {"type": "json_object"}}}),
    ("/v1/embeddings", {"model": ROUTE, "input": ["a", "b"], "encoding_format": "float"}),
)


@dataclass(frozen=True, slots=True)
class Case:
    """`framed`: one whole request with one answer due, which leaves the connection usable. `pieces`: sent one by one.
    `silent`: nothing follows them, and the client waits. `head`: the first answer has no body."""

    kind: str
    pieces: tuple[bytes, ...]
    framed: bool = False
    silent: bool = False
    head: bool = False


def post(path: str | bytes, body: bytes, extra: bytes = b"", key: str = APP_KEY, method: bytes = b"POST") -> bytes:
    target = path if isinstance(path, bytes) else path.encode()
    auth = b"authorization: Bearer %b\r\n" % key.encode() if key else b""
    return b"%b %b HTTP/1.1\r\nhost: g\r\n%bcontent-length: %d\r\n%b\r\n%b" % (
        method,
        target,
        auth,
        len(body),
        extra,
        body,
    )


def case(seed: int, number: int) -> Case:
    """The `number`-th case of a seed."""
    rng = Random(f"{seed}/{number}/request")
    kind = rng.choices(list(_MAKERS), [weight for weight, _ in _MAKERS.values()])[0]
    made = _MAKERS[kind][1](rng)
    return made if isinstance(made, Case) else Case(kind, _split(rng, made))


def _split(rng: Random, data: bytes) -> tuple[bytes, ...]:
    if rng.random() < 0.85 or len(data) < 2:
        return (data,)
    cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.choice((1, 2, 5))))
    return tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b)


def _valid(rng: Random) -> tuple[str, dict[str, Any]]:
    return rng.choice(BODIES)


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _json(rng: Random) -> Case:
    path, value = _valid(rng)
    key = rng.choices((APP_KEY, "", "wrong", TIGHT_KEY), (90, 2, 2, 6))[0]
    return Case("json", (post(path, mutate_json(rng, value), key=key),), framed=True)


def _admin(rng: Random) -> Case:
    change = {"student_percent": rng.choice((0, 50, 100.0, None)), "reason": "fuzz"}
    body = mutate_json(rng, change) if rng.random() < 0.9 else _text(change)
    route = rng.choice(("fuzz", "fuzz", "fuzz", "none", "%ff", "fuzz%2f", "a" * 300, "..", "%00", "fuzz?x=[", "\u00e9"))
    extra = rng.choice(
        (b"", b"", *(field + b"\r\n" for field in REQUEST_FIELDS if field.startswith((b"if-match", b"origin"))))
    )
    key = rng.choices((ADMIN_KEY, APP_KEY, "", "\xff"), (85, 6, 6, 3))[0]
    method = rng.choices((b"PATCH", b"GET", b"PUT", b"POST", b"DELETE"), (80, 8, 4, 4, 4))[0]
    return Case("admin", (post(f"/admin/routes/{route}", body, extra, key, method),), framed=route.isascii())


def _target(rng: Random) -> Case:
    method = rng.choice(METHODS) if rng.random() < 0.6 else b"POST"
    target = rng.choice(PATHS) if rng.random() < 0.8 else mutate_bytes(rng, rng.choice(PATHS))
    version = b"HTTP/1.1" if rng.random() < 0.7 else rng.choice(VERSIONS)
    head = method == b"HEAD"
    if head:  # only what is surely read as HEAD: to what is not, an answer may have a body
        target, version = rng.choice(_HEAD_PATHS), b"HTTP/1.1"
    data = b"%b %b %b\r\nhost: g\r\nauthorization: Bearer %b\r\n\r\n" % (method, target, version, ADMIN_KEY.encode())
    return Case("target", (data,), head=head)


def _headers(rng: Random) -> bytes:
    path, value = _valid(rng)
    extra = b"".join(
        rng.choice(REQUEST_FIELDS) + rng.choice((b"\r\n",) * 9 + (b"\n",)) for _ in range(rng.choice((1, 1, 2, 3)))
    )
    return post(path, _text(value), extra)


def _framing(rng: Random) -> bytes:
    """Bodies whose length is told wrong, twice or in two ways; what is in them looks like another request."""
    path, value = _valid(rng)
    body = rng.choice(
        (_text(value), b"0\r\n\r\n" + post("/v1/models", b"", method=b"GET"), post(path, b"{}"), b"x" * 9)
    )
    lengths = (len(body), len(body) + 1, max(0, len(body) - 1), len(body) + 50, 0, 5_000_000, 10**30, -len(body))
    told = [b"content-length: %d" % rng.choice(lengths) for _ in range(rng.choice((0, 1, 1, 2)))]
    told += [rng.choice(_CODINGS) for _ in range(rng.choice((0, 1)))]
    rng.shuffle(told)
    version = rng.choices((b"HTTP/1.1", b"HTTP/1.0"), (8, 1))[0]
    head = b"POST %b %b\r\nhost: g\r\nauthorization: Bearer %b\r\n" % (path.encode(), version, APP_KEY.encode())
    return head + b"".join(line + b"\r\n" for line in told) + b"\r\n" + body


def _chunked(rng: Random) -> bytes:
    path, value = _valid(rng)
    body, pieces = _text(value), []
    while body:
        size = rng.choice((1, 7, 40))
        pieces.append(b"%x\r\n%b\r\n" % (len(body[:size]), body[:size]))
        body = body[size:]
    pieces.append(b"0\r\n\r\n")
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(pieces))
        pieces[at : at + rng.randrange(2)] = [
            rng.choice(REQUEST_CHUNKS) if rng.random() < 0.7 else mutate_bytes(rng, pieces[at])
        ]
    head = post(path, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    return head + b"".join(pieces)


def _bytes(rng: Random) -> bytes:
    path, value = _valid(rng)
    return mutate_bytes(rng, post(path, _text(value)), rng.choice((1, 1, 2, 4, 10)))


def _pipeline(rng: Random) -> bytes:
    """Several requests at once, one of them malformed."""
    parts = []
    for _ in range(rng.choice((1, 2, 5))):
        path, value = _valid(rng)
        parts.append(
            rng.choice((post(path, _text(value)), post(path, b"{"), b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n"))
        )
    parts.insert(rng.randrange(len(parts) + 1), rng.choice((_bytes, _headers, _framing, _chunked))(rng))
    return b"".join(parts)


def _noise(rng: Random) -> bytes:
    match rng.randrange(3):
        case 0:
            return rng.randbytes(rng.randrange(1, 300))
        case 1:
            return b"\r\n" * rng.randrange(1, 40)
        case _:
            return str(odd_value(rng)).encode("utf-8", "replace") or b"\x00"


def _truncated(rng: Random) -> Case:
    """Broken off, with the client still there."""
    path, value = _valid(rng)
    data = post(path, _text(value), rng.choice((b"", b"expect: 100-continue\r\n")))
    return Case("truncated", (data[: rng.randrange(1, len(data))],), silent=True)


_MAKERS: dict[str, tuple[float, Any]] = {
    "json": (50, _json),
    "admin": (7, _admin),
    "target": (8, _target),
    "headers": (9, _headers),
    "framing": (7, _framing),
    "chunked": (6, _chunked),
    "bytes": (6, _bytes),
    "pipeline": (3, _pipeline),
    "noise": (2, _noise),
    "truncated": (2, _truncated),
}


@dataclass
class Seen:
    """What the clients saw. `errors`: answers with status 400 and more, by status and code. `unfinished`: connections
    that ended inside an answer or with none, by kind of case; `resets`: those that ended by a reset after some.
    `findings` are what must not be: (kind of finding, number of the case, what it was)."""

    cases: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    errors: Counter[tuple[int, str]] = field(default_factory=Counter)
    unfinished: Counter[str] = field(default_factory=Counter)
    resets: int = 0
    findings: list[tuple[str, int, str]] = field(default_factory=list)
    slowest_s: float = 0.0

    def answer(self, number: int, answer: Answer) -> None:
        self.answers[answer.status] += 1
        if answer.status >= 400:
            code = answer.code
            self.errors[answer.status, code] += 1
            if answer.status == 500 or (not code and answer.body):
                self.findings.append((f"a {answer.status} without a reason", number, repr(answer.body[:200])))


class Clients:
    """`width` connections at once, each taking the next case. `numbers` are the cases to send."""

    def __init__(self, port: int, seed: int, numbers: Iterator[int], seen: Seen) -> None:
        self._port = port
        self._seed = seed
        self._numbers = numbers
        self.seen = seen

    async def run(self, width: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(self._client())

    async def _client(self) -> None:
        link: Link | None = None  # kept as long as cases leave it usable
        clock = asyncio.get_running_loop().time
        for number in self._numbers:
            sent = case(self._seed, number)
            self.seen.cases[sent.kind] += 1
            began = clock()
            if not sent.framed or link is None or not link.usable:
                if link is not None:
                    link.close()
                link = await Link.open(self._port, head=sent.head)
            try:
                await (self._one if sent.framed else self._to_the_end)(number, link, sent)
            except TimeoutError:
                self.seen.findings.append(("no answer and no end", number, sent.kind))
                link.close()
            except Malformed as error:
                self.seen.findings.append(("no HTTP answer", number, str(error)))
                link.close()
            self.seen.slowest_s = max(self.seen.slowest_s, clock() - began)
        if link is not None:
            link.close()

    async def _one(self, number: int, link: Link, sent: Case) -> None:
        """One request, one answer."""
        link.write(b"".join(sent.pieces))
        while True:
            answers, over = await link.read_answers(HANG_S)
            for answer in answers:
                self.seen.answer(number, answer)
            if len(answers) > 1:
                self.seen.findings.append(("several answers to one request", number, sent.kind))
            if answers or over:
                self.seen.unfinished[sent.kind] += not answers
                return

    async def _to_the_end(self, number: int, link: Link, sent: Case) -> None:
        for piece in sent.pieces:
            link.write(piece)
            if len(sent.pieces) > 1:
                await asyncio.sleep(0.001)
        if not sent.silent:
            link.write(LAST)
        some = asked_again = over = False
        while not over:
            try:
                answers, over = await link.read_answers(HANG_S if asked_again else QUIET_S)
            except TimeoutError:
                if asked_again:
                    raise
                asked_again = True
                if not sent.silent:
                    link.write(
                        LAST * _MANY
                    )  # the first was taken for the rest of a body, of which some may still be due
                continue
            for answer in answers:
                some = True
                self.seen.answer(number, answer)
        self.seen.unfinished[sent.kind] += link.answers.inside or not some
        self.seen.resets += link.broken and some
        link.close()
