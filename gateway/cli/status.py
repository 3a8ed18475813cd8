"""`understudy status`."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.client import URL, AdminClient, KeyOption, UrlOption, say


def status(url: UrlOption = URL, key: KeyOption = None) -> None:
    """Show every replica and what it serves, the store, open kill switches and what takes itself back."""
    with AdminClient(url, key) as admin:
        found = admin.get("/status")
    store = found["store"]
    head = store["head"]
    if store["up"]:
        say(f"The store ({store['kind']}) is up, at revision {head['revision']} ({head['hash'][:12]}).")
    else:
        say(f"DEGRADED: the store ({store['kind']}) is down. Serving goes on with revision {head['revision']};")
        say(f"nothing can be changed, and only the replica that was asked is known. {store['error']}")
    for warning in store["warnings"]:
        say(f"WARNING: {warning}")
    for problem in found["problems"]:
        say(f"NOT LIVE as it was changed: {problem}")
    for one in found["capture"]:
        if one["error"]:
            say(f"CAPTURE of {one['route']}: nothing can be written, {one['waiting']} requests wait. {one['error']}")
    table = Table("replica", "software", "revision", "behind", "in flight", "", box=None, pad_edge=False)
    for one in found["replicas"]:
        behind = f"{one['behind']} ({one['lag_s']:.1f} s)" if one["behind"] else "0"
        notes = "draining" if one["draining"] else ""
        cells = (one["replica"], one["software"], str(one["revision"]), behind, str(one["in_flight"]), notes)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)
    for switch in found["kill_switches"]:
        until = f" until {switch['ends_at']}" if switch["ends_at"] else ""
        say(f"KILL SWITCH: {switch['route'] or 'every route'} goes to the {switch['to']}{until}.")
    for undo in found["takes_back"]:
        what = f"{undo['kind']} {undo['name']}".strip()
        say(f"At {undo['at']} version {undo['version']} of {what} takes itself back: {', '.join(undo['keys'])}.")
