"""`understudy teachset judge`."""

from typing import Annotated

import typer

from router_policies.checks.check import Severity
from student_train.cli.teachset_tell import PackOption, SetArgument, opened, packs, progress, say, table, task
from student_train.teachset.judge import Options
from student_train.teachset.judge_set import judge_all


def judge(
    path: SetArgument,
    pack: PackOption = None,
    severity: Annotated[Severity, typer.Option(help="The least of a failed check that rejects.")] = Severity.MEDIUM,
    min_tokens: Annotated[int, typer.Option(min=0, help="Shorter answers are rejected.")] = 1,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longer answers are rejected.")] = None,
    unlike: Annotated[
        float, typer.Option(min=0, help="Standard deviations of the log of tokens from what is usual in a skill.")
    ] = 4.0,
    agreement: Annotated[
        float,
        typer.Option(min=0, max=1, help="Least share of a teacher's answers to a closed prompt that say the same."),
    ] = 0.5,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Least token F1 of an answer to an open prompt with the others.")
    ] = 0.1,
    most: Annotated[int, typer.Option(min=1, help="Different answers kept of a teacher to a prompt.")] = 4,
) -> None:
    """Judge all answers: which are fit to be taught, and why the others are not. They all stay in the set."""
    options = Options.of(
        packs(pack),
        severity=severity,
        min_tokens=min_tokens,
        max_tokens=max_tokens,
        unlike=unlike,
        agreement=agreement,
        overlap=overlap,
        most=most,
    )
    with opened(path) as teaching, progress() as bars:
        bar = task(bars, "judged")
        counts = judge_all(teaching, options, lambda: bars.advance(bar))
    words = sorted({word for said in counts.values() for word in said}, key=lambda word: (word != "kept", word))
    rows = [
        [name, f"{said.total()}", *(f"{said[word]} ({100 * said[word] / said.total():.0f} %)" for word in words)]
        for name, said in sorted(counts.items())
    ]
    if not rows:
        say("There is no answer to judge: `understudy teachset ask` comes first.")
        return
    table(["teacher", "answers", *words], rows)
