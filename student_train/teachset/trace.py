"""Files of traces as a gateway writes them, plain or encrypted, and files of examples that somebody made.

Both are JSON, a line each. Lines are indexed first and read again session by session, so that no file has to fit into
memory and nothing that is not scrubbed has to be written anywhere to be sorted.

An encrypted file has a header and frames: 4 bytes length, then nonce (12 bytes), ciphertext and tag (16) of
AES-256-GCM; the associated data is the frame's number from 0, 8 bytes, all big-endian. A line or frame that breaks off
at the end was being written when the gateway was killed: it is left out, and counted.
"""

import re
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from router_policies.checks.check import Answer
from router_policies.checks.reading import CHAT, read_answer
from student_train.teachset.scrub_chat import Chat, Unusable

FORMAT = "understudy-trace/1"
HEADER = b"understudy-trace-enc/1\n"
_LENGTH, _PLACE = struct.Struct(">I"), struct.Struct(">Q")
_NONCE, _TAG = 12, 16


class TraceError(Exception):
    """What is wrong with a file as a whole."""


class Spot(Struct, frozen=True):
    """Where a line is: the offset of the line, or of the frame; the frame's number, and the line's in the frame."""

    offset: int
    frame: int = 0
    line: int = 0


class TraceFile:
    """A file that is open. `broken`: how many lines or frames were left out because they break off."""

    def __init__(self, path: Path, key: bytes | None) -> None:
        self.path = path
        self.broken = 0
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        self._open: Callable[[bytes, int], bytes] | None = None
        if path.name.endswith(".enc"):
            self._open = self._opener(key)
            if self._file.read(len(HEADER)) != HEADER:
                raise TraceError(f"{path}: expected it to begin with {HEADER.decode().strip()}, it does not")
        self._frame = lru_cache(maxsize=16)(self._read_frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def lines(self) -> Iterator[tuple[Spot, bytes]]:
        if self._open is not None:
            yield from self._sealed()
            return
        offset = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n") and not _whole(line):
                self.broken += 1
            elif line.strip():
                yield Spot(offset), line
            offset += len(line)

    def read(self, spot: Spot) -> bytes:
        if self._open is not None:
            return self._frame(spot.offset, spot.frame)[spot.line]
        self._file.seek(spot.offset)
        return self._file.readline()

    def _sealed(self) -> Iterator[tuple[Spot, bytes]]:
        offset, number = len(HEADER), 0
        while True:
            self._file.seek(offset)
            head = self._file.read(_LENGTH.size)
            if not head:
                return
            size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
            if size < _NONCE + _TAG or len(self._file.read(size)) < size:
                self.broken += 1
                return
            for at, line in enumerate(self._read_frame(offset, number)):
                if line.strip():
                    yield Spot(offset, number, at), line
            offset, number = offset + _LENGTH.size + size, number + 1

    def _read_frame(self, offset: int, number: int) -> list[bytes]:
        assert self._open is not None
        self._file.seek(offset)
        (size,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        return self._open(self._file.read(size), number).splitlines()

    def _opener(self, key: bytes | None) -> Callable[[bytes, int], bytes]:
        if key is None:
            raise TraceError(f"{self.path}: it is encrypted: expected --key-file with the key of the gateway's capture")
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise TraceError("encrypted traces need cryptography: pip install 'understudy[teachset]'") from None
        cipher = AESGCM(key)

        def opened(frame: bytes, number: int) -> bytes:
            try:
                return cipher.decrypt(frame[:_NONCE], frame[_NONCE:], _PLACE.pack(number))
            except InvalidTag:
                raise TraceError(
                    f"{self.path}: frame {number} does not open: another key, or the file was changed"
                ) from None

        return opened


def _whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def read_key(path: Path) -> bytes:
    """32 bytes, written as 64 hexadecimal digits."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: expected a key file: {error}") from None
    if re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        raise TraceError(f"{path}: expected 64 hexadecimal digits, got {len(text)} characters")
    return bytes.fromhex(text)


def found(paths: list[Path]) -> list[Path]:
    """The files named, and of folders what is in them and looks like traces; sorted, each once."""
    files: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files |= {one for one in path.rglob("*") if one.name.endswith((".jsonl", ".jsonl.enc")) and one.is_file()}
        else:
            files.add(path)
    if not files:
        raise TraceError(f"expected files *.jsonl or *.jsonl.enc, found none in {', '.join(map(str, paths))}")
    return sorted(files)


# What a line says.


class Head(Struct, frozen=True):
    """What the index needs. `person` and `session` of a line that somebody made are its own names for them."""

    id: str
    format: str = ""
    at: float = 0.0
    tenant: str = ""
    session: str = ""


class Served(Struct, frozen=True):
    role: str = ""
    upstream: str = ""
    model: str = ""
    revision: str = ""


class Item(Struct, frozen=True):
    """A line, read: one shape for traces and for what was made. `known`: values that the line names itself."""

    id: str
    kind: Literal["real_trace", "synthetic", "handcrafted"]
    origin: str
    at: float
    chat: Chat
    tenant: str = ""
    user: str = ""
    session: str = ""
    consent: tuple[str, ...] | None = None
    why: Literal["sample", "disagreement", "fallback"] = "sample"
    probability: float = 1.0
    served_by: str = ""
    family: str = ""
    skill: str = ""
    licence: str = ""


class _Trace(Struct, frozen=True):
    id: str
    at: float
    route: str
    endpoint: str
    request: dict[str, Any]
    answer: str
    outcome: str
    served: Served = Served()
    tenant: str = ""
    user: str = ""
    session: str = ""
    consent: tuple[str, ...] = ()
    why: Literal["sample", "disagreement", "fallback"] = "sample"
    probability: float = 1.0


class Made(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of examples that somebody made: by hand (`source: handcrafted`), or by a program. `origin`: which, and its
    version. `person` and `session`: who and what belongs together, by any name: only pseudonyms of them are kept."""

    id: str
    messages: tuple[dict[str, Any], ...]
    origin: str
    source: Literal["synthetic", "handcrafted"] = "synthetic"
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    gold: str | None = None
    family: str = ""
    skill: str = ""
    person: str = ""
    session: str = ""
    tenant: str = ""
    licence: str = ""
    at: float = 0.0


_head = msgspec.json.Decoder(Head).decode
_trace = msgspec.json.Decoder(_Trace).decode
_made = msgspec.json.Decoder(Made).decode


def head(line: bytes) -> Head:
    """Raises `Unusable`."""
    try:
        return _head(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unusable("not a line of JSON with an id") from None


def item(line: bytes) -> Item:
    """Raises `Unusable` with the reason."""
    try:
        known = head(line)
        if known.format == FORMAT:
            return _captured(_trace(line))
        if known.format:
            raise Unusable(f"a format other than {FORMAT}")
        return _handed(_made(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unusable("a line of another shape: docs/scrubbing.md has both") from None


def _handed(made: Made) -> Item:
    return Item(
        id=made.id,
        kind=made.source,
        origin=made.origin,
        at=made.at,
        chat=Chat(made.messages, made.tools, made.response_format, None, made.gold),
        tenant=made.tenant,
        user=made.person,
        session=made.session,
        family=made.family,
        skill=made.skill,
        licence=made.licence,
    )


def _captured(trace: _Trace) -> Item:
    if trace.endpoint != CHAT:
        raise Unusable(f"endpoint other than {CHAT}")
    if trace.outcome != "ok":
        raise Unusable("the request did not end well")
    request = trace.request
    messages, tools, form = request.get("messages"), request.get("tools"), request.get("response_format")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise Unusable("no messages")
    return Item(
        id=trace.id,
        kind="real_trace",
        origin=trace.route,
        at=trace.at,
        chat=Chat(
            tuple(messages),
            tuple(tool for tool in tools or () if isinstance(tool, dict)) if isinstance(tools, list) else (),
            form if isinstance(form, dict) else None,
            _served(trace.endpoint, trace.answer),
        ),
        tenant=trace.tenant,
        user=trace.user,
        session=trace.session,
        consent=trace.consent,
        why=trace.why,
        probability=trace.probability,
        served_by=f"{trace.served.role}/{trace.served.model}",
    )


def _served(endpoint: str, sent: str) -> str | None:
    """What the app was answered, put together if it was streamed; None for what is no whole answer: its prompt may
    still be taught. With tool calls it is a message in JSON."""
    try:
        answer = read_answer(endpoint, sent.encode(errors="replace"))
    except ValueError:
        return None
    if answer.refusal or answer.finish_reason not in ("stop", "tool_calls", "function_call"):
        return None
    if not answer.calls:
        return answer.text or None
    return msgspec.json.encode(_message(answer)).decode()


def _message(answer: Answer) -> dict[str, Any]:
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for number, call in enumerate(answer.calls, 1)
    ]
    return {"role": "assistant", "content": answer.text or None, "tool_calls": calls}
