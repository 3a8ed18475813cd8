"""One connection to an upstream, carrying one call at a time."""

import asyncio
from typing import Protocol, cast

from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers, ResponseReader


class ResponseSink(Protocol):
    """Who hears of an answer. Called in order: `head` once, `data` any number of times, then `end` or `fault` once.

    `fault` may come at any point. After `Leg.cancel` nothing more is called.
    """

    def head(self, status: int, headers: Headers) -> None: ...
    def data(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def fault(self, fault: UpstreamFault) -> None: ...


class Call(Protocol):
    """The pool's side of a call: it hears of the answer first, and decides what the end of its connection means."""

    sink: ResponseSink

    def head(self, status: int, headers: Headers) -> None: ...
    def finished(self) -> None: ...
    def lost(self, fault: UpstreamFault, *, nothing_received: bool) -> None: ...


class Owner(Protocol):
    """The pool: told when a connection is free for the next call, and when it is no more."""

    def freed(self, connection: "Connection") -> None: ...
    def gone(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """Mutable state: `_call` (the call under way, or None when idle) and the reader. Nothing else changes.

    An idle connection must stay silent: bytes or an end of stream on it close it. `idle_since` is on the monotonic
    clock, seconds.
    """

    __slots__ = (
        "_call",
        "_head_told",
        "_owner",
        "_paused",
        "_reader",
        "_received",
        "_transport",
        "idle_since",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reader = ResponseReader()
        self._call: Call | None = None
        self._head_told = False
        self._received = False
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, call: Call) -> None:
        """Write a whole request; its answer goes to `call`. The connection must be idle and usable."""
        assert self._transport is not None
        self._call = call
        self._head_told = self._received = False
        self._transport.write(request)

    def abort(self) -> None:
        """Close now, telling nobody: what is buffered is dropped, the peer sees the connection end at once."""
        self._call = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self.abort()
            return
        self._received = True
        reader = self._reader
        fault = None
        try:
            reader.feed(data)
        except UpstreamFault as error:
            fault = error
        if not self._head_told and reader.status:
            self._head_told = True
            call.head(reader.status, reader.headers)
        body = reader.take_body()
        if body and self._call is call:
            call.sink.data(body)
        if self._call is not call:  # cancelled by what it heard
            return
        if fault is not None:
            self._fail(call, fault)
        elif reader.complete:
            self._finish(call)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.gone(self)
        self._reader.close()
        call = self._call
        if call is None:
            return
        try:
            if exc is not None:
                kind = FaultKind.TRUNCATED if self._reader.status else FaultKind.RESET
                raise UpstreamFault(kind, f"the connection to the upstream was lost: {exc}") from exc
            self._reader.end_of_stream()
        except UpstreamFault as fault:
            self._fail(call, fault)
        else:
            self._finish(call)

    def _finish(self, call: Call) -> None:
        self._call = None
        if self._reader.reusable and self.usable:
            self._reader.reset()
            self.resume()
            self._owner.freed(self)
        else:
            self.abort()
        call.finished()

    def _fail(self, call: Call, fault: UpstreamFault) -> None:
        self.abort()
        call.lost(fault, nothing_received=not self._received)
