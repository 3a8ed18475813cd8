"""`understudy replay`: a changed config over the requests of a log, offline."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.client import say
from gateway.cli.options import ConfigOption, fail
from gateway.cli.rollout import checks_table
from gateway.config import Config, ConfigError, load
from router_policies.prices import usd
from router_policies.replay.estimates import Estimate
from router_policies.replay.replay import Line, Measure, RouteReport, read_line
from router_policies.replay.replay import replay as rehearse
from router_policies.rollout.filed import Filed, read_record
from router_policies.rollout.plan import Plan
from router_policies.routes import Role

_SHOWN = 5  # of each route's requests that change sides, and of lines that cannot be read
_NAMES = {"cost": "cost per request (USD)", "failed": "failed", "fell_back": "answered by another"}
_Read = TypeVar("_Read", Line, Filed)


@dataclass(slots=True)
class Unread:
    """Mutable state: lines that cannot be read, and why."""

    told: list[str]


def replay(
    log: Annotated[
        list[Path],
        typer.Option("--log", "-l", help="The exchange log (config: exchange_log). May be given more than once."),
    ],
    config: ConfigOption,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", "-p", help="Records of shadow mode, one JSON object a line.")
    ] = None,
    changes: Annotated[
        Path | None, typer.Option("--changes", help="Writes every request that changes sides there, as JSON lines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Prints the report as JSON.")] = False,
) -> None:
    """Run the requests of a log through a changed config and print what would have happened.

    Who answers is known from the log. Cost and failures are estimated from the logged probabilities, in three ways; and
    with pairs, how often users would have got an answer that differs from the teacher's, and what the gate would say.
    Exit code 1 if a line cannot be read, or no route of the config is in the log.
    """
    try:
        changed = load(config)
    except ConfigError as error:
        fail(str(error))
    unread = Unread([])
    lines = [line for path in log for line in read_lines(path, read_line, unread)]
    filed = list(read_lines(pairs, read_record, unread)) if pairs is not None else []
    reports = rehearse(
        lines,
        filed,
        {name: route.route(name) for name, route in changed.routes.items()},
        {name: upstream.price.price() for name, upstream in changed.upstreams.items()},
        _plans(changed),
        Role(changed.force) if changed.force is not None else None,
    )
    if changes is not None:
        with changes.open("w", encoding="utf-8") as out:
            out.writelines(
                json.dumps({"route": report.route, **asdict(change)}) + "\n"
                for report in reports
                for change in report.changed
            )
    if as_json:
        typer.echo(json.dumps([_document(report) for report in reports], indent=2))
    else:
        for report in reports:
            _print(report)
    _end(lines, reports, unread)


def read_lines(path: Path, read: Callable[[bytes], _Read], unread: Unread) -> Iterator[_Read]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield read(line)
                except ValueError as error:
                    unread.told.append(f"{path}, line {number}: {error}")
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def _plans(config: Config) -> dict[str, Plan]:
    found = {name: route.plan() for name, route in config.routes.items()}
    return {name: plan for name, plan in found.items() if plan is not None}


def _document(report: RouteReport) -> dict[str, object]:
    """The report without the list of changes, which `--changes` writes."""
    document = asdict(report)
    document["changed"] = len(report.changed)
    return document


def tell_unread(unread: Unread) -> None:
    errors = Console(stderr=True, soft_wrap=True, style="red")
    for problem in unread.told[:_SHOWN]:
        errors.print(problem, markup=False, highlight=False)
    if len(unread.told) > _SHOWN:
        errors.print(f"and {len(unread.told) - _SHOWN} more lines that cannot be read")


def _end(lines: list[Line], reports: list[RouteReport], unread: Unread) -> None:
    tell_unread(unread)
    if not reports:
        routes = ", ".join(sorted({line.route for line in lines})) or "none"
        fail(f"no request of the log is of a route of this config; routes in the log: {routes}")
    if unread.told:
        raise typer.Exit(1)


def _print(report: RouteReport) -> None:
    say(f"{report.route}: {report.requests:,} requests of {report.sessions:,} sessions")
    before, after = (
        f"{_share(report.requests - student, report.requests)} to the teacher"
        for student in (report.student_before, report.student_after)
    )
    say(f"  {before} before, {after} after")
    for role in Role:
        moved = [change for change in report.changed if change.after is role]
        if moved:
            sessions = len({change.point for change in moved})
            examples = ", ".join(change.request_id for change in moved[:_SHOWN]) + ", ..." * (len(moved) > _SHOWN)
            say(f"  {len(moved):,} requests of {sessions:,} sessions move to the {role}: {examples}")
    if report.fixed:
        say(f"  {report.fixed:,} were not decided by the split, and stay as they were")
    if report.covered < report.requests:
        missing = _share(report.requests - report.covered, report.requests)
        say(f"  {missing} are not covered: the log has never had their new upstream answer; estimates leave them out")
    Console().print(_table(report))
    if report.checks:
        say(f"  what the gate says of {report.pairs:,} pairs:")
        Console().print(checks_table(report.checks))
    elif not report.pairs:
        say("  no pairs: how often answers differ is not known (--pairs)")
    say("")


def _table(report: RouteReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("per request, with 95 % intervals", no_wrap=True)
    for heading in ("before", "after: IPS", "SNIPS", "doubly robust"):
        table.add_column(heading, justify="right")
    for measure in report.measures:
        table.add_row(*_row(_NAMES[measure.name], measure))
    for measure in report.served_differing:
        table.add_row(*_row(f"served and differs: {measure.name}", measure))
    return table


def _row(name: str, measure: Measure) -> Iterator[Text]:
    def shown(value: float) -> str:
        return usd(round(value)) if measure.name == "cost" else f"{100 * value:.3g} %"

    def interval(estimate: Estimate | None) -> str:
        return (
            "not known"
            if estimate is None
            else (f"{shown(estimate.value)} ({shown(estimate.low)} to {shown(estimate.high)})")
        )

    after = measure.after
    return (Text(cell) for cell in (name, shown(measure.before), *map(interval, (after.ips, after.snips, after.dr))))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
