"""The door: every change of a route comes through here, whoever makes it.

The config file is the ground; live changes lie over it as one merge patch per route (RFC 7396), kept in the store.
A key set to null there falls back to the file. A change is accepted whole or not at all, and is durable before it is
confirmed.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.config import LIVE_KEYS, Config, RouteConfig, cut, describe
from gateway.stores.protocols import ConfigStore, Document, StoredRoute, StoreError, VersionConflict
from router_policies.routes import Route, Routes

_TRIES = 8  # when writers race and the caller named no version


class UnknownRouteName(LookupError):
    """No such route in the config."""


class InvalidChange(ValueError):
    """`problems` names each thing wrong with a change, by path; `key` is the first key that is wrong, if it is one."""

    def __init__(self, problems: list[str], key: str | None) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.key = key


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route as it stands: the effective document, and for each of its keys where the value comes from."""

    name: str
    version: int
    document: Document
    sources: dict[str, str]
    changed_by: str | None
    reason: str | None
    changed_at: float | None


class Door:
    """Reads and changes routes. Raises `UnknownRouteName`, `InvalidChange`, `VersionConflict`, `StoreError`."""

    def __init__(self, config: Config, store: ConfigStore) -> None:
        self._config = config
        self._store = store

    async def revision(self) -> int:
        return await asyncio.to_thread(self._store.revision)

    async def snapshot(self) -> Routes:
        """All routes with the live changes applied."""
        stored = await asyncio.to_thread(self._store.routes)
        return Routes.of(*(self._build(name, stored.get(name)) for name in self._config.routes))

    async def read(self, name: str) -> LiveRoute:
        return self._show(name, await self._stored(name))

    async def read_all(self) -> list[LiveRoute]:
        stored = await asyncio.to_thread(self._store.routes)
        return [self._show(name, stored.get(name)) for name in self._config.routes]

    async def change(
        self, name: str, patch: Document, *, actor: str, reason: str, expected_version: int | None = None
    ) -> LiveRoute:
        """Merge `patch` into the route's live changes. With `expected_version`, only if that version stands."""
        for _ in range(_TRIES):
            current = await self._stored(name)
            version = current.version if current else 0
            if expected_version is not None and expected_version != version:
                raise VersionConflict(version)
            overrides = _merge(current.overrides if current else {}, patch)
            self._validate(name, patch, overrides)
            try:
                written = await asyncio.to_thread(self._store.write, name, version, overrides, actor, reason)
            except VersionConflict as conflict:
                last = conflict
                continue
            return self._show(name, written)
        raise last

    async def _stored(self, name: str) -> StoredRoute | None:
        if name not in self._config.routes:
            raise UnknownRouteName(name)
        return (await asyncio.to_thread(self._store.routes)).get(name)

    def _effective(self, name: str, overrides: Document) -> RouteConfig:
        return RouteConfig.model_validate({**self._config.routes[name].model_dump(), **overrides})

    def _standing(self, name: str, stored: StoredRoute | None) -> RouteConfig:
        if stored is None:
            return self._config.routes[name]
        try:
            return self._effective(name, stored.overrides)
        except ValidationError as error:
            problems = "; ".join(describe(detail) for detail in error.errors())
            raise StoreError(f"version {stored.version} of route {name} is not valid, change it: {problems}") from None

    def _build(self, name: str, stored: StoredRoute | None) -> Route:
        return self._standing(name, stored).route(name, stored.version if stored else 0)

    def _show(self, name: str, stored: StoredRoute | None) -> LiveRoute:
        overrides = stored.overrides if stored else {}
        document = self._standing(name, stored).model_dump()
        version = stored.version if stored else 0
        return LiveRoute(
            name=name,
            version=version,
            document=document,
            sources={key: f"live, version {version}" if key in overrides else "file" for key in document},
            changed_by=stored.actor if stored else None,
            reason=stored.reason if stored else None,
            changed_at=stored.changed_at if stored else None,
        )

    def _validate(self, name: str, patch: Document, overrides: Document) -> None:
        known = ", ".join(sorted(LIVE_KEYS))
        unknown = [key for key in patch if key not in LIVE_KEYS]
        if unknown:
            problems = [f"{cut(key)}: cannot be changed while serving; expected {known}" for key in unknown]
            raise InvalidChange(problems, cut(unknown[0]))
        if not patch:
            raise InvalidChange([f"expected at least one of {known}"], None)
        try:
            self._effective(name, overrides)
        except ValidationError as error:
            details = error.errors()
            raise InvalidChange([describe(detail) for detail in details], str(details[0]["loc"][0])) from None


def _merge(target: Document, patch: Document) -> Document:
    """JSON merge patch, RFC 7396 section 2."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below: Any = result.get(key)
            result[key] = _merge(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result
