"""What the three kinds of cell have in common."""

from collections.abc import Callable

import pytest

from router_policies.evidence.cells import Cell, Counted, Scored, Weighted

CELLS = [lambda: Counted(0.05, 0.05), lambda: Weighted(0.05, 0.05), lambda: Weighted(0.05, 0.05, low=-1.0)]
TURN = [0.0] * 49 + [1.0]


def fed(cell: Cell, values: list[float]) -> Cell:
    for value in values:
        cell.add(value, 1.0)
    return cell


@pytest.mark.parametrize("make", CELLS)
def test_pairs_needed_are_exact_if_the_next_are_like_those_so_far(make: Callable[[], Cell]) -> None:
    enough = fed(make(), TURN * 6).log_better() - 1e-9
    assert fed(make(), TURN * 2).needed(enough) == 4 * len(TURN)
    assert fed(make(), TURN * 6).needed(enough) == 0


@pytest.mark.parametrize("make", [*CELLS, lambda: Scored(0.05, 0.05)])
def test_pairs_needed_of_none_are_those_of_a_student_that_never_differs(make: Callable[[], Cell]) -> None:
    enough = 3.0
    needed = make().needed(enough)
    assert needed is not None
    assert fed(make(), [0.0] * needed).log_better() >= enough > fed(make(), [0.0] * (needed - 1)).log_better()


@pytest.mark.parametrize("make", [*CELLS, lambda: Scored(0.05, 0.05)])
def test_above_the_tolerance_no_number_is_promised(make: Callable[[], Cell]) -> None:
    assert fed(make(), [0.0, 1.0] * 50).needed(3.0) is None


@pytest.mark.parametrize("make", [*CELLS, lambda: Scored(0.05, 0.05)])
def test_restored_it_goes_on_as_if_nothing_had_been(make: Callable[[], Cell]) -> None:
    one, other = fed(make(), TURN), make()
    other.restore(one.plain())
    for cell in (one, other):
        fed(cell, TURN)
    assert other.plain() == one.plain()
    assert (other.log_better(), other.log_worse(), other.interval()) == (
        one.log_better(),
        one.log_worse(),
        one.interval(),
    )
