"""The seam between our protocol class and uvicorn's: whatever the order of requests, each gets its own answer."""

import json
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import (
    STREAM_END,
    STREAM_HEAD,
    Received,
    ScriptedUpstream,
    Step,
    chunk,
    chunked,
    completion,
    response,
    stream_events,
)

GET = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n"


def request(content: str = "hi", **fields: Any) -> bytes:
    return json.dumps({"model": "support-chat", "messages": [{"role": "user", "content": content}], **fields}).encode()


def echo(request: Received) -> Iterable[Step]:
    """Answers with the last message, after the number of seconds that it says, if it says one."""
    content = request.json["messages"][-1]["content"]
    yield float(content) if content.replace(".", "").isdigit() else 0.0
    yield response(completion(content))


def content(body: bytes) -> str:
    text: str = json.loads(body)["choices"][0]["message"]["content"]
    return text


def test_hot_and_cold_requests_share_a_connection(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = echo
    with RawClient(to_student.port) as raw:
        for number in range(3):
            raw.send(post(request(f"hot {number}")))
            assert content(raw.response()[2]) == f"hot {number}"
            raw.send(GET)
            assert raw.response()[2] == b"ok\n"


def test_pipelined_requests_are_answered_in_their_order(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = echo
    with RawClient(to_student.port) as raw:
        raw.send(post(request("0.2")) + GET + post(request("b")) + GET + post(request("c")) + post(b"{"))
        assert content(raw.response()[2]) == "0.2"
        assert raw.response()[2] == b"ok\n"
        assert content(raw.response()[2]) == "b"
        assert raw.response()[2] == b"ok\n"
        assert content(raw.response()[2]) == "c"
        assert raw.response()[0] == 400
    assert len(student.requests) == 3


def test_a_long_pipeline_of_refusals(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(b"{") * 2000)
        assert {raw.response()[0] for _ in range(2000)} == {400}


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_request_in_small_pieces(to_student: GatewayProcess, student: ScriptedUpstream, size: int) -> None:
    student.script = echo
    data = post(request("in pieces"))
    with RawClient(to_student.port) as raw:
        for start in range(0, len(data), size):
            raw.send(data[start : start + size])
        assert content(raw.response()[2]) == "in pieces"


def test_a_chunked_request_body(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = echo
    body = request("chunked")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"
    with RawClient(to_student.port) as raw:
        raw.send(head + b"".join(chunked(body[start : start + 9]) for start in range(0, len(body), 9)) + b"0\r\n\r\n")
        assert content(raw.response()[2]) == "chunked"
    assert student.requests[0].headers["content-length"] == str(len(student.requests[0].body))


def test_expect_100_continue(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = echo
    body = request("after continue")
    head, _, _ = post(body, extra="expect: 100-continue\r\n").partition(body)
    with RawClient(to_student.port) as raw:
        raw.send(head)
        assert raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.send(body)
        assert content(raw.response()[2]) == "after continue"


@pytest.fixture
def small_bodies(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> GatewayProcess:
    config = two_upstreams(student, teacher, student_percent=100)
    return gateway_process({**config, "limits": {"body_bytes": 2000, "in_flight": 2}})


@pytest.mark.parametrize("extra", ["", "expect: 100-continue\r\n"])
def test_a_body_said_to_be_too_large_is_refused_at_once(small_bodies: GatewayProcess, extra: str) -> None:
    with RawClient(small_bodies.port) as raw:
        raw.send(post(b"x" * 5_000_000, extra=extra)[:200])
        status, headers, body = raw.response()
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(body)["error"]["code"] == "request_too_large"


def test_a_sender_of_too_much_gets_to_read_why(small_bodies: GatewayProcess) -> None:
    """Closing at once would reset the connection, and the answer would be lost with it."""
    with RawClient(small_bodies.port) as raw:
        raw.send(post(b"x" * 300_000))
        assert raw.response()[0] == 413
        assert raw.rest() == b""


def test_a_chunked_body_that_grows_too_large(small_bodies: GatewayProcess) -> None:
    with RawClient(small_bodies.port) as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")
        raw.send(chunked(b"x" * 1500) * 2)
        assert raw.response()[0] == 413


def test_too_many_at_once(small_bodies: GatewayProcess, student: ScriptedUpstream) -> None:
    student.script = echo
    with (
        RawClient(small_bodies.port) as one,
        RawClient(small_bodies.port) as two,
        RawClient(small_bodies.port) as three,
    ):
        one.send(post(request("0.5")))
        two.send(post(request("0.5")))
        time.sleep(0.1)
        three.send(post(request("0.5")))
        status, headers, body = three.response()
        assert (status, headers["retry-after"]) == (429, "1")
        assert json.loads(body)["error"]["code"] == "too_many_requests"
        assert content(one.response()[2]) == "0.5"
        assert content(two.response()[2]) == "0.5"
        three.send(post(request("again")))
        assert three.response()[0] == 200


def streaming(request: Received) -> Iterable[Step]:
    yield STREAM_HEAD
    for one in stream_events(["a", "b"], usage=True):
        yield chunked(one)
        yield 0.01
    yield STREAM_END


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    student.script = streaming
    with RawClient(to_student.port) as raw:
        raw.send(post(request(stream=True), version="1.0"))
        head = raw.until(b"\r\n\r\n").lower()
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert raw.rest().endswith(b"data: [DONE]\n\n")


def test_connection_close_is_honoured(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(request(), extra="connection: close\r\n"))
        assert raw.response()[1]["connection"] == "close"
        assert raw.closed_within(2)


@pytest.mark.parametrize(
    "data",
    [
        b"NOT HTTP AT ALL\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 3\r\n"
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabc",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_openai_shape(to_student: GatewayProcess, data: bytes) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(data)
        status, headers, body = raw.response()
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["error"]["code"] == "invalid_http_request"
        assert raw.closed_within(2)


def test_garbage_after_a_request_does_not_corrupt_its_answer(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    student.script = streaming
    with RawClient(to_student.port) as raw:
        raw.send(post(request(stream=True)))
        raw.until(b'"a"')
        raw.send(b"\x00\x01garbage\r\n\r\n")
        assert b"HTTP/1.1 400" not in raw.rest()


def test_the_wrong_method_and_unknown_paths(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(b"GET /v1/chat/completions HTTP/1.1\r\nhost: g\r\n\r\n")
        status, _, body = raw.response()
        assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
        raw.send(b"GET /v1/files HTTP/1.1\r\nhost: g\r\n\r\n")
        status, _, body = raw.response()
        assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")


def test_a_compressed_body_is_refused_clearly(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(b"\x1f\x8b...", extra="content-encoding: gzip\r\n"))
        status, _, body = raw.response()
        assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_content_encoding")


def test_a_query_string_goes_on(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(request(), path="/v1/chat/completions?api-version=2&x=%20"))
        assert raw.response()[0] == 200
    assert student.requests[0].target == "/v1/chat/completions?api-version=2&x=%20"


def test_a_request_id_that_could_break_headers_is_replaced(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(request(), extra="x-request-id: two words\r\n"))
        assert raw.response()[1]["x-request-id"].startswith("req_")


def test_a_slow_reader_slows_the_upstream_and_loses_nothing(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    events = [chunk({"content": "x" * 100_000}) for _ in range(200)]
    progress = []

    def flood(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for number, one in enumerate(events):
            progress.append(number)
            yield chunked(one)
        yield chunked(chunk({}, "stop") + b"data: [DONE]\n\n") + STREAM_END

    student.script = flood
    with RawClient(to_student.port, timeout_s=20) as raw:
        raw.send(post(request(stream=True)))
        time.sleep(1.0)
        held = len(progress)
        assert held < len(events), "the upstream was read to the end while the client read nothing"
        time.sleep(0.3)
        assert len(progress) == held, "the upstream is not held back"
        received = raw.until(b"[DONE]\n\n\r\n")
        assert received.count(b"x" * 100_000) == len(events)
        raw.until(b"0\r\n\r\n")
        raw.send(post(request("after", stream=False)))
        student.script = echo
        raw.send(post(request("next")))


def test_after_a_slow_reader_the_upstream_connection_still_works(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    big = response(completion("y" * 5_000_000))
    student.script = lambda request: [big]
    with RawClient(to_student.port, timeout_s=20) as raw:
        for _ in range(3):
            raw.send(post(request()))
            time.sleep(0.3)
            assert len(raw.response()[2]) > 5_000_000
    assert {received.connection for received in student.requests} == {1}


def test_streamed_pieces_are_not_held_up(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    """Each event arrives when it was sent: gaps at the client are the upstream's gaps."""

    def paced(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for one in stream_events([f"w{number}" for number in range(10)], usage=False):
            yield chunked(one)
            yield 0.05
        yield STREAM_END

    student.script = paced
    with RawClient(to_student.port) as raw:
        raw.send(post(request(stream=True)))
        arrivals = []
        for number in range(10):
            raw.until(f'"w{number}"'.encode())
            arrivals.append(time.perf_counter())
    gaps = sorted(later - earlier for earlier, later in pairwise(arrivals))
    assert 0.045 < gaps[len(gaps) // 2] < 0.065


JDK = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_an_offer_of_http_2_is_declined_and_the_request_served(
    to_student: GatewayProcess, student: ScriptedUpstream, pieces: int
) -> None:
    """JDK clients make it with every request. The parser takes such a request to have no body."""
    student.script = echo
    data = post(request("from java"), extra=JDK)
    head = data.index(b"\r\n\r\n") + 4
    cuts = {1: [len(data)], 2: [head, len(data)], 3: [head - 10, head + 10, len(data)]}[pieces]
    with RawClient(to_student.port) as raw:
        for start, end in zip([0, *cuts], cuts, strict=False):
            raw.send(data[start:end])
            time.sleep(0.02)
        assert content(raw.response()[2]) == "from java"
        raw.send(post(request("one more"), extra=JDK) + GET)
        assert content(raw.response()[2]) == "one more"
        assert raw.response()[2] == b"ok\n"


def test_a_body_behind_an_upgrade_is_no_second_request(to_student: GatewayProcess) -> None:
    smuggled = b"GET /v1/models HTTP/1.1\r\nhost: g\r\n\r\n"
    with RawClient(to_student.port) as raw:
        raw.send(post(smuggled, extra=JDK + "connection: close\r\n"))
        assert raw.response()[0] == 400
        assert raw.rest() == b""


def test_connect_is_refused(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere\r\n\r\n")
        assert raw.response()[0] == 400


def test_the_absolute_form_of_a_target(to_student: GatewayProcess, student: ScriptedUpstream) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(request(), path="http://elsewhere.example:99/v1/chat/completions?a=b#c"))
        assert raw.response()[0] == 200
        raw.send(b"GET http://elsewhere.example/healthz HTTP/1.1\r\nhost: g\r\n\r\n")
        assert raw.response()[2] == b"ok\n"
    assert student.requests[0].target == "/v1/chat/completions?a=b"


def test_two_authorizations_are_refused(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(post(request(), extra="authorization: Bearer a\r\nauthorization: Bearer b\r\n"))
        status, _, body = raw.response()
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_http_request")


def test_a_head_without_end(to_student: GatewayProcess) -> None:
    with RawClient(to_student.port) as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nx-long: ")
        with pytest.raises(OSError):  # noqa: PT011  reset or refused, while this is still sending
            for _ in range(100):
                raw.send(b"x" * 100_000)
                time.sleep(0.001)
                if raw.closed_within(0.001):
                    raise ConnectionResetError
    assert to_student.metric("understudy_refused_total", code="request_header_fields_too_large") == 1


@pytest.fixture
def keyed(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> GatewayProcess:
    keys = [{"name": "sre", "role": "admin", "key": "a-key-of-theirs"}]
    return gateway_process({**two_upstreams(student, teacher, student_percent=100), "keys": keys})


def test_the_key_is_checked_before_the_body_is_taken(keyed: GatewayProcess) -> None:
    for extra in ("expect: 100-continue\r\n", "expect: 100-continue\r\nauthorization: Bearer guess\r\n"):
        with RawClient(keyed.port) as raw:
            raw.send(post(b"x" * 1_000_000, extra=extra)[:300])
            status, headers, _ = raw.response()
            assert (status, headers["connection"]) == (401, "close")


def test_what_follows_a_refused_upload_is_not_served(small_bodies: GatewayProcess, student: ScriptedUpstream) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"
    with RawClient(small_bodies.port) as raw:
        raw.send(head + chunked(b"x" * 3000) + b"0\r\n\r\n" + post(request("smuggled")))
        assert raw.response()[0] == 413
        assert raw.rest() == b""
    assert student.requests == []
    assert "Error" not in small_bodies.log


@pytest.mark.parametrize("status", ["600 Odd", "999 Odd", "099 Odd", "000 Odd"])
def test_a_status_that_is_none_hangs_nobody(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, status: str
) -> None:
    student.script = lambda request: [response(b"{}", status)]
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100, fallback={"order": []}))
    with RawClient(gateway.port) as raw:
        raw.send(post(request()))
        code, _, body = raw.response()
        assert (code, json.loads(body)["error"]["code"]) == (502, "upstream_invalid_response")


def test_headers_of_the_upstreams_own_connection_stay_there(
    to_student: GatewayProcess, student: ScriptedUpstream
) -> None:
    extra = "connection: x-hop\r\nx-hop: 1\r\nx-end: 2\r\nset-cookie: a=b\r\n"
    student.script = lambda request: [response(completion(), extra=extra)]
    with RawClient(to_student.port) as raw:
        raw.send(post(request()))
        headers = raw.response()[1]
    assert headers["x-end"] == "2"
    assert not {"x-hop", "set-cookie", "connection"} & headers.keys()


def test_a_client_that_never_reads_is_given_up_at_the_last_deadline(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    def flood(request: Received) -> Iterable[Step]:
        yield STREAM_HEAD
        for _ in range(1000):
            yield chunked(chunk({"content": "x" * 100_000}))

    student.script = flood
    deadlines = {"ttft_s": 1, "stall_s": 0.5, "total_s": 1.5}
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100, deadlines=deadlines))
    with RawClient(gateway.port) as raw:
        raw.send(post(request(stream=True)))
        time.sleep(2.5)
        assert gateway.metric("understudy_requests_total", outcome="timeout") == 1
        started = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - started < 3


def test_time_in_a_pipeline_is_not_the_upstreams(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = lambda request: [0.7, STREAM_HEAD, chunked(b"".join(stream_events(["a"], usage=True))), STREAM_END]
    deadlines = {"ttft_s": 1}
    gateway = gateway_process(two_upstreams(student, teacher, student_percent=100, deadlines=deadlines))
    with RawClient(gateway.port) as raw:
        raw.send(post(request(stream=True)) * 2)
        for _ in range(2):
            raw.until(b"data: [DONE]\n\n\r\n0\r\n\r\n")
