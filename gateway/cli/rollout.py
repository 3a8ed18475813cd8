"""`understudy rollout`."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli.client import URL, AdminClient, KeyOption, ReasonOption, UrlOption, seconds
from router_policies.rollout.actions import Act
from router_policies.rollout.plan import COST, RATIO, TTFT, Gate
from router_policies.rollout.step import duration
from router_policies.rollout.summary import CheckLine, Rung, Summary

rollout = typer.Typer(
    help="Watch and steer how a route's student gets its traffic (docs/rollout.md).", no_args_is_help=True
)

RouteArgument = Annotated[str, typer.Argument(help="The route.")]
_COLORS = {"pass": "green", "fail": "red", "undecided": "yellow"}
_MARKS = {"done": "●", "here": "◉", "ahead": "○"}
_FACTORS = (TTFT, COST)


@rollout.command()
def status(
    route: RouteArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Prints it as JSON.")] = False,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Show the ladder, what the rollout waits for, and what is known of each check."""
    with AdminClient(url, key) as admin:
        found = admin.get(_path(route))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(found)


@rollout.command()
def start(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """Begin: at 0 %, until there is enough evidence for the first step."""
    _act(route, url, key, Act.START, reason)


@rollout.command()
def pause(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """Stay at this weight until `resume`. A critical check that fails still rolls back."""
    _act(route, url, key, Act.PAUSE, reason)


@rollout.command()
def resume(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """Go on after a pause, or after somebody has set another weight; the step's bake time begins anew."""
    _act(route, url, key, Act.RESUME, reason)


@rollout.command()
def promote(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """Let it through the manual gate that it waits at."""
    _act(route, url, key, Act.PROMOTE, reason)


@rollout.command()
def rollback(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """Back to the rollback weight, now."""
    _act(route, url, key, Act.ROLLBACK, reason)


@rollout.command()
def ack(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """Say that you have looked at a rollback: after the cooldown it begins anew, with fresh evidence."""
    _act(route, url, key, Act.ACK, reason)


@rollout.command()
def force(
    route: RouteArgument,
    percent: Annotated[float, typer.Argument(min=0, max=100, help="The share of sessions for the student.")],
    ttl: Annotated[str, typer.Option("--ttl", help="For how long: 90s, 30m, 2h, 1d. 30 days at most.")],
    reason: ReasonOption,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Hold PERCENT for a time, whatever the ladder says. A critical check that fails still rolls back."""
    _act(route, url, key, Act.FORCE, reason, weight=percent, ttl_s=seconds(ttl))


@rollout.command()
def unforce(route: RouteArgument, reason: ReasonOption, url: UrlOption = URL, key: KeyOption = None) -> None:
    """End `force` before its time."""
    _act(route, url, key, Act.UNFORCE, reason)


def _path(route: str) -> str:
    return f"/rollouts/{quote(route, safe='')}"


def _act(route: str, url: str, key: str | None, act: Act, reason: str, **more: Any) -> None:
    with AdminClient(url, key) as admin:
        _show(admin.send("POST", _path(route), {"act": act.value, "reason": reason, **more}))


def _show(found: dict[str, Any]) -> None:
    Console().print(rendered(msgspec.convert(found, Summary)))


def rendered(summary: Summary) -> RenderableType:
    """The summary as it is shown."""
    parts: list[RenderableType] = [_line(_headline(summary), "bold"), _line(f"  {summary.why}")]
    parts += [_line(f"  waits: {one}", "yellow") for one in summary.waits_for]
    parts += [Text(""), _ladder(summary.ladder), Text(""), checks_table(summary.checks), Text("")]
    parts += [_line(text, "dim") for text in _footnotes(summary)]
    return Group(*parts)


def _line(text: str, style: str = "") -> Text:
    """As it is: no markup, since it may be somebody's reason."""
    return Text(text, style=style)


def _headline(summary: Summary) -> str:
    at = datetime.fromtimestamp(summary.since, UTC).strftime("%Y-%m-%d %H:%M UTC") if summary.since else ""
    wanted = "" if summary.wanted == summary.weight else f", {summary.wanted:g} % wanted"
    since = f", since {at}" if at else ""
    phase = summary.phase.value.replace("_", " ")
    return f"{summary.route}: {phase} at {summary.weight:g} %{wanted}{since}"


def _ladder(rungs: list[Rung]) -> Table:
    table = Table("", "weight", "stays at least", "and pairs", "gate", box=None, pad_edge=False)
    for rung in rungs:
        style = "bold" if rung.place == "here" else "dim" if rung.place == "ahead" else ""
        cells = (
            _MARKS[rung.place],
            f"{rung.weight:g} %",
            duration(rung.min_bake_s),
            f"{rung.min_pairs:,}",
            "manual" if rung.gate is Gate.MANUAL else "",
        )
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def checks_table(checks: list[CheckLine]) -> Table:
    """A row for each check: what is known, what it takes, what follows."""
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("estimate", "interval", "tolerance", "evidence", "pairs", "needed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("if it fails", no_wrap=True)
    for check in checks:
        name = f"{check.name} ({check.stratum})" if check.stratum not in ("", "default") else check.name
        verdict = Text(check.verdict, style=_COLORS[check.verdict])
        cells = (*_numbers(check), check.effect)
        table.add_row(Text(name), verdict, *(Text(cell) for cell in cells))
    return table


def _numbers(check: CheckLine) -> tuple[str, ...]:
    factor = check.name in _FACTORS
    interval = "" if check.low is None or check.high is None else f"{_share(check.low)} to {_share(check.high)}"
    evidence = "" if check.e_value is None or check.enough is None else f"{check.e_value:.3g} of {check.enough:.3g}"
    needed = "never, like this" if check.needed is None else f"{check.needed:,}"
    return (
        "" if check.estimate is None else f"{check.estimate:.3g} times" if factor else _share(check.estimate),
        interval,
        "" if check.name == RATIO else f"{check.tolerance:g} times" if factor else _share(check.tolerance),
        evidence,
        f"{check.pairs:,}",
        "" if check.verdict != "undecided" else needed,
    )


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _footnotes(summary: Summary) -> list[str]:
    lost = ", ".join(f"{count:,} {reason}" for reason, count in sorted(summary.lost.items())) or "none"
    left = ", ".join(f"{count:,} {reason}" for reason, count in sorted(summary.left_out.items())) or "none"
    return [
        f"{summary.student} against {summary.teacher}, attempt {summary.attempt} (alpha {summary.spends:.3g})",
        f"{summary.pairs:,} pairs count; of these lost: {lost}; left out: {left}; {summary.waiting:,} wait their turn",
        *(f"{check.name}: {check.why}" for check in summary.checks if check.verdict == "fail"),
    ]
