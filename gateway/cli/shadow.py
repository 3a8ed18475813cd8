"""`understudy shadow` and `understudy pairs`."""

import json
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.client import URL, AdminClient, Json, KeyOption, UrlOption, say
from router_policies.shadow import Arm

_SHOWN = 400  # characters of a text
JsonOption = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def shadow(
    route: Annotated[str | None, typer.Argument(help="The route; without one, all routes.")] = None,
    newest: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many of the newest records the shares are of.")
    ] = 1000,
    as_json: JsonOption = False,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Show what shadow mode mirrors, what it lost and why, what it costs, and how student and teacher compare."""
    with AdminClient(url, key) as admin:
        path = "/shadow" if route is None else f"/shadow/{quote(route, safe='')}"
        found = admin.get(path, newest=newest)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for one in found["routes"] if route is None else [found]:
        _show(one)


def pairs(
    route: Annotated[str, typer.Argument(help="The route.")],
    disagree: Annotated[bool, typer.Option("--disagree", help="Only pairs whose answers differ in any check.")] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Those most worth a look first, of the newest 5000 records.")
    ] = False,
    lost: Annotated[bool, typer.Option("--lost", help="Instead: samples without a pair, and why.")] = False,
    arm: Annotated[Arm | None, typer.Option(help="ab: student and teacher; aa: the teacher with itself.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    before: Annotated[int | None, typer.Option(min=1, help="Only those before this number.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A pair per line.")] = False,
    url: UrlOption = URL,
    key: KeyOption = None,
) -> None:
    """Show pairs of answers side by side, redacted, newest first, and what the checks say of them."""
    asked = {"limit": limit, "before": before, "arm": arm.value if arm else None}
    query = {name: value for name, value in asked.items() if value is not None}
    query |= {name: 1 for name, chosen in (("disagree", disagree), ("review", review), ("lost", lost)) if chosen}
    with AdminClient(url, key) as admin:
        found = admin.get(f"/pairs/{quote(route, safe='')}", **query)
    if as_json:
        for one in found["pairs"]:
            typer.echo(json.dumps(one))
        return
    for one in found["pairs"]:
        _show_pair(one)
    if not found["pairs"]:
        say("There is none.")
    if found["next"] is not None:
        say(f"Older ones: --before {found['next']}")


def _show(one: Json) -> None:
    settings = one["settings"]
    if settings is None:
        say(f"{one['route']}: mirrors nothing (its shadow is null)")
    else:
        sample = settings["sample"]
        drawn = f"{sample['default']:.3g} of requests, {sample['high_risk']:.3g} of those at high risk"
        say(f"{one['route']}: mirrors {drawn}; the teacher twice for {settings['aa_sample']:.3g}")
        cap = settings["max_usd_per_day"]
        of = "" if cap is None else f" of {float(cap):g}"
        say(f"  spent today: {one['usd_today']:.4f}{of} dollars")
        for kind in ("embedding", "judge"):
            if settings[kind] is not None:
                say(f"  {_opinion_settings(one, kind)}")
    for stop in one["stopped"]:
        say(f"  STOPPED ({stop['because']}): {stop['detail']}")
    here = one["here"]
    for arm in Arm:
        counted = here[arm.value]
        if counted["sampled"]:
            lost = ", ".join(f"{count} {reason}" for reason, count in counted["lost"].items()) or "none"
            under_way = f", {counted['under_way']} under way" if counted["under_way"] else ""
            told = f"{counted['sampled']} sampled, {counted['pairs']} pairs, lost: {lost}{under_way}"
            say(f"  {arm.value} on this host: {told}")
    if here["queue"]:
        say(f"  {here['queue']} samples wait ({here['queue_bytes'] / 2**20:.1f} MiB)")
    table = Table("newest", "family", "pairs", "differ", "student worse", box=None, pad_edge=False)
    for arm in Arm:
        for family, told in one["newest"][arm.value]["families"].items():
            shares = (f"{100 * told[name]:.1f} %" for name in ("disagree_share", "student_worse_share"))
            table.add_row(*map(Text, (arm.value, family, str(told["pairs"]), *shares)))
    if table.row_count:
        Console().print(table)
    for arm in Arm:
        for kind, told in one["newest"][arm.value]["opinions"].items():
            came = ", ".join(f"{count} {outcome}" for outcome, count in told["outcomes"].items())
            median = f"; median similarity {told['median_similarity']:.3f}" if "median_similarity" in told else ""
            say(f"  {arm.value}, {kind} of {told['drawn']} of the newest: {came}{median}")


def _opinion_settings(one: Json, kind: str) -> str:
    settings = one["settings"][kind]
    cap = settings["max_usd_per_day"]
    of = "" if cap is None else f" of {float(cap):g}"
    spent = one["opinions_usd_today"][kind]
    return f"{kind} by {settings['upstream']} for {settings['sample']:.3g} of pairs; today: {spent:.4f}{of} dollars"


def _show_pair(one: Json) -> None:
    if one["reason"] is not None:
        say(f"{one['number']} {one['arm']} {one['request_id']}: no pair, {one['reason']}. {one['detail']}".rstrip())
        return
    say(f"{one['number']} {one['arm']} {one['request_id']}, served by the {one['answered']}")
    for verdict in one["verdicts"]:
        if not verdict["agree"]:
            where = f" at {verdict['path']}" if verdict["path"] else ""
            sides = f"student {verdict['student']}, teacher {verdict['teacher']}"
            say(f"  {verdict['family']}/{verdict['check']}{where}: {sides}. {verdict['evidence']}".rstrip())
    texts = one["texts"]
    for opinion in one["opinions"]:
        similarity = "" if opinion["similarity"] is None else f" {opinion['similarity']:.3f}"
        say(f"  {opinion['kind']} by {opinion['by']}: {opinion['outcome']}{similarity}. {opinion['detail']}".rstrip())
    if texts is None:
        say("  (its texts are not kept any more)")
        return
    if texts["request"]:
        last = texts["request"][-1]
        say(f"  {last['role']}: {_short(last['text'])}")
    for side in ("student", "teacher"):
        answer = texts[side]
        calls = [f"{call['name']}({_short(call['arguments'])})" for call in answer["calls"]]
        say(f"  {side}: {' '.join((_short(answer['text']), *calls)).strip()}")
    for first, why in texts.get("why", {}).items():
        say(f"  the judge, {first.replace('_', ' ')}: {_short(why)}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
