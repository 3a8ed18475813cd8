"""`understudy calibrate`: from which confidence on the student's answers may be served."""

from math import exp
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import say
from gateway.cli.options import fail
from gateway.cli.replay import Unread, read_lines, tell_unread
from router_policies.replay.thresholds import Threshold, thresholds
from router_policies.rollout.filed import read_record


def calibrate(
    pairs: Annotated[
        list[Path],
        typer.Option("--pairs", "-p", help="Records of shadow mode, one JSON object a line: understudy pairs --json."),
    ],
    of: Annotated[
        list[str] | None,
        typer.Option("--of", help="Families or names of checks that say what is bad; default: format and policy."),
    ] = None,
    bad_rate: Annotated[
        float, typer.Option(min=0.0001, max=0.9999, help="How much of what is served may be bad.")
    ] = 0.05,
    delta: Annotated[
        float, typer.Option(min=0.0001, max=0.9999, help="The probability with which that may be broken.")
    ] = 0.05,
) -> None:
    """Say which threshold of deferral keeps a promise, from recorded pairs. It changes nothing: set it yourself.

    The promise: of the student's answers that are served at most so many fail a check that the teacher's answer passes.
    Pairs tell how sure the student was while the route has a `deferral` block. Exit code 1 if a line cannot be read, or
    there is no threshold for a route.
    """
    unread = Unread([])
    filed = [record for path in pairs for record in read_lines(path, read_record, unread)]
    found = thresholds(filed, of or ["format", "policy"], bad_rate=bad_rate, delta=delta)
    for one in found:
        _print(one, bad_rate, delta)
    tell_unread(unread)
    if not found:
        fail("no pair tells how sure the student was: set `deferral: {}` on the route, and mirror for a while")
    if unread.told or any(one.found.threshold is None for one in found):
        raise typer.Exit(1)


def _print(one: Threshold, bad_rate: float, delta: float) -> None:
    found = one.found
    say(f"{one.route}: {found.pairs:,} pairs that tell how sure the student was, by the quantile {one.quantile:g}")
    for count, why in (
        (one.thinned, "left out: mirrored more often than others"),
        (one.untold, "left out: no confidence, of another quantile, or nothing that a check could say"),
        (one.lost, "samples were lost and are not judged"),
    ):
        if count:
            say(f"  {count:,} {why}")
    promise = f"at most {100 * bad_rate:g} % of what is served is bad, with {100 * (1 - delta):g} % probability"
    if found.threshold is None:
        say(f"  no threshold keeps the promise: {promise}. More pairs may, or a better student")
        return
    served = f"{found.served:,} of {found.pairs:,} served ({100 * found.served / found.pairs:.1f} %)"
    bad = f"{found.bad:,} of these bad ({100 * found.bad / found.served:.2f} %), at most {100 * found.bound:.2f} %"
    say(f"  {served}, {bad}")
    say(f"  {promise}, while traffic and student are those of the pairs, with this under routes.{one.route}:")
    say(f"    deferral: {{quantile: {one.quantile:g}, threshold: {found.threshold:.4f}}}  # {exp(found.threshold):.0%}")
