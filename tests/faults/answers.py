"""What good model servers say, byte for byte, and the ways in which they are asked to go on with an answer.

The text has two-, three- and four-byte characters, unescaped on the wire, so that a cut can fall inside one.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tests.faults.server import Call, Script, Step

TEXT = (
    "Grüße aus Zürich: your order №42 left the depot at 07:30 → 世界 Street, parcel 📦 nine of twelve; "
    'it cost €19,95 and "naïve" couriers \\ bring it by noon. Спасибо 👋🏽!'
)
WORDS = tuple(re.findall(r"\s*\S+", TEXT))
USAGE = {"prompt_tokens": 11, "completion_tokens": len(WORDS), "total_tokens": 11 + len(WORDS)}

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def dumps(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def response(body: Any, status: str = "200 OK", extra: str = "", content_type: str = "application/json") -> bytes:
    """A whole answer with a content-length; `extra` are whole header lines."""
    data = body if isinstance(body, bytes) else dumps(body)
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


def error(message: str, kind: str = "server_error", code: object = None, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def completion(model: str, message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, "logprobs": None}
    return {
        "id": f"chatcmpl-{model}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": USAGE,
    }


def event(data: Any) -> bytes:
    return b"data: %b\n\n" % dumps(data)


def chunk(model: str, delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    """An event of a chat stream; `delta=None`: one without choices, as usage comes in."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    fields = {"id": f"chatcmpl-{model}", "object": "chat.completion.chunk", "created": 1, "model": model}
    return event({**fields, "choices": choices, **more})


def role(model: str) -> bytes:
    return chunk(model, {"role": "assistant", "content": ""})


def words_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+", text)


def events(call: Call, words: Sequence[str], finish: str = "stop") -> list[bytes]:
    """The events of a whole streamed answer: a role, a delta per word, the finish, usage if asked for, the end mark."""
    model = call.json["model"]
    told = [role(model), *(chunk(model, {"content": word}) for word in words), chunk(model, {}, finish)]
    if (call.json.get("stream_options") or {}).get("include_usage"):
        told.append(chunk(model, None, usage=USAGE))
    return [*told, DONE]


def good(text: str = TEXT, *, first_s: float = 0.0, each_s: float = 0.0, continues: bool = True) -> Script:
    """A server that answers `text`, streaming or not. With `continues` it goes on with a partial answer that it is
    given, exactly where that ends; else it ignores it and answers anew, as chat APIs mostly do."""

    def script(call: Call) -> Iterable[Step]:
        prefill = call.prefill if continues else None
        rest = text if prefill is None else continued(text, prefill)
        if first_s:
            yield first_s
        if not call.streams:
            yield response(completion(call.json["model"], {"content": rest}))
            return
        yield HEAD
        for number, one in enumerate(events(call, words_of(rest))):
            if each_s and number:
                yield each_s
            yield chunked(one)
        yield END

    return script


def continued(text: str, prefill: str) -> str:
    """What comes after `prefill` in `text`. A prefill that is no part of it shows in the answer, so that no test that
    reads the answer passes."""
    return text[len(prefill) :] if text.startswith(prefill) else f"<asked to continue {prefill!r}>"


def broken_after(words: int, *then: Step) -> Script:
    """A stream that is good for so many words and then does `then`. Without streaming: half a body, then `then`."""

    def script(call: Call) -> Iterable[Step]:
        if not call.streams:
            whole = response(completion(call.json["model"], {"content": TEXT}))
            yield whole[: len(whole) - len(TEXT.encode()) // 2]
        else:
            yield HEAD
            for one in events(call, WORDS)[: words + 1]:
                yield chunked(one)
        yield 0.05  # so that what was sent is read before a reset can overtake it
        yield from then

    return script


def each(*scripts: Script) -> Script:
    """The first call is answered by the first script, the second by the second; the last stays."""
    return lambda call: scripts[min(call.number, len(scripts)) - 1](call)


def always(*steps: Step) -> Script:
    return lambda call: steps
