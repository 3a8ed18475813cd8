"""`python -m gateway.cli` is `understudy`."""

from gateway.cli import app

app(prog_name="understudy")
