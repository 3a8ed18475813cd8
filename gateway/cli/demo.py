"""`understudy demo`: the whole thing on this machine, with real models, in one command."""

import contextlib
import importlib.util
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx2
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli.demo_servers import (
    PERCENT,
    PORT,
    PRICES,
    ROUTE,
    UPSTREAMS,
    DemoError,
    interruptible,
    is_free,
    since,
    start_engines,
    start_gateway,
    stay_up,
    taken,
)
from gateway.cli.options import fail
from gateway.engines import StartError
from router_policies.prices import Price, Usage, cost_nano_usd, usd
from router_policies.routes import Role

if TYPE_CHECKING:
    import openai

_EXTRA = ("openai", "platformdirs", "xllamacpp")  # modules, named like their distributions
_CALL_S = 60.0
_ANSWER_SHOWN = 60  # characters
_ROLES = {name: role for role, name in UPSTREAMS.items()}

_NAME = {"type": "string", "maxLength": 20}
_PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"city": _NAME, "country": _NAME},
    "required": ["city", "country"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the demo. `session` is what keeps it on one side of the split."""

    session: str
    prompt: str
    stream: bool = False
    schema: dict[str, Any] | None = None

    @property
    def kind(self) -> str:
        return "JSON schema" if self.schema else "stream" if self.stream else "chat"


# Of these sessions ada and dan lie below 50 % on the route and go to the student, eve and kim above.
_BEFORE = (
    Call("ada", "Name the capital city of France.", stream=True),
    Call("ada", "Write one sentence about the sea."),
    Call("eve", "Name the capital city of France.", stream=True),
    Call("eve", "Write one sentence about the sea."),
    Call("kim", "Where is the Eiffel Tower? Answer in JSON with city and country.", schema=_PLACE),
    Call("dan", "Give me three tips for a good night's sleep.", stream=True),
)
_AFTER = (
    Call("eve", "Name the capital city of Italy.", stream=True),
    Call("kim", "Where is Big Ben? Answer in JSON with city and country.", schema=_PLACE),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a call: who served it and why, by the gateway's headers; times by this client's clock."""

    call: Call
    percent: int
    role: Role
    upstream: str
    reason: str
    ttft_s: float
    ttlt_s: float
    usage: Usage
    answer: str

    def cost_as(self, role: Role) -> int:
        """What the call costs at that role's price, in nano-dollars."""
        price_in, price_out = PRICES[role]
        return cost_nano_usd(Price.per_million(Decimal(price_in), Decimal(price_out)), self.usage)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the table instead of staying up.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_535, help=f"The gateway's port. Unless given: {PORT}, or a free one if it is taken."
        ),
    ] = None,
) -> None:
    """Run a teacher, a student and the gateway on this machine, and talk to them with the OpenAI client.

    It needs two CPU cores, 1 GB of memory and, the first time, 98 MB for a small language model
    (SmolLM2-135M-Instruct). Both roles run the same weights until you train a student. Ctrl-C stops everything.
    """
    started = time.perf_counter()
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        fail(f"the demo needs {', '.join(missing)}: run pip install 'understudy[demo]'")
    import openai  # here and not above: these are not there without the demo extra, and take half a second

    from gateway.model_file import ModelFileError

    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        with contextlib.ExitStack() as stack, interruptible():
            _run(console, stack, once, port, started)
    except KeyboardInterrupt:
        console.print("Stopped before the end.")
        raise typer.Exit(130) from None
    except openai.APIStatusError as error:
        fail(f"a call was answered with {error.status_code}: {error.message}")
    except (DemoError, StartError, ModelFileError, openai.OpenAIError, httpx2.HTTPError, OSError) as error:
        fail(str(error) or type(error).__name__)


def _run(console: Console, stack: contextlib.ExitStack, once: bool, port: int | None, started: float) -> None:
    if port is not None and not is_free(port):
        raise DemoError(taken(port))
    from gateway.model_file import fetch_model

    model = fetch_model()
    console.print(f"Model: {model}")
    work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-demo-")))
    engines = start_engines(console, stack, model, work)
    gateway = start_gateway(console, stack, engines, work, port)
    client = stack.enter_context(_client(gateway.url))

    rows: list[Row] = []
    console.print(f"\nAsking, {PERCENT} % of the sessions on the student:")
    _ask_all(console, client, _BEFORE, PERCENT, rows, started)
    flip = {"student_percent": 100, "reason": "the demo: everyone on the student"}
    route, stands = f"{gateway.url}/admin/routes/{ROUTE}", {"if-match": "*"}
    answer = httpx2.patch(route, json=flip, headers=stands, timeout=10, trust_env=False)
    if answer.is_error:
        raise DemoError(f"the traffic flip was refused with {answer.status_code}: {answer.text}")
    console.print(f"One PATCH of /admin/routes/{ROUTE} later, 100 %:")
    _ask_all(console, client, _AFTER, 100, rows, started)

    _show(console, rows)
    if once:
        return
    _say_where(console, gateway.url, work)
    stay_up(console, [*engines.values(), gateway])


def _client(url: str) -> "openai.OpenAI":
    import openai

    return openai.OpenAI(
        base_url=f"{url}/v1",
        api_key="none",
        max_retries=0,
        timeout=_CALL_S,
        http_client=openai.DefaultHttpx2Client(trust_env=False),  # no proxy between here and here
    )


