"""`understudy traffic`."""

from typing import Annotated

import typer

from gateway.cli.client import (
    URL,
    AdminClient,
    DryRunOption,
    KeyOption,
    OverrideOption,
    ReasonOption,
    TtlOption,
    UrlOption,
    WaitOption,
    route_path,
    said,
)


def traffic(
    route: Annotated[str, typer.Argument(help="The route to change.")],
    percent: Annotated[float, typer.Argument(min=0, max=100, help="The share of sessions for the student.")],
    reason: ReasonOption,
    ttl: TtlOption = None,
    override: OverrideOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Send PERCENT of a route's sessions to the student; the others go to the teacher.

    It is live within a second on every replica. Requests under way are not touched, and raising the share moves nobody
    from the student back to the teacher. If somebody else changes the route at the same time, it is refused.
    """
    with AdminClient(url, key) as admin:
        path = route_path(route)
        stands = {"if-match": f'"{admin.version(path)}"'}
        body = {"student_percent": percent, **said(reason, ttl, override)}
        admin.change("PATCH", path, body, headers=stands, dry_run=dry_run, wait=wait)
