"""How commands on a set tell what they do, and end."""

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from router_policies.checks.pack import Pack, PackError, read_pack
from student_train.teachset.store import SetError, TeachingSet

SetArgument = Annotated[Path, typer.Argument(metavar="SET", help="The teaching set, a directory.")]
PackOption = Annotated[
    list[Path] | None,
    typer.Option("--pack", help="A pack of the gateway's checks (docs/checks.md), YAML. May be given several times."),
]


@contextmanager
def opened(path: Path, holdout: bool = False) -> Iterator[TeachingSet]:
    """The set; what is wrong with it ends the command."""
    try:
        with TeachingSet.open(path, holdout) as teaching:
            yield teaching
    except SetError as error:
        fail(str(error))
    except sqlite3.DatabaseError as error:
        fail(f"{path}: expected databases that can be read, got one that is broken: {error}; put back a copy")


def say(text: str) -> None:
    """On stdout, as it is."""
    Console(soft_wrap=True).print(text, highlight=False, markup=False)


def fail(text: str, code: int = 1) -> NoReturn:
    """On stderr, and the command ends."""
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False)
    raise typer.Exit(code)


def packs(paths: Sequence[Path] | None) -> list[Pack]:
    found = []
    for path in paths or ():
        try:
            found.append(read_pack(yaml.safe_load(path.read_text(encoding="utf-8"))))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            fail(f"--pack {path}: expected a pack, YAML: {error}")
        except PackError as error:
            fail(f"--pack {path}:\n{error}")
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = Table(box=None, pad_edge=False)
    for at, name in enumerate(columns):
        shown.add_column(name, justify="right" if at else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    Console(soft_wrap=True).print(shown, highlight=False, markup=False)


@contextmanager
def progress() -> Iterator[Progress]:
    """Shown on a terminal only."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        yield shown


def task(shown: Progress, name: str, total: int | None = None) -> TaskID:
    return shown.add_task(name, total=total, note="")
