"""The short form of `benchmarks/fuzz.py`: malformed requests and malformed answers, found by Hypothesis, by
schemathesis and by the benchmark's own seeded cases. Nothing may give a 500, hang, or leave anything behind."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import StartGateway
from tests.support.operating import wait_until
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient
from tests.support.upstream import CLOSE, Received, ScriptedUpstream, Step

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import fuzz_answers
import fuzz_requests
import fuzz_responses
from fuzz import with_routes
from fuzz_books import SPARE_FILES, Gateway, config, unaccounted
from fuzz_requests import ADMIN_KEY, APP_KEY, BODIES, LAST, ROUTE, TIGHT_KEY
from fuzz_upstream import Strict, chunks, sse, stream_of, whole
from fuzz_wire import Answer, AnswerReader

SEED, CASES, WIDTH = 1, 800, 64
QUIET_S = 0.3  # then the gateway waits for more, which will not come: the client ends the connection

quick = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)


def looked_at(gateway: GatewayProcess) -> Gateway:
    return Gateway(gateway.port, gateway.process.pid, gateway.log_file)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, ScriptedUpstream]]:
    """One gateway and model server for all examples: that none of them spoils the next is part of what is tested."""
    with ScriptedUpstream(well) as upstream:
        gateway = GatewayProcess(config(upstream.port), tmp_path_factory.mktemp("fuzz"))
        try:
            yield gateway, upstream
            wait_until(lambda: gateway.metric("understudy_in_flight_requests") == 0)
            assert looked_at(gateway).bad_log_lines() == []
        finally:
            gateway.kill()


def well(request: Received) -> Iterable[Step]:
    path = request.target.partition("?")[0]
    try:
        streamed = request.json.get("stream") is True and path != "/v1/embeddings"
    except ValueError:  # text that the gateway does not look into
        streamed = False
    yield stream_of(path) if streamed else _response(json.dumps(whole(path)).encode())


def _response(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


def exchange(gateway: GatewayProcess, data: bytes) -> list[Answer]:
    """What comes of these bytes until the connection ends, which it must."""
    reader, answers = AnswerReader(), []
    with RawClient(gateway.port, timeout_s=QUIET_S) as raw:
        raw.send(data)
        while True:
            try:
                piece = raw.socket.recv(65536)
            except TimeoutError:
                raw.socket.shutdown(1)
                raw.socket.settimeout(5)
                continue
            except ConnectionResetError:
                return answers
            if not piece:
                return answers
            answers += reader.feed(piece)


def check(answers: list[Answer]) -> None:
    for answer in answers:
        assert answer.status != 500
        assert answer.status < 400 or answer.code, f"no reason: {answer}"


# What Hypothesis makes of requests and answers that are in order: bytes taken out and put in, at any place.

texts = st.binary(max_size=12) | st.sampled_from(
    [b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"\x00", b"\xff", b'"', b"{"]
)
edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 8), texts), min_size=1, max_size=4)


def edited(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, text in changes:
        at = place % (len(data) + 1)
        data = data[:at] + text + data[at + length :]
    return data


def test_requests_with_any_bytes_in_them(served: tuple[GatewayProcess, ScriptedUpstream]) -> None:
    gateway, _ = served

    @settings(quick, max_examples=300)
    @given(st.sampled_from(BODIES), edits)
    def any_bytes(body: tuple[str, dict[str, Any]], changes: list[tuple[int, int, bytes]]) -> None:
        path, fields = body
        check(exchange(gateway, edited(fuzz_requests.post(path, json.dumps(fields).encode()), changes) + LAST))

    any_bytes()
    assert looked_at(gateway).answers_well() == ""


numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(2**63) - 1, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from([*{key for _, body in BODIES for key in body}, "messages", "x"]) | st.text(max_size=8)


def test_bodies_with_any_json_in_them(served: tuple[GatewayProcess, ScriptedUpstream]) -> None:
    gateway, _ = served

    @settings(quick, max_examples=250)
    @given(st.sampled_from(BODIES), st.dictionaries(names, values, min_size=1, max_size=3))
    def any_json(body: tuple[str, dict[str, Any]], odd: dict[str, Any]) -> None:
        data = json.dumps({**body[1], **odd}).encode()
        answers = exchange(gateway, fuzz_requests.post(body[0], data) + LAST)
        assert len(answers) == 2
        check(answers)

    any_json()
    assert looked_at(gateway).answers_well() == ""


@pytest.mark.parametrize("value", [b"1e999", b'"\xff"', b'"\\ud800"'])
@pytest.mark.parametrize("name", [b"max_tokens", b"x"])
def test_values_that_not_every_reader_takes_keep_nobody_from_falling_back(
    served: tuple[GatewayProcess, ScriptedUpstream], name: bytes, value: bytes
) -> None:
    """The gateway's readers look into what they need and skip the rest; what one skipped must not trip the next."""
    gateway, upstream = served
    failure = b"HTTP/1.1 503 No\r\ncontent-length: 27\r\n\r\n" + b'{"error": {"code": "boom"}}'
    upstream.script = lambda request: [failure]
    upstream.requests.clear()
    try:
        body = b'{"model":"rescue","%b":%b}' % (name, value)
        answers = exchange(gateway, fuzz_requests.post("/v1/chat/completions", body, key=TIGHT_KEY) + LAST)
    finally:
        upstream.script = well
    if answers[0].status != 400:
        assert (answers[0].status, answers[0].code) == (503, "boom")
        assert len(upstream.requests) == 4  # the first and its retry, the fallback and its


