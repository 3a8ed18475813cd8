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
    return b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in _FORWARDED if name in headers)


def relayed(headers: Headers) -> bytes:
    """The lines of an answer's headers that go on to the client."""
    return b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers if name not in _NOT_RELAYED])
