"""`understudy store`: the trail of changes, and how rollouts stand, out of a store and into another."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from gateway import config
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, fail
from gateway.control import trail
from gateway.rollout.saved import name_of
from gateway.stores.protocols import Change, Note, Store, StoreError
from gateway.stores.url import make_store

store = typer.Typer(help="Move the trail of changes from one store to another.", no_args_is_help=True)
StoreOption = Annotated[
    str | None,
    typer.Option("--store", envvar="UNDERSTUDY_STORE", help="The store's URL, instead of the one in the config file."),
]
_PAGE = 1000
_NOTE = b'{"note":'
_encode = msgspec.json.Encoder().encode


class _Note(msgspec.Struct, forbid_unknown_fields=True):
    note: str
    text: str


_STREAM = Path("-")


@store.command("export")
def export_trail(
    file: Annotated[Path, typer.Argument(help="The file to write; - for standard output.")],
    config_file: ConfigOption = DEFAULT_CONFIG,
    url: StoreOption = None,
) -> None:
    """Write every change as a line of JSON, oldest first, as it was sealed; then how each route's rollout stands.

    The chain is verified on the way; if it is broken the exit code is 1, and no file is written.
    """
    with _opened(url, config_file) as source, _written(file) as out:
        last, _ = source.head()
        if not last:
            fail("nothing was ever changed there: is it the right store?")
        try:
            head = trail.verify(_copied(source, last, out))
        except ValueError as error:
            fail(f"the trail is broken: {error}")
        for name, text in _notes(source):  # after the trail: what stands must not be older than what was told
            out.write(_encode({"note": name, "text": text}) + b"\n")
    Console(stderr=True).print(f"{head[0]} changes, the last with hash {head[1]}.", highlight=False)


def _notes(source: Store) -> Iterator[tuple[str, str]]:
    """Of rollouts: each has changed its route when it was started."""
    for key in source.current().changes:
        if key.kind == "route" and (note := source.noted(name_of(key.name))) is not None:
            yield name_of(key.name), note.text


def _copied(source: Store, last: int, out: BinaryIO) -> Iterator[Change]:
    """The entries up to `last`, each of them written."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for after in progress.track(range(0, last, _PAGE), description="read"):
            for change in source.entries(after, min(_PAGE, last - after)):
                out.write(trail.encode(change).encode() + b"\n")
                yield change


@store.command("import")
def import_trail(
    file: Annotated[Path, typer.Argument(help="A file that `understudy store export` wrote; - for standard input.")],
    config_file: ConfigOption = DEFAULT_CONFIG,
    url: StoreOption = None,
) -> None:
    """Add the changes of an export to a store: all of them, or none.

    The chain is verified first. The store must be empty, or hold the beginning of the same trail; of that nothing is
    written again, so an import that was interrupted can be repeated. Gateways that use the store make the changes live.
    A rollout that stands there already stays as it is.
    """
    changes, notes = _read(file)
    with _opened(url, config_file) as target:
        revision, head = target.head()
        if revision > len(changes):
            fail(f"the store is ahead: it has {revision} changes, {file} has {len(changes)}; nothing was written")
        if revision and changes[revision - 1].hash != head:
            fail(f"the store has another trail: its change {revision} is not the one in {file}; nothing was written")
        with Console(stderr=True).status(f"{len(changes) - revision} changes are being added"):
            for name, text in notes.items():  # before what it has changed, as a leader does
                if target.noted(name) is None:
                    target.note(name, Note(1, text))
            target.load(changes[revision:])
    added = len(changes) - revision
    Console(stderr=True).print(f"{added} changes added, {revision} were there already.", highlight=False)


def _read(file: Path) -> tuple[list[Change], dict[str, str]]:
    """A whole trail, from its first change on, and the notes of rollouts behind it."""
    try:
        lines = (sys.stdin.buffer if file == _STREAM else file.open("rb")).readlines()
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}")
    numbered = list(enumerate(lines, start=1))
    noted = [each for each in numbered if each[1].startswith(_NOTE)]
    sealed = [each for each in numbered if not each[1].startswith(_NOTE)]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        changes = [_decoded(file, *each) for each in progress.track(sealed, description="read")]
    notes = dict(_read_note(file, *each) for each in noted)
    try:
        trail.verify(changes)
    except ValueError as error:
        fail(f"{file}: the trail is broken: {error}; nothing was written")
    return changes, notes


def _read_note(file: Path, number: int, line: bytes) -> tuple[str, str]:
    try:
        note = msgspec.json.decode(line, type=_Note)
    except (ValueError, RecursionError) as error:
        fail(f"{file}, line {number}: {error}; nothing was written")
    return note.note, note.text


def _decoded(file: Path, number: int, line: bytes) -> Change:
    try:
        return trail.decode(line)
    except (ValueError, RecursionError) as error:
        fail(f"{file}, line {number}: {error}; nothing was written")


@contextmanager
def _opened(url: str | None, config_file: Path) -> Iterator[Store]:
    try:
        opened = make_store(url if url is not None else config.load(config_file).store)
    except (config.ConfigError, StoreError, ValueError) as error:
        fail(str(error))
    with closing(opened):
        try:
            yield opened
        except StoreError as error:
            fail(str(error))


@contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """What takes the place of the file when all is written, and only then."""
    if file == _STREAM:
        yield sys.stdout.buffer
        return
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(file)
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}")
    finally:
        part.unlink(missing_ok=True)
