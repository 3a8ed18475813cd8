"""`understudy teachset`: make a teaching set, keep it, and account for it."""

import typer

teachset = typer.Typer(
    help="Make a teaching set of what a gateway captured, keep it, and account for it.", no_args_is_help=True
)
