"""`understudy serve`."""

import logging
import os
import signal
import tempfile
from types import FrameType
from typing import Annotated

import typer
import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway import config
from gateway.app import CONFIG_ENV
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, fail
from gateway.telemetry.metrics import MULTIPROC_DIR

_CLIENT_IDLE_S = 75  # longer than the 60 s for which load balancers keep an idle connection


def serve(
    config_file: ConfigOption = DEFAULT_CONFIG,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the port; one per core is a good start.")
    ] = 1,
) -> None:
    """Serve the routes of a config file until SIGTERM or Ctrl-C.

    Ending is graceful: no new connections, requests under way are finished (for at most `drain_s`), exit code 0.
    """
    try:
        settings = config.load(config_file)
    except config.ConfigError as error:
        fail(str(error))
    os.environ[CONFIG_ENV] = str(config_file.resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    host, port = config.split_listen(settings.listen)
    server = uvicorn.Config(
        "gateway.app:create_app",
        factory=True,
        http="gateway.face.http:Face",  # by name: workers are spawned and import it themselves
        ws="none",
        lifespan="on",
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_CLIENT_IDLE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    if workers == 1:
        uvicorn.Server(server).run()
        return
    with tempfile.TemporaryDirectory(prefix="understudy-metrics-") as shared:
        os.environ[MULTIPROC_DIR] = shared
        _Workers(server, sockets=[server.bind_socket()]).run()


class _Workers(Multiprocess):
    """uvicorn's supervisor of worker processes: it starts them, and starts another where one dies."""

    def terminate_all(self) -> None:
        """The parent's copy of the listening socket would go on taking connections that no worker answers."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _exit(number: int, frame: FrameType | None) -> None:
    """uvicorn raises the signal again once it has drained; to have been asked to end is no failure."""
    raise SystemExit(0)
