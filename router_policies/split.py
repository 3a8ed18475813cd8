"""Sticky points: a key's fixed place in [0, 1).

A request goes to the student iff its point lies below the student's weight. The point depends on the key alone, so

- raising the weight only ever adds keys to the student: nobody is moved back by a ramp;
- every replica, and the same replica after a restart, agrees without talking to the others;
- different purposes (`Salt`) hash apart: who is mirrored says nothing about who is served by the student.
"""

from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

_POINT_BITS = 53  # a double holds 53-bit integers exactly, so a point is exact and strictly below 1


class Salt(StrEnum):
    """What a point is drawn for. Points of different salts are independent."""

    SPLIT = "split"
    SHADOW = "shadow"
    REVIEW = "review"
    NET = "net"


@lru_cache(maxsize=8192)  # a session asks again and again
def point(salt: Salt, route: str, key: str) -> float:
    """The point of `key` on `route` for the purpose `salt`: a uniform hash in [0, 1).

    sha256 over "salt|route|key". A salt holds no "|" and neither does a route name (`Route` refuses it), so no two
    different triples are hashed as one text. Lone surrogates in a key, which JSON can carry, hash like any character.
    """
    text = f"{salt.value}|{route}|{key}".encode("utf-8", "surrogatepass")
    digest = sha256(text, usedforsecurity=False).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - _POINT_BITS)) / (1 << _POINT_BITS)
