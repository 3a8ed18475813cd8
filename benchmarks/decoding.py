"""What reading one event of a stream costs: decoded into the few fields that matter, or searched for markers.

    python benchmarks/decoding.py

Prints microseconds per event, the best of five rounds. `docs/decisions/0002` draws on it.
"""

import json
import timeit

import msgspec

from gateway.face import sse

ROUNDS, EVENTS = 5, 200_000
CHUNK = {
    "id": "chatcmpl-9f2c7c1d0e7b4c2f9d0a7f7f5c1a2b3c",
    "object": "chat.completion.chunk",
    "created": 1763970000,
    "model": "student",
    "choices": [{"index": 0, "delta": {"content": " hello"}, "logprobs": None, "finish_reason": None}],
}
DATA = json.dumps(CHUNK, separators=(",", ":")).encode()
MARKERS = (b'"usage"', b'"error"', b"[DONE]", b'"finish_reason":"', b'"finish_reason": "')
_decode_all = msgspec.json.Decoder().decode


def searched_in_a_loop() -> bool:
    for marker in MARKERS:  # noqa: SIM110 - the loop is what is measured
        if marker in DATA:
            return True
    return False


def main() -> None:
    ways = {
        "decoded into what matters": lambda: sse._decode_chunk(DATA),
        "decoded whole": lambda: _decode_all(DATA),
        "decoded by json": lambda: json.loads(DATA),
        "searched for five markers": searched_in_a_loop,
    }
    print(f"an event of {len(DATA)} bytes, microseconds:")
    for name, way in ways.items():
        best = min(timeit.repeat(way, number=EVENTS, repeat=ROUNDS)) / EVENTS
        print(f"  {best * 1e6:5.2f}  {name}")


if __name__ == "__main__":
    main()
