"""Model servers that are mirrored to, and misbehave: `python shadow_targets.py PORT:KIND ...`, until SIGTERM.

KIND is `fixed` (well-behaved, and always the same, so that answers can be compared byte for byte), `garbage` (a stream
of events that are no JSON), `flood` (a stream without an end, as fast as it is read) or `unending` (an event that never
ends). A GET is answered as by a server that is well. Only the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
_PART = '{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}'
_FIXED = [_PART % (f"word{number} ", "null") for number in range(50)] + [_PART % ("", '"stop"'), "[DONE]"]
_WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 50}, "finish_reason": "stop"}]}


async def serve(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if head.startswith(b"get ") or (kind == "fixed" and b'"stream":true' not in body):
                answer = b'{"object":"list","data":[]}' if head.startswith(b"get ") else json.dumps(_WHOLE).encode()
                writer.write(_JSON % (len(answer), answer))
                await writer.drain()
                continue
            writer.write(_STREAM)
            await _stream(kind, writer)
            break
    writer.close()


async def _stream(kind: str, writer: asyncio.StreamWriter) -> None:
    if kind == "fixed":
        writer.write("".join(f"data: {event}\n\n" for event in _FIXED).encode())
    elif kind == "garbage":
        writer.write(b"data: {]\n\n" * 100)
    else:
        piece = f"data: {_FIXED[0]}\n\n".encode() * 100 if kind == "flood" else b"x" * 65536
        writer.write(b"data: ")
        while True:
            writer.write(piece)
            await writer.drain()
    await writer.drain()


async def main() -> None:
    for argument in sys.argv[1:]:
        port, _, kind = argument.partition(":")

        def connected(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str = kind
        ) -> asyncio.Task[None]:
            return asyncio.ensure_future(serve(kind, reader, writer))

        await asyncio.start_server(connected, "127.0.0.1", int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
