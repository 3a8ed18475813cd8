"""The gateways under test, and how each is started: as its makers would have it for speed, one process each."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
from harness import Bench, Server

NAMES = ("direct", "nginx", "vllm-router", "understudy")

NGINX_CONFIG = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  keepalive_requests 100000000;
  tcp_nodelay on;
  upstream models {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://models;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

BENCH_KEY = "bench-key-0123456789abcdef0123456789abcdef"
ROUTE = "bench"
CONFIG = """\
listen: 127.0.0.1:{port}
store: sqlite:///{store}
keys:
  - {{name: bench, tenant: bench, key: "${{BENCH_KEY}}"}}
  - {{name: operator, role: admin, key: "${{OPERATOR_KEY}}"}}
upstreams:
  big:   {{base_url: "http://127.0.0.1:{upstream}/v1", model: mock-teacher, price: {{input: 2.50, output: 10.00}}}}
  small: {{base_url: "http://127.0.0.1:{upstream}/v1", model: mock-student, price: {{input: 0.10, output: 0.40}}}}
routes:
  bench: {{teacher: big, student: small, student_percent: 50, sticky: ["user"]}}
"""


def understudy_command() -> str:
    """The console script of this interpreter's environment, else the one on PATH."""
    beside = Path(sys.executable).with_name("understudy")
    if found := str(beside) if beside.exists() else shutil.which("understudy"):
        return found
    raise SystemExit("Understudy is not installed in this environment: pip install -e . (in the repository's root)")


def start_understudy(bench: Bench, upstream: Server, name: str = "understudy") -> tuple[Server, float]:
    """Understudy with a fresh store, and the seconds from its start to the first 200 on /readyz.

    It is measured with what it does in production switched on: the app's key is checked, the split between student
    and teacher is sticky by the request's `user`, usage is asked of the upstream and priced, metrics are kept.
    """
    port = harness.free_port()
    config = bench.folder / f"{name}.yaml"
    config.write_text(CONFIG.format(port=port, store=bench.folder / f"{name}.db", upstream=upstream.port))
    argv: list[str | Path] = [understudy_command(), "serve", "-c", config]
    begin = time.monotonic()
    env = {"BENCH_KEY": BENCH_KEY, "OPERATOR_KEY": secrets.token_hex(16)}
    server = bench.start(name, argv, port, ready="/readyz", env=env, pause=0.005)
    return server, time.monotonic() - begin


def start_nginx(bench: Bench, upstream: Server, program: str) -> Server:
    port = harness.free_port()
    config = bench.folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(folder=bench.folder, upstream=upstream.port, port=port))
    argv: list[str | Path] = [program, "-e", bench.folder / "nginx-start.log", "-p", bench.folder, "-c", config]
    return bench.start("nginx", argv, port, ready="/v1/models")


# Round robin costs vllm-router least and is what Understudy is held against. Its consistent hashing keeps a user on one
# server, which is what Understudy does; cache-aware routing is what it does unless told otherwise.
VLLM_ROUTER_POLICIES = {
    "vllm-router": "round_robin",
    "vllm-router, sticky": "consistent_hash",
    "vllm-router, default": "cache_aware",
}


def start_vllm_router(bench: Bench, upstream: Server, program: str, name: str) -> Server:
    port = harness.free_port()
    options = {
        "--host": "127.0.0.1",
        "--port": port,
        "--worker-urls": f"http://127.0.0.1:{upstream.port}",
        "--worker-startup-check-interval": 1,
        "--policy": VLLM_ROUTER_POLICIES[name],
        "--log-level": "warning",
        "--prometheus-port": harness.free_port(),
    }
    argv = [program, *(str(word) for option in options.items() for word in option)]
    return bench.start(name, argv, port, ready="/health", timeout=60)


def find_program(name: str, given: str | None, advice: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    candidates = (given,) if given else (shutil.which(name), beside, f"/usr/sbin/{name}")
    found = next((str(path) for path in candidates if path and os.access(path, os.X_OK)), None)
    if found is None:
        print(f"{name} is left out: {given or 'it'} is not here to be run. To have it in: {advice}")
    return found


@dataclass
class Contender:
    name: str
    port: int
    version: str = ""
    server: Server | None = None
    cold_start_s: float | None = None
    requests_only: bool = False  # its policy makes a difference per request, not per streamed event


def start_contenders(
    bench: Bench, upstream: Server, names: Sequence[str], *, nginx: str | None, vllm_router: str | None
) -> list[Contender]:
    """Those of `names` that are here. A competitor that is missing or does not start is left out, with a line."""
    started: list[Contender] = []
    for name in names:
        try:
            if name == "direct":
                started.append(Contender(name, upstream.port))
            elif name == "nginx" and (program := find_program(name, nginx, "apt install nginx-light")):
                server = start_nginx(bench, upstream, program)
                version = harness.quiet_output([program, "-v"]).rpartition("/")[2]
                started.append(Contender(name, server.port, version, server))
            elif name == "vllm-router" and (program := find_program(name, vllm_router, "pip install vllm-router")):
                version = version_beside(program, name)
                for kind in VLLM_ROUTER_POLICIES:
                    server = start_vllm_router(bench, upstream, program, kind)
                    started.append(Contender(kind, server.port, version, server, requests_only=kind != name))
            elif name == "understudy":
                cold_start, server = cold_starts(bench, upstream, 3)
                version = version_beside(understudy_command(), name)
                started.append(Contender(name, server.port, version, server, cold_start))
        except harness.NotReady as error:
            if name == "understudy":
                raise SystemExit(str(error)) from error
            print(f"{name} is left out. {error}")
    return started


def cold_starts(bench: Bench, upstream: Server, times: int) -> tuple[float, Server]:
    """The median of several starts, each with an empty store; the last one stays up."""
    server, took = start_understudy(bench, upstream)
    seconds = [took]
    for i in range(1, times):
        bench.stop(server)
        server, took = start_understudy(bench, upstream, f"understudy-{i}")
        seconds.append(took)
    return statistics.median(seconds), server


def version_beside(program: str | Path, package: str) -> str:
    """The version of a Python package, asked of the interpreter its console script names."""
    first = Path(program).read_bytes().split(b"\n", 1)[0].decode(errors="replace")
    interpreter = first.removeprefix("#!").split() if first.startswith("#!") else [sys.executable]
    asks = f"import importlib.metadata as m; print(m.version({package!r}))"
    return harness.quiet_output([*interpreter, "-c", asks]) or "unknown"
