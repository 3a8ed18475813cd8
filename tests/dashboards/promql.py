"""Every PromQL expression that ships: the dashboard's, the rules', the docs'."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "dashboards/grafana/understudy.json"
PROMETHEUS = ROOT / "dashboards/prometheus"
DOCS = ROOT / "docs/observe.md"

RATE_INTERVAL = "10s"  # in the tests, whose Prometheus scrapes several times a second
_VARIABLES = {"route": ".*", "stream": ".*", "outcome": ".*", "__rate_interval": RATE_INTERVAL}
_LABEL_VALUES = re.compile(r"label_values\((?P<expr>\w+), \w+\)")
_IDENTIFIER = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True)
class Query:
    """`where`: panel, rule or page, for a failure's message. `legend`: the labels that the legend shows."""

    where: str
    expr: str
    legend: frozenset[str] = frozenset()

    @property
    def metrics(self) -> frozenset[str]:
        """The names of our series in it, recorded ones included."""
        without_strings = re.sub(r'"[^"]*"', "", self.expr)
        return frozenset(name for name in _IDENTIFIER.findall(without_strings) if "understudy_" in name)


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def panel_queries() -> list[Query]:
    return [
        Query(
            panel["title"],
            _substitute(target["expr"]),
            frozenset(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"])),
        )
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def other_dashboard_queries() -> list[Query]:
    """Of the variables (`label_values(metric, label)`) and the annotations."""
    document = dashboard()
    queries = []
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            match = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert match, f"variable {variable['name']}: expected label_values(metric, label)"
            queries.append(Query(f"variable {variable['name']}", match["expr"]))
    for annotation in document["annotations"]["list"]:
        if not annotation.get("builtIn"):
            queries.append(Query(f"annotation {annotation['name']}", _substitute(annotation["target"]["expr"])))
    return queries


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def recording_queries() -> list[Query]:
    return [Query(rule["record"], rule["expr"]) for rule in rules() if "record" in rule]


def alert_queries() -> list[Query]:
    return [Query(rule["alert"], rule["expr"]) for rule in rules() if "alert" in rule]


def recipes() -> list[Query]:
    text = DOCS.read_text(encoding="utf-8")
    return [Query(str(DOCS.name), expr) for expr in re.findall(r"```promql\n(.*?)```", text, re.DOTALL)]


def _substitute(expr: str) -> str:
    """What Grafana does to an expression with every variable at All."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        assert name in _VARIABLES, f"${name} is no variable of the dashboard"
        return _VARIABLES[name]

    return re.sub(r"\$(\w+)", value, expr)
