"""`understudy teachset verify`."""

from typing import Annotated

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, progress, say, task
from student_train.teachset.verify import verify as verified


def verify(
    path: SetArgument,
    head: Annotated[
        str | None, typer.Option(help="The hash of an entry, written down elsewhere: it has to be in the chain.")
    ] = None,
) -> None:
    """Check that nothing was changed: every line of the ledger, every text, every split and every version's root.

    Exit code 1 if anything was. Who can write to the whole set can also write a new one that is in order; `--head`,
    with a hash that `verify` or `status` told earlier and that was kept elsewhere, finds that, too.
    """
    with opened(path) as teaching, progress() as bars:
        bar = task(bars, "entries", teaching.head[0])
        found = verified(path, lambda entries: bars.update(bar, completed=entries), head)
    if found.problems:
        fail(f"{path} is not what its ledger says:\n" + "\n".join(found.problems))
    erased = f", {found.erased} erased" if found.erased else ""
    say(f"{found.entries} entries, {found.records} records{erased}: all as it was written. Head: {found.head}")
