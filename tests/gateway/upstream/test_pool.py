"""The upstream client against real sockets: reuse, retry, cancellation in every phase, TLS, back-pressure."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from gateway.upstream import pool as pool_module
from gateway.upstream.faults import FaultKind, UpstreamFault
from gateway.upstream.http1 import Headers
from gateway.upstream.pool import Address, Pool

REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Sink:
    """Notes what it hears; `outcome` is the body, or the fault."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.calls: list[str] = []
        self.outcome: asyncio.Future[bytes | UpstreamFault] = asyncio.get_running_loop().create_future()
        self.first = asyncio.Event()

    def head(self, status: int, headers: Headers) -> None:
        self.calls.append("head")
        self.status = status

    def data(self, data: bytes) -> None:
        self.calls.append("data")
        self.body += data
        self.first.set()

    def end(self) -> None:
        self.outcome.set_result(self.body)

    def fault(self, fault: UpstreamFault) -> None:
        self.outcome.set_result(fault)

    async def result(self) -> bytes | UpstreamFault:
        return await asyncio.wait_for(self.outcome, 5)


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Address("localhost" if tls else "127.0.0.1", port, tls is not None, "/v1")
    finally:
        server.close()


@asynccontextmanager
async def pooled(address: Address, context: ssl.SSLContext | None = None) -> AsyncIterator[Pool]:
    pool = Pool(address, context)
    yield pool
    await pool.close()
    assert (pool.active_count, pool.idle_count) == (0, 0)


async def read_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"{}")


async def ask(pool: Pool, connect_s: float = 2.0) -> bytes | UpstreamFault:
    sink = Sink()
    pool.send(REQUEST, sink, connect_s)
    return await sink.result()


async def test_connections_are_reused() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(ANSWER)

    async with serving(handler) as address, pooled(address) as pool:
        for _ in range(5):
            assert await ask(pool) == b"hello"
        assert connections == 1
        assert await asyncio.gather(*(ask(pool) for _ in range(4))) == [b"hello"] * 4
        assert connections == 4
        assert (pool.active_count, pool.idle_count) == (0, 4)


async def test_a_reused_connection_that_dies_unanswered_is_tried_again_once() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(ANSWER)
        await read_request(reader)
        writer.close()  # as a server does whose keep-alive ran out just then

    async with serving(handler) as address, pooled(address) as pool:
        assert [await ask(pool) for _ in range(3)] == [b"hello"] * 3
        assert connections == 3


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.close()

    async with serving(handler) as address, pooled(address) as pool:
        fault = await ask(pool)
        assert isinstance(fault, UpstreamFault)
        assert fault.kind is FaultKind.RESET
        assert connections == 1


async def test_a_reused_connection_that_dies_after_a_byte_is_not_tried_again() -> None:
    requests = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.write(ANSWER)
        await read_request(reader)
        requests += 1
        writer.write(b"HTTP/1.1 2")
        await writer.drain()
        writer.close()

    async with serving(handler) as address, pooled(address) as pool:
        assert await ask(pool) == b"hello"
        fault = await ask(pool)
        assert isinstance(fault, UpstreamFault)
        assert fault.kind is FaultKind.RESET
        assert requests == 2


async def test_a_cut_body_is_truncated_and_what_came_is_heard() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER[:-2])
        await writer.drain()
        writer.close()

    async with serving(handler) as address, pooled(address) as pool:
        sink = Sink()
        pool.send(REQUEST, sink, 2.0)
        fault = await sink.result()
        assert isinstance(fault, UpstreamFault)
        assert fault.kind is FaultKind.TRUNCATED
        assert (sink.status, sink.body) == (200, b"hel")


async def test_close_delimited_bodies_and_closed_connections_are_not_reused() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        await writer.drain()
        writer.close()

    async with serving(handler) as address, pooled(address) as pool:
        assert await ask(pool) == b"until the end"
        assert pool.idle_count == 0


async def test_idle_connections_age_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_S", 0.1)
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER)
        assert await reader.read() == b""
        closed.set()

    async with serving(handler) as address, pooled(address) as pool:
        await ask(pool)
        pool.sweep()
        assert pool.idle_count == 1
        await asyncio.sleep(0.15)
        pool.sweep()
        assert pool.idle_count == 0
        await asyncio.wait_for(closed.wait(), 1)


async def test_an_answer_that_has_said_all_but_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "END_S", 0.05)
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER[:-1])
        with suppress(ConnectionResetError):
            await reader.read()
        closed.set()

    async with serving(handler) as address, pooled(address) as pool:
        sink = Sink()
        leg = pool.send(REQUEST, sink, 2.0)
        await sink.first.wait()
        leg.expect_end()
        pool.sweep()
        assert pool.active_count == 1
        await asyncio.sleep(0.1)
        pool.sweep()
        assert pool.active_count == 0
        await asyncio.wait_for(closed.wait(), 1)


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n", b""])
async def test_an_idle_connection_that_speaks_or_ends_is_dropped(unasked: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER)
        await asyncio.sleep(0.05)
        writer.write(unasked)
        if not unasked:
            writer.close()

    async with serving(handler) as address, pooled(address) as pool:
        await ask(pool)
        assert pool.idle_count == 1
        await asyncio.sleep(0.15)
        assert pool.idle_count == 0


