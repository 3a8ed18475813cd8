"""`understudy teachset erase` and `expire`: what has to go, and which models learned from it."""

import time
from collections.abc import Callable
from typing import Annotated, get_args, get_type_hints

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, say
from student_train.teachset.example import Example, Source
from student_train.teachset.retention import Erased, chosen, of_customer, of_requests, past
from student_train.teachset.retention import erase as erased
from student_train.teachset.store import TeachingSet

_KINDS = get_args(get_type_hints(Source)["kind"])
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")]


def erase(
    path: SetArgument,
    customer: Annotated[
        list[str] | None, typer.Option(help="An end user, as apps name it to the gateway, or the pseudonym.")
    ] = None,
    request: Annotated[list[str] | None, typer.Option(help="The id of a request.")] = None,
    example: Annotated[list[str] | None, typer.Option(help="The id of an example.")] = None,
    tenant: Annotated[str | None, typer.Option(help="With --customer: only this tenant's.")] = None,
    reason: Annotated[str, typer.Option(help="For the ledger; say nothing of who it is.")] = "asked for",
    dry_run: DryRun = False,
) -> None:
    """Erase people, requests or examples, and all that was made of them, from every file of the set.

    Each option may be given several times. The ledger keeps a tombstone without a text; exports that had any of it are
    removed. Prints which models learned from it: erasing does not make them forget. Copies of the set, and of exports,
    are for whoever made them. Nothing of it comes back when the same traces are added again.
    """
    if not (customer or request or example):
        fail("expected --customer, --request or --example, got none: what is to be erased?")
    with opened(path, holdout=True) as teaching:
        tests = [of_customer(teaching, one, tenant) for one in customer or ()]
        tests.append(of_requests(request or ()))
        ids = frozenset(example or ())
        tests.append(lambda one: one.id in ids)
        _run(teaching, lambda one: any(test(one) for test in tests), reason, "erased", dry_run)


def expire(
    path: SetArgument,
    days: Annotated[
        list[str] | None,
        typer.Option(help=f"KIND=DAYS: how long that kind of source is kept: {', '.join(_KINDS)}."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Erase what may be kept no longer: past its own date, or older than its kind of source is kept.

    Meant for a daily job. Does what `erase` does, and says which models to train again.
    """
    with opened(path, holdout=True) as teaching:
        _run(teaching, past(time.time(), _days(days or ())), "retention", "expired", dry_run)


def _days(said: "list[str] | tuple[str, ...]") -> dict[str, float]:
    found: dict[str, float] = {}
    for one in said:
        kind, _, days = one.partition("=")
        try:
            found[kind] = float(days)
        except ValueError:
            fail(f"--days: expected KIND=DAYS such as real_trace=90, got {one!r}")
        if kind not in _KINDS or not found[kind] >= 0:
            fail(f"--days: expected one of {', '.join(_KINDS)} and days of 0 or more, got {one!r}")
    return found


def _run(teaching: TeachingSet, wanted: Callable[[Example], bool], why: str, kind: str, dry_run: bool) -> None:
    if dry_run:
        count = sum(teaching.has("example", id_) for id_ in chosen(teaching, wanted))
        say(f"{count} examples would be erased.")
        return
    _tell(erased(teaching, wanted, why, kind))


def _tell(found: Erased) -> None:
    if not found.examples:
        say("Nothing in the set fits: nothing was erased.")
        return
    say(f"{found.examples} examples are erased, {found.records} records in all.")
    if found.versions:
        say(f"They were in: {', '.join(found.versions)}. Their files here are removed; remove copies elsewhere.")
    for model in found.models:
        say(f"Train again: {model.name} (on {model.version}, sha256 {model.sha256}) learned from them.")
