"""Capture of one worker: which requests are kept to teach a student, and that each comes to exactly one end.

What is promised to those who are served: nothing is awaited, nothing is opened or encoded before their answer is out,
and no failure here is theirs. What is promised to those whose words these are: without consent nothing is kept, not
even in memory; and with `none` nothing at all.

Whether the answers of student and teacher differ is known only when shadow mode has compared them, so a request that is
mirrored waits for that, in the same bounded room as what waits to be written.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from gateway.after.pen import Files, Pen
from gateway.after.sample import Tape
from gateway.after.trace import consented, line
from gateway.config import Config
from gateway.exchange import Exchange
from gateway.face.openai import EMBEDDINGS
from gateway.telemetry.capture import CaptureMetrics, Fate
from router_policies.attempts import Kind
from router_policies.capture import Capture
from router_policies.routes import Routes

if TYPE_CHECKING:
    from gateway.intake import Admitted

THREADS = 4
_WITHIN_S = 2.0
_LAST_S = 10.0  # for the last writing
_log = logging.getLogger(__name__)
Models = Mapping[str, tuple[str, str]]
"""Each upstream's model, and what the config calls that model's version."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request under way on a route that captures, as things were when it began. `refused`: why it is not kept, if
    that is known by then; `number`: what is drawn for it, from [0, 1)."""

    capture: Capture
    models: Models
    consent: frozenset[str]
    number: float
    tape: Tape
    refused: Fate | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A request that has ended, and waits for the verdict on its pair."""

    begun: Begun
    request: "Admitted"
    exchange: Exchange
    ended_at: float

    @property
    def size(self) -> int:
        return len(self.request.body) + sum(map(len, self.begun.tape.parts))


