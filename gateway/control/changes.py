"""From a change that somebody wants to the entry that it becomes: pure, given what stands now.

An edit is a function from what stands of a document to its new overlay, and to the leaves that it decides on. It is
asked again, on what stands then, when another change came first.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from gateway.control.documents import DELETED, Path, exact, is_deleted, lay, leaves, merge, path_of, undone, unmasked
from gateway.control.refusals import NotPlanned
from gateway.stores.protocols import Document, Key, Undo

WHOLE: Path = ()  # the leaf above all
_KILL: Path = ("force",)


@dataclass(frozen=True, slots=True)
class Seen:
    """A document as it stands: as the file has it (None if it does not), every key of that with its value, what lies
    over it, and every key with its value as it is live, secrets too (None if it is not in service)."""

    key: Key
    ground: Document | None
    defaults: Document
    overlay: Document
    whole: Document | None
    version: int
    undo: tuple[Undo, ...]

    @property
    def exists(self) -> bool:
        return lay(self.ground, self.overlay) is not None


Edit = Callable[[Seen], tuple[Document, Collection[Path]]]


@dataclass(frozen=True, slots=True)
class Condition:
    """What must stand for a change to be made: one of these versions (None: whichever), and the document itself, or no
    document (None: either)."""

    versions: frozenset[int] | None = None
    exists: bool | None = None

    def holds(self, seen: Seen) -> bool:
        if self.exists is not None and seen.exists is not self.exists:
            return False
        return self.versions is None or seen.version in self.versions


@dataclass(frozen=True, slots=True)
class Ask:
    """A change that somebody wants. `named`: the keys that it speaks of. `revives`: it may bring a document into
    service that is not. `ends`: what ends with it. A large step is allowed with `override`. With `kills` it sets
    nothing but a kill switch, or lowers a student's share, for which the rest of the config need not be valid."""

    key: Key
    action: str
    edit: Edit
    actor: str
    reason: str
    ttl_s: float | None = None
    override: bool = False
    condition: Condition = Condition()
    named: tuple[str, ...] = ()
    revives: bool = False
    ends: Undo | None = None
    kills: bool = False


def patched(patch: Document) -> Edit:
    """RFC 7396, on the overlay."""

    def edit(seen: Seen) -> tuple[Document, Collection[Path]]:
        return merge(seen.overlay, patch), [path for path, _ in leaves(patch)]

    return edit


def replaced(wanted: Document) -> Edit:
    """The document becomes exactly what is wanted."""

    def edit(seen: Seen) -> tuple[Document, Collection[Path]]:
        document = unmasked(seen.key.kind, wanted, seen.whole or {})
        return exact(seen.ground, document, seen.defaults), [WHOLE]

    return edit


def deleted(seen: Seen) -> tuple[Document, Collection[Path]]:
    return dict(DELETED), [WHOLE]


def reverted(overlay: Document) -> Edit:
    """What lay over the file at some version lies over it again, but for the kill switch: that stays as it is now."""

    def edit(seen: Seen) -> tuple[Document, Collection[Path]]:
        if is_deleted(overlay):
            return overlay, [WHOLE]
        kept = {name: value for name, value in overlay.items() if name != _KILL[0]}
        kept |= {name: value for name, value in seen.overlay.items() if name == _KILL[0]}
        planned = [path_of(where) for undo in seen.undo for where in undo.patch]
        decided = {*planned, *(path for document in (seen.overlay, kept) for path, _ in leaves(document))}
        return kept, decided - {_KILL}

    return edit


def forced(to: str | None) -> Edit:
    """The kill switch. Where the file has one of its own, it is ended by a null."""

    def edit(seen: Seen) -> tuple[Document, Collection[Path]]:
        overlay: dict[str, Any] = {**seen.overlay, "force": to}
        if to is None and seen.defaults.get("force") is None:
            del overlay["force"]
        return overlay, [_KILL]

    return edit


def taken_back(undo: Undo) -> Edit:
    """What was to end by itself ends."""

    def edit(seen: Seen) -> tuple[Document, Collection[Path]]:
        if undo not in seen.undo:
            raise NotPlanned
        return undone(seen.overlay, undo.patch), []

    return edit
