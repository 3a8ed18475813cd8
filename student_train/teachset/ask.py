"""Asks teachers what they would answer, several times each, and puts every answer into the set.

What is in the set is not asked again, so a run that was killed goes on where it was, at the loss of the second that
was not written yet. The seed of a sample follows from the set's seed, the example and the sample's number: asked again,
a server that honours seeds says the same, and the set comes out the same.

A prompt that a teacher refuses is recorded as an answer that is rejected; one that failed for now is counted, and asked
at the next run. Neither stops anything. A teacher that is down stops the run.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec

from student_train.teachset.ask_endpoint import Budget, Down, Endpoint, Failed, OverBudget, Refused, Said
from student_train.teachset.ask_teachers import Teacher
from student_train.teachset.example import Answer, Example, Split
from student_train.teachset.ledger import Json
from student_train.teachset.store import Entry, TeachingSet

ASKED: tuple[Split, ...] = ("train", "dev", "calibration", "gold")
"""What is asked unless it is said: all but the holdout, which no teacher sees. Gold, because `choose` compares teachers
on it."""

REFUSED = "refused"
STOPPED = "stopped"  # by who runs it
_FLUSH_S = 1.0
_FLUSH_ANSWERS = 100
_LENGTHS = 4096  # prompts of a teacher whose lengths are kept
_GRACE_S = 10.0  # for what is under way when a run is stopped


@dataclass(slots=True)
class Progress:
    """Of one teacher, so far."""

    planned: int = 0
    done: int = 0
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    cost_nano_usd: int = 0
    logprobs: int = 0
    model: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`stopped`: why before everything was asked, "" if it was."""

    teachers: dict[str, Progress]
    spent_nano_usd: int
    stopped: str


@dataclass(frozen=True, slots=True)
class Job:
    example: Example
    index: int
    seed: int


