"""Which headers cross the gateway, and as what.

To an upstream go few, by name: never the client's authorization or cookies. To the client goes what the upstream sent,
less what belongs to that one connection or is ours to say.
"""

from gateway.upstream.http1 import Headers

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
        b"x-understudy-reason",
        b"x-understudy-upstream",
    }
)


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The lines of a request's headers that go on to the upstream."""
    lines = b""
    for name in _FORWARDED:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines


def relayed(headers: Headers) -> bytes:
    """The lines of an answer's headers that go on to the client."""
    lines = b""
    for name, value in headers:
        if name not in _NOT_RELAYED:
            lines += b"%b: %b\r\n" % (name, value)
        elif name == b"connection" and value.lower() not in (b"close", b"keep-alive"):
            # It names headers that belong to the upstream's connection alone (RFC 9110 section 7.6.1).
            own = {token.strip() for token in value.lower().split(b",")} | {b"connection"}
            return relayed([header for header in headers if header[0] not in own])
    return lines
