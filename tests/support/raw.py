"""A client that says exactly the bytes it is told to."""

import socket
from time import monotonic


class RawClient:
    """A TCP connection to the gateway. `with RawClient(port) as raw`."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._buffer = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """What comes, up to and with `mark`."""
        while mark not in self._buffer:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(f"the connection ended before {mark!r}; got {self._buffer!r}")
            self._buffer += data
        before, _, self._buffer = self._buffer.partition(mark)
        return before + mark

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """One response with a content-length: status, headers, body."""
        head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the connection ended inside a body")
            self._buffer += data
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(head[0].split(" ")[1]), headers, body

    def rest(self) -> bytes:
        """Everything until the connection ends."""
        while data := self.socket.recv(65536):
            self._buffer += data
        rest, self._buffer = self._buffer, b""
        return rest

    def closed_within(self, timeout_s: float) -> bool:
        """Whether the peer closes within that time, saying nothing more."""
        self.socket.settimeout(timeout_s)
        started = monotonic()
        try:
            return self.socket.recv(1) == b"" and monotonic() - started <= timeout_s
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def post(body: bytes, path: str = "/v1/chat/completions", extra: str = "", version: str = "1.1") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body
