"""The fault server and the tapped client by themselves, without a gateway between them: what fails in the scorecard is
the gateway's then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic

import pytest

from tests.faults.answers import HEAD, TEXT, WORDS, always, broken_after, chunk, good
from tests.faults.cases.connections import _chunk_by_chunk
from tests.faults.client import Caller, RawCaller, Reply, read_response
from tests.faults.server import CLOSE, RESET, SILENCE, Provider, Refusing, Script, Unreachable

Serve = Callable[[Script], AbstractAsyncContextManager[tuple[Provider, Caller]]]
MESSAGES = [{"role": "user", "content": "Where is my order?"}]
STREAM = {"model": "m", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def serving(script: Script) -> AsyncIterator[tuple[Provider, Caller]]:
        provider = Provider(script)
        await provider.start()
        async with Caller(f"http://127.0.0.1:{provider.port}/v1") as caller:
            yield provider, caller
        await provider.stop()

    return serving


async def test_a_good_answer(serve: Serve) -> None:
    async with serve(good()) as (provider, caller):
        streamed = await caller.ask(STREAM)
        whole = await caller.ask({"model": "m", "messages": MESSAGES})
    assert streamed.text == streamed.streamed_text == whole.text == TEXT
    assert streamed.whole
    assert whole.whole
    assert streamed.events[-1] == "[DONE]"
    assert streamed.finishes == ["stop"]
    assert streamed.chunks[-1]["usage"]["completion_tokens"] == len(WORDS)
    assert [call.number for call in provider.calls] == [1, 2]


async def test_an_answer_in_pieces_of_seven_bytes(serve: Serve) -> None:
    async with serve(_chunk_by_chunk) as (_, caller):
        assert (await caller.ask(STREAM)).text == TEXT


@pytest.mark.parametrize("at", [0, 1, 7, 40, len(TEXT) - 1, len(TEXT)])
async def test_a_partial_answer_is_continued_exactly_where_it_ends(serve: Serve, at: int) -> None:
    async with serve(good()) as (_, caller):
        begun = {"role": "assistant", "content": TEXT[:at]}
        reply = await caller.ask({**STREAM, "messages": [*MESSAGES, begun]})
        wrong = await caller.ask({**STREAM, "messages": [*MESSAGES, {**begun, "content": TEXT[:at] + "#"}]})
    assert TEXT[:at] + reply.text == TEXT
    assert wrong.text.startswith("<asked to continue")


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_cut_after_five_words(serve: Serve, end: object) -> None:
    async with serve(broken_after(5, end)) as (provider, caller):  # type: ignore[arg-type]
        reply = await caller.ask(STREAM)
    assert reply.raised is not None
    assert not reply.whole
    assert reply.streamed_text == "".join(WORDS[:5])
    assert provider.calls[0].closed_by == "provider"


async def test_a_reset_and_a_close_are_told_apart(serve: Serve) -> None:
    async with serve(always(HEAD, 0.05, RESET)) as (provider, _):
        raw = await RawCaller.connect(provider.port)
        await raw.post(STREAM)
        with pytest.raises(ConnectionResetError):
            await raw.reply()
        provider.script = always(HEAD, 0.05, CLOSE)
        raw = await RawCaller.connect(provider.port)
        await raw.post(STREAM)
        reply = await raw.reply()
    assert reply.raw == HEAD
    assert not reply.whole


async def test_a_stream_that_just_ends_is_a_success_only_to_the_client(serve: Serve) -> None:
    """Why there is a tap: the official client does not notice."""
    async with serve(broken_after(5, b"0\r\n\r\n")) as (_, caller):
        reply = await caller.ask(STREAM)
    assert reply.raised is None
    assert reply.whole
    assert reply.events[-1] != "[DONE]"


async def test_who_closed_and_when(serve: Serve) -> None:
    async with serve(always(HEAD, SILENCE)) as (provider, _):
        raw = await RawCaller.connect(provider.port)
        await raw.post(STREAM)
        await raw.until(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        left_at = raw.leave()
        await asyncio.sleep(0.1)
    call = provider.calls[0]
    assert call.closed_by == "gateway"
    assert call.closed_at is not None
    assert 0 <= call.closed_at - left_at < 0.05
    assert call.answered_at is None


async def test_health_checks_are_no_calls(serve: Serve) -> None:
    async with serve(good()) as (provider, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        for healthy, status in ((True, b"200"), (False, b"503")):
            provider.healthy = healthy
            writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            assert status in await reader.readuntil(b"\r\n\r\n")
            await reader.read(1000)
        writer.close()
    assert [probe.target for probe in provider.probes] == ["/v1/models"] * 2
    assert provider.calls == []


async def test_refusing_and_unreachable() -> None:
    refusing, unreachable = Refusing(), Unreachable()
    await refusing.start()
    await unreachable.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", refusing.port)
    started = monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.open_connection("127.0.0.1", unreachable.port)
    assert monotonic() - started >= 0.2
    await refusing.stop()
    await unreachable.stop()


def test_the_second_opinion_is_strict() -> None:
    good_event = chunk("m", {"content": "Grüße"})
    framed = b"%x\r\n%b\r\n" % (len(good_event), good_event)
    for rest, whole in ((b"0\r\n\r\n", True), (b"0\r\n", False), (b"", False), (b"0\r\n\r\nx", False)):
        reply = Reply(raw=HEAD + framed + rest)
        read_response(reply)
        assert reply.whole is whole
        assert reply.streamed_text == "Grüße"
