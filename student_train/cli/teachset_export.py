"""`understudy teachset export`."""

from pathlib import Path
from typing import Annotated

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, progress, say, table, task
from student_train.teachset.store import SetError


def export(
    path: SetArgument,
    name: Annotated[str | None, typer.Option(help="Of the version; without it the next number, v1, v2, ...")] = None,
    about: Annotated[
        Path | None, typer.Option(help="What people say of the set, YAML, for the card (docs/teachset.md).")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Which splits; without it all but the holdout. May be given several times.")
    ] = None,
) -> None:
    """Write a version into SET/exports: JSON lines and Parquet, a data card, and Croissant metadata.

    The ledger gets the version's Merkle root and a hash of each file. Run again with nothing changed, it writes the
    same bytes. Refused before `scan` has passed.
    """
    from student_train.teachset import card  # they need pydantic and pyarrow, which other commands do without
    from student_train.teachset import export as exporting

    try:
        said = card.read_about(about)
    except SetError as error:
        fail(str(error))
    with opened(path) as teaching, progress() as bars:
        bar = task(bars, "examples", None)
        splits = tuple(split) if split else exporting.EXPORTED
        made = exporting.export(teaching, name, said, splits, lambda count: bars.update(bar, completed=count))  # type: ignore[arg-type]
    table(["file", "examples", "bytes"], [[file.name, f"{file.rows:,}", f"{file.bytes:,}"] for file in made.files])
    if made.untaught:
        say(f"{made.untaught} examples have no answer that is taught, and are not in it.")
    word = "is there" if made.new else "was there, and is written again"
    say(f"Version {made.version.name} {word}: {made.folder}. Root: {made.version.root}")
