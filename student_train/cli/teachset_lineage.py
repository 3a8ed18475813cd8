"""`understudy teachset lineage` and `register-model`: where an example is from, and who learned from it."""

import hashlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, say, table
from student_train.teachset.lineage import TAUGHT, Told
from student_train.teachset.lineage import lineage as lineage_of
from student_train.teachset.lineage import register as registered


def lineage(
    path: SetArgument,
    example: Annotated[str, typer.Argument(metavar="EXAMPLE", help="The id of an example, as exports have it.")],
) -> None:
    """Say where an example is from (the request's id, or the generator), what was done to it, and which models learned
    from it. Of what was erased the second and third are still known."""
    with opened(path, holdout=True) as teaching:
        found = lineage_of(teaching, example)
    source = found.source
    if source is not None:
        where = {"real_trace": "request", "synthetic": "generated as", "handcrafted": "written as"}[source.kind]
        say(f"From {source.origin}: {where} {source.id}{f', {_when(source.at)}' if source.at else ''}.")
    if found.erased is not None:
        say(f"Erased {_when(found.erased.at)}: {found.erased.about['why']}.")
    if found.made_from:
        say(f"Made from example {found.made_from}.")
    if found.children:
        say(f"Made from it: {', '.join(found.children)}.")
    say(f"Split: {found.split or 'none yet'}.")
    table(["entry", "when", "what", "of it"], [_row(one, example) for one in found.told])
    say("In versions: " + (", ".join(one.name for one in found.versions) or "none") + ".")
    for model in found.models:
        say(f"Learned from it: {model.name} (on {model.version}, sha256 {model.sha256}).")
    if not found.models:
        say("No model that is registered learned from it.")


def register_model(
    path: SetArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the model, with its revision.")],
    version: Annotated[str, typer.Option(help="The version of the set that it was trained on.")],
    weights: Annotated[Path | None, typer.Option(help="Its file of weights, for the hash.")] = None,
    sha256: Annotated[str | None, typer.Option(help="The hash, instead of --weights.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help=f"What shaped it; without: {', '.join(TAUGHT)}. May be given several times."),
    ] = None,
) -> None:
    """Note that a model was trained on a version, so that `erase` and `expire` can say what to train again."""
    if (weights is None) == (sha256 is None):
        fail("expected either --weights or --sha256: the model is known by the hash of its weights")
    try:
        known = sha256 if weights is None else _hash(weights)
    except OSError as error:
        fail(f"--weights {weights}: {error.strerror}")
    with opened(path) as teaching:
        model = registered(teaching, name, version, known or "", split or TAUGHT)
    say(f"{model.name} was trained on {model.version}; sha256 {model.sha256}.")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row(told: Told, example: str) -> list[str]:
    about: dict[str, Any] = {name: value for name, value in told.about.items() if isinstance(value, str | int | float)}
    rest = told.id.removeprefix(example).strip("/")
    return [
        f"{told.seq}",
        _when(told.at),
        f"{told.kind} {rest}".strip(),
        ", ".join(f"{k} {v}" for k, v in about.items()),
    ]


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
