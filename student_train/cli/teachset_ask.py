"""`understudy teachset ask`."""

import asyncio
import signal
from decimal import Decimal, InvalidOperation
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.progress import Progress as Bars

from router_policies.prices import NANO_USD_PER_USD, usd
from student_train.cli.teachset_tell import SetArgument, fail, opened, progress, say, table, task
from student_train.teachset.ask import ASKED, STOPPED, Outcome, Progress, ask
from student_train.teachset.ask_endpoint import Down
from student_train.teachset.ask_teachers import Teacher, TeachersError, parse_teacher, read_teachers
from student_train.teachset.example import Split
from student_train.teachset.store import TeachingSet


def ask_command(
    path: SetArgument,
    teacher: Annotated[
        list[str] | None,
        typer.Option("--teacher", help="NAME=BASE_URL[,model=...,samples=...], several times for several teachers."),
    ] = None,
    teachers: Annotated[Path | None, typer.Option("--teachers", help="A YAML file of them: docs/teachers.md.")] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help=f"Which examples are asked; by default {', '.join(ASKED)}.")
    ] = None,
    budget_usd: Annotated[
        str | None, typer.Option("--budget-usd", help="Stop before all answers in the set cost more than this.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the samples.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Ask the first so many examples only.")] = None,
) -> None:
    """Ask teachers for several answers to each prompt, over any OpenAI-compatible endpoint.

    What is in the set is not asked again: stop it with Ctrl-C, run it again, and it goes on."""
    try:
        asked = read_teachers(teachers) if teachers else {}
        asked |= dict(map(parse_teacher, teacher or ()))
        for one in asked.values():
            one.key()
    except TeachersError as error:
        fail(str(error))
    if not asked:
        fail("expected a teacher: --teacher NAME=BASE_URL, or --teachers FILE")
    with opened(path) as teaching:
        try:
            outcome = asyncio.run(_ask(teaching, asked, _splits(split), seed, _nano(budget_usd), limit))
        except Down as error:
            fail(str(error))
    _report(outcome, asked)


async def _ask(
    teaching: TeachingSet,
    teachers: dict[str, Teacher],
    splits: tuple[Split, ...],
    seed: int,
    budget: int | None,
    limit: int | None,
) -> Outcome:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with progress() as bars:
        shown = _Shown(bars)
        return await ask(
            teaching,
            teachers,
            splits=splits,
            seed=seed,
            budget_nano_usd=budget,
            limit=limit,
            stop=stop,
            show=shown.show,
        )


class _Shown:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, object] = {}
        self._begun = monotonic()

    def show(self, told: dict[str, Progress]) -> None:
        for name, one in told.items():
            if name not in self._tasks:
                self._tasks[name] = task(self._bars, name, one.planned)
            rate = one.done / max(monotonic() - self._begun, 1e-9)
            failed = f", {one.failed.total()} failed" if one.failed else ""
            note = f"{rate:.1f}/s, {one.cost_nano_usd / NANO_USD_PER_USD:.4f} USD{failed}"
            self._bars.update(self._tasks[name], completed=one.done, note=note)  # type: ignore[arg-type]


def _splits(given: list[str] | None) -> tuple[Split, ...]:
    if given is None:
        return ASKED
    known: dict[str, Split] = {name: name for name in ASKED}
    for name in given:
        if name not in known:
            fail(f"--split: expected {', '.join(ASKED)}, got {name}; the holdout is never shown to a teacher")
    return tuple(known[name] for name in dict.fromkeys(given))


def _nano(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0:
        fail(f"--budget-usd: expected dollars, 0 or more, got {text!r}")
    return int(value * NANO_USD_PER_USD)


def _report(outcome: Outcome, asked: dict[str, Teacher]) -> None:
    rows = []
    for name, one in outcome.teachers.items():
        failed = ", ".join(f"{count} {kind}" for kind, count in one.failed.most_common()) or "0"
        counts = (f"{one.done - one.refused}", f"{one.refused}", failed, f"{one.logprobs}", usd(one.cost_nano_usd))
        rows.append([name, one.model, f"{one.planned}", *counts])
    table(["teacher", "model", "asked for", "answers", "refused", "failed for now", "with log-probs", "USD"], rows)
    for name, one in outcome.teachers.items():
        if one.note:
            say(f"{name}: {one.note}")
        elif asked[name].top_logprobs and one.done > one.refused and not one.logprobs:
            say(f"{name}: gives no log-probabilities; its answers teach as text only")
    say(f"spent on the set so far: {usd(outcome.spent_nano_usd)} USD")
    later = sum(one.failed.total() for one in outcome.teachers.values())
    if outcome.stopped == STOPPED:
        fail("stopped before all was asked; run it again to go on", 130)
    if outcome.stopped:
        fail(f"stopped before all was asked: {outcome.stopped}")
    if later:
        fail(f"{later} samples failed for now; run it again to ask for them")
