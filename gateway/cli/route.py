"""`understudy route`: what a route is, was, and shall be."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import document
from gateway.cli.client import (
    URL,
    AdminClient,
    DryRunOption,
    Json,
    KeyOption,
    OverrideOption,
    ReasonOption,
    TtlOption,
    UrlOption,
    WaitOption,
    difference,
    route_path,
    said,
    say,
    text_of,
)
from gateway.cli.options import fail
from gateway.control.documents import leaves

route = typer.Typer(help="Show and change routes while they serve.", no_args_is_help=True)


@route.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[ROUTE]", help="The route; without one, all of them.")] = None,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Show a route as it is live, every key of it, and where each comes from: live, file or default."""
    with AdminClient(url, key) as admin:
        if name is not None:
            _show(admin.get(route_path(name)))
            return
        for found in admin.get("/routes")["routes"]:
            of = found["document"]
            forced = f"; kill switch: everything to the {of['force']}" if of["force"] else ""
            split = f"{of['student_percent']:g} % to {of['student']}, the others to {of['teacher']}"
            say(f"{found['route']} (version {found['version']}): {split}{forced}")


def _show(found: Json) -> None:
    table = Table("key", "value", "from", box=None, pad_edge=False)
    for path, value in leaves(found["document"]):
        source = found["sources"][path[0]]
        style = "" if source == "live" else "dim"
        table.add_row(*(Text(text, style) for text in (".".join(path), text_of(value), source)))
    say(f"{found['route']}, version {found['version']}{_who(found)}")
    Console().print(table)
    for undo in found["takes_back"]:
        say(f"At {undo['at']} version {undo['version']} takes itself back: {', '.join(undo['keys'])}.")
    for problem in found["problems"]:
        say(f"NOT LIVE as it was changed: {problem}")


def _who(found: Json) -> str:
    if found["changed_by"] is None:
        return ", as the config file has it"
    return f" ({found['action']} by {found['changed_by']} at {found['changed_at']}: {found['reason']})"


@route.command("set")
def set_(
    name: Annotated[str, typer.Argument(metavar="ROUTE", help="The route.")],
    reason: ReasonOption,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="deadlines.ttft_s=5; the value as YAML, null for the file's."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A YAML file with the whole route, in place of KEY=VALUE; makes a new one too.")
    ] = None,
    ttl: TtlOption = None,
    override: OverrideOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Change keys of a route, or have it be exactly what a file says.

    If somebody else changes the route at the same time, it is refused.
    """
    if bool(values) is (file is not None):
        fail("expected KEY=VALUE, once or more, or --file")
    about = said(reason, ttl, override)
    with AdminClient(url, key) as admin:
        path = route_path(name)
        stands = admin.send("GET", path, absent=file is not None)
        headers = {"if-match": f'"{stands["version"]}"'} if stands else {"if-none-match": "*"}
        if file is not None:
            body = {"document": _read(file), **about}
            admin.change("PUT", path, body, headers=headers, dry_run=dry_run, wait=wait)
        else:
            admin.change("PATCH", path, _patch(values or []) | about, headers=headers, dry_run=dry_run, wait=wait)


def _read(file: Path) -> Json:
    try:
        found = document.read(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {error}")
    except document.DocumentError as error:
        fail(f"{file}: {error}")
    if not isinstance(found, dict):
        fail(f"{file}: expected a mapping, the route as it stands under its name in gateway.yaml")
    return found


def _patch(values: list[str]) -> Json:
    """A merge patch of dotted keys and YAML values."""
    patch: Json = {}
    for assignment in values:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            fail(f"expected KEY=VALUE such as student_percent=25 or deadlines.ttft_s=5, got {assignment!r}")
        try:
            value = document.read(text)
        except document.DocumentError as error:
            fail(f"{path}: {error}")
        *above, last = path.split(".")
        at = patch
        for part in above:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                fail(f"{path}: {part} is set to a value already")
        at[last] = value
    return patch


@route.command()
def history(
    name: Annotated[str, typer.Argument(metavar="ROUTE", help="The route.")],
    limit: Annotated[int, typer.Option(min=1, max=500, help="The newest so many.")] = 20,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Show what was changed, by whom, when and why, newest first."""
    with AdminClient(url, key) as admin:
        versions = admin.get(f"{route_path(name)}/versions", limit=limit)["versions"]
    for one in versions:
        until = f", until {one['expires_at']}" if one["expires_at"] else ""
        say(f"version {one['version']}: {one['action']} by {one['actor']} at {one['changed_at']}{until}")
        say(f"  because: {one['reason']}")
        for change in one["diff"]:
            say(f"  {difference(change)}")
    if not versions:
        say(f"{name} was never changed: it is as the config file has it.")


@route.command()
def revert(
    name: Annotated[str, typer.Argument(metavar="ROUTE", help="The route.")],
    version: Annotated[int, typer.Argument(min=0, help="The version to go back to; 0 is the config file's.")],
    reason: ReasonOption,
    ttl: TtlOption = None,
    override: OverrideOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Have a route be what it was at a version, as a new version; also one that was deleted."""
    with AdminClient(url, key) as admin:
        path = route_path(name)
        newest = admin.get(f"{path}/versions", limit=1)["versions"]
        headers = {"if-match": f'"{newest[0]["version"] if newest else 0}"'}
        body = {"version": version, **said(reason, ttl, override)}
        admin.change("POST", f"{path}/revert", body, headers=headers, dry_run=dry_run, wait=wait)


@route.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="ROUTE", help="The route.")],
    reason: ReasonOption,
    ttl: TtlOption = None,
    override: OverrideOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Take a route out of service, also one of the config file's. Needs --override; revert brings it back."""
    with AdminClient(url, key) as admin:
        path = route_path(name)
        headers = {"if-match": f'"{admin.version(path)}"'}
        admin.change("DELETE", path, said(reason, ttl, override), headers=headers, dry_run=dry_run, wait=wait)
