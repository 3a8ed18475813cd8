"""Every case of the scorecard, streaming and not, against a real gateway process.

All cases that are selected are played once, side by side, when the first of them is asked for.
"""

import asyncio

import pytest

from tests.faults.case import Case, Mode
from tests.faults.cases import CASES
from tests.faults.run import Run, play

EACH = [pytest.param(case, mode, id=f"{case.name}-{mode.value}") for case in CASES for mode in case.modes]


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    chosen = [
        (item.callspec.params["case"], item.callspec.params["mode"])
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    return asyncio.run(play(chosen or [(CASES[0], Mode.STREAMING)]))


def test_names_are_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(("case", "mode"), EACH)
def test_the_fault_is_handled(case: Case, mode: Mode, run: Run) -> None:
    result = next(one for one in run.results if one.case is case and one.mode is mode)
    seen = f"caller: {result.caller}\nproviders: {result.providers}"
    assert not result.problems, "\n".join((f"{case.fault}:", *result.problems, seen))


def test_the_gateway_came_through_it_well(run: Run) -> None:
    """Nothing unforeseen in its log, nothing left over, and it ends when it is told to."""
    assert not run.problems
