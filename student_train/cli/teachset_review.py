"""`understudy teachset review write|read`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from student_train.cli.teachset_tell import PackOption, SetArgument, fail, opened, packs, progress, say, task
from student_train.teachset.judge import Options
from student_train.teachset.review import ReviewError, read_key, write_key, write_review
from student_train.teachset.review_agreement import Pairwise
from student_train.teachset.review_set import Heard, heard, shown

review = typer.Typer(
    help="Let people say which answers are good, without knowing whose they are.", no_args_is_help=True
)
KeyOption = Annotated[Path, typer.Option("--key", help="Where it is kept whose answers they are. Not for reviewers.")]


@review.command()
def write(
    path: SetArgument,
    out: Annotated[Path, typer.Option("--out", help="JSON lines, or CSV if it ends so.")],
    key: KeyOption,
    count: Annotated[
        int, typer.Option("-n", "--n", min=0, help="How many besides those that disagree, shared among skills.")
    ] = 100,
    pack: PackOption = None,
) -> None:
    """Write a blinded review: all prompts whose answers disagree, and a slice of the others."""
    for file in (out, key):
        if file.exists():
            fail(f"{file} is there already; reviews and keys are not overwritten: name another, or remove it")
    with opened(path) as teaching, progress() as bars:
        bar = task(bars, "looked at")
        blinded, hidden = shown(teaching, Options.of(packs(pack)).pack, count, show=lambda: bars.advance(bar))
    if not blinded:
        fail("there is no answer to review: `understudy teachset ask` comes first")
    write_key(key, hidden)
    write_review(out, blinded)
    disagreeing = sum(one.disagree for one in hidden.cases.values())
    say(f"{out}: {len(blinded)} cases, {disagreeing} of them on which the answers disagree. Keep {key} from reviewers.")


@review.command()
def read(
    path: SetArgument,
    filled: Annotated[Path, typer.Argument(help="The review as somebody filled it.")],
    key: KeyOption,
    pack: PackOption = None,
) -> None:
    """Take a filled review in: what people found bad leaves the lessons. All errors are told, by line, before that."""
    with opened(path) as teaching:
        try:
            found = heard(teaching, filled, read_key(key), time.time(), Options.of(packs(pack)))
        except ReviewError as error:
            fail(str(error))
    _tell(found)


def _tell(found: Heard) -> None:
    say(f"{found.new} new decisions of {len(found.people)} people, {found.blank} cases not filled")
    say(f"{found.rejected} answers rejected, {found.restored} restored")
    names = {pseudonym: name for name, pseudonym in found.people.items()}
    for (one, other), pair in found.pairs.items():
        if pair.count:
            say(f"{names.get(one, one)} and {names.get(other, other)}: {_told(pair)}")
    if found.alpha is not None:
        say(f"all people: Krippendorff's alpha {found.alpha:.2f}")
    if found.filters.count:
        say(f"people and filters: {_told(found.filters)}")


def _told(pair: Pairwise) -> str:
    beyond = "not defined, one word only" if pair.kappa is None else f"{pair.kappa:.2f}"
    return f"the same on {100 * pair.same:.0f} % of {pair.count} answers, Cohen's kappa {beyond}"
