"""The report's picture: accuracy of each teacher in each skill with its interval, and what several come to."""

from pathlib import Path

import numpy as np

from student_train.teachset.choose import Table
from student_train.teachset.choose_report import compare, difference, wilson

_COLOURS = ("#1d6996", "#e17c05", "#5f4690", "#38a6a5", "#94346e", "#73af48")
_GREY = "#5c6670"


def draw(table: Table, path: Path) -> None:
    """A PNG. Raises `ImportError` where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "a picture needs matplotlib: pip install 'understudy[teachset]', or leave out --plot"
        ) from None
    skills = [*table.rows_of, "all"]
    figure = Figure(figsize=(10, 1.6 + 0.17 * len(skills) * max(len(table.teachers), 2)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
    step = 0.8 / len(table.teachers)
    for number, name in enumerate(table.teachers):
        for place, skill in enumerate(skills):
            mask = (
                table.rows_of.get(skill, np.ones(len(table.skills))) if skill != "all" else np.ones(len(table.skills))
            )
            count, good = float(mask.sum()), float(mask @ table.right[:, number])
            low, high = wilson(good, count)
            share, at = good / max(count, 1), place - 0.4 + step * (number + 0.5)
            colour = _COLOURS[number % len(_COLOURS)]
            left.plot([low, high], [at, at], color=colour, linewidth=1.6, alpha=0.6)
            left.plot([share], [at], "o", color=colour, markersize=5, label=name if not place else None)
    labels = [
        f"{skill or '(none)'} ({int(table.rows_of[skill].sum()) if skill in table.rows_of else len(table.skills)})"
        for skill in skills
    ]
    left.set_yticks(range(len(skills)), labels)
    left.invert_yaxis()
    left.set_xlim(0, 1)
    left.set_title("Right on gold, by skill (examples), with 95 % intervals", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=9, loc="lower left", ncols=len(table.teachers), bbox_to_anchor=(0, 1.05))
    compared = compare(table)
    for place, (values, colour) in enumerate(((compared.route, _COLOURS[0]), (compared.blend, _COLOURS[1]))):
        apart = difference(values, compared.single)
        right.plot([apart.low, apart.high], [place, place], color=colour, linewidth=2)
        right.plot([apart.mean], [place], "o", color=colour)
    right.axvline(0, color=_GREY, linewidth=0.9, linestyle="--")
    right.set_yticks([0, 1], ["route", "blend"])
    right.set_ylim(1.6, -0.6)
    right.set_title(f"Held out, less the best alone ({compared.name})", loc="left", fontsize=10)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
