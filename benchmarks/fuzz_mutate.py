"""Making valid things invalid: bytes, and JSON texts. Everything is drawn from the `Random` that is given, so a case
can be made again from its seed and number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

LONE_SURROGATE = "\ud800"
_SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**40, 10**400),
    *("", " ", "0", "null", "true", "model", "data: [DONE]", "\x00", "\x7f", "\u2028", "é", "😀", LONE_SURROGATE),
    *("\ud83d" + "x", "\r\n\r\n", '"', "\\", "a" * 300, "[DONE]", "stop", "assistant", "²", "٣"),
)
_RAW_VALUES = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"01", b"+1", b".5", b"1.", b"0x10", b"1e", b"--1", b"-"),
    *(
        b"tru",
        b"nul",
        b"undefined",
        b"'a'",
        b'"\\x"',
        b'"\\u12"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\n"',
        b'"\x00"',
    ),
    *(b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc0\xaf"', b'"', b"", b"[", b"{", b"]", b"}"),
    *(
        b"[1,]",
        b"{,}",
        b'{"a"}',
        b'{"a":}',
        b"/**/1",
        b"1 1",
        b"\xef\xbb\xbf1",
        b"1" * 5000,
        b"0." + b"3" * 3000,
        b"\x00",
    ),
)
_TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\x00",
        b"\xff",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"-1",
        b"ffffffffffffffff",
    ),
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b"data: ",
        b"data:",
        b"[DONE]",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"HTTP/1.1 ",
    ),
)


def mutate_bytes(rng: Random, data: bytes, edits: int = 1, tokens: Sequence[bytes] = _TOKENS) -> bytes:
    """`edits` times: a byte changed, a span left out, doubled or moved, something put in, or the end cut off."""
    for _ in range(edits):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 4, 16, 64)), len(data) - at)
        span = data[at : at + length]
        match rng.randrange(8):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + length :]
            case 2:
                data = data[:at] + span + data[at:]
            case 3:
                to = rng.randrange(len(data) + 1)
                data = data[:to] + span + data[to:]
            case 4 | 5:
                data = data[:at] + rng.choice(tokens) + data[at:]
            case 6:
                data = data[:at] + rng.randbytes(rng.choice((1, 3, 20))) + data[at:]
            case _:
                data = data[:at] if rng.random() < 0.3 else data[:at] + bytes([rng.randrange(32, 127)]) + data[at + 1 :]
    return data


def odd_value(rng: Random) -> Any:
    """A value of any type, often at the edge of what there is."""
    match rng.randrange(10):
        case 0:
            return [odd_value(rng) for _ in range(rng.randrange(4))]
        case 1:
            return {rng.choice(("a", "", "model", "index", "\x00")): odd_value(rng) for _ in range(rng.randrange(3))}
        case 2:
            return nested(rng.choice((3, 40, 80)), rng.random() < 0.5)
        case _:
            return rng.choice(_SCALARS)


def nested(depth: int, lists: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if lists else {"a": value}
    return value


def mutate_tree(rng: Random, value: Any) -> Any:
    """A copy of a JSON value that differs in one place: a member replaced, left out, renamed, wrapped or repeated."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.55 and isinstance(value[key], dict | list):
            return {**value, key: mutate_tree(rng, value[key])}
        match rng.randrange(6):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return {(name + "x" if name == key else name): item for name, item in value.items()}
            case 2:
                return {**value, key: [value[key]]}
            case _:
                return {**value, key: odd_value(rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(4):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value + [value[at]] * rng.choice((1, 2, 40))
            case _:
                return [*value[:at], mutate_tree(rng, value[at]), *value[at + 1 :]]
    return odd_value(rng)


def json_bytes(value: Any) -> bytes:
    """Surrogates stay escaped, so that the text is ASCII."""
    return json.dumps(value, separators=(",", ":")).encode()


def _strange_key(rng: Random, key: str) -> bytes:
    """The same key, written otherwise."""
    at = rng.randrange(len(key)) if key else 0
    return (
        json.dumps(key[:at]).encode()[:-1]
        + b"".join(b"\\u%04x" % ord(one) for one in key[at : at + 1])
        + (json.dumps(key[at + 1 :]).encode()[1:])
    )


def mutate_text(rng: Random, value: dict[str, Any]) -> bytes:
    """An object as JSON, or what is nearly: keys twice or in escapes, odd spaces, values that are none."""
    members = [(json.dumps(key).encode(), json_bytes(item)) for key, item in value.items()]
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(members)) if members else 0
        name, text = members[at] if members else (b'"model"', b'"fuzz"')
        match rng.randrange(6):
            case 0:
                members.insert(rng.randrange(len(members) + 1), (name, json_bytes(odd_value(rng))))
            case 1:
                members[at : at + 1] = [(_strange_key(rng, json.loads(name)), text)]
            case 2:
                members.insert(at, (_strange_key(rng, json.loads(name)), json_bytes(rng.choice(_SCALARS))))
            case 3 | 4:
                members[at : at + 1] = [(name, rng.choice(_RAW_VALUES))]
            case _:
                members.append((json.dumps(rng.choice(_SCALARS[16:])).encode(), rng.choice(_RAW_VALUES)))
    space = rng.choice((b"", b"", b" ", b"\n", b"\t\r\n "))
    body = b"{" + (space + b"," + space).join(key + space + b":" + space + item for key, item in members) + b"}"
    return body if rng.random() < 0.9 else rng.choice((b"\xef\xbb\xbf", b" ", b"\x00", b"[", b"//\n")) + body


def deep_text(rng: Random, value: dict[str, Any]) -> bytes:
    """An object with a member far deeper, longer or more than anyone would read."""
    depth = rng.choice((63, 64, 65, 513, 1100, 20_000))
    filler = rng.choice(
        (
            b"[" * depth + b"]" * depth,
            b'{"a":' * depth + b"1" + b"}" * depth,
            b"[" * depth,
            b'["[[[[{{{{\\"",' * 20 + b"1" + b"]" * 20,
            b"[" + b"{}," * 5000 + b"{}]",
            b"[" + b"1," * 5000 + b"1]",
            b'"' + b"x" * 70_000 + b'"',
            b'"' + b"\\u0000" * 3000 + b'"',
        )
    )
    name = rng.choice((b"messages", b"input", b"prompt", b"stream_options", b"metadata", b"tools", b"model", b"n"))
    return json_bytes(value)[:-1] + b',"' + name + b'":' + filler + b"}"


def mutate_json(rng: Random, value: dict[str, Any]) -> bytes:
    """A JSON object gone wrong: in its types and members, in its text, in its depth, or in its bytes."""
    kind = rng.random()
    if kind < 0.45:
        for _ in range(rng.choice((1, 1, 2, 3))):
            value = mutate_tree(rng, value)
        return json_bytes(value)
    if kind < 0.75:
        return mutate_text(rng, value)
    if kind < 0.80:
        return deep_text(rng, value)
    if kind < 0.82:
        return json_bytes(odd_value(rng))
    return mutate_bytes(rng, json_bytes(value), rng.choice((1, 1, 2, 5)))
