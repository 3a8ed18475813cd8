"""A TCP proxy that fails as networks and servers do: between a store and its Redis, where no iptables is needed."""

import contextlib
import socket
import struct
import threading
from time import sleep
from types import TracebackType

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST


class Proxy:
    """`with Proxy(port) as proxy:` passes what comes to `proxy.port` on to `target`, until told otherwise.

    `delay_s`: each piece of an answer comes so much later. `black_hole`: connections are accepted, and whatever is sent
    either way vanishes. `target`: where new connections go to.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.black_hole = False
        self.triggered = threading.Event()
        self._trap: tuple[bytes, int | None] | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = self._listen(0)

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Nobody listens any more, and all connections are reset."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # `accept` in the other thread would hold it open
            listener.close()
        self.reset()

    def accept(self) -> None:
        """Listen again, at the same port."""
        if self._listener is None:
            self._listen(self.port)

    def reset(self) -> None:
        """RST on all connections."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _reset(end)

    def trap(self, request: bytes, answer_bytes: int | None) -> None:
        """The next time that a client sends something with `request` in it, the connection is reset: before the server
        gets it (None), or after so many bytes of the answer. `triggered` is set then."""
        self.triggered.clear()
        self._trap = (request, answer_bytes)

    def _listen(self, port: int) -> int:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return int(listener.getsockname()[1])

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            _Pair(self, client, server)

    def sprung(self, data: bytes) -> tuple[bool, int | None]:
        """Whether this request is the one that was waited for, and what is let through of its answer."""
        with self._lock:
            if self._trap is None or self._trap[0] not in data:
                return False, None
            _, answer_bytes = self._trap
            self._trap = None
        self.triggered.set()
        return True, answer_bytes

    def drop(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open -= set(ends)
        for end in ends:
            _reset(end)


class _Pair:
    """A client's connection and the one to the server, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._left: int | None = None  # how many bytes of the answer may still pass; None for all
        for pump in (self._ask, self._answer):
            threading.Thread(target=pump, daemon=True).start()

    def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(65_536):
                sprung, left = self._proxy.sprung(data)
                if sprung and left is None:
                    break
                if sprung:
                    self._left = left
                if not self._proxy.black_hole:
                    self._server.sendall(data)
        self._proxy.drop(self._client, self._server)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(65_536):
                if self._proxy.delay_s:
                    sleep(self._proxy.delay_s)
                if self._left is not None:
                    self._client.sendall(data[: self._left])
                    sleep(0.05)  # a reset overtakes what the client has not read yet
                    break
                if not self._proxy.black_hole:
                    self._client.sendall(data)
        self._proxy.drop(self._client, self._server)


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
    end.close()
