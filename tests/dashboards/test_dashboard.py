"""The dashboard as Grafana will read it: whole, readable, nothing on top of anything else."""

import re
from itertools import combinations
from typing import Any

import pytest

from tests.dashboards.promql import dashboard

COLUMNS = 24
PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def _titles(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def test_is_a_dashboard_of_the_current_schema() -> None:
    document = dashboard()
    assert document["schemaVersion"] == 42
    assert document["uid"] == "understudy"
    assert document["id"] is None, "an id belongs to one Grafana's database"


def test_ids_and_titles_are_unique() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("panel", PANELS, ids=_titles)
def test_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("panel", PANELS, ids=_titles)
def test_panel_asks_the_chosen_data_source(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == chosen
    assert all(target["datasource"] == chosen for target in panel["targets"])


@pytest.mark.parametrize("panel", PANELS, ids=_titles)
def test_words_do_not_judge(panel: dict[str, Any]) -> None:
    """The teacher is not the truth: the roles differ, neither is better or worse."""
    words = re.findall(r"\w+", f"{panel['title']} {panel['description']}".lower())
    assert not {"worse", "worst", "better", "best", "degraded", "regression"} & set(words)


def test_panels_lie_on_the_grid_without_overlap() -> None:
    panels = dashboard()["panels"]
    for panel in panels:
        grid = panel["gridPos"]
        assert min(grid["x"], grid["y"]) >= 0, panel["title"]
        assert min(grid["w"], grid["h"]) > 0, panel["title"]
        assert grid["x"] + grid["w"] <= COLUMNS, panel["title"]
    for one, two in combinations(panels, 2):
        a, b = one["gridPos"], two["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        stacked = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or stacked, f"{one['title']!r} overlaps {two['title']!r}"


def test_rows_of_panels_fill_the_width() -> None:
    """No holes: at every height the widths add up to the grid's."""
    panels = dashboard()["panels"]
    for y in range(max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)):
        at_y = [p["gridPos"] for p in panels if p["gridPos"]["y"] <= y < p["gridPos"]["y"] + p["gridPos"]["h"]]
        assert sum(grid["w"] for grid in at_y) == COLUMNS, f"a hole at y={y}"


def test_money_time_and_shares_have_their_units() -> None:
    """A unit follows from what the expression computes; a wrong one is off by a factor a reader cannot see."""
    for panel in PANELS:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        exprs = " ".join(target["expr"] for target in panel["targets"])
        if "cost_nano_usd" in exprs:
            assert unit == "currencyUSD", panel["title"]
            assert "/ 1e9" in exprs or "/ 1e6" in exprs, panel["title"]
        if "_seconds_bucket" in exprs:
            assert unit == "s", panel["title"]
        if "student_percent" in exprs:
            assert unit == ("percentunit" if "/ 100" in exprs else "percent"), panel["title"]