async def test_refused_and_unresolvable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for host, port in (("127.0.0.1", unused.getsockname()[1]), ("no-such-host.invalid", 80), ("a..b", 80)):
            async with pooled(Address(host, port, False, "")) as pool:
                fault = await ask(pool)
                assert isinstance(fault, UpstreamFault)
                assert fault.kind is FaultKind.CONNECT
                assert fault.detail


@asynccontextmanager
async def black_hole() -> AsyncIterator[Address]:
    """A listening port whose backlog is full: connecting to it waits for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield Address("127.0.0.1", listener.getsockname()[1], False, "")
        for filler in fillers:
            filler.close()


async def test_the_connect_deadline() -> None:
    async with black_hole() as address, pooled(address) as pool:
        started = monotonic()
        fault = await ask(pool, connect_s=0.2)
        assert isinstance(fault, UpstreamFault)
        assert (fault.kind, fault.detail) == (FaultKind.CONNECT, "no connection within 0.2 s")
        assert monotonic() - started < 1


async def test_cancelled_while_connecting() -> None:
    async with black_hole() as address, pooled(address) as pool:
        sink = Sink()
        leg = pool.send(REQUEST, sink, 5.0)
        await asyncio.sleep(0.05)
        leg.cancel()
        await asyncio.sleep(0.05)
        assert not sink.outcome.done()
        assert pool.active_count == 0


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_in_the_turn_in_which_it_connects(turns: int) -> None:
    """Whichever turn of the loop the cancellation falls into, the server sees the connection end."""
    ended = asyncio.Event()
    connected = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        ended.set()
        writer.close()

    async with serving(handler) as address, pooled(address) as pool:
        leg = pool.send(REQUEST, Sink(), 5.0)
        for _ in range(turns):
            await asyncio.sleep(0)
        leg.cancel()
        await asyncio.sleep(0.05)
        if connected.is_set():
            await asyncio.wait_for(ended.wait(), 1)
        assert pool.active_count == 0


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", ANSWER[:-2]])
async def test_cancelled_in_every_later_phase_the_upstream_sees_it_within_100_ms(said: bytes) -> None:
    closed: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(said)
        asked.set()
        with suppress(ConnectionResetError):
            await reader.read()
        closed.set_result(monotonic())

    async with serving(handler) as address, pooled(address) as pool:
        sink = Sink()
        leg = pool.send(REQUEST, sink, 2.0)
        await asked.wait()
        await asyncio.sleep(0.05)
        heard = list(sink.calls)
        cancelled_at = monotonic()
        leg.cancel()
        assert await asyncio.wait_for(closed, 2) - cancelled_at < 0.1
        assert sink.calls == heard
        assert not sink.outcome.done()


async def test_pausing_holds_the_upstream_back_and_loses_nothing() -> None:
    size = 30_000_000
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            await read_request(reader)
            sent = 0
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            while sent < size:
                writer.write(b"z" * 100_000)
                sent += 100_000
                await writer.drain()

    async with serving(handler) as address, pooled(address) as pool:
        sink = Sink()
        leg = pool.send(REQUEST, sink, 2.0)
        await sink.first.wait()
        leg.pause()
        await asyncio.sleep(0.2)
        held = sent
        await asyncio.sleep(0.1)
        assert sent == held < size
        leg.resume()
        assert await sink.result() == b"z" * size
        again = Sink()
        leg = pool.send(REQUEST, again, 2.0)
        leg.pause()
        leg.resume()
        assert await again.result() == b"z" * size
        assert pool.idle_count == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", f"{path}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(ANSWER)


async def test_tls_verifies_and_works(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serving(answer, server_tls(certificate)) as address, pooled(address, trusting) as pool:
        assert [await ask(pool) for _ in range(2)] == [b"hello"] * 2


async def test_a_certificate_nobody_vouches_for_is_refused(certificate: Path) -> None:
    async with serving(answer, server_tls(certificate)) as address, pooled(address) as pool:
        fault = await ask(pool)
        assert isinstance(fault, UpstreamFault)
        assert fault.kind is FaultKind.CONNECT
        assert "certificate" in fault.detail.lower()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:9001/v1", Address("127.0.0.1", 9001, False, "/v1")),
        ("https://models.example/api/v1/", Address("models.example", 443, True, "/api/v1")),
        ("http://[::1]:80", Address("::1", 80, False, "")),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert Address.parse(url) == address


def test_host_headers() -> None:
    assert Address.parse("http://[::1]:9001/v1").host_header == "[::1]:9001"
    assert Address.parse("https://models.example/v1").host_header == "models.example"


@pytest.mark.parametrize("url", ["", "localhost:9001", "ftp://x/", "http:///v1", "http://u:p@h/v1", "http://h/v1?a=b"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        Address.parse(url)
