"""Which headers cross the gateway, and as what.

To an upstream go few, by name: never the client's authorization or cookies. To the client goes what the upstream sent,
less what belongs to that one connection or is ours to say.

`check_framing` refuses what two servers could read in two ways, so that a proxy in front cannot be made to see
other requests than it does (RFC 9112 section 11.2). llhttp refuses most of it; what it lets pass is refused here.
"""

import re

from gateway.face.errors import HEAD_TOO_LARGE, INVALID_HTTP, TARGET_TOO_LONG, ApiError
from gateway.upstream.http1 import Headers

_OURS = b"x-understudy-"
_ONCE = (b"authorization", b"content-encoding", b"content-length", b"host", b"transfer-encoding")
_NONE: frozenset[bytes] = frozenset()
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_FORWARDED = (b"traceparent", b"tracestate", b"baggage", b"openai-beta", b"user-agent")
_NOT_RELAYED = frozenset(
    {
        b"alt-svc",
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"server",
        b"set-cookie",
        b"strict-transport-security",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"x-request-id",
    }
)


def check_framing(version: str, headers: Headers, fields: dict[bytes, bytes], most: int) -> None:
    """Raises `ApiError` for a request's head that is not to be served. `fields` are the `headers`, the last of each."""
    if len(headers) > most:
        raise ApiError(HEAD_TOO_LARGE, f"Expected at most {most} headers, got {len(headers)}.")
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        for name in _ONCE:
            if names.count(name) > 1:
                raise ApiError(INVALID_HTTP, f"Expected one {name.decode()} header, got several.")
    if version == "1.1":
        if b"host" not in fields:
            raise ApiError(INVALID_HTTP, "Expected a host header.")
    elif version != "1.0":  # llhttp lets pass 0.9 and 2.0 too
        raise ApiError(INVALID_HTTP, f"Expected HTTP/1.1, got version {version}.")
    coding = fields.get(b"transfer-encoding")
    if coding is not None and (coding.strip(b" \t").lower() != b"chunked" or version == "1.0"):
        raise ApiError(INVALID_HTTP, "Expected HTTP/1.1 and 'chunked' with a transfer-encoding header, got others.")


def check_target(target: bytes, most: int) -> None:
    """Raises `ApiError` for a path and query that are not to be looked at further."""
    if len(target) > most:
        raise ApiError(TARGET_TOO_LONG, f"Expected a path and query of at most {most} bytes.")
    if _TARGET.fullmatch(target) is None:
        raise ApiError(INVALID_HTTP, "Expected a path that begins with / and is printable ASCII without spaces.")


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The lines of a request's headers that go on to the upstream."""
    lines = b""
    own = _NONE
    connection = headers.get(b"connection")
    if connection is not None and len(connection) > len(b"keep-alive"):
        own = _named(connection)
    for name in _FORWARDED:
        if name in headers and name not in own:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines


def relayed(headers: Headers) -> bytes:
    """The lines of an answer's headers that go on to the client."""
    lines = b""
    for name, value in headers:
        if name not in _NOT_RELAYED and not name.startswith(_OURS):
            lines += b"%b: %b\r\n" % (name, value)
        elif name == b"connection" and value.lower() not in (b"close", b"keep-alive"):
            own = _named(value) | {b"connection"}
            return relayed([header for header in headers if header[0] not in own])
    return lines


def _named(connection: bytes) -> frozenset[bytes]:
    """The headers that a `connection` header says belong to that connection alone (RFC 9110 section 7.6.1)."""
    return frozenset(token.strip() for token in connection.lower().split(b","))
