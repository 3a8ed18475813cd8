"""One server of an upstream: its connections, its breaker, its health."""

import logging
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from gateway.config import UpstreamConfig
from gateway.face.openai import ENDPOINTS
from gateway.upstream.health import MODELS, Cadence, Get, Health, how_it_continues
from gateway.upstream.pool import Address, Leg, Pool
from router_policies.balance import salt_of, shun_s
from router_policies.breaker import Breaker, State
from router_policies.capabilities import Continues

_log = logging.getLogger(__name__)


class Owner(Protocol):
    """The upstream, told of what it has to act on."""

    name: str

    def freed(self) -> None:
        """A call ended."""

    def changed(self) -> None:
        """Whether or how far a replica is to be used is no longer what it was."""


class Replica:
    """`Host` of the legs that were sent to it, and a `balance.Candidate`.

    `targets` and `fixed` are the head of a request to it, up to what differs between requests: method and path by
    endpoint; then the query; then the rest of the first line and the headers that are always the same. `continues` is
    what it said of itself, None before it did.
    """

    def __init__(self, base_url: str, settings: UpstreamConfig, owner: Owner, random: Callable[[], float]) -> None:
        address = Address.parse(base_url)
        tls = ssl.create_default_context() if address.tls else None
        self.pool = Pool(address, tls)
        self.in_flight = 0
        self.shunned_until = 0.0
        self.returned_at = float("-inf")
        self.salt = salt_of(base_url)
        self.continues: Continues | None = None
        self.breaker = Breaker(settings.breaker.rules())

        key = ""
        if settings.api_key is not None:
            key = f"authorization: Bearer {settings.api_key.get_secret_value()}\r\n"
        common = f" HTTP/1.1\r\nhost: {address.host_header}\r\naccept: */*\r\n{key}"
        self.fixed = f"{common}content-type: application/json\r\n".encode()
        self.targets = {
            endpoint.path: f"POST {address.base_path}{endpoint.path.removeprefix('/v1')}".encode()
            for endpoint in ENDPOINTS.values()
        }

        self._owner = owner
        self._failures = 0  # in a row
        self._health = Health()
        self._cadence = Cadence(settings.health.every_s, random)
        self._checks = Pool(address, tls)

        def get(path: str, told: Callable[[int, bytes], None]) -> Get:
            request = f"GET {address.base_path}{path}{common}connection: close\r\n\r\n".encode()
            return Get(self._checks, request, settings.health.timeout_s, told)

        auto = settings.continues == "auto"
        self._check_reads_models = auto and settings.health.path == MODELS
        self._check = get(settings.health.path, self._checked)
        self._models = get(MODELS, self._read_models) if auto and not self._check_reads_models else None

    @property
    def usable(self) -> bool:
        return self.breaker.state is not State.OPEN

    @property
    def well(self) -> bool:
        return self._health.well

    @property
    def state(self) -> str:
        """For people: "open", "unwell" or "well"."""
        if self.breaker.state is State.OPEN:
            return "open"
        return "well" if self._health.well else "unwell"

    # `Host`.

    def over(self, leg: Leg) -> None:
        self.pool.over(leg)
        self.in_flight -= 1
        self._owner.freed()

    def outcome(self, leg: Leg, ok: bool) -> None:
        now = monotonic()
        if ok:
            if self._failures:
                self._failures, self.shunned_until = 0, 0.0
                self._owner.changed()
            changed = self.breaker.succeeded(leg.admitted, now)
        else:
            self._failures += 1
            self.shunned_until = now + shun_s(self._failures)
            self._owner.changed()
            changed = self.breaker.failed(leg.admitted, now)
        if changed:
            self._breaker_changed(now)

    # From the worker, often.

    def tick(self, now: float) -> None:
        """Begin the health check that is due, and end one that is late."""
        self._check.tick(now)
        if self._models is not None:
            self._models.tick(now)
        if (now >= self._cadence.due_at or now >= self.breaker.probe_at) and not self._check.under_way:
            self._cadence.asked(now)
            self._check.ask(now)

    def sweep(self) -> None:
        self.pool.sweep()
        self._checks.sweep()

    def stop(self) -> None:
        """End the health checks that are under way; no `tick` is to follow."""
        self._check.cancel()
        if self._models is not None:
            self._models.cancel()

    async def close(self) -> None:
        self.stop()
        await self.pool.close()
        await self._checks.close()

    # Health.

    def _checked(self, status: int, body: bytes) -> None:
        now = monotonic()
        passed = 0 < status < 500
        if self._health.checked(passed):
            self._say("is well again" if passed else "fails its health checks: others are preferred")
            if passed:
                self.returned_at = now
            self._owner.changed()
        if self.breaker.checked(passed, now):
            self._breaker_changed(now)
        if passed and self._check_reads_models:
            self._read_models(status, body)
        elif passed and self._models is not None and self.continues is None:
            self._models.ask(now)

    def _read_models(self, status: int, body: bytes) -> None:
        """An answer that is no list of models settles it too: such a server continues nothing."""
        if 0 < status < 500:
            continues = how_it_continues(body)
            if continues is not self.continues:
                self.continues = continues
                self._owner.changed()

    def _breaker_changed(self, now: float) -> None:
        state, rules = self.breaker.state, self.breaker.rules
        if state is State.OPEN:
            self._say(f"keeps failing: its breaker opens, and it is left alone for about {rules.open_s:g} s")
        elif state is State.HALF_OPEN:
            self.returned_at = now
            self._failures, self.shunned_until = 0, 0.0
            self._say("passes its health checks: its breaker lets requests through again")
        else:
            self._say("answers again: its breaker is closed")
        self._owner.changed()

    def _say(self, text: str) -> None:
        _log.warning("upstream %r: the server at %s %s", self._owner.name, self.pool.address.host_header, text)