class Captures:
    """Mutable state: a pen per route, and the candidates by their pair."""

    def __init__(self, random: Callable[[], float], metrics: CaptureMetrics) -> None:
        self._random = random
        self._metrics = metrics
        self._io = ThreadPoolExecutor(THREADS, thread_name_prefix="capture")
        self._models: Models = {}
        self._pens: dict[str, Pen] = {}
        self._candidates: dict[str, _Candidate] = {}

    def apply(self, config: Config, routes: Routes) -> None:
        """Capture by this config from now on."""
        self._models = {name: (upstream.model, upstream.revision) for name, upstream in config.upstreams.items()}
        for pen in self._pens.values():
            if pen.route not in routes.by_name:
                pen.files = None
        for name in routes.by_name:
            settings = config.routes[name].capture
            if settings is not None and name not in self._pens:
                self._pens[name] = Pen(name, self._io, self._metrics)
                self._metrics.begin(name)
            if name in self._pens:
                pen = self._pens[name]
                pen.files = None if settings is None else Files.of(name, settings)
                pen.write_soon()  # from the first request on it is noted what is owed

    # From the requests.

    def begin(self, request: "Admitted", *, mirrored: bool, is_mirror: bool) -> Begun | None:
        """A request comes; None if its route captures nothing. `mirrored`: it is to be compared. `is_mirror`: it is a
        call of shadow mode's, which nobody has asked."""
        capture = request.decision.route.capture
        if capture is None:
            return None
        consent, number = consented(request), 0.0
        refused = None
        if request.endpoint is EMBEDDINGS or is_mirror:
            refused = Fate.UNSUPPORTED
        elif not capture.consents(consent):
            refused = Fate.NO_CONSENT
        else:
            number = self._random()
            refused = Fate.NOT_DRAWN if number >= capture.most(mirrored=mirrored) else None
        tape = Tape(0 if refused is not None else capture.max_body_bytes - len(request.body))
        return Begun(capture, self._models, consent, number, tape, refused)

    def offer(self, begun: Begun, request: "Admitted", exchange: Exchange, pair_id: str | None) -> None:
        """It has ended, however. Never waits, never raises. `pair_id`: of the comparison that it is drawn for."""
        route = request.decision.route.name
        try:
            fate = begun.refused or self._offer(begun, request, exchange, pair_id)
        except Exception:
            _log.exception("request %s could not be captured", exchange.request_id)
            fate = Fate.FAILED
        if fate is not None:
            self._metrics.count(route, fate)

    def _offer(self, begun: Begun, request: "Admitted", exchange: Exchange, pair_id: str | None) -> Fate | None:
        """What became of it; None while that is open."""
        pen, capture = self._pens[request.decision.route.name], begun.capture
        _, chance = capture.chance(fell_back=_fell_back(exchange), disagrees=False)
        waits = pair_id is not None and 0 < capture.disagreement >= chance  # else it makes no difference
        if begun.number >= (capture.disagreement if waits else chance):
            return Fate.NOT_DRAWN
        if pen.files is None:
            return Fate.DISABLED
        if begun.tape.full or len(request.body) > capture.max_body_bytes:
            return Fate.TOO_LARGE
        candidate = _Candidate(begun, request, exchange, time())
        refused = pen.refuses(candidate.size, capture.queue, capture.queue_bytes)
        if refused is not None:
            return refused
        if waits:
            assert pair_id is not None
            pen.reserve(candidate.size)
            self._candidates[pair_id] = candidate
            return None
        return self._keep(pen, candidate, disagrees=False)

    def compared(self, pair_id: str, disagrees: bool) -> None:
        """What shadow mode came to: the answers differ, or they do not, or they could not be compared. Never raises."""
        candidate = self._candidates.pop(pair_id, None)
        if candidate is None:
            return
        route = candidate.request.decision.route.name
        pen = self._pens[route]
        pen.release(candidate.size)
        try:
            fate = self._keep(pen, candidate, disagrees=disagrees)
        except Exception:
            _log.exception("request %s could not be captured", candidate.exchange.request_id)
            fate = Fate.FAILED
        if fate is not None:
            self._metrics.count(route, fate)

    def _keep(self, pen: Pen, candidate: _Candidate, *, disagrees: bool) -> Fate | None:
        begun, exchange = candidate.begun, candidate.exchange
        why, probability = begun.capture.chance(fell_back=_fell_back(exchange), disagrees=disagrees)
        if begun.number >= probability:
            return Fate.NOT_DRAWN
        told = line(
            candidate.request,
            exchange,
            b"".join(begun.tape.parts),
            began_at=candidate.ended_at - exchange.ttlt_s,
            model=begun.models[exchange.upstream],
            consent=begun.consent,
            why=why.value,
            probability=probability,
        )
        if told is None:
            return Fate.UNSUPPORTED
        pen.put(told, begun.capture.queue, begun.capture.queue_bytes)
        return None

    # From the worker.

    async def flush(self) -> None:
        """Write what waits. Call it about once a second."""
        await _written(self._pens.values(), _WITHIN_S)

    def show(self) -> None:
        """Tell the metrics what waits."""
        for pen in self._pens.values():
            self._metrics.show(pen.route, pen.waiting, pen.waiting_bytes, failing=bool(pen.error))

    def tick(self) -> None:
        """Tell the metrics what was counted."""
        self._metrics.flush()

    def state(self) -> list[dict[str, object]]:
        """For people: how it is going, route by route, in this worker."""
        return [
            {"route": pen.route, "waiting": pen.waiting, "waiting_bytes": pen.waiting_bytes, "error": pen.error or None}
            for pen in self._pens.values()
            if pen.files is not None or pen.waiting
        ]

    async def close(self) -> None:
        """After the last request and the last verdict."""
        for pair_id in list(self._candidates):
            candidate = self._candidates.pop(pair_id)
            self._pens[candidate.request.decision.route.name].release(candidate.size)
            self._metrics.count(candidate.request.decision.route.name, Fate.SHUTDOWN)
        pens, self._pens = list(self._pens.values()), {}
        for _ in range(2):  # one may have begun before the last of it came
            await _written(pens, _LAST_S)
        for pen in pens:
            await pen.close()
            self._metrics.show(pen.route, 0, 0, failing=False)
        self._metrics.flush()
        self._io.shutdown(wait=False, cancel_futures=True)


async def _written(pens: Iterable[Pen], within_s: float) -> None:
    """A disk that hangs holds up its own route only."""
    tasks = [pen.write_soon() for pen in pens]
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=within_s)
        for task in done:
            task.result()


def _fell_back(exchange: Exchange) -> bool:
    """Whether another than meant answered, after a failure."""
    return exchange.kind in (Kind.FALLBACK, Kind.RESCUE)
