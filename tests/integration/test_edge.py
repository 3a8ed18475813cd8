"""The edge: what clients may not do to the gateway, nor through it to the model servers (docs/security.md)."""

import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import APP, KEYS, SRE, wait_until
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
    well_behaved,
)

CHAT = "/v1/chat/completions"
HOST = b"host: g\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n"


def body(content: str = "hi", **fields: Any) -> bytes:
    return json.dumps({"model": "support-chat", "messages": [{"role": "user", "content": content}], **fields}).encode()


NEXT = post(body("smuggled"))


def code_of(data: bytes) -> str:
    return str(json.loads(data)["error"]["code"])


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(well_behaved()) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, model: ScriptedUpstream) -> Iterator[GatewayProcess]:
    """A gateway without keys that tests share which leave nothing behind."""
    gateway = GatewayProcess(two_upstreams(model, model), tmp_path_factory.mktemp("shared"))
    yield gateway
    gateway.kill()


def only_answer(gateway: GatewayProcess, model: ScriptedUpstream, data: bytes) -> tuple[int, bytes]:
    """The one answer to these bytes, after which the connection ends: nothing in them was served but that."""
    served = len(model.requests)
    with RawClient(gateway.port) as raw:
        raw.send(data)
        status, _, answer = raw.response()
        assert raw.rest() == b""
    assert len(model.requests) == served
    return status, answer


# Requests that two servers could read in two ways.

FRAMING = {
    "CL and TE": b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two CL": b"content-length: 5\r\ncontent-length: 0\r\n\r\nhello",
    "the same CL twice": b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "a list of CL": b"content-length: 5, 5\r\n\r\nhello",
    "a signed CL": b"content-length: +5\r\n\r\nhello",
    "a negative CL": b"content-length: -5\r\n\r\nhello",
    "a hexadecimal CL": b"content-length: 0x5\r\n\r\nhello",
    "a CL with a space inside": b"content-length: 5 0\r\n\r\nhello",
    "an empty CL": b"content-length: \r\n\r\n",
    "a CL that overflows": b"content-length: 18446744073709551621\r\n\r\nhello",
    "TE xchunked": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE identity": b"transfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "TE chunked, identity": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "TE gzip, chunked": b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE chunked, chunked": b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "TE with a comma before": b"transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "TE with a comma after": b"transfer-encoding: chunked,\r\n\r\n0\r\n\r\n",
    "TE with a parameter": b"transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "TE in quotes": b'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "TE with a tab after": b"transfer-encoding: chunked\t\r\n\r\n0\r\n\r\n",
    "TE with a vertical tab": b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "TE with a space before its colon": b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE on a folded line": b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "two TE": b"transfer-encoding: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE chunked, then TE identity": b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "an empty TE": b"transfer-encoding: \r\n\r\n0\r\n\r\n",
    "a negative chunk size": b"transfer-encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a chunk size that overflows": b"transfer-encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n",
    "a chunk size with 0x": b"transfer-encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "a chunk size with a space before": b"transfer-encoding: chunked\r\n\r\n 1\r\nx\r\n0\r\n\r\n",
    "a chunk size with a space after": b"transfer-encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
    "a chunk size that is none": b"transfer-encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
    "no chunk size": b"transfer-encoding: chunked\r\n\r\n\r\nx\r\n0\r\n\r\n",
    "a bare LF after a chunk size": b"transfer-encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "a bare LF in a chunk extension": b"transfer-encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
    "a chunk longer than it says": b"transfer-encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    "no CRLF after a chunk": b"transfer-encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n",
    "a bare LF after a chunk": b"transfer-encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n",
    "a trailer that is none": b"transfer-encoding: chunked\r\n\r\n0\r\nx y\r\n\r\n",
    "a folded line": b"a: b\r\n c: d\r\n\r\n",
    "a folded first line": b" a: b\r\n\r\n",
    "a bare CR in a value": b"a: b\rc: d\r\n\r\n",
    "a bare LF in a value": b"a: b\nc: d\r\n\r\n",
    "a head that ends with a bare LF": b"a: b\r\n\n",
    "a NUL in a value": b"a: b\x00c\r\n\r\n",
    "a NUL in a name": b"a\x00: b\r\n\r\n",
    "a control character in a value": b"a: b\x01\r\n\r\n",
    "a space before a colon": b"content-length : 5\r\n\r\nhello",
    "a space in a name": b"content length: 5\r\n\r\nhello",
    "no name": b": b\r\n\r\n",
    "no colon": b"content-length\r\n\r\n",
    "a name beyond ASCII": b"content-length\xff: 5\r\n\r\nhello",
    "two hosts": b"host: h\r\n\r\n",
    "two authorizations": b"authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
}


