"""`understudy teachset unsettle`."""

from pathlib import Path
from typing import Annotated

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, say, table
from student_train.teachset.unsettle import UnsettleError, read_tasks, unsettle_set


def unsettle(
    path: SetArgument,
    tasks: Annotated[Path, typer.Argument(help="A YAML file of tasks: docs/teachers.md. It names code that is run.")],
) -> None:
    """Make unanswerable cases of answerable prompts, with targets that ask, so that the student learns to ask."""
    try:
        written, made = read_tasks(tasks)
        with opened(path) as teaching:
            counts = unsettle_set(teaching, made, written.share, written.seed)
    except UnsettleError as error:
        fail(str(error))
    if not counts:
        say("No prompt could be changed: they need gold answers, and a task that knows them.")
        return
    table(["missing", "how", "cases"], [[what, kind, f"{count}"] for (what, kind), count in sorted(counts.items())])
