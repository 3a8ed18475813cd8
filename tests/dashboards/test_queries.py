"""Every query that ships, asked of a real Prometheus that scrapes a real gateway with traffic on it.

A panel over a metric that was renamed is not an error to Grafana, it is an empty panel on the day it is needed.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

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
from tests.support.upstream import (
    CLOSE,
    STREAM_HEAD,
    USAGE,
    Received,
    ScriptedUpstream,
    Step,
    chunked,
    completion,
    response,
    stream_events,
    well_behaved,
)

ROUTE = "support-chat"
SMALL, BIG = ("I", " am", " small"), ("I", " am", " big")
FAIL, BREAK, JSON = "Fail!", "Break off!", "Answer in JSON!"  # prompts that the student does not cope with
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
# No stream has a malformed event, and no route changes.
MAY_BE_EMPTY = {"Malformed events per second", "annotation Config changes"}

SHOWN = panel_queries() + other_dashboard_queries() + recording_queries() + recipes()
QUERIES = SHOWN + alert_queries()
OF_RISK = [query for query in panel_queries() if re.search("_(?:risk|net|deferral|rollout)_|safety_net", query.expr)]
COMMON = [query for query in SHOWN if query.where not in MAY_BE_EMPTY and query not in OF_RISK]
_SHARE = "Share not answered by who was meant to"
RECORDED = {query.where for query in recording_queries()}


def _name(query: Query) -> str:
    return query.where


def _panel(title: str) -> list[Query]:
    queries = [query for query in panel_queries() if query.where == title]
    assert queries, f"no panel {title!r}"
    return queries


def _student(request: Received) -> Iterable[Step]:
    """Well behaved, but for some prompts. A stream that breaks off can be gone on with as the teacher would."""
    match request.json["messages"][0]["content"]:
        case prompt if prompt == FAIL:
            yield response({"error": {"message": "out of memory"}}, "500 Internal Server Error")
        case prompt if prompt == BREAK:
            yield STREAM_HEAD
            for event in stream_events(BIG, usage=False)[:3]:
                yield chunked(event)
            yield CLOSE
        case _:
            yield from well_behaved(SMALL)(request)


def _teacher(request: Received) -> Iterable[Step]:
    if "response_format" in request.json:
        yield response(completion('{"i": "am big"}'))
    else:
        yield from well_behaved(BIG)(request)


@contextmanager
def _gateway(directory: Path) -> Iterator[GatewayProcess]:
    with ScriptedUpstream(_student) as student, ScriptedUpstream(_teacher) as teacher:
        shadow = {"sample": {"default": 1.0}, "aa_sample": 1.0}
        capture = {"dir": str(directory / "captured"), "consent": []}
        config = two_upstreams(student, teacher, shadow=shadow, capture=capture)
        gateway = GatewayProcess(config, directory / "gateway")
        try:
            yield gateway
        finally:
            gateway.stop()


def _body(number: int) -> dict[str, Any]:
    """Too few of those that fail for the student's breaker to open: that would end the failures."""
    model = "no-such-model" if number % 10 == 0 else ROUTE
    prompt = {1: FAIL, 2: BREAK, 3: JSON}.get(number % 12, "Who are you?")
    messages = [{"role": "user", "content": prompt}]
    body = {"model": model, "stream": number % 2 == 0, "user": f"user-{number}", "messages": messages}
    return {**body, "response_format": {"type": "json_object"}} if prompt == JSON else body


@contextmanager
def _traffic(gateway: GatewayProcess) -> Iterator[None]:
    """A steady, bounded flow of the requests that the panels tell apart."""
    done = threading.Event()

    def drive() -> None:
        with httpx2.Client(base_url=gateway.url, timeout=10) as client:
            for number in range(3000):
                if done.wait(0.02):
                    break
                client.post("/v1/chat/completions", json=_body(number))

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _families(exposition: str) -> dict[str, Metric]:
    return {
        family.name: family
        for family in text_string_to_metric_families(exposition)
        if family.name.startswith("understudy_") and not family.name.endswith("_created")
    }


class Scene:
    """`exposition` is a scrape of the gateway with traffic on it."""

    def __init__(self, prometheus: Prometheus, exposition: str) -> None:
        self.prometheus = prometheus
        self.families = _families(exposition)
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
        failed = f'rate(understudy_requests_total{{reason!="split"}}[{RATE_INTERVAL}])'
        prometheus.wait_for_number(f"count(sum by (reason) ({failed}) > 0) == 3")  # FAIL, BREAK and JSON
        paired = f"rate(understudy_shadow_pairs_total[{RATE_INTERVAL}])"
        prometheus.wait_for_number(f"count(sum by (arm) ({paired}) > 0) == 2")
        yield Scene(prometheus, httpx2.get(f"{gateway.url}/metrics", timeout=10).text)