@pytest.mark.parametrize("path", [CHAT, "/healthz"], ids=["hot", "cold"])
@pytest.mark.parametrize("case", FRAMING)
def test_what_could_be_read_in_two_ways_is_refused(
    shared: GatewayProcess, model: ScriptedUpstream, case: str, path: str
) -> None:
    """And what comes behind it is no request: it could be part of the first one, to somebody."""
    data = b"POST %b HTTP/1.1\r\n%b%b%b" % (path.encode(), HOST, FRAMING[case], NEXT)
    status, answer = only_answer(shared, model, data)
    assert (status, code_of(answer)) == (400, "invalid_http_request")


REQUEST_LINES = {
    "HTTP/0.9": b"POST {} HTTP/0.9\r\n",
    "HTTP/0.9 as it was": b"POST {}\r\n",
    "HTTP/1.2": b"POST {} HTTP/1.2\r\n",
    "HTTP/2.0": b"POST {} HTTP/2.0\r\n",
    "HTTP/3.0": b"POST {} HTTP/3.0\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
    "a small http": b"POST {} http/1.1\r\n",
    "a bare LF": b"POST {} HTTP/1.1\n",
    "a bare CR": b"POST {} HTTP/1.1\r",
    "a space after the version": b"POST {} HTTP/1.1 \r\n",
    "a space before the method": b" POST {} HTTP/1.1\r\n",
    "a tab after the method": b"POST\t{} HTTP/1.1\r\n",
    "something after the path": b"POST {} x HTTP/1.1\r\n",
    "a method that is none": b"FETCH {} HTTP/1.1\r\n",
    "a small method": b"post {} HTTP/1.1\r\n",
    "a method of RTSP": b"DESCRIBE {} HTTP/1.1\r\n",
    "CONNECT": b"CONNECT {} HTTP/1.1\r\n",
    "a NUL in the path": b"POST {}\x00 HTTP/1.1\r\n",
    "a tab in the query": b"POST {}?a=\tb HTTP/1.1\r\n",
    "a path beyond ASCII": b"POST {}\xff HTTP/1.1\r\n",
    "a query beyond ASCII": b"POST {}?\xff HTTP/1.1\r\n",
    "a path without a slash": b"POST v1 HTTP/1.1\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n",
    "another scheme": b"POST ftp://h{} HTTP/1.1\r\n",
}


@pytest.mark.parametrize("path", [CHAT, "/healthz"], ids=["hot", "cold"])
@pytest.mark.parametrize("case", REQUEST_LINES)
def test_a_request_line_that_is_none(shared: GatewayProcess, model: ScriptedUpstream, case: str, path: str) -> None:
    line = REQUEST_LINES[case].replace(b"{}", path.encode())
    status, answer = only_answer(shared, model, line + HOST + b"content-length: 0\r\n\r\n" + NEXT)
    assert (status, code_of(answer)) == (400, "invalid_http_request")
    assert "Traceback" not in shared.log


@pytest.mark.parametrize("path", [CHAT, "/healthz"], ids=["hot", "cold"])
def test_no_host(shared: GatewayProcess, model: ScriptedUpstream, path: str) -> None:
    status, answer = only_answer(shared, model, b"POST %b HTTP/1.1\r\n\r\n" % path.encode() + NEXT)
    assert (status, code_of(answer)) == (400, "invalid_http_request")


@pytest.mark.parametrize(
    "first",
    [
        b"GET /healthz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        b"GET /healthz RTSP/1.0\r\n\r\n",  # llhttp takes it for HTTP/1.0
        post(b"{", extra="connection: close\r\n"),
        post(b"{", version="1.0"),
    ],
)
@pytest.mark.parametrize("behind", [NEXT, GET, b"PATCH /admin/routes/support-chat HTTP/1.1\r\nhost: 127.0.0.1\r\n"])
def test_nothing_behind_a_connections_last_request_is_served(
    shared: GatewayProcess, model: ScriptedUpstream, first: bytes, behind: bytes
) -> None:
    change = b'{"reason": "x", "student_percent": 7}'
    if behind.startswith(b"PATCH"):
        behind += b"content-length: %d\r\n\r\n%b" % (len(change), change)
    assert only_answer(shared, model, first + behind)[0] in (200, 400)
    live = httpx2.get(f"{shared.url}/admin/routes/support-chat").json()
    assert live["document"]["student_percent"] == 50


