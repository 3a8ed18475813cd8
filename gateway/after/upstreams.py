"""Connections of one's own to upstreams that primaries may be served by too: nothing is shared with them, no limit, no
breaker, no queue."""

from collections.abc import Iterable
from time import monotonic

from gateway.config import Config
from gateway.upstream.upstream import Upstream


class OwnUpstreams:
    """Mutable state: those in use by their names, the config they were made by, and those that end once the last call
    to them has."""

    def __init__(self) -> None:
        self._upstreams: dict[str, Upstream] = {}
        self._old: list[Upstream] = []
        self._config: Config | None = None

    def __getitem__(self, name: str) -> Upstream:
        return self._upstreams[name]

    def use(self, names: Iterable[str], config: Config) -> None:
        """Have these from now on. One that is in the config as it was stays what it is."""
        before, self._upstreams = self._upstreams, {}
        for name in set(names):
            same = self._config is not None and self._config.upstreams.get(name) == config.upstreams[name]
            self._upstreams[name] = before[name] if same and name in before else _own(name, config)
        for name, upstream in before.items():
            if self._upstreams.get(name) is not upstream:
                upstream.retire()
                self._old.append(upstream)
        self._config = config

    def tick(self) -> None:
        """Call it many times a second."""
        now = monotonic()
        for upstream in self._all():
            upstream.tick(now)

    async def keep_house(self) -> None:
        """Call it about once a second."""
        for upstream in self._all():
            upstream.sweep()
        over = [upstream for upstream in self._old if not upstream.busy]
        self._old = [upstream for upstream in self._old if upstream.busy]
        for upstream in over:
            await upstream.close()

    async def close(self) -> None:
        for upstream in self._all():
            await upstream.close()

    def _all(self) -> tuple[Upstream, ...]:
        return (*self._upstreams.values(), *self._old)


def _own(name: str, config: Config) -> Upstream:
    """Its health is looked at only where its own breaker is open: for the rest the primaries' is watched."""
    settings = config.upstreams[name]
    quiet = settings.model_copy(update={"health": settings.health.model_copy(update={"every_s": None})})
    return Upstream(name, config.model_copy(update={"upstreams": {name: quiet}}))