@pytest.fixture(scope="module")
def risky(prometheus_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A route with all that keeps a student in check: risk, a net, deferral, a rollout. The student tells no
    log-probabilities, so what it says at all is deferred."""
    directory = tmp_path_factory.mktemp("risky")
    with ScriptedUpstream(well_behaved(SMALL)) as student, ScriptedUpstream(well_behaved(BIG)) as teacher:
        route = {
            "student_percent": 100,
            "shadow": {"sample": {"default": 1.0}},
            "risk": {},
            "safety_net": {"start": "2020-01-01", "end": "2020-01-02", "floor": 0.9, "holdout": 0.1},
            "deferral": {"threshold": -1.0, "max_concurrent": 1},
            "rollout": {},
        }
        gateway = GatewayProcess(two_upstreams(student, teacher, **route), directory / "gateway")
        done = threading.Event()

        def drive() -> None:
            with httpx2.Client(base_url=gateway.url, timeout=10) as client:
                for number in range(3000):
                    if done.wait(0.02):
                        break
                    prompt = "I want to kill myself." if number % 2 else "Where is my order?"
                    messages = [{"role": "user", "content": prompt}]
                    client.post(
                        "/v1/chat/completions", json={"model": ROUTE, "user": f"u{number}", "messages": messages}
                    )

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            with run_prometheus(prometheus_binary, directory, f"127.0.0.1:{gateway.port}") as prometheus:
                prometheus.wait_for_number('understudy_requests_total{reason="deferral"} > 0')
                yield Scene(prometheus, httpx2.get(f"{gateway.url}/metrics", timeout=10).text)
        finally:
            done.set()
            thread.join()
            gateway.stop()


@pytest.mark.parametrize("query", OF_RISK, ids=_name)
def test_has_data_where_risk_is_looked_at_and_a_rollout_is_led(query: Query, risky: Scene) -> None:
    risky.prometheus.wait_for_number(query.expr)
    for series in risky.prometheus.query_range(query.expr)["data"]["result"]:
        assert query.legend <= series["metric"].keys()


def test_what_became_of_risky_requests(risky: Scene) -> None:
    [query] = _panel("What became of risky requests")
    reasons = risky.prometheus.latest(query.expr, "reason")
    assert reasons.keys() >= {"safety_net", "deferral"}
    [query] = _panel("Probability of the safety net")
    assert risky.prometheus.latest(query.expr, "route") == {ROUTE: pytest.approx(0.9)}


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


@pytest.mark.parametrize("query", COMMON, ids=_name)
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


def test_what_fallback_saved_is_told_from_errors(scene: Scene) -> None:
    """Half of three in twelve requests meet a student that fails; the teacher answers all of them."""
    another, nobody = (scene.prometheus.get("query", query=query.expr)["data"]["result"] for query in _panel(_SHARE))
    assert float(another[0]["value"][1]) == pytest.approx(1 / 8, abs=0.1)
    assert float(nobody[0]["value"][1]) == 0
    reasons = scene.prometheus.latest(_panel("Answered by another upstream, by reason")[0].expr, "reason")
    assert reasons.keys() == {"fallback:http_5xx", "rescue:invalid_stream", "fallback:verify"}


def test_every_call_is_counted_once(tmp_path: Path) -> None:
    """A good request has one good call, of the kind that its reason tells; the failed ones come on top of it."""
    with _gateway(tmp_path) as gateway, httpx2.Client(base_url=gateway.url, timeout=10) as client:
        asked = [body for body in map(_body, range(48)) if body["model"] == ROUTE]
        for body in asked:
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        until = monotonic() + 5
        while gateway.metric("understudy_requests_total") < len(asked) and monotonic() < until:
            sleep(0.05)
        families = _families(httpx2.get(f"{gateway.url}/metrics", timeout=10).text)

    good_calls, good_requests = Counter[str](), Counter[str]()
    for sample in families["understudy_legs"].samples:
        if sample.name.endswith("_total") and sample.labels["outcome"] == "ok":
            good_calls[sample.labels["leg"]] += int(sample.value)
    for sample in families["understudy_requests"].samples:
        if sample.name.endswith("_total"):
            assert sample.labels["outcome"] == "ok"
            reason = sample.labels["reason"].partition(":")[0]
            good_requests["primary" if reason == "split" else reason] += int(sample.value)
    assert good_requests.total() == len(asked)
    assert good_requests.keys() == {"primary", "fallback", "rescue"}
    assert good_calls == good_requests


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
