"""The command line: a file per command."""

from importlib.metadata import entry_points

import typer
from rich.console import Console

from gateway import __version__
from gateway.cli.audit import audit
from gateway.cli.calibrate import calibrate
from gateway.cli.check import check
from gateway.cli.demo import demo
from gateway.cli.kill import kill
from gateway.cli.replay import replay
from gateway.cli.rollout import rollout
from gateway.cli.route import route
from gateway.cli.score import score
from gateway.cli.serve import serve
from gateway.cli.shadow import pairs, shadow
from gateway.cli.status import status
from gateway.cli.store import store
from gateway.cli.traffic import traffic

app = typer.Typer(
    name="understudy",
    help="""The gateway that makes it safe to replace a teacher model by its student.

    New here? `understudy demo` runs everything on this machine with a small real model. Then write a gateway.yaml
    (examples/gateway.yaml explains every key), see what it means with `understudy check`, and `understudy serve` it.
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (serve, demo, check, traffic, kill, status, audit, shadow, pairs, score, replay, calibrate):
    app.command()(command)
app.add_typer(route, name="route")
app.add_typer(rollout, name="rollout")
app.add_typer(store, name="store")
for point in entry_points(group="understudy.commands"):
    app.add_typer(point.load(), name=point.name)


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(__version__, highlight=False)
