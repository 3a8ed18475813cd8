"""`understudy traffic`."""

from typing import Annotated
from urllib.parse import quote

import httpx2
import typer
from rich.console import Console

from gateway.cli.options import fail
from gateway.config import is_header_text


def traffic(
    route: Annotated[str, typer.Argument(help="The route to change.")],
    percent: Annotated[float, typer.Argument(min=0, max=100, help="The share of sessions for the student.")],
    reason: Annotated[str, typer.Option(help="Why, for those who read the history.")],
    url: Annotated[str, typer.Option(envvar="UNDERSTUDY_URL", help="The gateway.")] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None, typer.Option(envvar="UNDERSTUDY_KEY", help="An admin key, if the gateway has keys.")
    ] = None,
) -> None:
    """Send PERCENT of a route's sessions to the student; the others go to the teacher.

    It is live within a second on every worker. Requests under way are not touched, and raising the share moves nobody
    from the student back to the teacher.
    """
    if key and not is_header_text(key):
        fail("--key: expected printable ASCII characters without spaces, got others among them (not shown)")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        address = f"{url.rstrip('/')}/admin/routes/{quote(route)}"
        with httpx2.Client(timeout=10, headers=headers) as client:
            before = _json(client.get(address))
            after = _json(client.patch(address, json={"student_percent": percent, "reason": reason}))
    except httpx2.HTTPError as error:
        fail(f"{url} cannot be reached: {error}. Is the gateway running? --url says where it is.")
    except (httpx2.InvalidURL, ValueError) as error:
        fail(f"this cannot be asked of {url}: {error}")
    Console().print(
        f"{route}: {before['document']['student_percent']:g} % -> {after['document']['student_percent']:g} % "
        f"of sessions to {after['document']['student']} (version {after['version']}).",
        highlight=False,
    )


def _json(response: httpx2.Response) -> dict[str, dict[str, object]]:
    try:
        document = response.json()
    except ValueError:
        fail(f"expected JSON from {response.url}, got {response.status_code}: is this an Understudy gateway?")
    if response.is_error:
        fail(f"refused ({response.status_code}): {document.get('error', {}).get('message', document)}")
    return dict(document)
