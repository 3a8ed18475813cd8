"""How deep a JSON body is nested and how many items its lists have, without building it.

A body that nests deeply costs whoever reads it by recursion (the model servers) an error or a crash, which would then
count against them; one with very many messages costs every list made of them. Both are refused here.

This runs for every request, so most are let pass by what takes no reading: a body with few brackets cannot be deep, and
a short one cannot have many items. Only else is it looked at closely.
"""

from itertools import accumulate

import msgspec

from gateway.face.errors import TOO_DEEP, TOO_MANY_MESSAGES, ApiError
from gateway.face.openai import CHAT, Endpoint

_MOST_CONTAINERS = 500_000  # objects and lists; so that looking closely takes a bounded time
_SHORT = 4096  # bytes up to which counting is cheaper than searching
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = bytes(1 if byte in b"[{" else 255 for byte in range(256))  # 255 is -1
_NUMBER = b"-0123456789"


class _Lists(msgspec.Struct, gc=False):
    """The lists whose items are counted, as text."""

    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


_decode_lists = msgspec.json.Decoder(_Lists).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def check_shape(body: bytes, endpoint: Endpoint, most_deep: int, most_items: int) -> None:
    """Raises `ApiError` if a valid JSON body is nested deeper than `most_deep` or lists over `most_items` messages."""
    if len(body) < _SHORT:
        if len(body) <= most_items and body.count(b"[") + body.count(b"{") <= most_deep:
            return
    elif not _has_more(body, most_deep) and (endpoint is CHAT or body.count(b",") < most_items):
        return
    brackets = _brackets(body)
    if len(brackets) > 2 * _MOST_CONTAINERS:
        raise ApiError(TOO_DEEP, f"Expected at most {_MOST_CONTAINERS} objects and lists in the body, got more.")
    if _depth(brackets) > most_deep:
        raise ApiError(TOO_DEEP, f"Expected a body nested at most {most_deep} deep, got a deeper one.")
    # A chat's messages are objects, each with its brackets.
    if (len(brackets) // 2 if endpoint is CHAT else body.count(b",")) >= most_items:
        _check_items(body, most_items)


def _has_more(body: bytes, most: int) -> bool:
    """Whether there are more than `most` opening brackets, strings' included."""
    found = 0
    for bracket in (b"[", b"{"):
        at = body.find(bracket)
        while at >= 0:
            found += 1
            if found > most:
                return True
            at = body.find(bracket, at + 1)
    return False


def _brackets(body: bytes) -> bytes:
    """The brackets of a JSON text, without those in its strings."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Now every second quote ends a string; that stays so when two that have come to be neighbours are taken away.
    marks = body.translate(None, _NO_MARKS).replace(b'""', b"")
    return b"".join(marks.split(b'"')[::2])


def _depth(brackets: bytes) -> int:
    return max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b")), default=0)


def _check_items(body: bytes, most: int) -> None:
    lists = _decode_lists(body)
    for name in ("messages", "input", "prompt"):
        try:
            items = _decode_items(getattr(lists, name) or b"[]")
        except msgspec.ValidationError:  # no list: what to say of it is the upstream's
            continue
        if len(items) > most and bytes(items[0])[:1] not in _NUMBER:  # else one text, as the numbers of its tokens
            raise ApiError(TOO_MANY_MESSAGES, f"Expected at most {most} items in {name!r}, got {len(items)}.", name)
