"""`understudy check`."""

from rich.console import Console
from rich.table import Table

from gateway import config
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, fail


def check(config_file: ConfigOption = DEFAULT_CONFIG) -> None:
    """Validate a config file and say what it means. Exit code 1, with every problem by its path, if it is not valid."""
    try:
        settings = config.load(config_file)
    except config.ConfigError as error:
        fail(str(error))
    console = Console()
    console.print(f"[bold]{config_file}[/bold] is valid.", highlight=False)
    console.print(f"Listens on {settings.listen}; live changes are kept in {settings.store_path}.", highlight=False)
    if settings.open:
        console.print("Open: no keys, so whoever reaches this loopback port may use it and change routes.")
    else:
        named = ", ".join(f"{key.name} ({key.role}, tenant {key.tenant})" for key in settings.keys)
        console.print(f"Keyed: {named}.", highlight=False)
    console.print(_routes(settings))
    console.print(_upstreams(settings))


def _routes(settings: config.Config) -> Table:
    table = Table(title="Routes: what apps ask for", title_justify="left")
    for column in ("route", "student", "teacher", "a session keeps its side by", "deadlines"):
        table.add_column(column)
    for name, route in settings.routes.items():
        deadlines = route.deadlines
        table.add_row(
            name,
            f"{route.student_percent:g} % to {route.student}",
            f"{100 - route.student_percent:g} % to {route.teacher}",
            ", then ".join([*route.sticky, "request id"]),
            f"connect {deadlines.connect_s:g} s, first token {deadlines.ttft_s:g} s, "
            f"stall {deadlines.stall_s:g} s, total {deadlines.total_s:g} s",
        )
    return table


def _upstreams(settings: config.Config) -> Table:
    table = Table(title="Upstreams: who answers", title_justify="left")
    for column in ("upstream", "address", "model", "key", "USD per 1M tokens in", "cached in", "out"):
        table.add_column(column, overflow="fold")
    for name, upstream in settings.upstreams.items():
        price = upstream.price
        cached = price.input if price.cached_input is None else price.cached_input
        table.add_row(
            name,
            "\n".join(upstream.urls),
            upstream.model,
            "set" if upstream.api_key else "none",
            *(f"{value:f}" for value in (price.input, cached, price.output)),
        )
    return table
