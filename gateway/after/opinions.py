"""Second opinions on pairs (`router_policies.opinions`): asked for when a pair is scored and on its way to the store.

A pair never waits for them. It is filed at once, and its record is amended when they are there: a rollout counts a pair
that is filed too late as lost, so a slow judge that held pairs up would be held against the student.

A route has a seat for each kind of opinion that it wants. A seat asks one pair at a time, over connections of its own,
never twice the same, within the pair's own deadline; few pairs wait for it, and the others are told why not. Whatever
happens here, the pair and its verdicts are what they were.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import Any

import msgspec

from gateway.after.call import Answered, call
from gateway.after.sample import Model, Record
from gateway.after.scorer import as_json, redacted
from gateway.after.spending import Spending
from gateway.after.upstreams import OwnUpstreams
from gateway.config import Config
from gateway.face.openai import CHAT, EMBEDDINGS, Endpoint
from gateway.telemetry.opinions import OpinionMetrics
from gateway.upstream.upstream import Upstream
from router_policies import judge, similarity
from router_policies.opinions import (
    LONGEST_ANSWER,
    Kind,
    Opinion,
    Outcome,
    Texts,
    Wanted,
    outcome_of,
    read_texts,
)
from router_policies.routes import Role, Routes
from router_policies.shadow import Arm, Reason

QUEUE = 64  # pairs that wait for a seat or are being asked about
_MOST_BYTES = 1024 * 1024  # of an answer
_VERSIONS = {Kind.JUDGE: judge.VERSION, Kind.EMBEDDING: similarity.VERSION}
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """`why`: of a judge, by whose answer it was called A for."""

    outcome: Outcome
    detail: str = ""
    similarity: float | None = None
    why: Mapping[Role, str] | None = None


@dataclass(slots=True)
class Hearing:
    """A pair before a seat. Mutable: what it has cost so far."""

    seat: "Seat"
    record: Record
    wanted: Wanted
    began_at: float
    cost_nano_usd: int = 0

    def opinion(self, said: Said) -> Opinion:
        return Opinion(
            kind=self.wanted.kind,
            outcome=said.outcome,
            by=self.seat.by,
            version=f"{_VERSIONS[self.wanted.kind]}.{self.wanted.rubric_key}".rstrip("."),
            probability=self.wanted.sample,
            similarity=said.similarity,
            cost_nano_usd=self.cost_nano_usd,
            took_s=monotonic() - self.began_at,
            detail=said.detail,
        )


class Opinions:
    """Of one worker. Mutable state: the seats of each route by kind, the upstreams that they ask, what was spent, and
    the pairs that are being heard. `paused`: this process is too busy to ask. `amend`: who takes a record that says
    more than it did, with its texts."""

    def __init__(
        self,
        random: Callable[[], float],
        metrics: OpinionMetrics,
        sign: Callable[[str], bytes],
        amend: Callable[[Record, str], None],
    ) -> None:
        self.metrics = metrics
        self.sign = sign
        self.spending = {kind: Spending(kind.value) for kind in Kind}
        self.paused = False
        self._random = random
        self._amend = amend
        self._key = b""
        self._upstreams = OwnUpstreams()
        self._seats: dict[str, dict[Kind, Seat]] = {}
        self._hearing: set[asyncio.Task[None]] = set()

    def apply(self, config: Config, routes: Routes, primaries: Mapping[str, Upstream], secret: bytes) -> None:
        """Ask by this config from now on. `secret`: what the replicas share and nobody else knows."""
        self._key = sha256(b"marks between which texts are judged" + secret).digest()
        wanted = {
            (name, one.kind): one
            for name, route in routes.by_name.items()
            if route.shadow is not None
            for one in route.shadow.opinions
        }
        self._upstreams.use((one.upstream for one in wanted.values()), config)
        for name, seats in self._seats.items():
            for kind in [kind for kind in seats if (name, kind) not in wanted]:
                seats.pop(kind).leave(Outcome.DISABLED)
        for (name, kind), one in wanted.items():
            settings = config.upstreams[one.upstream]
            by = Model(one.upstream, settings.model, settings.revision)
            seats = self._seats.setdefault(name, {})
            standing, own = seats.get(kind), self._upstreams[one.upstream]
            if standing is not None and not standing.is_of(own, by, one.rubric):
                standing.leave(Outcome.DISABLED)
                standing = None
            if standing is None:
                standing = seats[kind] = Seat(self, name, own, by)
            standing.wanted, standing.primaries = one, primaries[one.upstream]

    def mark(self, pair_id: str) -> str:
        """What the texts of a pair stand between when they are judged: who wrote them cannot have known it, nor can a
        server that is told the pair's id."""
        return hmac.new(self._key, pair_id.encode("latin-1", "replace"), sha256).hexdigest()[:24]

    # From shadow mode.

    def drawn(self, record: Record) -> tuple[Record, list[Hearing]]:
        """Draw a pair. The record says of the opinions that are not asked for why not; the others are to be heard."""
        refused: list[Opinion] = []
        hearings: list[Hearing] = []
        for kind, seat in self._seats.get(record.route, {}).items():
            if (kind is Kind.JUDGE and record.arm is Arm.AA) or self._random() >= seat.wanted.sample:
                continue
            self.metrics.sampled(record.route, kind)
            hearing = Hearing(seat, record, seat.wanted, monotonic())
            refusal = Outcome.QUEUE_FULL if seat.waiting >= QUEUE else seat.refusal()
            if refusal is None:
                hearings.append(hearing)
            else:
                refused.append(self._ended(hearing, Said(refusal)))
        return (msgspec.structs.replace(record, opinions=tuple(refused)) if refused else record), hearings

    def hear(self, record: Record, texts: str, hearings: Sequence[Hearing]) -> None:
        """Ask for opinions on a pair that is filed. Never waits."""
        asked = [hearing.seat.ask(hearing, texts) for hearing in hearings]
        task = asyncio.get_running_loop().create_task(self._hear(record, texts, hearings, asked))
        self._hearing.add(task)
        task.add_done_callback(self._hearing.discard)

    async def _hear(
        self, record: Record, texts: str, hearings: Sequence[Hearing], asked: Sequence["asyncio.Task[Said]"]
    ) -> None:
        opinions = list(record.opinions)
        for hearing, said in zip(hearings, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(said, asyncio.CancelledError):
                said = Said(hearing.seat.left or Outcome.SHUTDOWN)
            elif isinstance(said, BaseException):  # a defect of ours may cost an opinion, and nothing else
                _log.error(
                    "pair %s: its %s failed inside the gateway", record.pair_id, hearing.wanted.kind, exc_info=said
                )
                said = Said(Outcome.FAILED, "the gateway failed on it; its log says why")
            opinions.append(self._ended(hearing, said))
            if said.why is not None:
                why = {f"{role.value}_first": redacted(text, judge.LONGEST_WHY) for role, text in said.why.items()}
                texts = f'{texts[:-1]}, "why": {as_json(why)}}}'  # a member more of the object
        self._amend(msgspec.structs.replace(record, opinions=tuple(opinions)), texts)

    def _ended(self, hearing: Hearing, said: Said) -> Opinion:
        self.metrics.ended(hearing.record.route, hearing.wanted.kind, said.outcome)
        return hearing.opinion(said)

    # From the worker.

    def spent_today(self) -> dict[str, int]:
        """For the other replicas."""
        told: dict[str, int] = {}
        for kind, spending in self.spending.items():
            told |= spending.told(name for name, seats in self._seats.items() if kind in seats)
        return told

    def heard(self, others: Mapping[str, int]) -> None:
        for spending in self.spending.values():
            spending.heard(others)

    def tick(self, *, paused: bool) -> None:
        self.paused = paused
        self._upstreams.tick()

    async def keep_house(self) -> None:
        await self._upstreams.keep_house()

    async def close(self) -> None:
        """What is not said by now is not said."""
        for seats in self._seats.values():
            for seat in seats.values():
                seat.leave(Outcome.SHUTDOWN)
        await asyncio.gather(*self._hearing, return_exceptions=True)
        await self._upstreams.close()


class Seat:
    """Who gives a route's opinions of one kind. `by`: upstream, model and revision; `wanted`, `primaries`: what is
    asked for now, and the upstream that requests are served by. Mutable state besides: whose turn it is, who waits,
    and in `left`, once it is given up, why."""

    def __init__(self, opinions: Opinions, route: str, upstream: Upstream, by: Model) -> None:
        self.by = f"{by.upstream}/{by.model}@{by.revision}"
        self.wanted: Wanted
        self.primaries: Upstream
        self.left: Outcome | None = None
        self._opinions = opinions
        self._route = route
        self._upstream = upstream
        self._model = by
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Task[Said]] = set()

    @property
    def waiting(self) -> int:
        """Pairs that wait for it, or that it is asked about."""
        return len(self._asked)

    def is_of(self, upstream: Upstream, by: Model, rubric: str) -> bool:
        return (self._upstream, self._model, self.wanted.rubric) == (upstream, by, rubric)

    def refusal(self) -> Outcome | None:
        """Why it may not be asked now."""
        if self.left is not None:
            return self.left
        if self._opinions.paused:
            return Outcome.DISABLED
        if not self.primaries.up:
            return Outcome.CIRCUIT_OPEN
        if not self._opinions.spending[self.wanted.kind].within(self._route, self.wanted.max_nano_usd_per_day):
            return Outcome.BUDGET
        return None

    def ask(self, hearing: Hearing, texts: str) -> "asyncio.Task[Said]":
        task = asyncio.get_running_loop().create_task(self._ask(hearing, texts))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    def leave(self, outcome: Outcome) -> None:
        """Ask nobody any more; what was asked ends with this."""
        self.left = outcome
        for task in self._asked:
            task.cancel()

    async def _ask(self, hearing: Hearing, texts: str) -> Said:
        pair = read_texts(texts)
        if pair.student.whole == pair.teacher.whole:
            same = 1.0 if hearing.wanted.kind is Kind.EMBEDDING else None
            return Said(Outcome.IDENTICAL, similarity=same)
        try:
            async with asyncio.timeout(hearing.wanted.timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            return Said(Outcome.TIMEOUT, "it was not its turn in time")
        try:
            refusal = self.refusal()
            if refusal is not None:
                return Said(refusal)
            ask = self._judged if hearing.wanted.kind is Kind.JUDGE else self._measured
            return await ask(hearing, pair)
        finally:
            self._turn.release()

    async def _judged(self, hearing: Hearing, pair: Texts) -> Said:
        if max(len(pair.student.whole), len(pair.teacher.whole)) > LONGEST_ANSWER:
            return Said(Outcome.UNFIT, f"an answer is longer than {LONGEST_ANSWER} characters")
        mark = self._opinions.mark(hearing.record.pair_id)
        votes: dict[Role, judge.Vote] = {}
        for first in (Role.STUDENT, Role.TEACHER):
            answered = await self._call(hearing, CHAT, judge.request(pair, hearing.wanted.rubric, mark, first))
            if answered.failed is not None:
                return Said(outcome_of(answered.failed), answered.detail)
            vote = judge.vote(answered.body)
            if vote is None:
                return Said(Outcome.UNREADABLE, f"expected a JSON object of better and why, with the {first} first")
            votes[first] = vote
        why = {first: vote.why for first, vote in votes.items()}
        return Said(judge.verdict(votes[Role.STUDENT], votes[Role.TEACHER]), why=why)

    async def _measured(self, hearing: Hearing, pair: Texts) -> Said:
        one, other = pair.student.whole, pair.teacher.whole
        if not one.strip() or not other.strip():
            return Said(Outcome.UNFIT, "an answer is empty")
        answered = await self._call(hearing, EMBEDDINGS, similarity.request(one, other))
        if answered.failed is not None:
            return Said(outcome_of(answered.failed), answered.detail)
        found = similarity.similarity(answered.body)
        if found is None:
            return Said(Outcome.UNREADABLE, "expected two embeddings of one length, with a direction")
        return Said(Outcome.MEASURED, similarity=round(found, 6))

    async def _call(self, hearing: Hearing, endpoint: Endpoint, request: Mapping[str, Any]) -> Answered:
        left_s = hearing.began_at + hearing.wanted.timeout_s - monotonic()
        if left_s <= 0:
            return Answered.none(Reason.TIMEOUT, "no time was left to ask")

        def spent(answered: Answered) -> None:
            hearing.cost_nano_usd += answered.cost_nano_usd
            self._opinions.spending[hearing.wanted.kind].add(self._route, answered.cost_nano_usd)
            self._opinions.metrics.spent(self._route, hearing.wanted.kind, self._upstream.name, answered)

        return await call(
            self._upstream,
            endpoint,
            b"",
            b"x-understudy-shadow: %b\r\n" % self._opinions.sign(hearing.record.pair_id),
            _encode({"model": self._upstream.model, **request}),
            spent,
            stream=False,
            choices=1,
            timeout_s=left_s,
            most_bytes=_MOST_BYTES,
        )
