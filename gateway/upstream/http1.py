"""Reading HTTP/1.1 responses off a byte stream, without a socket (RFC 9112).

`ResponseReader` takes bytes in whatever pieces they come and shows one response: its head, the body bytes so far,
whether it is whole. The same bytes give the same response however they are split (a property test). llhttp, through
`httptools`, does the parsing; what it leaves to its users is here: informational responses, trailers, limits, bodies
that end with the connection, and bytes that nobody asked for.
"""

from typing import Any

import httptools

from gateway.upstream.faults import FaultKind, UpstreamFault

MAX_HEAD_BYTES = 64 * 1024  # status line and headers together; the same again for trailers
Headers = list[tuple[bytes, bytes]]
_TOO_LONG = f"header fields over {MAX_HEAD_BYTES} bytes"


class ResponseReader:
    """One response at a time; `reset` makes it ready for the next on the same connection.

    `status` is 0 until the head is whole. `headers` are as they came, names lower-cased. `complete` says the body is
    whole. `reusable` says the connection may carry another request. Informational responses (1xx) are skipped.
    """

    __slots__ = (
        "_barren_bytes",
        "_body",
        "_delimited",
        "_field_bytes",
        "_informational",
        "_keep_alive",
        "_parser",
        "_refused",
        "_surplus",
        "complete",
        "headers",
        "status",
    )

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._surplus = False
        self.reset()

    def reset(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self._body: list[bytes] = []
        self._barren_bytes = 0
        self._field_bytes = 0
        self._refused = ""
        self._informational = False
        self._delimited = False
        self._keep_alive = False

    @property
    def reusable(self) -> bool:
        return self.complete and self._keep_alive and not self._surplus

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises `UpstreamFault` (INVALID) on what is not one acceptable response."""
        if self.complete:
            self._surplus = True
            return
        had_head = self.status
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise UpstreamFault(FaultKind.INVALID, "the upstream switched protocols, which nobody asked for") from error
        except httptools.HttpParserError as error:
            if not self.complete:
                raise UpstreamFault(FaultKind.INVALID, f"not an HTTP response: {error}") from error
            self._surplus = True
        if self._body or self.complete or self.status != had_head:
            self._barren_bytes = 0
        else:
            self._barren_bytes += len(data)
        if self._barren_bytes > MAX_HEAD_BYTES:
            self._refused = _TOO_LONG
        if self._refused:
            raise UpstreamFault(FaultKind.INVALID, self._refused)

    def take_body(self) -> bytes:
        """The body bytes that came since the last call."""
        parts = self._body
        if not parts:
            return b""
        self._body = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end_of_stream(self) -> None:
        """The peer closed in good order. Completes a body that is delimited by that; else raises `UpstreamFault`."""
        if self.complete:
            return
        if not self.status:
            raise UpstreamFault(FaultKind.RESET, "the upstream closed the connection before its answer's head")
        if self._delimited:
            raise UpstreamFault(FaultKind.TRUNCATED, "the upstream closed the connection inside its answer's body")
        self.complete = True

    def close(self) -> None:
        """No more will come. The parser refers to its reader: this lets go of it."""
        self._parser = None

    # Called by the parser, inside `feed`.

    def on_message_begin(self) -> None:
        if self.complete:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD_BYTES:
            self._refused = _TOO_LONG
        elif not self.status:  # later ones are trailers: nothing of a model's answer is told in them
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        status = self._parser.get_status_code()
        self._field_bytes = 0
        if 100 <= status < 200:
            self._informational = True
            return
        if not 200 <= status <= 599:
            self._refused = f"the status {status}, which is none (RFC 9110 section 15)"
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        self._delimited = status in (204, 304)
        for name, value in self.headers:
            if name == b"content-length":
                self._delimited = True
            elif name == b"transfer-encoding":
                self._delimited = True
                if value.strip().lower() != b"chunked":
                    self._refused = "a transfer-encoding other than chunked"

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
            self.headers = []
        elif self.status:
            self.complete = True