def seed_of(seed: int, example: str, index: int) -> int:
    """31 bits: some servers take no more."""
    digest = hashlib.sha256(f"{seed}:{example}:{index}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def answer_id(example: str, teacher: str, index: int) -> str:
    return f"{example}/{teacher}/{index}"


async def ask(
    teaching: TeachingSet,
    teachers: dict[str, Teacher],
    *,
    splits: Sequence[Split] = ASKED,
    seed: int = 0,
    budget_nano_usd: int | None = None,
    limit: int | None = None,
    stop: asyncio.Event | None = None,
    show: Callable[[dict[str, Progress]], None] = lambda _: None,
) -> Outcome:
    """`limit`: of examples, the first by id. `budget_nano_usd`: of all answers in the set, those of earlier runs too.
    `show` is called now and then. Raises `Down` if a teacher does not answer at the start."""
    if "holdout" in splits:
        raise ValueError("splits: the holdout is never shown to a teacher; leave it out")
    run = _Run(teaching, Budget(budget_nano_usd, _spent(teaching)), seed, stop or asyncio.Event(), show)
    ids = [example.id for split in splits for example in teaching.examples(split)][:limit]
    endpoints = [Endpoint(name, teacher, run.budget) for name, teacher in teachers.items()]
    try:
        for endpoint in endpoints:
            await endpoint.find_model()
            planned = sum(1 for _ in run.jobs(endpoint, ids))
            run.told[endpoint.name] = Progress(planned=planned, model=endpoint.model)
        await run.all(endpoints, ids)
    finally:
        for endpoint in endpoints:
            await endpoint.close()
        run.close({name: teacher.about() for name, teacher in teachers.items()})
    return Outcome(run.told, run.budget.spent, run.stopped)


class _Run:
    """Mutable state: answers that are not in the set yet (`_waiting`), `told`, of each
    teacher how many tokens its latest prompts had (`_lengths`)."""

    def __init__(
        self,
        teaching: TeachingSet,
        budget: Budget,
        seed: int,
        stop: asyncio.Event,
        show: Callable[[dict[str, Progress]], None],
    ) -> None:
        self.budget = budget
        self.told: dict[str, Progress] = {}
        self.stopped = ""
        self._teaching = teaching
        self._seed = seed
        self._stop = stop
        self._show = show
        self._waiting: list[Entry] = []
        self._flushed_at = monotonic()
        self._lengths: dict[str, dict[str, int]] = {}

    def jobs(self, endpoint: Endpoint, ids: Sequence[str]) -> Iterator[Job]:
        """What is not in the set. All samples of a prompt follow each other: servers keep its beginning in a cache.
        What was made unanswerable is not asked: its target is known, and no teacher's answer would be taught."""
        for example_id in ids:
            missing = [
                index
                for index in range(endpoint.teacher.samples)
                if not self._teaching.has("answer", answer_id(example_id, endpoint.name, index))
            ]
            payload = self._teaching.get("example", example_id) if missing else None
            example = None if payload is None else msgspec.json.decode(payload, type=Example)
            if example is not None and example.kind == "plain":
                yield from (Job(example, index, seed_of(self._seed, example_id, index)) for index in missing)

    async def all(self, endpoints: list[Endpoint], ids: Sequence[str]) -> None:
        workers = []
        for endpoint in endpoints:
            jobs = self.jobs(endpoint, ids)  # shared by the workers of the endpoint
            workers += [asyncio.create_task(self._work(endpoint, jobs)) for _ in range(endpoint.teacher.concurrency)]
        flushing = asyncio.create_task(self._keep_flushing())
        stopping = asyncio.create_task(self._stop.wait())
        working: asyncio.Future[Any] = asyncio.gather(*workers)
        either: set[asyncio.Future[Any]] = {working, stopping}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.stopped = self.stopped or STOPPED
                await asyncio.wait([working], timeout=_GRACE_S)
        finally:
            for task in (*workers, flushing, stopping):
                task.cancel()
            await asyncio.gather(*workers, flushing, stopping, return_exceptions=True)
            self._flush()
        if not working.cancelled() and (error := working.exception()) is not None:
            raise error

    async def _work(self, endpoint: Endpoint, jobs: Iterator[Job]) -> None:
        told = self.told[endpoint.name]
        for job in jobs:
            if self._stop.is_set():
                return
            try:
                await self._one(endpoint, job, told)
            except Failed as error:
                told.failed[str(error)] += 1
            except OverBudget:
                self.stopped = "the budget is spent: the next request could exceed it"
                return
            except Down as error:
                self.stopped = str(error)
                self._stop.set()
                return
            told.note = endpoint.note

    async def _one(self, endpoint: Endpoint, job: Job, told: Progress) -> None:
        example = job.example
        prompt: dict[str, Any] = {"messages": list(example.messages)}
        if example.tools:
            prompt["tools"] = list(example.tools)
        if example.response_format is not None:
            prompt["response_format"] = example.response_format
        known = self._lengths.get(endpoint.name, {}).get(example.id)
        try:
            said = await endpoint.ask(prompt, job.seed, known)
        except Refused as error:
            answer = Answer(example.id, endpoint.name, job.index, job.seed, "", rejected=f"{REFUSED}: {error}")
            told.refused += 1
        else:
            answer = _answer(endpoint.name, job, said)
            self._note_length(endpoint.name, example.id, said.input_tokens)
            told.model = said.model
            told.cost_nano_usd += said.cost_nano_usd
            told.logprobs += bool(said.positions)
        told.done += 1
        self._waiting.append(_entry(answer, endpoint, told.model, example.person))
        if len(self._waiting) >= _FLUSH_ANSWERS or monotonic() - self._flushed_at >= _FLUSH_S:
            self._flush()

    def _note_length(self, teacher: str, example: str, tokens: int) -> None:
        """So that the other samples of a prompt reserve what it really costs. Only the latest prompts are kept."""
        lengths = self._lengths.setdefault(teacher, {})
        if tokens:
            lengths[example] = tokens
        if len(lengths) > _LENGTHS:
            del lengths[next(iter(lengths))]

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            self._flush()
            self._show(self.told)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._flushed_at = monotonic()
        if waiting:
            self._teaching.add("answer", waiting)

    def close(self, asked: dict[str, dict[str, Any]]) -> None:
        """What this run did, into the ledger; nothing if it asked nothing."""
        self._show(self.told)
        if not any(told.done or told.failed for told in self.told.values()):
            return
        about = {
            name: {
                **asked[name],
                "model": told.model,
                "answers": told.done,
                "refused": told.refused,
                "failed": dict(told.failed),
                "with_logprobs": told.logprobs,
                "cost_nano_usd": told.cost_nano_usd,
            }
            for name, told in self.told.items()
        }
        self._teaching.note("ask", {"seed": self._seed, "teachers": about, "whole": not self.stopped})


def _answer(teacher: str, job: Job, said: Said) -> Answer:
    return Answer(
        example=job.example.id,
        teacher=teacher,
        index=job.index,
        seed=job.seed,
        content=said.content,
        tool_calls=said.tool_calls,
        finish_reason=said.finish_reason,
        input_tokens=said.input_tokens,
        output_tokens=said.output_tokens,
        cost_nano_usd=said.cost_nano_usd,
        positions=said.positions,
    )


def _entry(answer: Answer, endpoint: Endpoint, model: str, person: str) -> Entry:
    about: dict[str, Json] = {
        "teacher": answer.teacher,
        "model": model,
        "seed": answer.seed,
        "tokens": [answer.input_tokens, answer.output_tokens],
        "cost_nano_usd": answer.cost_nano_usd,
        "finish_reason": answer.finish_reason,
        "logprobs": bool(answer.positions),
        "verdict": REFUSED if answer.rejected else "not judged",
    }
    where = answer_id(answer.example, answer.teacher, answer.index)
    return Entry(id=where, about=about, payload=msgspec.json.encode(answer), person=person)


class _Cost(msgspec.Struct):
    cost_nano_usd: int = 0


def _spent(teaching: TeachingSet) -> int:
    decode = msgspec.json.Decoder(_Cost).decode
    return sum(decode(payload).cost_nano_usd for _, payload in teaching.payloads("answer"))
