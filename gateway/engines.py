"""The embedded engine: llama.cpp's own OpenAI-compatible server (PyPI `xllamacpp`), one process each.

It exists so that the demo and the end-to-end tests talk to real language models on any machine, with nothing
to install but wheels. A process, not a thread: loading a model and tearing it down hold the interpreter, a
crash inside native code must not take the gateway along, and an engine that can be killed is what a fallback
test needs.

    python -m gateway.engines --model FILE [--host 127.0.0.1] [--port 0] [--alias NAME] [--threads N] ...

serves until SIGTERM or SIGINT and then exits 0, cutting off what is under way. Once the model answers, it
writes one line, `listening on http://HOST:PORT`, to stdout; llama.cpp's log goes to stderr. Port 0 lets the
system choose, so that engines started side by side cannot race for one. `Engine` is the handle on such a
process.
"""

import argparse
import contextlib
import http
import http.client
import importlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

_INSTALL = "the embedded engine needs xllamacpp, which is not installed: run pip install 'understudy[demo]'"
# Anywhere in a line: llama.cpp's log, written by another thread, may have begun one.
_LISTENING = re.compile(r"listening on (http://\S+)\n")
_PROMPT_CACHE_MIB = 256  # llama.cpp keeps up to 8 GiB of old prompts in memory unless told otherwise
_POLL_S = 0.05
_LOG_TAIL_LINES = 15


class StartError(RuntimeError):
    """A server that did not start or did not become ready. The message ends with the tail of its log."""


class ServerProcess(ABC):
    """A server in a process of its own: started, waited for, stopped. As a context manager: ready inside, gone outside.

    It runs in its own session, so that a Ctrl-C at the terminal reaches the starter alone, which then stops things in
    its own order. What it writes goes to `log_file`, which each start empties.
    """

    def __init__(self, name: str, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The arguments for this Python interpreter."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers. Asked over and over until it does."""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"the {self.name} has no process yet: call start() first")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process and return at once. `wait_ready` says when it answers."""
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError(f"the {self.name} is already running as process {self._process.pid}")
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  this interpreter, no shell
                [sys.executable, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return when it answers; raise `StartError` if it exits or takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if self.exit_code is not None:
                raise StartError(f"the {self.name} exited with {self.exit_code} before it was ready\n{self.log_tail()}")
            if self.ready():
                return
            if time.monotonic() >= deadline:
                raise StartError(f"the {self.name} was not ready after {timeout:g} s\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def stop(self, grace: float = 5.0) -> int:
        """SIGTERM, then SIGKILL after `grace` seconds. Returns the exit code, 0 for a clean stop."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(grace)
            self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """SIGKILL, at once: what a crash looks like to others."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        """The last lines of its log: why it ended, if it did."""
        return "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Engine(ServerProcess):
    """One llama.cpp serving one model.

    `ctx` is the context in tokens of each of the `parallel` requests it serves at once. The process leaves with its
    parent: an engine whose starter was killed stops by itself within a second. Started again after a stop or a kill, it
    comes back at the address it had.
    """

    def __init__(
        self,
        model: Path,
        alias: str,
        log_file: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        threads: int = 0,
        ctx: int = 2048,
        parallel: int = 2,
    ) -> None:
        super().__init__(f"engine {alias}", log_file)
        self.model = model
        self.alias = alias
        self._host = host
        self._port = port
        self._limits = [f"--threads={threads}", f"--ctx={ctx}", f"--parallel={parallel}"]
        self._address: str | None = None

    @property
    def base_url(self) -> str:
        """Where an OpenAI client finds the engine: `http://HOST:PORT/v1`. Known once it is ready."""
        if self._address is None:
            raise RuntimeError(f"the {self.name} has no address yet: call wait_ready() first")
        return f"{self._address}/v1"

    def command(self) -> list[str]:
        where = [f"--host={self._host}", f"--port={self._port}", f"--parent={os.getpid()}"]
        return ["-m", "gateway.engines", f"--model={self.model}", f"--alias={self.alias}", *where, *self._limits]

    def start(self) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise StartError(_INSTALL)
        self._address = None
        super().start()

    def ready(self) -> bool:
        if self._address is None and (found := _LISTENING.search(self.log())):
            self._address = found[1]
            self._port = int(self._address.rpartition(":")[2])
        return self._address is not None and answers(f"{self._address}/health")


def answers(url: str) -> bool:
    """Whether a GET of `url`, on this host and so by no proxy, is answered with 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=2.0)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Serve one model until told to stop, then end the process. The module's docstring says the rest."""
    options = _options(argv)
    _check_model(options.model)
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ModuleNotFoundError:
        raise SystemExit(_INSTALL) from None
    stop = threading.Event()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        stop.set()

    # Before the model loads: loading holds the interpreter, and a stop asked for meanwhile is heard after it.
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        server = xllamacpp.Server(_params(xllamacpp, options))
    except RuntimeError:
        raise SystemExit(
            f"llama.cpp could not serve {options.model} on {options.host}:{options.port}; its reason is"
            " above. It needs a GGUF model it knows, enough memory, a free port: see --model, --ctx, --port."
        ) from None
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    while not stop.wait(0.5):
        if options.parent and os.getppid() != options.parent:
            break
    # Not `del server`: llama.cpp's orderly shutdown waits for ever for a stream that nobody reads.
    os._exit(0)


def _params(xllamacpp: Any, options: argparse.Namespace) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias or options.model.stem}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = options.ctx * options.parallel  # llama.cpp divides it among its slots
    params.cpuparams.n_threads = options.threads or _default_threads()
    params.use_jinja = True  # the model's own chat template
    # A pooling type makes /v1/embeddings answer; chat and completions work as before.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.endpoint_slots = False  # it shows other people's prompts
    params.ui = False
    params.cors_origins = f"http://{options.host}"  # not any web page that is open in a browser on this host
    return params


def _default_threads() -> int:
    """Half of the CPUs this process may use: a teacher and a student run side by side."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // 2)


def _check_model(model: Path) -> None:
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise SystemExit(f"--model: expected a readable GGUF file, got {model}: {error.strerror}") from None
    if magic != b"GGUF":
        raise SystemExit(f"--model: expected a GGUF file, but {model} starts with {magic!r}, not b'GGUF'")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.engines",
        description="Serve a GGUF model with llama.cpp's OpenAI-compatible server.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="a GGUF model file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 lets the system choose (default)")
    parser.add_argument("--alias", default="", metavar="NAME", help="the model name it answers with (default: FILE's)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: half of the CPUs)")
    parser.add_argument(
        "--ctx", type=int, default=2048, metavar="N", help="context per request, in tokens (%(default)s)"
    )
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="requests served at once (%(default)s)")
    parser.add_argument("--parent", type=int, default=0, metavar="PID", help="stop when this parent process is gone")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
