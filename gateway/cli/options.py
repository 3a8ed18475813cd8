"""Options and endings that several commands share."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The config file; examples/gateway.yaml explains every key.")
]
DEFAULT_CONFIG = Path("gateway.yaml")


def fail(message: str) -> NoReturn:
    """End with exit code 1 and the reason on stderr."""
    Console(stderr=True, soft_wrap=True).print(message, style="red", highlight=False, markup=False)
    raise typer.Exit(1)
