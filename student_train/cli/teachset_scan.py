"""`understudy teachset scan`: what scrubbing left in a set, and how much it finds of what is planted."""

from typing import Annotated

import typer

from student_train.cli.teachset_add import RulesOption, read_rules
from student_train.cli.teachset_tell import SetArgument, fail, opened, progress, say, table, task
from student_train.teachset import planted, residual
from student_train.teachset.handling import Rules
from student_train.teachset.scrub_chat import Chat
from student_train.teachset.store import TeachingSet

_LEAST_RECALL, _MOST_LOST = 0.98, 0.02


def scan(
    path: SetArgument,
    rules: RulesOption = None,
    most: Annotated[
        float, typer.Option(min=0, max=1, help="The leak rate above which nothing is released.")
    ] = residual.MOST,
    listed: Annotated[bool, typer.Option("--list", help="Say which records leak, and what kind, not what.")] = False,
    planted_: Annotated[
        int, typer.Option("--planted", min=0, help="Plant personal data in so many copies of the set's texts instead.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of what is planted.")] = 1,
) -> None:
    """Look again at everything in a set for personal data and secrets; exit with 1 if too much of it leaks.

    An export asks for a scan that passed. With --planted the set stays as it is: copies of its texts are scrubbed with
    known values in them, which says how much the scrubber finds, and how much it masks without need."""
    said = read_rules(rules)
    with opened(path, holdout=not planted_) as teaching:
        if planted_:
            _measure(teaching, planted_, seed, said.keep)
        else:
            _scan(teaching, said, most, listed)


def _scan(teaching: TeachingSet, rules: Rules, most: float, listed: bool) -> None:
    leaks: list[residual.Leak] = []
    with progress() as bars:
        shown = task(bars, "looking", sum(teaching.sizes().get(kind, 0) for kind in residual.LOOKED_AT))
        found = residual.scan(teaching, rules, most, lambda done: bars.update(shown, completed=done), leaks.append)
    if listed:
        table(["record", "what", "where"], [[leak.record, leak.what, leak.field] for leak in leaks])
    if found.found:
        table(["left", "texts"], [[what, f"{count:,}"] for what, count in found.found.items()])
    say(
        f"{found.leaking} of {found.examples} examples leak: {found.rate:.2%}, at most {found.upper:.2%} with 95 % "
        f"confidence for such traffic; {found.secrets} secrets."
    )
    if not found.passed:
        fail(f"Not to be released: at most {most:.2%} may leak, and no secret. `scan --list` says where.")


def _measure(teaching: TeachingSet, copies: int, seed: int, keep: object) -> None:
    chats = [
        Chat(one.messages, one.tools, one.response_format, one.served, one.gold)
        for one, _ in zip(teaching.examples(), range(copies), strict=False)
    ]
    if not chats:
        fail(f"{teaching.path}: expected examples to plant in, there are none: `understudy teachset add` adds some")
    short = False
    for name, sentences in planted.SENTENCES.items():
        try:
            found = planted.measure(chats, copies, seed, sentences, keep)  # type: ignore[arg-type]
        except ValueError as error:
            fail(str(error))
        rows = [
            [kind, *(_share(found.recall(kind, place)) for place in planted.PLACES), _share(found.recall(kind))]
            for kind in planted.PLANTED
        ]
        rows.append(["all", *(_share(found.recall(None, place)) for place in planted.PLACES), _share(found.recall())])
        say(f"Sentences {name}: found of what was planted")
        table(["kind", *(place.replace("_", " ") for place in planted.PLACES), "all"], rows)
        lost = found.lost / found.clean if found.clean else 0.0
        say(f"Masked without need: {found.lost:,} of {found.clean:,} words, {lost:.2%}.\n")
        right, count = found.recall()
        short |= right < _LEAST_RECALL * count or lost > _MOST_LOST
    if short:
        fail(f"Expected to find {_LEAST_RECALL:.0%} at least, and to mask at most {_MOST_LOST:.0%} without need.")


def _share(found: tuple[int, int]) -> str:
    right, count = found
    return f"{right}/{count}" if count else "-"
