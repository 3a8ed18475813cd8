"""`understudy teachset split`."""

from typing import Annotated, get_args

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, progress, say, table, task
from student_train.teachset.example import Split
from student_train.teachset.store import SetError

_SPLITS = tuple(split for split in get_args(Split) if split != "left_out")
_LARGE = 0.2


def split(
    path: SetArgument,
    shares: Annotated[
        str, typer.Option(help="Of groups: train, dev, calibration, holdout; they sum to 1.")
    ] = "0.8,0.05,0.05,0.1",
    pin: Annotated[
        list[str] | None,
        typer.Option(help="FAMILY=SPLIT: where a whole template family goes. May be given several times."),
    ] = None,
) -> None:
    """Put examples that stand nowhere yet into train, dev, calibration and holdout.

    What is of one person, session or template family, or nearly the same, stays together. Nothing that stands in a
    split is ever moved: run it again after each `add`.
    """
    from student_train.teachset.split import Shares, divide  # needs numpy, which other commands do without

    try:
        train, dev, calibration, holdout = (float(share) for share in shares.split(","))
    except ValueError:
        fail(f"--shares: expected four numbers such as 0.8,0.05,0.05,0.1, got {shares!r}")
    wanted = Shares(train, dev, calibration, holdout)
    pins: dict[str, Split] = {}
    for one in pin or ():
        family, _, where = one.rpartition("=")
        if not family or where not in _SPLITS:
            fail(f"--pin: expected FAMILY=SPLIT, with one of {', '.join(_SPLITS)}, got {one!r}")
        pins[family] = where  # type: ignore[assignment]
    with opened(path, holdout=True) as teaching, progress() as bars:
        bar = task(bars, "examples", teaching.sizes().get("example", 0))
        try:
            found = divide(teaching, wanted, pins, lambda count: bars.update(bar, completed=count))
        except SetError as error:
            fail(str(error))
        sizes = teaching.sizes()
    total = sizes.get("example", 0)
    rows = [[name, f"{found.put.get(name, 0)}", f"{sizes.get(f'split:{name}', 0)}"] for name in get_args(Split)]
    table(["split", "put there now", "in it"], rows)
    if found.left_out:
        say("Left out now: " + ", ".join(f"{count} {why}" for why, count in sorted(found.left_out.items())) + ".")
    say(f"{found.groups} groups; the largest has {found.largest} of {total} examples.")
    if found.largest > _LARGE * total:
        say(
            "That is a large part: wherever such a group goes, shares are far from what was asked for. Persons or "
            "families that link everything are the usual reason."
        )