WHOLE = {path: json.dumps(whole(path)).encode() for path in {path for path, _ in BODIES}}
STREAM = {path: b"".join(sse(path, chunks(path, ["a", " b"]))) for path in WHOLE if path != "/v1/embeddings"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("route", ["alone", "rescue"])
def test_answers_with_any_bytes_in_them(
    served: tuple[GatewayProcess, ScriptedUpstream], route: str, framing: str
) -> None:
    gateway, upstream = served
    sent = [b""]

    def script(request: Received) -> Iterable[Step]:
        yield sent[0]
        yield CLOSE

    @settings(quick, max_examples=100)
    @given(st.sampled_from(sorted(WHOLE)), st.booleans(), edits)
    def any_bytes(path: str, stream: bool, changes: list[tuple[int, int, bytes]]) -> None:
        streamed = stream and path in STREAM
        whole_answer = _response(*(((STREAM[path], b"text/event-stream")) if streamed else (WHOLE[path],)))
        if framing == "chunked" and streamed:
            whole_answer = stream_of(path)
        sent[0] = edited(whole_answer, changes)
        asked = fuzz_responses.Case("bytes", path, route, streamed, (), payload=True, text="")
        got = fuzz_answers.Got()
        answers = exchange(gateway, fuzz_requests.post(path, json.dumps(asked.request).encode()) + LAST)
        assert len(answers) == 2
        fuzz_answers.judge(asked, 0, answers[0], got)
        assert not got.findings

    upstream.script = script
    try:
        any_bytes()
    finally:
        upstream.script = well
    assert looked_at(gateway).answers_well() == ""


def test_what_schemathesis_makes_of_our_openapi(served: tuple[GatewayProcess, ScriptedUpstream]) -> None:
    gateway, _ = served
    description = with_routes(httpx2.get(f"{gateway.url}/openapi.json").json(), [ROUTE, "alone"])
    modes = schemathesis.GenerationMode
    operations = [found.ok() for found in schemathesis.openapi.from_dict(description).get_all_operations()]
    assert {"/v1/chat/completions", "/v1/responses", "/admin/routes/{route}"} <= {one.path for one in operations}
    for operation in operations:
        takes_input = operation.body or operation.path_parameters
        made = [operation.as_strategy(generation_mode=modes.POSITIVE)]
        made += [operation.as_strategy(generation_mode=modes.NEGATIVE)] if takes_input else []

        @settings(quick, max_examples=25)
        @given(st.one_of(made))
        def any_case(case: schemathesis.Case) -> None:
            key = ADMIN_KEY if "admin" in case.path else APP_KEY
            answer = case.call(base_url=gateway.url, headers={"authorization": f"Bearer {key}"}, timeout=10)
            assert answer.status_code < 500, answer.text
            assert answer.status_code < 400 or answer.json()["error"]["code"]

        any_case()
    assert looked_at(gateway).answers_well() == ""


# The benchmark's own cases.


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_malformed_requests(gateway_process: StartGateway) -> None:
    complaints: list[str] = []
    async with listening(lambda: Strict(complaints, [0])) as port:
        started = await asyncio.to_thread(gateway_process, config(port))
        gateway, seen = looked_at(started), fuzz_requests.Seen()
        assert await asyncio.to_thread(gateway.answers_well) == ""
        before = await asyncio.to_thread(gateway.books)
        await fuzz_requests.Clients(started.port, SEED, iter(range(CASES)), seen).run(WIDTH)
        assert await asyncio.to_thread(gateway.answers_well) == ""
        after = await asyncio.to_thread(gateway.settled, before.files)
    assert seen.findings == []
    assert unaccounted(seen, before, after) == []
    assert complaints == []
    assert (after.in_flight, gateway.bad_log_lines()) == (0, [])
    assert after.files <= before.files + SPARE_FILES


async def test_malformed_answers(gateway_process: StartGateway) -> None:
    async with (
        listening(lambda: fuzz_responses.Malformer(SEED)) as fuzzed,
        listening(lambda: Strict([], [0])) as good,
    ):
        started = await asyncio.to_thread(gateway_process, config(fuzzed, good))
        gateway, got = looked_at(started), fuzz_answers.Got()
        before = await asyncio.to_thread(gateway.books)
        await fuzz_answers.Clients(started.port, SEED, iter(range(CASES)), got).run(WIDTH)
        assert await asyncio.to_thread(gateway.answers_well) == ""
        after = await asyncio.to_thread(gateway.settled, before.files)
    assert got.findings == []
    counted = after.outcomes - before.outcomes
    assert (counted.total() - 1, counted["ok"] - 1) == (CASES, got.ok)
    assert (after.in_flight, gateway.bad_log_lines()) == (0, [])
    assert after.files <= before.files + SPARE_FILES
