"""docker-compose.yml, without an engine: its schema, and everything in it that must agree with other files."""

import re
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gateway import config
from tests.dashboards.promql import ROOT

COMPOSE = ROOT / "docker-compose.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
VLLM_PORT = 8000

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def _read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def _mounts() -> list[tuple[str, str, str]]:
    """(service, source, target) of every volume."""
    return [(name, *volume.split(":")[:2]) for name, service in SERVICES.items() for volume in service["volumes"]]


def _gateway_config() -> config.Config:
    document = _read_yaml("deploy/compose/gateway.yaml")
    return config.parse(document, "gateway.yaml", {"APP_KEY": "app-key-1", "ADMIN_KEY": "admin-key-1"})


def test_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_has_every_part() -> None:
    assert set(SERVICES) == {"gateway", "teacher", "student", "redis", "prometheus", "grafana"}


@each_service
def test_service_has_a_health_check(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"


@each_service
def test_image_has_its_ordinary_short_name_and_a_version(service: dict[str, Any]) -> None:
    if "build" in service:
        return
    name, colon, tag = service["image"].partition(":")
    assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?", name), "a registry host is the reader's choice"
    assert colon
    assert "latest" not in tag


@each_service
def test_ports_are_published_on_loopback_alone(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_secrets_have_no_default() -> None:
    required = re.compile(r"\$\{\w+:\?.+\}")
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY", variable):
                assert required.fullmatch(value), f"{name}: {variable} must be set by whoever runs this"
    assert "GF_SECURITY_ADMIN_PASSWORD" in SERVICES["grafana"]["environment"]


def test_every_file_that_is_mounted_exists() -> None:
    for service, source, _ in _mounts():
        if source.startswith("."):
            assert (ROOT / source).exists(), f"{service} mounts {source}"
        else:
            assert source in DOCUMENT["volumes"], f"{service} mounts the volume {source}"


def test_named_volumes_and_networks_are_used() -> None:
    assert {source for _, source, _ in _mounts() if not source.startswith(".")} == set(DOCUMENT["volumes"])
    assert {network for service in SERVICES.values() for network in service["networks"]} == set(DOCUMENT["networks"])


def test_gateway_config_is_valid_and_keyed() -> None:
    settings = _gateway_config()
    assert settings.listen == "0.0.0.0:8080"
    assert not settings.open
    state = next(target for service, source, target in _mounts() if (service, source) == ("gateway", "state"))
    assert str(settings.store_path.parent) == state
    grace = int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace > settings.drain_s


def test_gateway_config_names_the_model_servers() -> None:
    for upstream in _gateway_config().upstreams.values():
        url = urlsplit(upstream.base_url)
        assert url.port == VLLM_PORT
        assert url.hostname is not None
        service = SERVICES[url.hostname]
        assert f"--served-model-name={upstream.model}" in service["command"]
        assert set(service["networks"]) & set(SERVICES["gateway"]["networks"])


def test_image_starts_the_mounted_config() -> None:
    target = next(target for service, _, target in _mounts() if service == "gateway")
    assert f'CMD ["understudy", "serve", "-c", "{target}"]' in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_image_is_built_from_every_package() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert packages
    for name in ["pyproject.toml", "README.md", "LICENSE", *re.findall(r'"(.*?)"', packages[1])]:
        assert f"!{name}" in ignore


def test_prometheus_scrapes_the_services() -> None:
    scraped = {
        target
        for job in _read_yaml("dashboards/prometheus/prometheus.yml")["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert scraped == {"gateway:8080", f"teacher:{VLLM_PORT}", f"student:{VLLM_PORT}"}
    for target in scraped:
        service = SERVICES[target.partition(":")[0]]
        assert set(service["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_grafana_is_provisioned_from_the_mounted_files() -> None:
    source, target = next((s, t) for name, s, t in _mounts() if name == "grafana" and s.startswith("."))
    environment = SERVICES["grafana"]["environment"]

    def on_host(path: str) -> str:
        assert path.startswith(target)
        return path.replace(target, source, 1)

    assert (ROOT / on_host(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])).is_file()
    provisioning = on_host(environment["GF_PATHS_PROVISIONING"])
    [provider] = _read_yaml(f"{provisioning}/dashboards/understudy.yml")["providers"]
    assert list((ROOT / on_host(provider["options"]["path"])).glob("*.json"))
    [source_of_data] = _read_yaml(f"{provisioning}/datasources/prometheus.yml")["datasources"]
    assert source_of_data["url"] == "http://prometheus:9090"
    assert set(SERVICES["prometheus"]["networks"]) & set(SERVICES["grafana"]["networks"])
    scrape_interval = _read_yaml("dashboards/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source_of_data["jsonData"]["timeInterval"] == scrape_interval
