"""docker-compose.yml, without an engine: its schema, and everything in it that must agree with other files."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gateway import config

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
MODEL_PORT = 8000
ENVIRONMENT = {"APP_KEY": "app-key-1", "ADMIN_KEY": "admin-key-1"}
MODEL_SERVERS = {
    "gpu": {"teacher": "teacher", "student": "student"},
    "cpu": {"teacher": "teacher-cpu", "student": "student-cpu"},
}

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def _read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def _mounts(service: str) -> dict[str, str]:
    """What is mounted, by where."""
    return {
        target: source for source, target, *_ in (volume.split(":") for volume in SERVICES[service].get("volumes", []))
    }


def _networks(service: str) -> set[str]:
    return set(SERVICES[service]["networks"])


def _gateway_config() -> config.Config:
    return config.parse(_read_yaml("deploy/compose/gateway.yaml"), "gateway.yaml", ENVIRONMENT)


def test_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_has_every_part() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == {"balancer", "gateway", "redis", "prometheus", "grafana"}
    for profile, servers in MODEL_SERVERS.items():
        assert {name for name, service in SERVICES.items() if service.get("profiles") == [profile]} == set(
            servers.values()
        )


def test_there_are_two_gateways() -> None:
    assert SERVICES["gateway"]["deploy"]["replicas"] == 2
    assert "ports" not in SERVICES["gateway"], "only one of them could have a port of the host"
    assert "container_name" not in SERVICES["gateway"]


@each_service
def test_service_has_a_health_check(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"


@each_service
def test_service_has_limits(service: dict[str, Any]) -> None:
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


@each_service
def test_service_gives_up_what_it_does_not_need(service: dict[str, Any]) -> None:
    assert service["security_opt"] == ["no-new-privileges:true"]
    if service.get("profiles") != ["gpu"]:  # vLLM: see the file
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


@each_service
def test_image_has_its_ordinary_name_and_a_version(service: dict[str, Any]) -> None:
    if "build" in service:
        return
    name, colon, tag = service["image"].partition(":")
    if name != "ghcr.io/ggml-org/llama.cpp":  # which is published nowhere else
        assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?", name), "a registry host is the reader's choice"
    assert colon
    assert re.search(r"\d", tag)
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
    for service in SERVICES:
        for source in _mounts(service).values():
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{service} mounts {source}"
            else:
                assert source in DOCUMENT["volumes"], f"{service} mounts the volume {source}"


def test_named_volumes_and_networks_are_used() -> None:
    mounted = {source for service in SERVICES for source in _mounts(service).values()}
    assert {source for source in mounted if not source.startswith(".")} == set(DOCUMENT["volumes"])
    assert {network for service in SERVICES for network in _networks(service)} == set(DOCUMENT["networks"])


def test_only_the_gateways_reach_the_store() -> None:
    settings = _gateway_config()
    store = urlsplit(settings.store)
    assert store.scheme == "redis"
    assert store.hostname is not None
    [network] = _networks(store.hostname)
    assert {name for name in SERVICES if network in _networks(name)} == {"gateway", store.hostname}
    assert DOCUMENT["networks"][network] == {"internal": True}
    assert "ports" not in SERVICES[store.hostname]


def test_gateway_config_is_valid_and_keyed() -> None:
    settings = _gateway_config()
    assert settings.listen == "0.0.0.0:8080"
    assert not settings.open
    for service in ("gateway", "balancer"):
        grace = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
        assert grace > settings.drain_s


@pytest.mark.parametrize("profile", MODEL_SERVERS)
def test_gateway_config_names_the_model_servers_of_either_profile(profile: str) -> None:
    for upstream in _gateway_config().upstreams.values():
        url = urlsplit(upstream.base_url)
        assert url.port == MODEL_PORT
        assert url.hostname is not None
        name = MODEL_SERVERS[profile][url.hostname]
        service = SERVICES[name]
        command = " ".join(service["command"]).replace("=", " ")
        assert re.search(rf"--(served-model-name|alias) {upstream.model}( |$)", command)
        assert _networks(name) == {"models"} <= _networks("gateway")
        if name != url.hostname:
            assert service["networks"]["models"]["aliases"] == [url.hostname]
            assert f"--port {MODEL_PORT}" in command


def test_image_starts_the_mounted_config() -> None:
    [target] = _mounts("gateway")
    assert f'CMD ["understudy", "serve", "-c", "{target}"]' in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_balancer_asks_every_gateway_that_dns_names() -> None:
    servers = (ROOT / _mounts("balancer")["/etc/understudy/gateways.conf"]).read_text(encoding="utf-8")
    [server] = re.findall(r"^server (\S+) (.*);$", servers, re.MULTILINE)
    assert server[0] == "gateway:8080"
    assert "resolve" in server[1].split(), "a name without it is looked up once, at the start"
    assert re.search(r"^resolver 127\.0\.0\.11 ", servers, re.MULTILINE), "Docker's DNS"
    version = SERVICES["balancer"]["image"].removeprefix("nginx:").removesuffix("-alpine")
    assert tuple(map(int, version.split("."))) >= (1, 28), "`resolve` came with 1.27.3"
    assert _networks("balancer") & _networks("gateway")
    assert SERVICES["balancer"]["entrypoint"][-1] in _mounts("balancer")


def test_prometheus_scrapes_every_replica_and_the_models() -> None:
    jobs = {job["job_name"]: job for job in _read_yaml("dashboards/prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs.keys() == {"understudy", "vllm"}
    [discovery] = jobs["understudy"]["dns_sd_configs"]
    assert (discovery["names"], discovery["type"], discovery["port"]) == (["gateway"], "A", 8080)
    targets = {target for static in jobs["vllm"]["static_configs"] for target in static["targets"]}
    assert targets == {f"teacher:{MODEL_PORT}", f"student:{MODEL_PORT}"}
    for name in ("gateway", *MODEL_SERVERS["gpu"].values(), *MODEL_SERVERS["cpu"].values()):
        assert _networks(name) & _networks("prometheus")


def test_grafana_is_provisioned_from_the_mounted_files() -> None:
    target, source = next((t, s) for t, s in _mounts("grafana").items() if s.startswith("."))
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
    assert _networks("prometheus") & _networks("grafana")
    scrape_interval = _read_yaml("dashboards/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert source_of_data["jsonData"]["timeInterval"] == scrape_interval
