"""What the hot face below ASGI gains over a plain ASGI callable: `python benchmarks/faces.py`.

Both serve the same requests with the same admission, decision, relay, upstream client and metrics, in one uvicorn
process each; only how bytes come in and go out differs. The ASGI one is written for speed: no framework, one task per
request, and one to notice that the client has left. `docs/decisions/0001` rests on this.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import harness
import report
import uvicorn
from contenders import BENCH_KEY, CONFIG, ROUTE
from harness import Bench

from gateway import config
from gateway.face.errors import ApiError
from gateway.face.openai import ENDPOINTS
from gateway.intake import admit, check_head, request_id
from gateway.relay import Relay
from gateway.state import TICK_S, Gateway
from gateway.supervisor import Supervisor

FACES = ("asgi", "protocol")
SCENARIOS: dict[str, dict[str, object]] = {
    "requests": {"conns": 32, "warmup": 1},
    "streams": {"stream": 1, "conns": 100, "ramp": 2, "mock": "n=100,itl=20", "expect": 100, "warmup": 2.5},
}


class AsgiClient:
    """The relay's `Client` over ASGI: what it writes is sent by the request's task, woken by an event."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = b""
        self.pending: list[bytes] = []
        self.over = False
        self.woken = asyncio.Event()

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        self.begin(status, headers + b"content-length: %d\r\n" % len(body))
        self.write(body)
        self.finish()

    def begin(self, status: int, headers: bytes) -> None:
        self.status, self.headers = status, headers
        self.woken.set()

    def write(self, data: bytes) -> None:
        self.pending.append(data)
        self.woken.set()

    def finish(self) -> None:
        self.over = True
        self.woken.set()

    abort = finish


class PlainAsgi:
    """A gateway as one ASGI callable."""

    gateway: Gateway
    supervisor: Supervisor

    def __init__(self, settings: config.Config) -> None:
        self.settings = settings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif (endpoint := ENDPOINTS.get(scope["raw_path"])) is not None:
            await self.serve(endpoint, scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        self.gateway = Gateway.build(self.settings)
        async with Supervisor() as supervisor:
            supervisor.every(TICK_S, "deadlines", self.gateway.tick)
            supervisor.every(1.0, "keep house", self.gateway.keep_house)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await self.gateway.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def serve(self, endpoint: Any, scope: Any, receive: Any, send: Any) -> None:
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message["body"])
            if not message["more_body"]:
                break
        received_at = monotonic()
        fields = dict(scope["headers"])
        client = AsgiClient()
        try:
            identity = check_head(self.gateway.keys, fields)
            request = admit(
                self.gateway, request_id(fields), endpoint, b"", fields, b"".join(parts), identity, received_at
            )
        except ApiError as error:
            client.respond(error.kind.status, b"", error.body)
            relay = None
        else:
            relay = Relay(self.gateway, client, request)
        leaving = asyncio.ensure_future(receive())
        leaving.add_done_callback(lambda _: relay.client_gone() if relay is not None and not client.over else None)
        begun = False
        while not (client.over and not client.pending):
            await client.woken.wait()
            client.woken.clear()
            if client.status and not begun:
                begun = True
                lines = (line.split(b": ", 1) for line in client.headers.split(b"\r\n") if line)
                headers = [(name, value) for name, value in lines]
                await send({"type": "http.response.start", "status": client.status, "headers": headers})
            data = b"".join(client.pending)
            client.pending.clear()
            if begun:
                await send({"type": "http.response.body", "body": data, "more_body": not client.over})
        leaving.cancel()


def serve(path: Path) -> None:
    settings = config.load(path)
    host, port = config.split_listen(settings.listen)
    uvicorn.run(PlainAsgi(settings), host=host, port=port, http="httptools", ws="none", access_log=False)


def start(bench: Bench, face: str, upstream: harness.Server) -> harness.Server:
    port = harness.free_port()
    path = bench.folder / f"{face}.yaml"
    path.write_text(CONFIG.format(port=port, store=bench.folder / f"{face}.db", upstream=upstream.port))
    protocol: list[str | Path] = [sys.executable, "-m", "gateway.cli", "serve", "-c", path]
    asgi: list[str | Path] = [sys.executable, Path(__file__).resolve(), "--serve", path]
    env = {"BENCH_KEY": BENCH_KEY, "OPERATOR_KEY": BENCH_KEY[::-1]}
    return bench.start(face, protocol if face == "protocol" else asgi, port, ready="/readyz", env=env)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=harness.HERE / "results" / "faces.json")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return 0
    runs: dict[str, dict[str, list[float]]] = {scenario: {face: [] for face in FACES} for scenario in SCENARIOS}
    with Bench() as bench:
        upstream = bench.start_upstream()
        servers = {face: start(bench, face, upstream) for face in FACES}
        for round_ in range(args.rounds):
            for scenario, options in SCENARIOS.items():
                for face in FACES if round_ % 2 == 0 else reversed(FACES):
                    warmup = float(str(options["warmup"]))
                    load = {"model": ROUTE, "key": BENCH_KEY, **options, "duration": warmup + 5}
                    with report.told(f"round {round_ + 1}/{args.rounds}, {scenario}: {face}"):
                        measured = bench.load(servers[face].port, load, servers[face])
                    if measured.errors:
                        raise SystemExit(f"{face}, {scenario}: {measured.errors}")
                    done = measured.load["events"] if scenario == "streams" else measured.load["ok"]
                    runs[scenario][face].append(measured.cpu_s * 1e6 / done)
    rows = []
    for scenario, what in (("requests", "CPU per request, µs"), ("streams", "CPU per event, 100 streams × 50/s, µs")):
        asgi, protocol = runs[scenario]["asgi"], runs[scenario]["protocol"]
        ratio = statistics.median(a / b for a, b in zip(asgi, protocol, strict=True))
        rows.append([what, *(f"{statistics.median(values):.1f}" for values in (asgi, protocol)), f"{ratio:.2f}"])
    columns = ["", "plain ASGI", "below ASGI", "ratio, paired"]
    report.print_table("Two faces of one gateway", columns, rows)
    head = report.header(sys.argv, {"uvicorn": uvicorn.__version__})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**head, "cpu_us": runs}, indent=1, ensure_ascii=False) + "\n")
    args.out.with_suffix(".md").write_text(report.header_markdown(head) + "\n" + report.markdown_table(columns, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
