"""The API of operators, and every other path that is not a model's."""

import json
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import APP, BODY, KEYS, SRE
from tests.support.processes import GatewayProcess
from tests.support.raw import RawClient, post
from tests.support.upstream import (
    ScriptedUpstream,
)


def test_the_admin_api_says_what_it_will_not_do(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher), **KEYS})
    url = f"{gateway.url}/admin/routes/support-chat"

    def refused(status: int, code: str, response: httpx2.Response) -> str:
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert error["code"] == code
        return str(error["message"])

    change = {"student_percent": 60, "reason": "x"}
    refused(401, "missing_api_key", httpx2.get(url))
    refused(401, "invalid_api_key", httpx2.get(url, headers={"authorization": "Bearer guess"}))
    assert "shop-app" in refused(403, "admin_key_required", httpx2.patch(url, json=change, headers=APP))
    refused(404, "route_not_found", httpx2.get(f"{gateway.url}/admin/routes/nope", headers=SRE))
    assert "reason" in refused(422, "invalid_change", httpx2.patch(url, json={"student_percent": 1}, headers=SRE))
    bad = {"student_percent": 300, "reason": "x"}
    assert "got 300" in refused(422, "invalid_change", httpx2.patch(url, json=bad, headers=SRE))
    stale = httpx2.patch(url, json=change, headers={**SRE, "if-match": '"7"'})
    assert "version 0 stands" in refused(412, "version_conflict", stale)
    refused(412, "version_conflict", httpx2.patch(url, json=change, headers={**SRE, "if-match": "W/x"}))

    read = httpx2.get(url, headers=SRE)
    assert read.headers["etag"] == '"0"'
    merge = {**SRE, "if-match": '"0"', "content-type": "application/merge-patch+json"}
    changed = httpx2.patch(url, content=json.dumps(change), headers=merge)
    assert (changed.status_code, changed.headers["etag"], changed.json()["changed_by"]) == (200, '"1"', "sre")
    assert httpx2.get(f"{gateway.url}/admin/routes", headers=SRE).json()["routes"][0]["version"] == 1
    paths = httpx2.get(f"{gateway.url}/openapi.json").json()["paths"]
    documented = paths["/admin/routes/{route}"]["patch"]["requestBody"]["content"]["application/merge-patch+json"]
    assert documented["schema"]["example"]["student_percent"] == 25
    assert httpx2.get(f"{gateway.url}/docs").status_code == 200


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
        (b'{"reason": "x"}', 422, "invalid_change", None, "expected at least one of student_percent"),
        (b'{"student_percent": true, "reason": "x"}', 422, "invalid_change", "student_percent", "got True"),
        (b'{"student_percent": 9%s, "reason": "x"}' % (b"9" * 4000), 422, "invalid_change", "student_percent", "got 9"),
        (b'{"teacher": "x", "reason": "x"}', 422, "invalid_change", "teacher", "cannot be changed while serving"),
        (b" " * 70_000, 413, "request_too_large", None, "at most 65536 bytes"),
    ],
)
def test_changes_that_are_none(
    shared: GatewayProcess, body: bytes, status: int, code: str, param: str | None, said: str
) -> None:
    answer = httpx2.patch(f"{shared.url}/admin/routes/support-chat", content=body, headers=SRE)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert said in error["message"]
    assert len(error["message"]) < 400


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
