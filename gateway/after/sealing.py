"""Encrypted segments: what is captured, unreadable without a key that is kept elsewhere.

    understudy-trace-enc/1\\n
    4 bytes: length of the rest · 12 bytes: nonce · ciphertext and 16 bytes: tag        one such frame per line
    ...

AES-256-GCM (NIST SP 800-38D), lengths big-endian. The associated data is the frame's place in its file, 8 bytes, so
that frames cannot be taken out, put in or moved within a file unseen, save at its end. Nonces are random: under one
key, 2^32 frames are the limit at which two are the same with a probability of 2^-32 (section 8.3). A frame has one
line, so that who lacks the key can still count them.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

HEADER = b"understudy-trace-enc/1\n"
_LENGTH = struct.Struct(">I")
_PLACE = struct.Struct(">Q")
_NONCE, _TAG = 12, 16


class Seal:
    """`key`: 32 bytes."""

    header = HEADER

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # an extra, `capture`

        self._cipher = AESGCM(key)

    def frame(self, line: bytes, place: int) -> bytes:
        nonce = os.urandom(_NONCE)
        return _LENGTH.pack(_NONCE + len(line) + _TAG) + nonce + self._cipher.encrypt(nonce, line, _PLACE.pack(place))

    def lines(self, file: BinaryIO) -> Iterator[bytes]:
        """What is in a segment, up to a frame that breaks off. Raises `ValueError` for one that is no such file, or was
        tampered with, or written under another key."""
        from cryptography.exceptions import InvalidTag

        if file.read(len(HEADER)) != HEADER:
            raise ValueError(f"expected a file that begins with {HEADER.decode().strip()!r}, got another")
        place = 0
        while len(length := file.read(_LENGTH.size)) == _LENGTH.size:
            (size,) = _LENGTH.unpack(length)
            sealed = file.read(size)
            if len(sealed) < size:
                return
            try:
                yield self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _PLACE.pack(place))
            except InvalidTag:
                raise ValueError(f"frame {place}: it was changed, or sealed with another key") from None
            place += 1


def whole_frames(data: bytes) -> int:
    """How many frames there are, given what follows the header or a frame."""
    at = count = 0
    while at + _LENGTH.size <= len(data):
        at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        count += at <= len(data)
    return count