def _ask_all(
    console: Console, client: "openai.OpenAI", calls: Sequence[Call], percent: int, rows: list[Row], started: float
) -> None:
    for call in calls:
        with console.status(f"{call.session}: {call.prompt}"):
            row = _ask(client, call, percent)
        answer = " ".join(row.answer.split())
        shown = answer if len(answer) <= _ANSWER_SHOWN else answer[: _ANSWER_SHOWN - 1] + "…"
        console.print(f"  {call.session}, {row.role}: {shown}", style="dim")
        if not rows:
            console.print(f"  (the first answer, {since(started)})")
        rows.append(row)


def _ask(client: "openai.OpenAI", call: Call, percent: int) -> Row:
    """Make a call through the gateway. Times run from just before the request to the first and the last token."""
    create: Any = client.chat.completions.with_raw_response.create  # its overloads know no union of both modes
    options: dict[str, Any] = {"max_tokens": 48, "stream": False}
    if call.stream:
        options |= {"stream": True, "stream_options": {"include_usage": True}}
    if call.schema:
        schema = {"name": "place", "strict": True, "schema": call.schema}
        options |= {"response_format": {"type": "json_schema", "json_schema": schema}, "max_tokens": 96}
    started = time.perf_counter()
    raw = create(
        model=ROUTE,
        messages=[{"role": "user", "content": call.prompt}],
        temperature=0,
        extra_headers={"x-session-id": call.session},
        **options,
    )
    if call.stream:
        answer, usage, ttft_s = _read_stream(raw.parse(), started)
        ttlt_s = time.perf_counter() - started
    else:
        ttft_s = ttlt_s = time.perf_counter() - started
        whole = raw.parse()
        answer, usage = whole.choices[0].message.content or "", whole.usage
    if not answer or usage is None:
        raise DemoError(f"{call.session}, {call.kind}: expected an answer with its usage, got {answer!r}, {usage}")
    if call.schema:
        _check_place(answer)
    upstream = raw.headers.get("x-understudy-upstream", "")
    if upstream not in _ROLES:
        raise DemoError(f"expected x-understudy-upstream to be one of {', '.join(_ROLES)}, got {upstream!r}")
    return Row(
        call=call,
        percent=percent,
        role=_ROLES[upstream],
        upstream=upstream,
        reason=raw.headers.get("x-understudy-reason", ""),
        ttft_s=ttlt_s if ttft_s is None else ttft_s,
        ttlt_s=ttlt_s,
        usage=Usage(input=usage.prompt_tokens, output=usage.completion_tokens),
        answer=answer,
    )


def _read_stream(stream: Any, started: float) -> tuple[str, Any, float | None]:
    answer, usage, ttft_s = "", None, None
    with stream:
        for chunk in stream:
            piece = chunk.choices[0].delta.content if chunk.choices else None
            if piece and ttft_s is None:
                ttft_s = time.perf_counter() - started
            answer += piece or ""
            usage = chunk.usage or usage
    return answer, usage, ttft_s


def _check_place(answer: str) -> None:
    try:
        document = json.loads(answer)
    except ValueError:
        raise DemoError(f"expected JSON that keeps to the schema, got {answer!r}") from None
    if not isinstance(document, dict) or set(document) != set(_PLACE["required"]):
        raise DemoError(f"expected JSON with the keys {_PLACE['required']}, got {answer!r}")


def _show(console: Console, rows: list[Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for heading in ("request", "served\nby", "role", "why"):
        table.add_column(heading)
    for heading in ("TTFT\nms", "TTLT\nms", "tokens\nin/out", "cost\nUSD"):
        table.add_column(heading, justify="right")
    for row in rows:
        if table.rows and row.percent != rows[table.row_count - 1].percent:
            table.add_section()
        table.add_row(
            f"{row.call.session}, {row.call.kind}",
            row.upstream,
            row.role,
            f"{row.reason}, {row.percent} %",
            f"{row.ttft_s * 1000:.0f}",
            f"{row.ttlt_s * 1000:.0f}",
            f"{row.usage.input}/{row.usage.output}",
            usd(row.cost_as(row.role)),
        )
    console.print()
    console.print(table)
    cost = sum(row.cost_as(row.role) for row in rows)
    teacher = sum(row.cost_as(Role.TEACHER) for row in rows)
    console.print(
        "\nTTFT, TTLT: time to the first and the last token, seen from the client;\nwithout streaming they are one. "
        f"Cost, at example prices: {usd(cost)} USD;\nall of it on the teacher: {usd(teacher)} USD.\n"
    )
    console.print(
        "This is an A/A run: until you train a student, both roles run the same weights,\n"
        "so what differs between their rows is noise.",
        style="bold",
    )


def _say_where(console: Console, url: str, work: Path) -> None:
    chat = {"model": ROUTE, "max_tokens": 48, "messages": [{"role": "user", "content": "Name three colours."}]}
    flip = {"student_percent": 25, "reason": "trying it out"}
    json_header = "-H 'content-type: application/json'"
    lines = (
        "",
        f"API       {url}/v1   OpenAI(base_url='{url}/v1', api_key='none'), model '{ROUTE}'",
        f"Docs      {url}/docs",
        f"Metrics   {url}/metrics",
        f"Logs      {work}",
        "",
        "Ask something:",
        f"  curl -i {url}/v1/chat/completions {json_header} -H 'x-session-id: me' -d '{json.dumps(chat)}'",
        "Flip the traffic:",
        f"  curl -X PATCH {url}/admin/routes/{ROUTE} {json_header} -H 'if-match: *' -d '{json.dumps(flip)}'",
        "",
        "Ctrl-C stops everything.",
    )
    for line in lines:
        console.print(line)
