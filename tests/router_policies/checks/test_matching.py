"""Held against every pairing there is."""

from itertools import permutations
from random import Random

import pytest

from router_policies.checks.matching import assign


def cheapest(costs: list[list[float]]) -> float:
    rows, columns = len(costs), len(costs[0])
    return min(sum(costs[row][choice[row]] for row in range(rows)) for choice in permutations(range(columns), rows))


@pytest.mark.parametrize("seed", range(200))
def test_no_pairing_is_cheaper(seed: int) -> None:
    random = Random(seed)
    rows = random.randint(1, 5)
    columns = random.randint(rows, 6)
    most = random.choice((1, 3, 1000))
    costs = [[float(random.randint(0, most)) for _ in range(columns)] for _ in range(rows)]
    found = assign(costs)
    assert len(set(found)) == rows
    assert sum(costs[row][column] for row, column in enumerate(found)) == cheapest(costs)


def test_greedy_is_not_enough() -> None:
    assert assign([[0, 1], [0, 9]]) == [1, 0]


def test_nothing_to_pair() -> None:
    assert assign([]) == []


def test_more_rows_than_columns() -> None:
    with pytest.raises(ValueError, match="2 rows and 1 columns"):
        assign([[1], [2]])
