"""A real Prometheus on a free loopback port, with the shipped config pointed at the gateway under test."""

import json
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.dashboards.promql import PROMETHEUS
from tests.support.processes import free_port

SCRAPE_INTERVAL_S = 0.5
_START_S = 20.0


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """The whole answer of the HTTP API, an error's too."""
        try:
            with urlopen(f"{self._url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
                document: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            document = json.load(error)
        return document

    def query_range(self, expr: str, *, last_s: float = 10.0) -> dict[str, Any]:
        """As a panel asks: a value a second."""
        now = time.time()
        return self.get("query_range", query=expr, start=str(now - last_s), end=str(now), step="1")

    def latest(self, expr: str, label: str) -> dict[str, float]:
        """The values now, by one label."""
        result = self.get("query", query=expr)["data"]["result"]
        return {series["metric"][label]: float(series["value"][1]) for series in result}

    def wait_for_number(self, expr: str, timeout_s: float = 15.0) -> None:
        """Return when the expression has a value. A counter's first scrape is no increase yet: that takes a moment."""
        deadline = time.monotonic() + timeout_s
        while True:
            series = self.query_range(expr)["data"]["result"]
            if any(math.isfinite(float(value)) for one in series for _, value in one["values"]):
                return
            assert time.monotonic() < deadline, f"no number came of {expr} in {timeout_s:g} s"
            time.sleep(0.1)


@contextmanager
def run_prometheus(binary: str, directory: Path, gateway: str) -> Iterator[Prometheus]:
    """Scrape `gateway` (HOST:PORT) by the shipped prometheus.yml, only faster, and evaluate the shipped rules."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    interval = f"{SCRAPE_INTERVAL_S * 1000:.0f}ms"
    config["global"] = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "understudy"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [gateway]}]
    config["scrape_configs"] = [job]
    config_file = directory / "prometheus.yml"
    config_file.write_text(yaml.safe_dump(config), encoding="utf-8")

    address = f"127.0.0.1:{free_port()}"
    log_file = directory / "prometheus.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config_file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_ready(process, f"http://{address}/-/ready", log_file)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], url: str, log_file: Path) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"prometheus did not get ready:\n{log_file.read_text(encoding='utf-8', errors='replace')}")
