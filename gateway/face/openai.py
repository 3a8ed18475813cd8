"""What the gateway reads of OpenAI-style requests, and the only two things it changes in them.

A request body is decoded for the few keys that routing needs. It is then forwarded byte for byte, save for the spans
of `model` (the route's name becomes the upstream's) and of `stream_options` (usage is always asked for, so that cost
is always known).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import msgspec

from gateway.face.errors import INVALID_JSON, INVALID_TYPE, MISSING_MODEL, ApiError
from router_policies.attempts import Needs


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that models answer. `usage_option`: streams report usage only if `stream_options` asks for it.
    `choices`: answers consist of choices, and a stream of them that broke can be continued by another model."""

    path: str
    usage_option: bool = False
    choices: bool = False


CHAT = Endpoint("/v1/chat/completions", usage_option=True, choices=True)
COMPLETIONS = Endpoint("/v1/completions", usage_option=True, choices=True)
RESPONSES = Endpoint("/v1/responses")
EMBEDDINGS = Endpoint("/v1/embeddings")
ENDPOINTS = {endpoint.path.encode(): endpoint for endpoint in (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)}


class RequestView(msgspec.Struct, frozen=True, gc=False):
    """The keys that routing reads. `user` and its successor `safety_identifier` may be anything; text is used.

    `stream_options` is the text of its value, as it came, as are `metadata` and those that say what form an answer is
    to have.
    """

    model: str | msgspec.UnsetType = msgspec.UNSET
    stream: bool | None = None
    stream_options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    logprobs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    n: object = None
    tools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response_format: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    structured_outputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    guided_json: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    user: object = None
    safety_identifier: object = None
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def end_user(self) -> str | None:
        for value in (self.user, self.safety_identifier):
            if isinstance(value, str) and value:
                return value
        return None

    @property
    def asks_for_format(self) -> bool:
        """Whether an answer may have to be checked: False only if nothing was asked of its form."""
        unset = msgspec.UNSET
        return not (
            self.tools is unset
            and self.response_format is unset
            and self.text is unset
            and self.structured_outputs is unset
            and self.guided_json is unset
        )

    @property
    def choices(self) -> int:
        """How many answers are asked for; what is no whole number is the upstream's to refuse."""
        return self.n if type(self.n) is int and self.n > 1 else 1

    @property
    def asks_usage(self) -> bool:
        """Whether the client itself asked for the usage chunk of a stream."""
        options = _decode_options(self.stream_options)
        return options is not None and _includes_usage(options)


Object = dict[str, msgspec.Raw]
_BYTES_PER_TOKEN = 6  # more than any tokenizer packs into one on average: what is too long by this is too long
_AFFINITY_BYTES = 1024  # of a conversation's beginning: its system prompt, as a rule

_decode_view = msgspec.json.Decoder(RequestView).decode
_decode_object = msgspec.json.Decoder(Object).decode
_encode = msgspec.json.Encoder().encode


def read_request(body: bytes) -> RequestView:
    """The view of a request body. Raises `ApiError` for what is not a JSON object with a string `model`."""
    try:
        view = _decode_view(body)
        if view.stream_options is not msgspec.UNSET:
            msgspec.json.decode(view.stream_options)  # the one value that is looked into later
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


def forwarded_parts(
    body: bytes, view: RequestView, model: str, *, ask_usage: bool, logprobs: bytes | None = None
) -> list[bytes]:
    """The body to forward, as parts to join: `model` in place of the route's name, usage asked for if `ask_usage`, and
    what `logprobs` is set to, if to anything.

    All other bytes stay as they came, unless a key is written in a way that hides it (`"mod\\u0065l"`): then the object
    is written anew, its other values still byte for byte. `stream_options` that are no object stay as they are: what to
    say of them is the upstream's. Raises `ApiError` for a body whose keys are no text.
    """
    name = _encode(model)
    options = _wanted_options(view) if ask_usage else None
    spans = _model_spans(body)
    if options is None and logprobs is None and len(spans) == 1:
        (start, end), *_ = spans
        return [body[:start], name, body[end:]]
    edits = [(span, name) for span in spans]
    wanted = (
        (b"stream_options", _OPTIONS, view.stream_options, options),
        (b"logprobs", _LOGPROBS, view.logprobs, logprobs),
    )
    for key, member, value, text in wanted:
        if text is None or not edits:
            continue
        if value is msgspec.UNSET:
            end = spans[-1][1]
            edits.append(((end, end), b',"%b":%b' % (key, text)))
        else:
            found = _spans(member, body, value)
            edits = [*edits, *((span, text) for span in found)] if found else []
    if not edits:
        return [_written_anew(body, model, options, logprobs)]
    edits.sort(key=_start)
    parts: list[bytes] = []
    at = 0
    for (start, end), text in edits:
        parts += (body[at:start], text)
        at = end
    parts.append(body[at:])
    return parts


