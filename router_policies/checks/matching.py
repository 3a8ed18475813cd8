"""Pairs the members of two lists so that they differ as little as can be: the assignment problem.

Taking the best partner for one after the other can leave the last two with partners that do not fit, though another
pairing fits all. Kuhn and Munkres' algorithm in the form with potentials, O(rows * rows * columns).
"""

from collections.abc import Sequence


def assign(costs: Sequence[Sequence[float]]) -> list[int]:
    """Of each row its column, with the least sum of costs. At least as many columns as rows; costs are finite."""
    rows = len(costs)
    columns = len(costs[0]) if rows else 0
    if rows > columns:
        raise ValueError(f"expected at least as many columns as rows, got {rows} rows and {columns} columns")
    row_potential = [0.0] * (rows + 1)
    column_potential = [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)  # of each column, from 1; 0: none. Column 0 stands for the row that is being placed
    for row in range(1, rows + 1):
        row_of[0] = row
        _augment(costs, row_potential, column_potential, row_of)
    column_of = [0] * rows
    for column in range(1, columns + 1):
        if row_of[column]:
            column_of[row_of[column] - 1] = column - 1
    return column_of


def _augment(
    costs: Sequence[Sequence[float]], row_potential: list[float], column_potential: list[float], row_of: list[int]
) -> None:
    """Places one more row, along the shortest path to a column that is free."""
    columns = len(row_of) - 1
    distance = [float("inf")] * (columns + 1)
    before = [0] * (columns + 1)
    done = [False] * (columns + 1)
    column = 0
    while row_of[column]:
        done[column] = True
        row, nearest, step = row_of[column], 0, float("inf")
        for other in range(1, columns + 1):
            if done[other]:
                continue
            length = costs[row - 1][other - 1] - row_potential[row] - column_potential[other]
            if length < distance[other]:
                distance[other], before[other] = length, column
            if distance[other] < step:
                step, nearest = distance[other], other
        for other in range(columns + 1):
            if done[other]:
                row_potential[row_of[other]] += step
                column_potential[other] -= step
            else:
                distance[other] -= step
        column = nearest
    while column:
        row_of[column], column = row_of[before[column]], before[column]
