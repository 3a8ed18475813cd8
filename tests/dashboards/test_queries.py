"""Every query that ships, asked of a real Prometheus that scrapes a real gateway with traffic on it.

A panel over a metric that was renamed is not an error to Grafana, it is an empty panel on the day it is needed.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards.prometheus import Prometheus, run_prometheus
from tests.dashboards.promql import (
    DOCS,
    RATE_INTERVAL,
    Query,
    alert_queries,
    other_dashboard_queries,
    panel_queries,
    recipes,
    recording_queries,
)
from tests.support.configs import STUDENT_PRICE, TEACHER_PRICE, two_upstreams
from tests.support.processes import GatewayProcess
from tests.support.upstream import USAGE, ScriptedUpstream, well_behaved

ROUTE = "support-chat"
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
# Nothing goes wrong in this test's streams, and no route changes.
MAY_BE_EMPTY = {"Malformed events per second", "annotation Config changes"}

SHOWN = panel_queries() + other_dashboard_queries() + recording_queries() + recipes()
QUERIES = SHOWN + alert_queries()
RECORDED = {query.where for query in recording_queries()}


def _name(query: Query) -> str:
    return query.where


def _panel(title: str) -> list[Query]:
    queries = [query for query in panel_queries() if query.where == title]
    assert queries, f"no panel {title!r}"
    return queries


@contextmanager
def _gateway(directory: Path) -> Iterator[GatewayProcess]:
    with (
        ScriptedUpstream(well_behaved(("I", " am", " small"))) as student,
        ScriptedUpstream(well_behaved(("I", " am", " big"))) as teacher,
    ):
        gateway = GatewayProcess(two_upstreams(student, teacher), directory / "gateway")
        try:
            yield gateway
        finally:
            gateway.stop()


@contextmanager
def _traffic(gateway: GatewayProcess) -> Iterator[None]:
    """A steady, bounded flow of the requests that the panels tell apart."""
    done = threading.Event()

    def drive() -> None:
        with httpx2.Client(base_url=gateway.url, timeout=10) as client:
            for number in range(3000):
                if done.wait(0.02):
                    break
                model = "no-such-model" if number % 10 == 0 else ROUTE
                messages = [{"role": "user", "content": "Who are you?"}]
                body = {"model": model, "stream": number % 2 == 0, "user": f"user-{number}", "messages": messages}
                client.post("/v1/chat/completions", json=body)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Scene:
    """`exposition` is a scrape of the gateway with traffic on it."""

    def __init__(self, prometheus: Prometheus, exposition: str) -> None:
        self.prometheus = prometheus
        self.families = {
            family.name: family
            for family in text_string_to_metric_families(exposition)
            if family.name.startswith("understudy_") and not family.name.endswith("_created")
        }
        self.exported = {name + suffix for name, family in self.families.items() for suffix in SAMPLES[family.type]}


@pytest.fixture(scope="module")
def scene(prometheus_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("dashboards")
    with (
        _gateway(directory) as gateway,
        run_prometheus(prometheus_binary, directory, f"127.0.0.1:{gateway.port}") as prometheus,
        _traffic(gateway),
    ):
        prometheus.wait_for_number("count(route_role:understudy_cost_usd:increase1h > 0) == 2")
        yield Scene(prometheus, httpx2.get(f"{gateway.url}/metrics", timeout=10).text)


@pytest.mark.parametrize("query", QUERIES, ids=_name)
def test_names_only_what_the_gateway_exports(query: Query, scene: Scene) -> None:
    unknown = query.metrics - scene.exported - RECORDED
    assert not unknown, f"{query.where} asks for {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("query", QUERIES, ids=_name)
def test_is_answered(query: Query, scene: Scene) -> None:
    answer = scene.prometheus.query_range(query.expr)
    assert answer["status"] == "success", answer.get("error")
    assert not answer.get("warnings")
    assert not answer.get("infos")


@pytest.mark.parametrize("query", [query for query in SHOWN if query.where not in MAY_BE_EMPTY], ids=_name)
def test_has_data_under_traffic(query: Query, scene: Scene) -> None:
    scene.prometheus.wait_for_number(query.expr)


@pytest.mark.parametrize("query", [query for query in panel_queries() if query.legend], ids=_name)
def test_legend_shows_labels_that_are_there(query: Query, scene: Scene) -> None:
    for series in scene.prometheus.query_range(query.expr)["data"]["result"]:
        assert query.legend <= series["metric"].keys()


def test_rules_are_evaluated_without_error(scene: Scene) -> None:
    groups = scene.prometheus.get("rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(recording_queries()) + len(alert_queries())
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_traffic_split_adds_up(scene: Scene) -> None:
    shares, configured = _panel("Traffic split")
    served = scene.prometheus.latest(shares.expr, "role")
    assert sum(served.values()) == pytest.approx(1)
    assert served["student"] == pytest.approx(0.5, abs=0.4)  # few sticky keys, and they fall where they fall
    assert scene.prometheus.latest(configured.expr, "route") == {ROUTE: 0.5}


def test_cost_of_a_thousand_requests_is_that_of_the_price_list(scene: Scene) -> None:
    [query] = _panel("Cost per 1,000 requests by role")
    costs = scene.prometheus.latest(query.expr, "role")
    for role, price in (("student", STUDENT_PRICE), ("teacher", TEACHER_PRICE)):
        tokens = USAGE["prompt_tokens"] * price["input"] + USAGE["completion_tokens"] * price["output"]
        assert costs[role] == pytest.approx(1000 * tokens / 1e6, rel=0.2)  # prices are per million tokens


def test_cost_per_hour_is_cost_per_request_times_requests(scene: Scene) -> None:
    [hour] = _panel("Cost per hour by role")
    [thousand] = _panel("Cost per 1,000 requests by role")
    requests = f"sum by (role) (rate(understudy_requests_total[{RATE_INTERVAL}])) * 3600"
    ratio = scene.prometheus.latest(f"({hour.expr}) / ({requests} / 1000 * ({thousand.expr}))", "role")
    assert ratio == pytest.approx({"student": 1, "teacher": 1})


def test_docs_list_every_metric(scene: Scene) -> None:
    """The table's names, types and labels are the gateway's: neither has one that the other has not."""
    rows = re.findall(r"^\| `(understudy_\w+)` \| (\w+) \| ([\w, ]*)\|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: (kind, {label for label in re.split(r"[, ]+", labels) if label}) for name, kind, labels in rows}
    exported = {
        name + ("_total" if family.type == "counter" else ""): (family.type, _labels(family))
        for name, family in scene.families.items()
    }
    assert listed.keys() == exported.keys()
    for name, (kind, labels) in exported.items():
        assert listed[name][0] == kind, name
        if labels is not None:
            assert listed[name][1] == labels, name


def _labels(family: Metric) -> set[str] | None:
    """The labels of a family's samples, or None while it has none."""
    if not family.samples:
        return None
    return {label for sample in family.samples for label in sample.labels} - {"le"}