def read_needs(body: bytes) -> Needs:
    """What a request needs of whoever answers it. Reads the whole of it: for when another upstream is looked for."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Needs(len(body) // _BYTES_PER_TOKEN, b'"tools"' in body, False)
    parts: list[object] = [request.get("messages"), request.get("input")]
    vision = False
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            vision = vision or part.get("type") in ("image_url", "input_image")
            parts.append(part.get("content"))
    return Needs(len(body) // _BYTES_PER_TOKEN if not vision else 0, bool(request.get("tools")), vision)


def affinity(body: bytes) -> int:
    """A number that requests with the same beginning of a conversation share."""
    for key in (b'"messages"', b'"prompt"', b'"input"'):
        start = body.find(key)
        if start >= 0:
            return crc32(body[start : start + _AFFINITY_BYTES])
    return crc32(body[:_AFFINITY_BYTES])


def _start(edit: tuple["Span", bytes]) -> "Span":
    return edit[0]


def _decode_options(options: msgspec.Raw | msgspec.UnsetType) -> Object | None:
    """`stream_options` as an object, null as an empty one; None if it is anything else."""
    if options is msgspec.UNSET:
        return {}
    try:
        return _decode_object(options) if bytes(options) != b"null" else {}
    except msgspec.ValidationError:
        return None


def _wanted_options(view: RequestView) -> bytes | None:
    """The client's `stream_options` with usage included; None if nothing can or need be done to them."""
    options = _decode_options(view.stream_options)
    if options is None or _includes_usage(options):
        return None
    return _encode({**options, "include_usage": True})


def _includes_usage(options: Object) -> bool:
    return "include_usage" in options and bytes(options["include_usage"]) == b"true"


def _written_anew(body: bytes, model: str, options: bytes | None, logprobs: bytes | None) -> bytes:
    try:
        members = _decode_object(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(INVALID_JSON, f"The request body is not valid JSON: {error}.") from None
    members["model"] = msgspec.Raw(_encode(model))
    if options is not None:
        members["stream_options"] = msgspec.Raw(options)
    if logprobs is not None:
        members["logprobs"] = msgspec.Raw(logprobs)
    return _encode(members)


# Finding a top-level member. In valid JSON the text `"model":` (no backslash) is always a key, since quotes inside a
# string are escaped. If it is there once it is the top-level key, for there is one; else the depth of each is counted,
# over the text before it with its strings taken out. Escaped letters, which could spell a key, are a case of their own.

Span = tuple[int, int]

_MODEL = re.compile(rb'"model"\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_OPTIONS = re.compile(rb'"stream_options"\s*+:\s*+')
_LOGPROBS = re.compile(rb'"logprobs"\s*+:\s*+')
_ESCAPED_LETTER = re.compile(rb"\\u00[567]")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')


def _model_spans(body: bytes) -> list[Span]:
    """The spans of the values of the top-level `model`; several if it is there several times, none if one is hidden."""
    escapes = b"\\" in body
    if escapes and _ESCAPED_LETTER.search(body):
        return []
    first = body.find(b'"model"')
    if body.find(b'"model"', first + 7) < 0:
        if not escapes:  # then a string ends with the next quote
            start = body.find(b'"', first + 7)
            return [(start, body.find(b'"', start + 1) + 1)]
        match = _MODEL.match(body, first)
        return [match.span(1)] if match else []
    return [match.span(1) for match in _at_top(_MODEL, body)]


def _spans(member: re.Pattern[bytes], body: bytes, value: msgspec.Raw) -> list[Span]:
    """The spans of this value where it is that of the top-level member."""
    text = bytes(value)
    found = [match.end() for match in _at_top(member, body)]
    return [(start, start + len(text)) for start in found if body.startswith(text, start)]


def _at_top(member: re.Pattern[bytes], body: bytes) -> Iterator[re.Match[bytes]]:
    depth = at = 0
    for match in member.finditer(body):
        between = _STRING.sub(b"", body[at : match.start()])
        at = match.start()
        depth += between.count(b"{") + between.count(b"[") - between.count(b"}") - between.count(b"]")
        if depth == 1:
            yield match
