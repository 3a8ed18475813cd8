"""What `understudy demo` starts, and stops however it ends: done, Ctrl-C, SIGTERM, an error."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from rich.console import Console

from gateway.engines import Engine, ServerProcess, StartError, answers
from router_policies.routes import Role

ROUTE = "support-chat"
PERCENT = 50  # of the sessions, to the student at first
PORT = 8080

# Upstreams by name, as in examples/gateway.yaml. The prices, in USD per 1M tokens, are examples: llama.cpp is free.
UPSTREAMS = {Role.TEACHER: "big", Role.STUDENT: "small"}
PRICES = {Role.TEACHER: ("2.50", "10.00"), Role.STUDENT: ("0.10", "0.40")}

_HOST = "127.0.0.1"
_READY_S = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


class DemoError(Exception):
    """The demo cannot go on. The message says why."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP raises `KeyboardInterrupt`.

    Later ones, and those that come when the block is left, are ignored: they would break off the clean-up.
    """
    _handle(_interrupt)
    try:
        yield
    finally:
        _handle(_ignore)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _handle(_ignore)
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN: Python complains on stderr if a second signal is already waiting when that is set."""


def _handle(handler: _Handler) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _start(stack: contextlib.ExitStack, process: ServerProcess) -> None:
    """Start a process that `stack` will stop. A signal that comes in the middle, between the fork and our knowing of
    it, is heard afterwards."""
    came: list[int] = []
    before = [(number, signal.signal(number, lambda number, frame: came.append(number))) for number in _SIGNALS]
    try:
        stack.callback(process.stop)
        process.start()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def start_engines(console: Console, stack: contextlib.ExitStack, model: Path, work: Path) -> dict[Role, Engine]:
    engines = {role: Engine(model, role.value, work / f"{role}.log") for role in UPSTREAMS}
    began = time.perf_counter()
    with console.status("Loading the model twice, as teacher and as student"):
        for engine in engines.values():
            _start(stack, engine)
        for role, engine in engines.items():
            engine.wait_ready(_READY_S)
            console.print(f"{role.capitalize()}: llama.cpp at {engine.base_url}, {since(began)}")
    return engines


class Gateway(ServerProcess):
    """`understudy serve` as a user would run it.

    Ready is what its own log says too: on a port that another server holds, that one would answer, until ours gives up.
    """

    def __init__(self, config_file: Path, port: int, log_file: Path) -> None:
        super().__init__("gateway", log_file)
        self.url = f"http://{_HOST}:{port}"
        self._config_file = config_file

    def command(self) -> list[str]:
        return ["-m", "gateway.cli", "serve", "--config", str(self._config_file)]

    def ready(self) -> bool:
        return f"running on {self.url} " in self.log() and answers(f"{self.url}/readyz")


def start_gateway(
    console: Console, stack: contextlib.ExitStack, engines: dict[Role, Engine], work: Path, asked: int | None
) -> Gateway:
    config_file = work / "gateway.yaml"
    ports = (PORT, _any_free_port()) if asked is None else (asked,)
    for port in filter(is_free, ports):
        config_file.write_text(yaml.safe_dump(_config(engines, work, port), sort_keys=False))
        gateway = Gateway(config_file, port, work / "gateway.log")
        began = time.perf_counter()
        with console.status("Starting the gateway"):
            _start(stack, gateway)
            try:
                gateway.wait_ready(_READY_S)
            except StartError:
                if is_free(port):
                    raise  # it was not the port, which somebody else may have taken just now
                continue
        console.print(f"Gateway: {gateway.url}, {since(began)}")
        return gateway
    raise DemoError(taken(ports[0]))


def is_free(port: int) -> bool:
    try:
        socket.create_server((_HOST, port)).close()
    except OSError:
        return False
    return True


def _any_free_port() -> int:
    with socket.create_server((_HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def taken(port: int) -> str:
    return f"--port: expected a free port on {_HOST}, but {port} is taken"


def _config(engines: dict[Role, Engine], work: Path, port: int) -> dict[str, Any]:
    return {
        "listen": f"{_HOST}:{port}",
        "store": f"sqlite:///{work / 'understudy.db'}",
        "drain_s": 2,
        "upstreams": {
            UPSTREAMS[role]: {
                "base_url": engine.base_url,
                "model": engine.alias,
                "price": dict(zip(("input", "output"), PRICES[role], strict=True)),
            }
            for role, engine in engines.items()
        },
        "routes": {
            ROUTE: {
                "teacher": UPSTREAMS[Role.TEACHER],
                "student": UPSTREAMS[Role.STUDENT],
                "student_percent": PERCENT,
            }
        },
    }


def stay_up(console: Console, processes: Sequence[ServerProcess]) -> None:
    """Until Ctrl-C or SIGTERM. Raises `DemoError` if anything ends by itself."""
    try:
        while True:
            time.sleep(0.5)
            for process in processes:
                if process.exit_code is not None:
                    raise DemoError(f"the {process.name} ended by itself: {process.exit_code}\n{process.log_tail()}")
    except KeyboardInterrupt:
        console.print("\nStopping.")


def since(began: float) -> str:
    return f"{time.perf_counter() - began:.1f} s"
