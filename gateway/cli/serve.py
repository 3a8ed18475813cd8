"""`understudy serve`."""

import logging
import math
import os
import signal
import socket
import tempfile
from contextlib import suppress
from functools import partial
from time import monotonic
from types import FrameType
from typing import Annotated, Any

import typer
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from gateway import __version__, config
from gateway.app import create_app
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, fail
from gateway.control.last import LAST_FILE
from gateway.state import CLIENT_IDLE_S
from gateway.stores.protocols import StoreError
from gateway.stores.url import make_store
from gateway.telemetry.metrics import MULTIPROC_DIR

_HUNG_S = 60.0  # a worker that gives no sign of life for so long is replaced
_ENDED_UNASKED = 3
_BACKLOG = 2048
_LOGGING: dict[str, Any] = {  # of this process and, by way of uvicorn, of every worker
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
}
_log = logging.getLogger(__name__)


def serve(
    config_file: ConfigOption = DEFAULT_CONFIG,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the port; one per core is a good start.")
    ] = 1,
) -> None:
    """Serve the routes of a config file until SIGTERM or Ctrl-C.

    Ending is graceful: no new connections, requests under way are finished (for at most `drain_s`), exit code 0. Exit
    code 1 says that it could not start, 3 that it ended by itself. On SIGHUP the file is read again, and what it refers
    to: secrets, keys, upstreams, routes and limits change while it serves; `listen`, `store` and `drain_s` do not.
    """
    try:
        settings = config.load(config_file)
    except config.ConfigError as error:
        fail(str(error))
    listener = _listen(settings.listen)
    _try_store(settings)
    server = uvicorn.Config(
        partial(create_app, settings),  # workers are spawned: they get the config itself, not the file's name
        factory=True,
        http="gateway.face.http:Face",
        ws="none",
        lifespan="on",
        workers=workers,
        log_config=_LOGGING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=math.ceil(CLIENT_IDLE_S),
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    _log.info("Understudy %s running on http://%s:%d (Ctrl-C ends it)", __version__, address, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    if workers == 1:
        uvicorn.Server(server).run(sockets=[listener])
    else:
        with tempfile.TemporaryDirectory(prefix="understudy-") as shared:
            os.environ[MULTIPROC_DIR] = shared
            os.environ[LAST_FILE] = os.path.join(shared, "last.jsonl")
            supervisor = _Workers(server, sockets=[listener])
            supervisor.run()
            if supervisor.asked_to_end:
                return
    raise typer.Exit(_ENDED_UNASKED)


def _listen(listen: str) -> socket.socket:
    """The socket that all workers share. Whatever comes before they are ready waits in its backlog."""
    host, port = config.split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        fail(f"listen: {listen} cannot be used: {error.strerror}")


def _try_store(settings: config.Config) -> None:
    """A replica that cannot ask the store does not know what is live, and had better not start."""
    try:
        store = make_store(settings.store)
        try:
            store.open()
            warnings = store.warnings()
        finally:
            store.close()
    except StoreError as error:
        fail(f"store: {error}")
    for warning in warnings:
        _log.warning("store: %s", warning)


class _Worker(Process):
    """A worker that is asked whether it is alive without being waited for.

    uvicorn's waits for each answer. A worker that takes longer to start, as on a busy machine, is then killed and
    started again and again; and while one that was killed just after it was asked is waited for, no other is looked
    after and no signal is handled.
    """

    _asked_at: float | None = None

    def is_alive(self, timeout: float = _HUNG_S) -> bool:
        if not self.process.is_alive():
            return False
        now = monotonic()
        try:
            if self._asked_at is None:
                self.parent_conn.send(b"ping")
                self._asked_at = now
            elif self.parent_conn.poll(0):
                self.parent_conn.recv()
                self._asked_at = None
        except (OSError, EOFError):
            return False
        return self._asked_at is None or now - self._asked_at < timeout


class _Workers(Multiprocess):
    """uvicorn's supervisor of worker processes: it starts them, and starts another where one dies."""

    asked_to_end = False

    def init_processes(self) -> None:
        self.processes = [self._started() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set() or worker.is_alive(timeout=_HUNG_S):
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                _log.error("worker %s could not start, so no other could: the gateway ends", worker.pid)
                self.should_exit.set()
                return
            _log.warning("worker %s died and is replaced", worker.pid)
            self.processes[index] = self._started()

    def handle_hup(self) -> None:
        """Read the file again, for workers still to come, and let those there are do so too."""
        settings: config.Config = self.config.app.args[0]  # type: ignore[union-attr]
        try:
            assert settings.file is not None
            self.config.app = partial(create_app, config.load(settings.file))
        except config.ConfigError as error:
            _log.error("SIGHUP: nothing is changed, since the file cannot be used: %s", error)
            return
        for worker in self.processes:
            if worker.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGHUP)

    def _started(self) -> Process:
        worker = _Worker(self.config, self.sockets)
        worker.start()
        return worker

    def handle_int(self) -> None:
        self.asked_to_end = True
        super().handle_int()

    def handle_term(self) -> None:
        self.asked_to_end = True
        super().handle_term()

    def terminate_all(self) -> None:
        """The parent's copy of the listening socket would go on taking connections that no worker answers."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _exit(number: int, frame: FrameType | None) -> None:
    """uvicorn raises the signal again once it has drained; to have been asked to end is no failure."""
    raise SystemExit(0)
