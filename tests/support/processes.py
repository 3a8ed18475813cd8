"""Real processes for tests: a gateway started as users start it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx2
import yaml


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GatewayProcess:
    """`understudy serve` on a free port, ready when the constructor returns. `url` is its root."""

    def __init__(
        self, config: dict[str, Any], directory: Path, workers: int = 1, env: dict[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        self.config = {
            "listen": f"127.0.0.1:{self.port}",
            "store": f"sqlite:///{directory / 'understudy.db'}",
            **config,
        }
        self.config_file = directory / "gateway.yaml"
        self.config_file.write_text(yaml.safe_dump(self.config))
        self.log_file = directory / "gateway.log"
        command = [sys.executable, "-m", "gateway.cli", "serve", "-c", str(self.config_file), "--workers", str(workers)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True
            )
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = monotonic() + 20
        while monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=1).status_code == 200:
                    return
            except httpx2.TransportError:
                sleep(0.05)
        self.kill()
        raise RuntimeError(f"the gateway did not become ready:\n{self.log}")

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it and its workers, also those of a gateway that is gone itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name and labels as the exposition writes them."""
        text = httpx2.get(f"{self.url}/metrics", timeout=10).text
        samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry all of `labels`."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for sample, value in self.metrics().items()
            if sample.partition("{")[0] == name and all(label in sample for label in wanted)
        )
