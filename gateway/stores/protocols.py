"""What a store must do. Its methods block: call them from a thread, never from the event loop's."""

from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]


class StoreError(Exception):
    """The store cannot be read or written now. Nothing was half done."""


class VersionConflict(Exception):
    """Somebody else changed the route first. `current` is the version that stands."""

    def __init__(self, current: int) -> None:
        super().__init__(f"version {current} stands")
        self.current = current


@dataclass(frozen=True, slots=True)
class StoredRoute:
    """A route's live changes: `overrides` over the config file, as one merge patch, and who made the last one, why.

    `changed_at` is wall-clock time, seconds since the epoch.
    """

    route: str
    version: int
    overrides: Document
    actor: str
    reason: str
    changed_at: float


class ConfigStore(Protocol):
    """Versioned route documents, changed by compare-and-swap."""

    def open(self) -> None:
        """Find out whether it can be used, and bring it up to this version. Raises `StoreError`.

        The other methods do so themselves.
        """

    def revision(self) -> int:
        """A number that grows with every change of any route. Raises `StoreError`."""

    def routes(self) -> dict[str, StoredRoute]:
        """The newest version of every route that was ever changed. Raises `StoreError`."""

    def write(self, route: str, expected_version: int, overrides: Document, actor: str, reason: str) -> StoredRoute:
        """Store version `expected_version` + 1, durably. Raises `VersionConflict`, `StoreError`."""

    def close(self) -> None: ...
