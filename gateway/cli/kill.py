"""`understudy kill`."""

from typing import Annotated, Literal

import typer

from gateway.cli.client import (
    URL,
    AdminClient,
    DryRunOption,
    KeyOption,
    TtlOption,
    UrlOption,
    WaitOption,
    route_path,
    said,
)
from gateway.cli.options import fail


def kill(
    route: Annotated[str | None, typer.Argument(help="The route; without one, all routes.")] = None,
    to: Annotated[Literal["teacher", "student"] | None, typer.Option(help="Who answers everything.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End it: the split and the policies decide again.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for those who read the history.")] = None,
    ttl: TtlOption = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Send everything to one side at once, whatever split and policies say; or `--end` that.

    The kill switch of all routes is stronger than that of a route. It is never refused because somebody else changed
    something at the same time.
    """
    if end is (to is not None):
        fail("expected --to teacher or --to student, or --end to end it")
    if reason is None:
        if not end:
            fail("--reason: expected a few words for those who read the history")
        reason = "the kill switch is ended"
    with AdminClient(url, key) as admin:
        path = "/kill" if route is None else f"{route_path(route)}/kill"
        admin.change("POST", path, {"to": to, **said(reason, ttl)}, dry_run=dry_run, wait=wait)