def test_transfer_encoding_is_no_part_of_http_1_0(shared: GatewayProcess, model: ScriptedUpstream) -> None:
    head = b"POST /v1/chat/completions HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"
    status, answer = only_answer(shared, model, head + chunked(body()) + b"0\r\n\r\n" + NEXT)
    assert (status, code_of(answer)) == (400, "invalid_http_request")


def test_a_bad_chunk_ends_a_request_that_the_app_is_reading(shared: GatewayProcess, model: ScriptedUpstream) -> None:
    head = b"PATCH /admin/routes/support-chat HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    with RawClient(shared.port) as raw:
        raw.send(head + chunked(b'{"reason"'))
        time.sleep(0.1)
        raw.send(b"-1\r\n" + NEXT)
        status, _, answer = raw.response()
        assert (status, code_of(answer)) == (400, "invalid_http_request")
        assert raw.rest() == b""


# Where a request goes is the config's to say.


@pytest.mark.parametrize(
    "target",
    [
        "http://{evil}/v1/chat/completions",
        "https://user:pass@{evil}/v1/chat/completions?a=b",
        "//{evil}/v1/chat/completions",
        "/v1/chat/completions@{evil}",
        "/v1/../v1/chat/completions",
        "/v1/%2e%2e/admin/routes",
        "/v1/models/../../admin/routes",
        "/v1/chat/completions/../../../admin/routes",
        "/v1/chat%2fcompletions",
        "/v1/chat/completions%00",
        "/v1/chat/completions;x=y",
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "\\\\{evil}\\v1",
        "/v1/chat/completions?url=http://{evil}/&base_url=http://{evil}/",
        "/v1/chat/completions#@{evil}/",
    ],
)
def test_no_target_and_no_header_names_an_upstream(
    shared: GatewayProcess, model: ScriptedUpstream, target: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as evil:
        evil.settimeout(0.3)
        address = f"127.0.0.1:{evil.getsockname()[1]}"
        extra = f"x-forwarded-host: {address}\r\nx-original-url: http://{address}/\r\nforwarded: host={address}\r\n"
        served = len(model.requests)
        with RawClient(shared.port) as raw:
            data = post(body(base_url=f"http://{address}/"), path=target.format(evil=address), extra=extra)
            raw.send(data.replace(b"host: gateway", f"host: {address}".encode()))
            status = raw.response()[0]
        with pytest.raises(TimeoutError):
            evil.accept()
    for received in model.requests[served:]:
        assert received.target.partition("?")[0] == CHAT
        assert received.headers["host"] == f"127.0.0.1:{model.port}"
        assert not {"x-forwarded-host", "x-original-url", "forwarded"} & received.headers.keys()
    assert status == (200 if len(model.requests) > served else status)
    assert status in (200, 400, 404, 405)


@pytest.mark.parametrize("path", ["/v1/%2e%2e/admin/routes", "/v1/models/../../admin/routes", "//admin/routes"])
def test_no_spelling_of_a_path_gets_by_the_key(
    gateway_process: StartGateway, model: ScriptedUpstream, path: str
) -> None:
    gateway = gateway_process({**two_upstreams(model, model), **KEYS})
    for extra in ("", "authorization: Bearer app-key-secret\r\n"):
        with RawClient(gateway.port) as raw:
            raw.send(f"GET {path} HTTP/1.1\r\nhost: g\r\n{extra}\r\n".encode())
            status, _, answer = raw.response()
            assert status in (401, 404)
            assert b"student_percent" not in answer


def test_a_redirect_is_not_followed(gateway_process: StartGateway, student: ScriptedUpstream) -> None:
    with ScriptedUpstream(well_behaved()) as elsewhere:
        location = f"location: {elsewhere.base_url}/chat/completions\r\n"
        student.script = lambda request: [response(b"{}", "307 Temporary Redirect", location)]
        gateway = gateway_process(two_upstreams(student, student, student_percent=100))
        with RawClient(gateway.port) as raw:
            raw.send(post(body()))
            assert raw.response()[0] == 502
        assert elsewhere.requests == []


def test_an_upstream_nobody_vouches_for_gets_no_prompt_and_no_key(
    gateway_process: StartGateway, tmp_path: Path, teacher: ScriptedUpstream
) -> None:
    pem = tmp_path / "self-signed.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
    subprocess.run([*command, "-keyout", pem, "-out", f"{pem}.crt"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pem}.crt", pem)
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as tls:
                        got.append(tls.recv(65536))
                except OSError:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        config = two_upstreams(teacher, teacher, student_percent=100, fallback={"order": []})
        config["upstreams"]["small"]["base_url"] = f"https://localhost:{listener.getsockname()[1]}/v1"
        config["upstreams"]["small"]["api_key"] = "student-secret"
        gateway = gateway_process(config)
        with RawClient(gateway.port) as raw:
            raw.send(post(body()))
            status, _, answer = raw.response()
        assert (status, code_of(answer)) == (502, "upstream_unreachable")
        assert b"certificate" in answer.lower()
        listener.shutdown(socket.SHUT_RDWR)
    assert not [data for data in got if data]


# What crosses, and what is told.


def test_what_clients_say_of_themselves_stays_here(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=100), **KEYS})
    headers = {
        "authorization": "Bearer app-key-secret",
        "proxy-authorization": "Basic c2VjcmV0",
        "cookie": "session=secret",
        "api-key": "secret",
        "x-api-key": "secret",
        "x-understudy-upstream": "big",
        "x-understudy-anything": "1",
        "x-forwarded-for": "1.2.3.4",
        "te": "trailers",
        "connection": "x-own, baggage, keep-alive",
        "x-own": "1",
        "baggage": "only=here",
        "keep-alive": "timeout=5",
        "proxy-connection": "keep-alive",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    answer_headers = "x-understudy-upstream: x\r\nx-understudy-secret: x\r\nkeep-alive: timeout=9\r\n"
    student.script = lambda request: [response(completion(), extra=answer_headers)]
    with RawClient(gateway.port) as raw:
        raw.send(post(body(), extra="".join(f"{name}: {value}\r\n" for name, value in headers.items())))
        status, answered, _ = raw.response()
    assert status == 200
    got = student.requests[-1].headers
    allowed = {"host", "content-type", "accept", "traceparent", "user-agent", "x-request-id", "content-length"}
    assert set(got) <= allowed
    assert got["traceparent"] == headers["traceparent"]
    assert answered["x-understudy-upstream"] == "small"
    assert not {"x-understudy-secret", "keep-alive"} & answered.keys()


def test_the_log_holds_no_key_and_no_prompt(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    """Whatever goes wrong with a request that holds them, everywhere that a request can."""
    secret = "s3cr3t-0f-a-client"
    config = {**two_upstreams(student, teacher, student_percent=100, fallback={"order": []}), **KEYS}
    config["upstreams"]["small"]["api_key"] = f"{secret}-upstream"
    gateway = gateway_process(config, env={"PYTHONASYNCIODEBUG": "1"})
    good = "authorization: Bearer app-key-secret\r\n"
    scripts: list[list[Step]] = [
        [response(completion(secret))],
        [response(secret.encode(), "500 Oops")],
        [response(secret.encode(), "600 Odd")],
        [secret.encode()],
        [STREAM_HEAD, chunked(chunk({"content": secret})), chunked(f"data: {secret}\n\n".encode())],
    ]
    requests = [
        *(post(body(secret, stream=stream, user=secret), extra=good) for stream in (False, True)),
        post(body(secret), extra=f"authorization: Bearer {secret}\r\n"),
        post(body(secret), path=f"{CHAT}?key={secret}", extra=good),
        post(body(secret, model=secret), extra=good),
        post(secret.encode(), extra=good),
        post(body(secret)[:-5], extra=good + f"cookie: {secret}\r\nx-request-id: {secret}\r\n"),
        post(body(secret), extra=f"{good}a\x00b: {secret}\r\n"),
        f"GET /v1/models?key={secret} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {secret}\r\n\r\n".encode(),
        b"PATCH /admin/routes/support-chat HTTP/1.1\r\nhost: g\r\nauthorization: Bearer sre-key-secret\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(secret), secret.encode()),
        f"\x16\x03{secret}".encode(),
    ]
    for steps in scripts:
        student.script = lambda request, steps=steps: steps
        for data in requests:
            with RawClient(gateway.port, timeout_s=1) as raw:
                raw.send(data)
                with contextlib.suppress(EOFError, OSError):
                    raw.until(b"\r\n\r\n")
    assert gateway.stop() == 0
    log = gateway.log
    assert "running on" in log
    for shown in (secret, "app-key-secret", "sre-key-secret", "Bearer"):
        assert shown not in log


# Keys and what they may use.


def test_a_config_that_holds_only_the_digest_of_a_key(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    keys = [
        {"name": "app", "key_sha256": hashlib.sha256(b"app-key-secret").hexdigest().upper()},
        {"name": "sre", "role": "admin", "key_sha256": hashlib.sha256(b"sre-key-secret").hexdigest()},
    ]
    gateway = gateway_process({**two_upstreams(student, teacher), "keys": keys})
    models, admin = f"{gateway.url}/v1/models", f"{gateway.url}/admin/routes"
    assert httpx2.get(models, headers=APP).status_code == 200
    assert httpx2.get(admin, headers=APP).status_code == 403
    assert httpx2.get(admin, headers=SRE).status_code == 200
    for wrong in ("guess", keys[0]["key_sha256"], keys[1]["key_sha256"]):
        assert httpx2.get(models, headers={"authorization": f"Bearer {wrong}"}).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer guess"}, APP])
def test_only_an_admins_key_opens_admin(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, headers: dict[str, str]
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher), **KEYS})
    url = f"{gateway.url}/admin/routes"
    for answer in (
        httpx2.get(url, headers=headers),
        httpx2.get(f"{url}/support-chat", headers=headers),
        httpx2.patch(f"{url}/support-chat", headers=headers, json={"student_percent": 1, "reason": "x"}),
    ):
        assert answer.status_code == (403 if headers == APP else 401)
    live = httpx2.get(f"{url}/support-chat", headers=SRE).json()
    assert live["document"]["student_percent"] == 50


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("host: 127.0.0.1:1\r\n", 200),
        ("host: localhost\r\n", 200),
        ("host: [::1]:8080\r\n", 200),
        ("host: 127.0.0.1\r\norigin: http://127.0.0.1:8080\r\n", 200),
        ("host: evil.example\r\n", 403),
        ("host: 127.0.0.1.evil.example\r\n", 403),
        ("host: [\r\n", 403),
        ("host: 127.0.0.1\r\norigin: https://evil.example\r\n", 403),
        ("host: 127.0.0.1\r\norigin: null\r\n", 403),
    ],
)
def test_web_pages_do_not_administer_an_open_gateway(shared: GatewayProcess, headers: str, status: int) -> None:
    with RawClient(shared.port) as raw:
        raw.send(f"GET /admin/routes HTTP/1.1\r\n{headers}\r\n".encode())
        assert raw.response()[0] == status


