"""`understudy teachset choose` and `understudy teachset teachers`."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from student_train.cli.teachset_tell import PackOption, SetArgument, fail, opened, packs, progress, say, table, task
from student_train.teachset.example import Split
from student_train.teachset.judge import Options
from student_train.teachset.store import TeachingSet

if TYPE_CHECKING:
    from student_train.teachset.choose import Table


class Mode(StrEnum):
    ROUTE = "route"
    BLEND = "blend"


class Gold(StrEnum):
    FIRST = "first"
    BESIDE = "beside"
    NEVER = "never"


class On(StrEnum):
    GOLD = "gold"
    DEV = "dev"
    CALIBRATION = "calibration"


OnOption = Annotated[On, typer.Option("--on", help="The split whose gold answers teachers are measured on.")]
TeacherOption = Annotated[
    list[str] | None, typer.Option("--teacher", help="Only these, several times; all that answered by default.")
]


def choose(
    path: SetArgument,
    mode: Annotated[Mode, typer.Option(help="One teacher for each skill, or all of them by weights.")] = Mode.ROUTE,
    gold: Annotated[
        Gold, typer.Option(help="Where gold is known: it alone is taught, half of the weight is its, or none.")
    ] = Gold.FIRST,
    pack: PackOption = None,
    on: OnOption = On.GOLD,
    teacher: TeacherOption = None,
) -> None:
    """Choose who teaches what, by how right teachers are on gold, and write the lessons."""
    _need_numpy()
    from student_train.teachset.choose import ANY, rankings
    from student_train.teachset.choose import choose as made
    from student_train.teachset.choose_set import teach

    with opened(path) as teaching, progress() as bars:
        scores = _measured(teaching, pack, on, teacher)
        choice = made(scores, mode.value, gold.value)
        bar = task(bars, "lessons")
        counts = teach(teaching, choice, lambda: bars.advance(bar))
    if mode is Mode.ROUTE:
        orders = rankings(scores)
        rows = [
            ["(any other)" if skill == ANY else skill or "(none)", scores.teachers[order[0]]]
            for skill, order in sorted(orders.items())
        ]
        table(["skill", "taught by"], rows)
    else:
        blended = [
            ["(any other)" if skill == ANY else skill or "(none)", *(f"{weight:.3f}" for weight in weights.values)]
            for skill, weights in sorted(choice.weights.items())
        ]
        table(["skill", *scores.teachers], blended)
    say("lessons: " + (", ".join(f"{count} by {name}" for name, count in counts.most_common()) or "none"))


def teachers(
    path: SetArgument,
    pack: PackOption = None,
    on: OnOption = On.GOLD,
    teacher: TeacherOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the report here, Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw it here, PNG.")] = None,
) -> None:
    """Report how right each teacher is, what it costs, and whether several are better than one alone."""
    _need_numpy()
    from student_train.teachset.choose_picture import draw
    from student_train.teachset.choose_report import markdown

    with opened(path) as teaching:
        scores = _measured(teaching, pack, on, teacher)
    text = markdown(scores)
    if plot is not None:
        try:
            draw(scores, plot)
        except ImportError as error:
            fail(f"--plot: {error}")
    if out is None:
        say(text)
    else:
        out.write_text(text, encoding="utf-8")


def _need_numpy() -> None:
    """It is in an extra, and all commands of all groups are loaded at the start: so these load it when they run."""
    if find_spec("numpy") is None:
        fail("this needs numpy, which is not installed: run pip install 'understudy[teachset]'")


def _measured(teaching: TeachingSet, pack: list[Path] | None, on: On, teacher: list[str] | None) -> "Table":
    from student_train.teachset.choose_set import NoGoldError, measured

    split: Split = on.value
    try:
        return measured(teaching, Options.of(packs(pack)).pack, split, teacher)
    except NoGoldError as error:
        fail(str(error))
