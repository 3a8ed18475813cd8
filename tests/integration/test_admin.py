"""The API of operators, and every other path that is not a model's."""

from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.support.operating import APP, BODY, KEYS, SRE
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with keys, before models that nobody calls."""
    upstream = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    routes = {"support-chat": {"teacher": "big", "student": "small"}}
    config = {"upstreams": {"big": upstream, "small": upstream}, "routes": routes, **KEYS}
    gateway = GatewayProcess(config, tmp_path_factory.mktemp("shared"))
    yield gateway
    gateway.kill()


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "said"),
    [
        (b"{", 400, "invalid_json", None, "is not valid JSON"),
        (b"", 400, "invalid_json", None, "is not valid JSON"),
        (b'{"reason": "\xff"}', 400, "invalid_json", None, "is not valid JSON: 'utf-8'"),
        (b'{"student_percent": NaN, "reason": "x"}', 400, "invalid_json", None, "NaN is no JSON number"),
        (b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400, "invalid_json", None, "nested too deeply"),
        (b"[1]", 422, "invalid_change", None, "Expected a JSON object"),
        (b"null", 422, "invalid_change", None, "Expected a JSON object"),
        (b'{"student_percent": 1, "reason": "\\ud800"}', 422, "invalid_change", None, "surrogate"),
        (b'{"\\ud800": 1, "reason": "x"}', 422, "invalid_change", None, "surrogate"),
        (b'{"student_percent": 1, "reason": 7}', 422, "invalid_change", "reason", "a few words"),
        (b'{"student_percent": 1, "reason": " "}', 422, "invalid_change", "reason", "a few words"),
        (b'{"student_percent": 1, "reason": "%s"}' % (b"x" * 1001), 422, "invalid_change", "reason", "at most 1000"),
        (b'{"reason": "x"}', 422, "invalid_change", None, "expected at least one of teacher, student"),
        (b'{"student_percent": 1, "reason": "x", "ttl_s": 0}', 422, "invalid_change", "ttl_s", "more than 0"),
        (b'{"student_percent": 1, "reason": "x", "ttl_s": 1e9}', 422, "invalid_change", "ttl_s", "30 days"),
        (b'{"student_percent": 1, "reason": "x", "ttl_s": true}', 422, "invalid_change", "ttl_s", "got True"),
        (b'{"student_percent": 1, "reason": "x", "override": 1}', 422, "invalid_change", "override", "true or false"),
        (b'{"student_percent": 51, "reason": "x"}', 422, "step_too_large", "override", "in smaller steps, or say"),
        (b'{"student_percent": null, "deleted": true, "reason": "x"}', 422, "invalid_change", "deleted", "not a key"),
        (b'{"student_percent": true, "reason": "x"}', 422, "invalid_change", "student_percent", "got True"),
        (b'{"student_percent": 9%s, "reason": "x"}' % (b"9" * 4000), 422, "invalid_change", "student_percent", "got 9"),
        (b'{"teacher": "x", "reason": "x"}', 422, "invalid_change", "teacher", "expected one of big, small, got 'x'"),
        (b" " * 70_000, 413, "request_too_large", None, "at most 65536 bytes"),
    ],
)
def test_changes_that_are_none(
    shared: GatewayProcess, body: bytes, status: int, code: str, param: str | None, said: str
) -> None:
    answer = httpx2.patch(f"{shared.url}/admin/routes/support-chat", content=body, headers={**SRE, "if-match": "*"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert said in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize(
    "headers", ["", "authorization: Bearer guess-123\r\n", "authorization: Bearer app-key-secret\r\n"]
)
def test_without_a_key_nobody_makes_it_read_a_body(shared: GatewayProcess, headers: str) -> None:
    """The refusal is there before the body is: it is not waited for, and not kept."""
    with RawClient(shared.port) as raw:
        head = f"PATCH /admin/routes/support-chat HTTP/1.1\r\nhost: g\r\n{headers}content-length: 50000000\r\n\r\n"
        raw.send(head.encode())
        assert raw.response()[0] in (401, 403)
    size = psutil.Process(shared.process.pid).memory_info().rss
    with RawClient(shared.port) as raw:
        raw.send(head.encode())
        for _ in range(40):
            raw.send(b" " * 1_000_000)
        raw.response()
    assert psutil.Process(shared.process.pid).memory_info().rss - size < 10_000_000


def test_a_change_that_does_not_end_is_not_read_on(shared: GatewayProcess) -> None:
    with RawClient(shared.port) as raw:
        raw.send(
            b"PATCH /admin/routes/support-chat HTTP/1.1\r\nhost: g\r\nauthorization: Bearer sre-key-secret\r\n"
            b"transfer-encoding: chunked\r\n\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        )
        raw.send((b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 5)
        assert raw.response()[0] == 413


def test_every_answer_has_a_request_id(shared: GatewayProcess) -> None:
    paths = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v1/nothing", "/admin/routes")
    for path in paths:
        assert httpx2.get(f"{shared.url}{path}").headers["x-request-id"].startswith("req_"), path
        given = httpx2.get(f"{shared.url}{path}", headers={"x-request-id": "mine-1"})
        assert given.headers.get_list("x-request-id") == ["mine-1"], path


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/support-chat", "/admin/routes"])
def test_two_keys_at_once_are_none(shared: GatewayProcess, path: str) -> None:
    twice = [("authorization", SRE["authorization"]), ("authorization", APP["authorization"])]
    answer = httpx2.get(f"{shared.url}{path}", headers=twice)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_http_request")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_asked_by_head_too(shared: GatewayProcess, path: str) -> None:
    asked, got = httpx2.head(f"{shared.url}{path}"), httpx2.get(f"{shared.url}{path}")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == got.headers["content-length"]


def test_errors_of_paths_are_true_and_short(shared: GatewayProcess) -> None:
    with RawClient(shared.port) as raw:
        raw.send(post(BODY, path="/v1/chat%2Fcompletions"))
        status, _, body = raw.response()
    assert status == 404
    assert b"Expected the path /v1/chat/completions as it stands here" in body
    long = "x" * 5000
    for path in (f"/v1/models/{long}", f"/admin/routes/{long}", f"/v1/{long}"):
        answer = httpx2.get(f"{shared.url}{path}", headers=SRE)
        assert answer.status_code == 404
        assert len(answer.content) < 500, path
    assert "got GET" in httpx2.get(f"{shared.url}/v1/chat/completions").json()["error"]["message"]