def limited(start: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, **limits: int) -> GatewayProcess:
    """A gateway whose app key has limits and whose admin key has none."""
    app, sre = KEYS["keys"]
    keys = [{**app, "limits": limits}, sre]
    config = two_upstreams(student, teacher, student_percent=100, fallback={"order": [], "retries": 0})
    return start({**config, "keys": keys})


def ask(gateway: GatewayProcess, data: bytes | None = None, key: dict[str, str] = APP) -> tuple[int, str, str]:
    """Status, error code and Retry-After of an answer."""
    answer = httpx2.post(f"{gateway.url}{CHAT}", content=data or body(), headers=key, timeout=10)
    error = answer.json().get("error") or {}
    if answer.status_code == 429:
        assert error["type"] == "rate_limit_error"
    return answer.status_code, error.get("code", ""), answer.headers.get("retry-after", "")


def test_requests_per_minute(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = limited(gateway_process, student, teacher, requests_per_minute=20)
    assert ask(gateway, b"{")[0] == 400  # no request that was let pass
    started = time.monotonic()
    answers = [ask(gateway) for _ in range(26)]
    refilled = (time.monotonic() - started) / 3
    refused = [answer for answer in answers if answer[0] != 200]
    assert 26 - 20 - refilled - 1 <= len(refused) <= 6
    assert {(status, code) for status, code, _ in refused} == {(429, "requests_per_minute_exceeded")}
    assert {retry_after for _, _, retry_after in refused} <= {"1", "2", "3"}
    assert gateway.metric("understudy_refused_total", code="requests_per_minute_exceeded") == len(refused)
    assert ask(gateway, key=SRE)[0] == 200
    time.sleep(int(refused[-1][2]))
    assert ask(gateway)[0] == 200


def test_tokens_per_minute_are_reserved_by_estimate_and_settled_with_the_real_number(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = limited(gateway_process, student, teacher, tokens_per_minute=2000)
    student.script = lambda request: [0.4, response(completion())]  # it uses 14
    with RawClient(gateway.port) as raw:
        raw.send(post(body(max_tokens=1900), extra="authorization: Bearer app-key-secret\r\n"))
        wait_until(lambda: len(student.requests) == 1)
        status, code, retry_after = ask(gateway, body(max_tokens=500))
        assert (status, code) == (429, "tokens_per_minute_exceeded")
        assert 5 <= int(retry_after) <= 20
        assert raw.response()[0] == 200
    wait_until(lambda: ask(gateway, body(max_completion_tokens=1900))[0] == 200)

    usage = {"prompt_tokens": 10_000, "completion_tokens": 2_000, "total_tokens": 12_000}
    student.script = lambda request: [response({**completion(), "usage": usage})]
    assert ask(gateway, body(max_tokens=10))[0] == 200
    status, code, retry_after = ask(gateway, body(max_tokens=10))
    assert (status, code) == (429, "tokens_per_minute_exceeded")
    assert 280 <= int(retry_after) <= 310  # 10,000 in debt
    assert ask(gateway, key=SRE)[0] == 200


def test_requests_at_once(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> None:
    """However one ends, its place is free again."""
    gateway = limited(gateway_process, student, teacher, concurrency=1)

    def ends(script: list[Step], *, leave: bool = False, stream: bool = False) -> None:
        student.script = lambda request: [0.3, *script]
        before = len(student.requests)
        with RawClient(gateway.port) as raw:
            raw.send(post(body(stream=stream), extra="authorization: Bearer app-key-secret\r\n"))
            wait_until(lambda: len(student.requests) > before)
            assert ask(gateway) == (429, "concurrency_exceeded", "1")
            if not leave:
                raw.until(b"\r\n\r\n")
        student.script = lambda request: [response(completion())]
        wait_until(lambda: ask(gateway)[0] == 200)

    ends([response(completion())])
    ends([response(b"{}", "500 Oops")])
    ends([response(b"{}", "400 Bad Request")])
    ends([b"no HTTP\r\n\r\n"])
    ends([STREAM_HEAD, chunked(b"".join(stream_events(["a"], usage=True))), STREAM_END], stream=True)
    ends([STREAM_HEAD, chunked(chunk({"content": "a"})), b"zz\r\n"], stream=True)
    ends([30.0], leave=True)
    assert ask(gateway, b'{"model": "support-chat", "stream_options": 1, "mod\\u0065l": "support-chat"}')[0] < 500
    wait_until(lambda: ask(gateway)[0] == 200)


# Sizes.


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, model: ScriptedUpstream) -> Iterator[GatewayProcess]:
    """A gateway with small limits."""
    sizes = {"head_bytes": 4096, "headers": 20, "target_bytes": 200, "json_depth": 16, "messages": 50}
    limits = {**sizes, "head_s": 1, "body_s": 1, "reader_s": 1}
    gateway = GatewayProcess({**two_upstreams(model, model), "limits": limits}, tmp_path_factory.mktemp("tight"))
    yield gateway
    gateway.kill()


@pytest.mark.parametrize("path", [CHAT, "/healthz"], ids=["hot", "cold"])
def test_heads_have_limits(tight: GatewayProcess, model: ScriptedUpstream, path: str) -> None:
    def told(target: str, extra: str, pieces: int = 1) -> tuple[int, str]:
        data = post(body(), path=target, extra=extra)
        served = len(model.requests)
        with RawClient(tight.port) as raw:
            for number in range(pieces):
                raw.send(data[number * len(data) // pieces : (number + 1) * len(data) // pieces])
                time.sleep(0.02 if pieces > 1 else 0)
            status, _, answer = raw.response()
            code = json.loads(answer).get("error", {}).get("code", "")
            if status in (414, 431):
                with contextlib.suppress(ConnectionError):
                    raw.send(NEXT)
                    assert raw.rest() == b""
                assert len(model.requests) == served
        return status, code

    fine = 200 if path == CHAT else 405
    assert told(path, "a: b\r\n" * 18)[0] == fine
    assert told(path, "a: b\r\n" * 19) == (431, "request_header_fields_too_large")
    assert told(path, f"a: {'x' * 3900}\r\n")[0] == fine
    for pieces in (1, 2, 5):
        assert told(path, f"a: {'x' * 4100}\r\n", pieces) == (431, "request_header_fields_too_large")
    assert told(f"{path}?{'x' * (199 - len(path))}", "")[0] == fine
    assert told(f"{path}?{'x' * (200 - len(path))}", "") == (414, "request_target_too_long")


def test_the_limit_of_a_head_is_for_one_head(tight: GatewayProcess) -> None:
    with RawClient(tight.port) as raw:
        raw.send(GET * 500)
        assert {raw.response()[0] for _ in range(500)} == {200}


@pytest.mark.parametrize("path", [CHAT, "/admin/routes/support-chat"], ids=["hot", "cold"])
@pytest.mark.parametrize("piece", [b"x", b"x: y\r\n"])
def test_trailers_do_not_grow_for_ever(tight: GatewayProcess, path: str, piece: bytes) -> None:
    method = b"POST" if path == CHAT else b"PATCH"
    with RawClient(tight.port) as raw:
        raw.send(b"%b %b HTTP/1.1\r\nhost: 127.0.0.1\r\n" % (method, path.encode()))
        raw.send(b"transfer-encoding: chunked\r\n\r\n0\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                raw.send(piece * (500 // len(piece)))
                time.sleep(0.01)
        status, headers, answer = raw.response()
        assert (status, headers["connection"]) == (431, "close")
        assert code_of(answer) == "request_header_fields_too_large"


def test_a_request_gets_one_answer(shared: GatewayProcess) -> None:
    """What is wrong with a body whose request was answered before it had come is no request's answer any more."""
    with RawClient(shared.port) as raw:
        raw.send(b"POST /healthz HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")
        assert raw.response()[0] == 405
        raw.send(b"zz\r\n")
        assert raw.rest() == b""


def test_a_trailer_is_no_header(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher), **KEYS})
    trailer = b"0\r\nauthorization: Bearer sre-key-secret\r\n\r\n"
    for method, path in (("POST", CHAT), ("PATCH", "/admin/routes/support-chat"), ("GET", "/v1/models")):
        with RawClient(gateway.port) as raw:
            raw.send(f"{method} {path} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n".encode() + trailer)
            assert raw.response()[0] == 401


def test_bodies_have_limits_of_depth_and_of_messages(tight: GatewayProcess, model: ScriptedUpstream) -> None:
    def told(**fields: Any) -> tuple[int, str]:
        with RawClient(tight.port) as raw:
            raw.send(post(body(**fields)))
            status, _, answer = raw.response()
            return status, json.loads(answer).get("error", {}).get("code", "")

    message = {"role": "user", "content": "[[[[{{{{"}
    assert told(metadata=json.loads("[" * 15 + "]" * 15)) == (200, "")
    assert told(metadata=json.loads("[" * 16 + "]" * 16)) == (400, "json_too_deep")
    assert told(messages=[message] * 50) == (200, "")
    served = len(model.requests)
    assert told(messages=[message] * 51) == (400, "too_many_messages")
    assert len(model.requests) == served


# Paces.


def feed(raw: RawClient, data: bytes, every_s: float = 0.1) -> None:
    """Send a byte at a time until the other side has had enough."""
    try:
        for number in range(len(data)):
            raw.send(data[number : number + 1])
            time.sleep(every_s)
    except OSError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nx-slow: " + b"a" * 200,
        b"GET /healthz HTTP/1.1\r\nhost: g\r\nx-slow: " + b"a" * 200,
        GET + b"GET /healthz HTTP/1.1\r\nx-slow: " + b"a" * 200,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 2000\r\n\r\n" + b" " * 200,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"a" * 200,
        b"PATCH /admin/routes/support-chat HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2000\r\n\r\n" + b" " * 200,
    ],
    ids=["a hot head", "a cold head", "a second head", "a hot body", "a chunk extension", "a cold body"],
)
def test_slow_senders_are_given_up(tight: GatewayProcess, data: bytes) -> None:
    split = data.rindex(b"\r\n") + 2
    with RawClient(tight.port, timeout_s=8) as raw:
        started = time.monotonic()
        raw.send(data[:split])
        if data.startswith(GET):
            assert raw.response()[0] == 200
        feeding = threading.Thread(target=feed, args=(raw, data[split:]))
        feeding.start()
        status, headers, answer = raw.response()
        took = time.monotonic() - started
        assert (status, headers["connection"], code_of(answer)) == (408, "close", "request_timeout")
        assert 1 <= took < 4
        raw.rest()
        feeding.join()


def test_a_client_that_sends_nothing_at_first_is_no_slow_sender(tight: GatewayProcess) -> None:
    """Load balancers connect ahead of requests."""
    with RawClient(tight.port) as raw:
        for _ in range(2):
            time.sleep(3.3)
            raw.send(GET)
            assert raw.response()[0] == 200


def test_a_large_body_has_the_longer_time(tight: GatewayProcess) -> None:
    padding = "x" * 600_000
    data = post(body(padding=padding))
    with RawClient(tight.port, timeout_s=10) as raw:
        for at in range(0, len(data), 20_000):
            raw.send(data[at : at + 20_000])
            time.sleep(0.1)  # 200 kB/s: three seconds, where `body_s` is one
        assert raw.response()[0] == 200


def test_a_request_is_not_slow_for_waiting_behind_another(tight: GatewayProcess, model: ScriptedUpstream) -> None:
    def slow(request: Received) -> Iterable[Step]:
        yield 4.0
        yield response(completion())

    normal, model.script = model.script, slow
    try:
        data = post(body())
        with RawClient(tight.port, timeout_s=10) as raw:
            raw.send(data + NEXT[:-30])
            assert raw.response()[0] == 200
            model.script = normal
            raw.send(NEXT[-30:] + GET[:10])
            assert raw.response()[0] == 200
            raw.send(GET[10:])
            assert raw.response()[0] == 200
    finally:
        model.script = normal


def sends_much(request: Received) -> Iterable[Step]:
    yield STREAM_HEAD
    for _ in range(300):
        yield chunked(chunk({"content": "x" * 100_000}))
    yield chunked(chunk({}, "stop") + b"data: [DONE]\n\n") + STREAM_END


@pytest.mark.parametrize("stream", [True, False])
def test_who_reads_nothing_is_given_up(tight: GatewayProcess, model: ScriptedUpstream, stream: bool) -> None:
    normal = model.script
    model.script = sends_much if stream else lambda request: [response(completion("y" * 30_000_000))]
    try:
        before = len(model.requests)
        with RawClient(tight.port) as raw:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            raw.send(post(body(stream=stream)))
            wait_until(lambda: len(model.requests) > before)
            if stream:
                received = model.requests[before]
                wait_until(lambda: received.closed_at is not None, timeout_s=6)
                wait_until(lambda: tight.metric("understudy_requests_total", outcome="cancelled") >= 1)
            else:
                time.sleep(5)
            with pytest.raises(OSError):  # noqa: PT011  reset: what was not read is gone
                while raw.socket.recv(1_000_000):
                    pass
                raise ConnectionResetError
    finally:
        model.script = normal


def test_who_reads_slowly_gets_it_all(tight: GatewayProcess, model: ScriptedUpstream) -> None:
    normal = model.script
    model.script = lambda request: [response(completion("y" * 3_000_000))]
    try:
        with RawClient(tight.port) as raw:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            raw.send(post(body(), extra="connection: close\r\n"))
            got = 0
            while data := raw.socket.recv(100_000):
                got += len(data)
                time.sleep(0.1)
        assert got > 3_000_000
    finally:
        model.script = normal


# Crowds.


def test_health_metrics_and_admin_answer_when_it_is_full(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    student.script = lambda request: [30.0]
    config = two_upstreams(student, teacher, student_percent=100)
    gateway = gateway_process({**config, **KEYS, "limits": {"in_flight": 2}})
    full = [RawClient(gateway.port) for _ in range(2)]
    for raw in full:
        raw.send(post(body(), extra="authorization: Bearer app-key-secret\r\n"))
    wait_until(lambda: len(student.requests) == 2)
    assert ask(gateway) == (429, "too_many_requests", "1")
    for path in ("/healthz", "/readyz", "/metrics", "/admin/routes", "/v1/models"):
        started = time.monotonic()
        assert httpx2.get(f"{gateway.url}{path}", headers=SRE).status_code == 200, path
        assert time.monotonic() - started < 1
    assert gateway.metric("understudy_refused_total", code="too_many_requests") == 1
    for raw in full:
        raw.socket.close()


def test_connections_have_a_limit(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher), "limits": {"connections": 5}})
    held = [RawClient(gateway.port) for _ in range(5)]
    for raw in held:
        raw.send(GET)
        assert raw.response()[0] == 200
    with RawClient(gateway.port) as one_more:
        status, headers, answer = one_more.response()
        assert (status, headers["connection"], code_of(answer)) == (503, "close", "too_many_connections")
        assert one_more.rest() == b""
    for raw in held:
        raw.send(post(body()))
        assert raw.response()[0] == 200
    held.pop().socket.close()
    wait_until(lambda: gateway.metric("understudy_refused_total", code="too_many_connections") >= 1)
    for raw in held:
        raw.socket.close()
