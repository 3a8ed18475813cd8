"""What a config may say of an upstream."""

from typing import Any

import pytest

from gateway.config import ConfigError, UpstreamConfig, parse
from router_policies.breaker import BreakerRules
from router_policies.capabilities import Capabilities, Continues

MARK = "S3CRET-0123"
ONE, TWO = "http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1"


def parsed(**settings: Any) -> UpstreamConfig:
    routes = {"r": {"teacher": "one", "student": "one"}}
    return parse({"upstreams": {"one": {"model": "m", **settings}}, "routes": routes}, "test", {}).upstreams["one"]


def test_the_defaults() -> None:
    one = parsed(base_url=ONE)
    assert one.urls == [ONE]
    assert (one.affinity, one.continues) == ("none", "auto")
    assert one.capabilities() == Capabilities(None, True, True, Continues.NO)
    assert one.breaker.rules() == BreakerRules(30, 20, 0.5, 10, 1)
    assert one.limits.model_dump() == {"concurrency": 512, "queue": 256, "queue_s": 2}
    assert one.health.model_dump() == {"path": "/models", "every_s": 10, "timeout_s": 2}


def test_everything_said() -> None:
    one = parsed(
        base_urls=[ONE, TWO],
        affinity="prefix",
        context_tokens=8192,
        tools=False,
        vision=False,
        continues="prefill",
        limits={"concurrency": 1, "queue": 0, "queue_s": 0.5},
        breaker={"window_s": 5, "min_requests": 1, "failure_ratio": 1, "open_s": 0.5, "probe": 2},
        health={"path": "/health", "every_s": None, "timeout_s": 1},
    )
    assert one.urls == [ONE, TWO]
    assert one.capabilities() == Capabilities(8192, False, False, Continues.PREFILL)
    assert one.breaker.rules() == BreakerRules(5, 1, 1, 0.5, 2)
    assert one.health.every_s is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "upstreams.one: expected base_url, or base_urls with one or more, got neither"),
        ({"base_urls": []}, "upstreams.one: expected base_url, or base_urls with one or more, got neither"),
        (
            {"base_url": ONE, "base_urls": [TWO]},
            "upstreams.one: expected base_url, or base_urls with one or more, ",
        ),
        ({"base_urls": [ONE, ONE]}, "upstreams.one: base_urls: expected each server once, got one of them twice"),
        ({"base_urls": ONE}, "upstreams.one.base_urls: input should be a valid list, got text"),
        (
            {"base_urls": [ONE, "10.0.0.2"]},
            "upstreams.one.base_urls.1: expected a URL like http://host:port/v1, got",
        ),
        ({"base_urls": [ONE, f"http://h/{MARK}\n"]}, "upstreams.one.base_urls.1: expected a URL of printable ASCII"),
        ({"base_urls": [ONE, f"http://u:{MARK}@h/"]}, "upstreams.one.base_urls.1: expected a URL without credentials"),
        ({"base_urls": [ONE, [MARK]]}, "upstreams.one.base_urls.1: input should be a valid string, got a list"),
        ({"affinity": "sticky"}, "upstreams.one.affinity: input should be 'none' or 'prefix', got 'sticky'"),
        ({"continues": "maybe"}, "upstreams.one.continues: input should be 'auto', 'vllm', 'prefill' or 'no', got 'ma"),
        ({"context_tokens": 0}, "upstreams.one.context_tokens: input should be greater than or equal to 1, got 0"),
        ({"tools": "yes"}, "upstreams.one.tools: input should be a valid boolean, got 'yes'"),
        (
            {"limits": {"concurrency": 0}},
            "upstreams.one.limits.concurrency: input should be greater than or equal to 1",
        ),
        ({"limits": {"queue": -1}}, "upstreams.one.limits.queue: input should be greater than or equal to 0, got -1"),
        (
            {"breaker": {"failure_ratio": 0}},
            "upstreams.one.breaker.failure_ratio: input should be greater than 0",
        ),
        (
            {"breaker": {"failure_ratio": 50}},
            "upstreams.one.breaker.failure_ratio: input should be less than or",
        ),
        ({"breaker": {"probe": True}}, "upstreams.one.breaker.probe: input should be a valid integer, got True"),
        ({"health": {"path": "models"}}, "upstreams.one.health.path: expected a path of printable ASCII characters"),
        ({"health": {"path": "/a b"}}, "upstreams.one.health.path: expected a path of printable ASCII characters"),
        ({"health": {"path": "/a\r\nx-evil: 1"}}, "upstreams.one.health.path: expected a path of printable ASCII"),
        ({"health": {"every_s": 0}}, "upstreams.one.health.every_s: input should be greater than 0, got 0"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is_shown(settings: dict[str, Any], said: str) -> None:
    if not {"base_url", "base_urls"} & set(settings) and settings:
        settings = {"base_url": ONE, **settings}
    with pytest.raises(ConfigError) as caught:
        parsed(**settings)
    assert any(problem.startswith(said) for problem in caught.value.problems), caught.value.problems
    assert "S3CRET" not in str(caught.value)
