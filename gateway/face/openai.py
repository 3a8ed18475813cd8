"""What the gateway reads of OpenAI-style requests, and the only two things it changes in them.

A request body is decoded for the few keys that routing needs. It is then forwarded byte for byte, save for the spans
of `model` (the route's name becomes the upstream's) and of `stream_options` (usage is always asked for, so that cost
is always known).
"""

import re
from dataclasses import dataclass

import msgspec

from gateway.face.errors import INVALID_JSON, INVALID_TYPE, MISSING_MODEL, ApiError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that models answer. `usage_option`: streams report usage only if `stream_options` asks for it."""

    path: str
    usage_option: bool


CHAT = Endpoint("/v1/chat/completions", usage_option=True)
COMPLETIONS = Endpoint("/v1/completions", usage_option=True)
RESPONSES = Endpoint("/v1/responses", usage_option=False)
EMBEDDINGS = Endpoint("/v1/embeddings", usage_option=False)
ENDPOINTS = {endpoint.path.encode(): endpoint for endpoint in (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)}


class RequestView(msgspec.Struct, frozen=True):
    """The keys that routing reads. `user` and its successor `safety_identifier` may be anything; text is used."""

    model: str | msgspec.UnsetType = msgspec.UNSET
    stream: bool | None = None
    stream_options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    user: object = None
    safety_identifier: object = None

    @property
    def end_user(self) -> str | None:
        for value in (self.user, self.safety_identifier):
            if isinstance(value, str) and value:
                return value
        return None


_decode_view = msgspec.json.Decoder(RequestView).decode
_encode = msgspec.json.Encoder().encode


def read_request(body: bytes) -> RequestView:
    """The view of a request body. Raises `ApiError` for what is not a JSON object with a string `model`."""
    try:
        view = _decode_view(body)
    except msgspec.ValidationError as error:
        expected, _, path = str(error).partition(" - at `$")
        if not path:
            raise ApiError(INVALID_TYPE, f"The request body must be a JSON object. {expected}.") from None
        param = path.rstrip("`").lstrip(".")
        raise ApiError(INVALID_TYPE, f"Invalid type for '{param}': {expected}.", param) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(INVALID_JSON, f"The request body is not valid JSON: {error}.") from None
    except RecursionError:
        raise ApiError(INVALID_JSON, "The request body is nested too deeply to be read.") from None
    if not view.model:
        raise ApiError(MISSING_MODEL, "You must provide a 'model': the name of a route.", "model")
    return view


def forwarded_parts(body: bytes, view: RequestView, model: str, *, ask_usage: bool) -> list[bytes]:
    """The body to forward, as parts to join: `model` in place of the route's name, and usage asked for if `ask_usage`.

    All other bytes stay as they came.
    """
    edits = [(span, _encode(model)) for span in _value_spans(body, "model", view.model)]
    if ask_usage:
        options = _wanted_options(view)
        if view.stream_options is msgspec.UNSET:
            end = edits[-1][0][1]
            edits.append(((end, end), b',"stream_options":' + options))
        elif options:
            edits += [(span, options) for span in _value_spans(body, "stream_options", None)]
    edits.sort(key=lambda edit: edit[0])
    parts: list[bytes] = []
    at = 0
    for (start, end), text in edits:
        parts += (body[at:start], text)
        at = end
    parts.append(body[at:])
    return parts


def asks_usage(view: RequestView) -> bool:
    """Whether the client itself asked for the usage chunk of a stream."""
    options = view.stream_options
    if options is msgspec.UNSET:
        return False
    decoded = msgspec.json.decode(options)
    return isinstance(decoded, dict) and decoded.get("include_usage") is True


def _wanted_options(view: RequestView) -> bytes:
    """The client's `stream_options` with usage included; empty if they need no change (so or not an object at all)."""
    if view.stream_options is msgspec.UNSET:
        return b'{"include_usage":true}'
    options = msgspec.json.decode(view.stream_options)
    if options is None:
        options = {}
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return b""
    return _encode({**options, "include_usage": True})


# Finding a top-level value. In valid JSON the text `"model":` (no backslash) is always a key, since quotes inside a
# string are escaped. So one match is the top-level key, unless a key is written with \u escapes; both doubts, and
# several matches, are settled by walking the whole object.

_MODEL = re.compile(rb'"model"\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|[^\s,:{}\[\]"]++')

Span = tuple[int, int]


def _value_spans(body: bytes, key: str, expected: object) -> list[Span]:
    """The spans of the values of the top-level `key`, in order; several if the key is there several times."""
    if key == "model" and not _ESCAPED_ASCII.search(body):
        matches = [match.span(1) for match in _MODEL.finditer(body)]
        if len(matches) == 1 and msgspec.json.decode(body[slice(*matches[0])]) == expected:
            return matches
    return _walk(body, key)


def _walk(body: bytes, key: str) -> list[Span]:
    """Token by token through the object, keeping the depth: at depth 1, keys and values take turns."""
    spans = []
    depth = 0
    is_key = True
    wanted = False
    value_start = -1
    for token in _TOKEN.finditer(body):
        first = body[token.start()]
        if first in b"}]":
            depth -= 1
        if depth == 1 and is_key:
            wanted = msgspec.json.decode(token.group()) == key
            is_key = False
        elif depth == 1:
            if value_start < 0:
                value_start = token.start()
            if first not in b"{[":
                if wanted:
                    spans.append((value_start, token.end()))
                value_start = -1
                is_key = True
        if first in b"{[":
            depth += 1
    return spans
