"""`understudy audit`."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli.client import URL, AdminClient, Json, KeyOption, UrlOption, say
from gateway.cli.options import fail
from gateway.control import trail
from gateway.stores.protocols import Change

_PAGE = 1000
_SHORTEST_HASH = 12  # digits, as the log has them


def audit(
    verify: Annotated[bool, typer.Option("--verify", help="Follow the hash chain over all entries.")] = False,
    head: Annotated[
        str | None, typer.Option(help="With --verify: the hash of an entry that was noted elsewhere, or its beginning.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="An entry per line, oldest first, all of them.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 20,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Show who changed what, when and why; or verify that nobody tampered with that.

    Each entry holds the hash of the one before it. `--verify` reads them all and computes every hash here, so that it
    need not trust the gateway: it finds entries that were edited, taken out, put in or reordered. A trail that was
    rewritten to its end, or cut off there, is whole in itself: give `--head` a hash that the log of any replica has
    noted, and it is found too. Exit code 1 if anything is wrong.
    """
    if head is not None and (not verify or len(head) < _SHORTEST_HASH):
        fail(f"--head: expected with --verify, and {_SHORTEST_HASH} or more digits of a hash")
    with AdminClient(url, key) as admin:
        if verify:
            _verify(admin, head)
        elif as_json:
            for entry in _all(admin):
                typer.echo(json.dumps(entry))
        else:
            for entry in admin.get("/audit", newest=1, limit=limit)["entries"]:
                _show(entry)


def _all(admin: AdminClient) -> Iterator[Json]:
    """Every entry up to the head that stands when this begins."""
    after, last = 0, admin.get("/audit", newest=1, limit=1)["head"]["revision"]
    while after < last:
        entries = admin.get("/audit", after=after, limit=_PAGE)["entries"]
        if not entries:
            fail(f"revision {after + 1}: the gateway says that there are {last}, and does not show it")
        yield from entries
        after += len(entries)


def _verify(admin: AdminClient, noted: str | None) -> None:
    claimed = admin.get("/audit", newest=1, limit=1)["head"]
    found: list[int] = []

    def entries() -> Iterator[Change]:
        for entry in _all(admin):
            try:
                change = trail.from_document(entry)
            except (ValueError, TypeError, LookupError) as error:
                raise ValueError(f"revision {entry.get('revision')}: it cannot be read: {error}") from None
            if noted is not None and change.hash.startswith(noted.lower()):
                found.append(change.revision)
            yield change
            if change.revision == claimed["revision"] and change.hash != claimed["hash"]:
                raise ValueError(
                    f"revision {change.revision}: its hash is not that of the head, as the gateway says it"
                )

    try:
        revision, digest = trail.verify(entries())
    except ValueError as error:
        fail(f"The trail was tampered with, or is damaged. {error}")
    if noted is not None and not found:
        fail(
            f"The trail is whole in itself, but no entry has the hash {noted}: it was rewritten or cut off since then."
        )
    say(f"The trail is whole: {revision} entries, head {digest}.")
    if found:
        say(f"The hash that was noted is that of revision {found[0]}: up to there nothing was rewritten.")
    else:
        say("Note the head's hash elsewhere (every replica logs it): with --head it shows whether all was rewritten.")


def _show(entry: Json) -> None:
    key = entry["key"]
    when = datetime.fromtimestamp(entry["changed_at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    what = f"{key['kind']} {key['name']}".strip()
    say(f"{entry['revision']} {when} {entry['action']} {what} (version {entry['version']}) by {entry['actor']}")
    say(f"  because: {entry['reason']}")
    say(f"  over the file: {json.dumps(entry['document'])}")
    say(f"  {entry['hash']}")
