"""The model server that malformed requests must not reach: it answers as asked, and looks closely at what comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

MODEL = "fuzz-model"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
_HEADERS = {  # that the gateway may send
    *("host", "content-length", "content-type", "x-request-id", "accept", "authorization", "connection"),
    *("traceparent", "tracestate", "baggage", "openai-beta", "user-agent", "accept-encoding"),
}


class Strict(asyncio.Protocol):
    """Answers each request; what in it the gateway should not have let pass is in `complaints`."""

    def __init__(self, complaints: list[str], answered: list[int]) -> None:
        self._complaints = complaints
        self._answered = answered
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, mark, rest = self._data.partition(b"\r\n\r\n")
            if not mark:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            fields = [line.partition(":") for line in lines]
            length = int(next((value for name, _, value in fields if name.lower() == "content-length"), "0"))
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._check_head(first, [name.lower() for name, _, _ in fields])
            self._answered[0] += 1
            self._transport.write(self._answer(first.split(" ")[1], rest[:length]))

    def _check_head(self, first: str, names: list[str]) -> None:
        if len(first.split(" ")) != 3 or not first.startswith(("POST /v1/", "GET /v1/models")):
            self._complaints.append(f"request line {first!r}")
        if unknown := set(names) - _HEADERS:
            self._complaints.append(f"headers {unknown}")
        if len(names) != len(set(names)):
            self._complaints.append(f"a header twice: {names}")

    def _answer(self, target: str, body: bytes) -> bytes:
        if not body:
            return respond({"object": "list", "data": []})
        try:
            pairs = json.loads(body.decode(), object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            return respond(
                {"error": {"message": "no JSON", "type": "x", "code": "upstream_says_no"}}, "400 Bad Request"
            )
        models = [value for key, value in pairs if key == "model"] if isinstance(pairs, _Pairs) else []
        if not models or set(map(str, models)) != {MODEL}:
            self._complaints.append(f"model {models!r} in {body[:300]!r}")
        path = target.partition("?")[0]
        stream = [value for key, value in pairs if key == "stream"]
        if stream and stream[-1] is True and path != "/v1/embeddings":
            return stream_of(path)
        return respond(whole(path))


class _Pairs(list[tuple[str, Any]]):
    """An object with each of its members, also those that are there twice."""


def respond(body: dict[str, Any], status: str = "200 OK") -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        status.encode(),
        len(data),
        data,
    )


def whole(path: str, text: str = "hello you", name: str = "x-1") -> dict[str, Any]:
    """The answer to a request that asks for no stream."""
    if path == "/v1/embeddings":
        return {"object": "list", "model": MODEL, "data": [{"index": 0, "embedding": [0.5]}], "usage": USAGE}
    if path == "/v1/responses":
        output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return {"id": name, "object": "response", "status": "completed", "output": output, "usage": usage}
    said = {"text": text} if path == "/v1/completions" else {"message": {"role": "assistant", "content": text}}
    choices = [{"index": 0, **said, "finish_reason": "stop"}]
    return {"id": name, "object": "chat.completion", "model": MODEL, "choices": choices, "usage": USAGE}


def chunks(path: str, words: list[str], name: str = "x-1", *, usage: bool = True) -> list[dict[str, Any]]:
    """The events of a stream, without its end mark."""
    if path == "/v1/responses":
        done = whole(path, "".join(words), name)
        deltas = [{"type": "response.output_text.delta", "delta": word} for word in words]
        return [
            {"type": "response.created", "response": {"id": name}},
            *deltas,
            {"type": "response.completed", "response": done},
        ]
    shape = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chat = path == "/v1/chat/completions"
    said = [{"delta": {"content": word}} if chat else {"text": word} for word in words]
    if chat:
        said.insert(0, {"delta": {"role": "assistant", "content": ""}})
    events = [{**shape, "choices": [{"index": 0, **one, "finish_reason": None}]} for one in said]
    events.append(
        {**shape, "choices": [{"index": 0, **({"delta": {}} if chat else {"text": ""}), "finish_reason": "stop"}]}
    )
    if usage:
        events.append({**shape, "choices": [], "usage": USAGE})
    return events


def sse(path: str, events: list[dict[str, Any]]) -> list[bytes]:
    """The events as they go over the wire, with the end mark if there is one."""
    if path == "/v1/responses":
        return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events]
    return [*(f"data: {json.dumps(one)}\n\n".encode() for one in events), b"data: [DONE]\n\n"]


def stream_of(path: str) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in sse(path, chunks(path, ["hello", " you"])))
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        + body
        + b"0\r\n\r\n"
    )
