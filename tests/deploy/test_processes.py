"""The configs of what runs beside the gateway: nginx, Redis, systemd. Each must agree with what the gateway does."""

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.state import CLIENT_IDLE_S

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
REDIS = dict(
    line.split(" ", 1) for line in (DEPLOY / "redis.conf").read_text().splitlines() if line and not line.startswith("#")
)


def _directives(name: str) -> list[str]:
    return re.findall(rf"^\s*{name}\s+(.*);", NGINX, re.MULTILINE)


def _gateway_config() -> config.Config:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "gateway.yaml").read_text(encoding="utf-8"))
    return config.parse(document, "gateway.yaml", {"APP_KEY": "app-key-1", "ADMIN_KEY": "admin-key-1"})


def test_nginx_accepts_its_config(nginx: str, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(NGINX)
    (tmp_path / "gateways.conf").write_text("server 127.0.0.1:8081 max_fails=3 fail_timeout=5s;")
    command = [nginx, "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('the "user" directive', "")


def test_nginx_lets_pass_what_the_gateway_takes() -> None:
    limits = _gateway_config().limits
    assert _directives("client_max_body_size") == [str(limits.body_bytes)]
    assert f"at most {limits.body_bytes} bytes" in NGINX
    [buffers] = _directives("large_client_header_buffers")
    assert int(buffers.split()[1].removesuffix("k")) * 1024 == limits.head_bytes


def test_nginx_never_ends_what_the_gateway_goes_on_with() -> None:
    longest = max(route.deadlines.total_s for route in _gateway_config().routes.values())
    [read_timeout] = _directives("proxy_read_timeout")
    assert int(read_timeout.removesuffix("h")) * 3600 > longest
    assert _directives("proxy_buffering") == ["off"]


def test_nginx_gives_up_idle_connections_before_the_gateway_does() -> None:
    upstream = NGINX[NGINX.index("upstream gateways") : NGINX.index("server {")]
    [idle] = re.findall(r"keepalive_timeout (\d+)s;", upstream)
    assert int(idle) < CLIENT_IDLE_S
    assert re.search(r"keepalive \d+;", upstream)
    assert _directives("proxy_http_version") == ["1.1"]


def test_nginx_sends_no_post_twice() -> None:
    assert _directives("proxy_next_upstream") == ["error timeout"], "without non_idempotent"


def test_redis_loses_no_accepted_change() -> None:
    assert REDIS["appendonly"] == "yes"
    assert REDIS["appendfsync"] == "always"
    assert REDIS["maxmemory-policy"] == "noeviction"


def test_redis_has_memory_to_fork_in() -> None:
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    limit = compose["services"]["redis"]["deploy"]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("m")) >= 2 * int(REDIS["maxmemory"].removesuffix("mb"))


@pytest.fixture
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "understudy.service", encoding="utf-8")
    return parser


def test_systemd_waits_for_streams_to_end_and_starts_again_what_failed(unit: ConfigParser) -> None:
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) > config.Config.model_fields["drain_s"].default
    assert service["KillMode"] == "mixed"
    assert service["Restart"] == "on-failure"
    limits = config.LimitsConfig()
    assert int(service["LimitNOFILE"]) >= 2 * limits.connections, "the gateway takes half of it for clients"


def test_systemd_checks_the_config_that_it_serves(unit: ConfigParser) -> None:
    check, serve = unit["Service"]["ExecStartPre"], unit["Service"]["ExecStart"]
    assert serve.startswith(check.replace(" check ", " serve "))
    assert unit["Service"]["WorkingDirectory"] == f"/var/lib/{unit['Service']['StateDirectory']}"
