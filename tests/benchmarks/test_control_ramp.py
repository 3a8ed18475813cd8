"""What `benchmarks/control.py` reads from the exchange log: each thing that must not be there, found."""

import importlib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("control_ramp")


@pytest.fixture
def versions(ramp: Any) -> Any:
    """5 → 25 → 5 → 100 %, a second apart."""
    return ramp.Versions({0: 0.0, 1: 5.0, 2: 25.0, 3: 5.0, 4: 100.0}, {1: 10.0, 2: 11.0, 3: 12.0, 4: 13.0})


def line(version: int, role: str, point: float = 0.1, ended_at: float = 20.0) -> dict[str, Any]:
    decided = {"role": role, "point": point}
    return {"route_version": version, "role": role, "decided": decided, "ended_at": ended_at, "ttlt_s": 0.5}


def test_a_way_up_ends_where_the_percentage_falls(ramp: Any, versions: Any) -> None:
    assert ramp.ways_up(versions.percent) == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("roles", "back"),
    [
        ({1: "teacher", 2: "student", 3: "teacher", 4: "student"}, 0),  # it moves back on the way down
        ({1: "student", 2: "teacher", 3: "teacher", 4: "student"}, 1),
        ({0: "student", 2: "teacher", 3: "student", 4: "teacher"}, 2),
    ],
)
def test_moves_back_are_counted_on_ways_up(ramp: Any, versions: Any, roles: dict[int, str], back: int) -> None:
    assert ramp.moved_back(versions, [line(version, role) for version, role in roles.items()]) == back


def test_the_order_of_a_way_up_is_that_of_its_versions(ramp: Any, versions: Any) -> None:
    """A replica that knew of the change answered before one that did not."""
    asked = [line(2, "student", ended_at=11.7), line(1, "teacher", ended_at=11.8), line(2, "student")]
    assert ramp.moved_back(versions, asked) == 0
    assert ramp.seen_back(versions, asked) == [pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("version", "role", "point", "fits"),
    [
        (2, "student", 0.1, True),
        (2, "teacher", 0.1, False),
        (1, "student", 0.1, False),
        (1, "teacher", 0.05, True),  # the point itself is the teacher's
        (4, "student", 0.999, True),
    ],
)
def test_a_line_fits_the_version_that_it_names(
    versions: Any, version: int, role: str, point: float, fits: bool
) -> None:
    assert versions.fits(line(version, role, point)) is fits


def test_a_line_that_was_not_served_as_decided_does_not_fit(versions: Any) -> None:
    assert not versions.fits({**line(2, "student"), "role": "teacher"})
