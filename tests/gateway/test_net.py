"""What a safety net has asked of a teacher: of this worker and of the others."""

import math
from typing import Any

import pytest

from gateway import net
from gateway.config import parse
from gateway.state import Gateway
from router_policies.routes import Route

DAY = 86_400.0


def built() -> tuple[Gateway, Route]:
    upstreams = {name: {"base_url": "http://127.0.0.1:9/v1", "model": name} for name in ("big", "small")}
    safety_net = {"start": "2026-10-05", "end": "2026-11-02", "max_usd_per_day": 1}
    watched: dict[str, Any] = {"teacher": "big", "student": "small", "risk": {}, "safety_net": safety_net}
    routes = {"r": watched, "plain": {"teacher": "big", "student": "small"}}
    gateway = Gateway.build(parse({"upstreams": upstreams, "routes": routes}, "test", {}))
    return gateway, gateway.routes.by_name["r"]


def test_a_call_counts_from_its_start_to_its_end_and_is_settled_once() -> None:
    gateway, route = built()
    one, other = gateway.nets.catch("r"), gateway.nets.catch("r")
    assert gateway.nets.teacher(route, gateway.upstreams["big"]).in_flight == 2
    one.settle(500)
    one.settle(500)
    other.settle(0)
    teacher = gateway.nets.teacher(route, gateway.upstreams["big"])
    assert (teacher.in_flight, teacher.spent_nano_usd, teacher.up) == (0, 500, True)


def test_the_day_is_everybodys_and_ends_at_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 20_000 * DAY + 1
    monkeypatch.setattr(net, "time", lambda: now)
    gateway, route = built()
    gateway.nets.catch("r").settle(500)
    told = gateway.nets.spent_today(gateway.routes.by_name.values())
    assert told == {"net:20000:r": 500}
    gateway.nets.heard({"net:20000:r": 700, "net:19999:r": 1, "shadow:20000:r": 1})
    assert gateway.nets.teacher(route, gateway.upstreams["big"]).spent_nano_usd == 1200
    now += DAY
    assert gateway.nets.teacher(route, gateway.upstreams["big"]).spent_nano_usd == 0
    assert gateway.nets.spent_today(gateway.routes.by_name.values()) == {"net:20001:r": 0}


def test_a_net_that_is_gone_has_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "time", lambda: 40_000 * DAY)  # in 2079: the floor
    gateway, route = built()
    gateway.nets.show([route])
    labels = {"route": "r"}
    assert gateway.metrics.registry.get_sample_value("understudy_net_probability", labels) == 0.05
    gateway.nets.show([])
    assert math.isnan(gateway.metrics.registry.get_sample_value("understudy_net_probability", labels) or 0.0)
