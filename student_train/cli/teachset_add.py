"""`understudy teachset add` and `rules`: what comes in, and what is done with what must not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, get_args

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, progress, say, table, task
from student_train.teachset import handling, importing
from student_train.teachset.example import Split
from student_train.teachset.trace import TraceError, read_key

RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="Handling rules, YAML (docs/scrubbing.md); without it all is masked.")
]
_SPLITS = tuple(split for split in get_args(Split) if split != "left_out")


def add(
    path: SetArgument,
    files: Annotated[list[Path], typer.Argument(help="Traces or made examples, *.jsonl or *.jsonl.enc, or folders.")],
    rules: RulesOption = None,
    key_file: Annotated[Path | None, typer.Option(help="The key of encrypted traces, 64 hexadecimal digits.")] = None,
    split: Annotated[
        str | None, typer.Option(help=f"Put them all into one split: {', '.join(_SPLITS)}. Else `split` decides.")
    ] = None,
) -> None:
    """Add traces that a gateway captured, or examples that somebody made, scrubbed as they are read.

    Nothing is written before it is scrubbed. What is in the set is not added again: stop it with Ctrl-C, run it again,
    and it goes on."""
    if split is not None and split not in _SPLITS:
        fail(f"--split: expected one of {', '.join(_SPLITS)}, got {split!r}")
    said = read_rules(rules)
    with opened(path) as teaching, progress() as bars:
        shown = task(bars, "adding")
        try:
            made = importing.add(
                teaching,
                files,
                said,
                key=None if key_file is None else read_key(key_file),
                split=split,  # type: ignore[arg-type]
                show=lambda done, of: bars.update(shown, completed=done, total=of),
            )
        except TraceError as error:
            fail(str(error))
    say(f"{made.added} examples added of {made.read} lines; {made.already} were there.")
    if made.refused:
        table(["not used", "lines"], _rows(made.refused))
    if made.masked:
        table(["masked", "values"], _rows(made.masked))


def rules(
    file: Annotated[
        Path | None, typer.Argument(metavar="[RULES]", help="Handling rules, YAML; none: the default.")
    ] = None,
) -> None:
    """Check handling rules, and say in words what they do."""
    for line in handling.in_words(read_rules(file)):
        say(line)


def read_rules(path: Path | None) -> handling.Rules:
    try:
        return handling.load(path)
    except ValueError as error:
        fail(str(error))


def _rows(counts: Mapping[str, int]) -> list[list[str]]:
    return [[name, f"{count:,}"] for name, count in sorted(counts.items(), key=lambda one: -one[1])]
