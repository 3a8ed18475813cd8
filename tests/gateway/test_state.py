"""One snapshot after another: what is replaced, what is kept, and when the old one is let go."""

import asyncio
from typing import Any

from gateway.config import parse
from gateway.state import Gateway
from router_policies.routes import Role
from tests.gateway.test_relay import Client, start
from tests.support.upstream import ScriptedUpstream, completion, response

KEYS = [{"name": "sre", "role": "admin", "key": "12345678"}, {"name": "app", "key": "abcdefgh"}]


def content(base_url: str = "http://127.0.0.1:9/v1", **more: Any) -> dict[str, Any]:
    upstreams = {name: {"base_url": base_url, "model": name} for name in ("one", "two")}
    return {"upstreams": upstreams, "routes": {"chat": {"teacher": "one", "student": "two"}}, **more}


def test_a_snapshot_is_one() -> None:
    gateway = Gateway.build(parse(content(), "test", {}))
    assert gateway.revision == 0
    gateway.apply(parse(content(force="teacher"), "test", {}), {"chat": 3}, 7)
    assert (gateway.revision, gateway.routes.by_name["chat"].version, gateway.routes.force) == (7, 3, Role.TEACHER)
    assert gateway.config.force == "teacher"


def test_an_upstream_that_did_not_change_is_kept() -> None:
    gateway = Gateway.build(parse(content(), "test", {}))
    before = dict(gateway.upstreams)
    changed = content()
    changed["upstreams"]["two"]["limits"] = {"concurrency": 3}
    gateway.apply(parse(changed, "test", {}), {}, 1)
    assert gateway.upstreams["one"] is before["one"]
    assert gateway.upstreams["two"] is not before["two"]


def test_another_secret_is_another_upstream() -> None:
    """Secrets are read again on SIGHUP: the reference is the same, what it stands for is not."""
    changed = content()
    changed["upstreams"]["one"]["api_key"] = "${TEACHER_KEY}"
    gateway = Gateway.build(parse(changed, "test", {"TEACHER_KEY": "old"}))
    before = dict(gateway.upstreams)
    gateway.apply(parse(changed, "test", {"TEACHER_KEY": "new"}), {}, 1)
    assert gateway.upstreams["one"] is not before["one"]
    assert gateway.upstreams["two"] is before["two"]


def test_a_key_goes_on_with_what_it_has_used() -> None:
    def limited(most: int) -> dict[str, Any]:
        return content(keys=[KEYS[0], {**KEYS[1], "limits": {"requests_per_minute": most}}])

    def budget() -> object:
        identity = gateway.keys.find(b"abcdefgh")
        assert identity is not None
        return identity.budget

    gateway = Gateway.build(parse(limited(5), "test", {}))
    before = budget()
    gateway.apply(parse(limited(5), "test", {}), {}, 1)
    assert budget() is before
    gateway.apply(parse(limited(6), "test", {}), {}, 2)
    assert budget() is not before


async def test_a_request_under_way_keeps_its_upstream_until_it_is_over(upstream: ScriptedUpstream) -> None:
    upstream.script = lambda request: [0.3, response(completion("from the old one"))]
    gateway = Gateway.build(parse(content(upstream.base_url), "test", {}))
    client = Client()
    start(gateway, client)
    old = gateway.upstreams["one"]
    gateway.apply(parse(content(), "test", {}), {}, 1)
    await gateway.keep_house()
    assert gateway._all_upstreams()[2:] != []
    await asyncio.wait_for(client.over.wait(), 5)
    assert b"from the old one" in client.body
    assert old.replicas[0].pool.idle_count == 1
    await gateway.keep_house()
    assert gateway._all_upstreams()[2:] == []
    assert old.replicas[0].pool.idle_count == 0
    await gateway.close()


async def test_a_request_falls_back_to_an_upstream_of_its_own_snapshot(
    student: ScriptedUpstream, teacher: ScriptedUpstream
) -> None:
    """The teacher is taken out of the config while a request waits for the student, which then fails."""
    student.script = lambda request: [0.3, response({"error": {"message": "no"}}, "500 Internal Server Error")]
    teacher.script = lambda request: [response(completion("from the old teacher"))]
    before = content(student.base_url)
    before["upstreams"]["one"]["base_url"] = teacher.base_url
    before["routes"]["chat"].update(student_percent=100, fallback={"retries": 0})
    gateway = Gateway.build(parse(before, "test", {}))
    client = Client()
    start(gateway, client)
    gateway.apply(parse(content(), "test", {}), {}, 1)
    await gateway.keep_house()
    await asyncio.wait_for(client.over.wait(), 5)
    assert b"from the old teacher" in client.body
    await gateway.close()


async def test_a_route_that_is_gone_shows_no_share() -> None:
    gateway = Gateway.build(parse(content(), "test", {}))
    changed = content()
    changed["routes"]["other"] = changed["routes"].pop("chat")
    gateway.apply(parse(changed, "test", {}), {}, 1)
    text = gateway.metrics.exposition().decode()
    assert 'understudy_student_percent{route="chat"} NaN' in text
    assert 'understudy_student_percent{route="other"} 0.0' in text
