"""deploy/kubernetes: against Kubernetes' own schemas, and everything in it that must agree with other files."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from gateway import config
from gateway.telemetry.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (FOLDER / name for name in KUSTOMIZATION["resources"])
}
LABELS = {"app.kubernetes.io/name": "understudy"}
METRIC = "understudy_in_flight_requests"
POD: dict[str, Any] = RESOURCES["deployment"]["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]
SECRETS = {variable["name"]: variable["valueFrom"]["secretKeyRef"] for variable in CONTAINER["env"]}


def _gateway_config() -> config.Config:
    environment = {name: f"{name.lower()}-1" for name in SECRETS} | {"STORE_URL": "redis://:password@redis:6379/0"}
    return config.parse(
        yaml.safe_load((FOLDER / "gateway.yaml").read_text(encoding="utf-8")), "gateway.yaml", environment
    )


@pytest.mark.parametrize("name", sorted(RESOURCES.keys() - {"servicemonitor"}))
def test_follows_the_schema_of_its_kind(name: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], kubernetes_validate.latest_version(), strict=True)


def test_service_monitor_follows_the_operators_schema() -> None:
    """The few fields that are used, as the operator's CRD (monitoring.coreos.com/v1) has them."""
    monitor = RESOURCES["servicemonitor"]
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    assert monitor["spec"].keys() == {"jobLabel", "selector", "endpoints"}
    assert monitor["spec"]["selector"] == {"matchLabels": LABELS}
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval"}
    assert re.fullmatch(r"[1-9][0-9]*s", endpoint["interval"])


def test_kustomization_has_every_file_and_no_other() -> None:
    others = {"kustomization.yaml", "gateway.yaml", "prometheus-adapter.yaml"}
    assert {path.name for path in FOLDER.iterdir()} == {*KUSTOMIZATION["resources"], *others}
    kinds = {resource["kind"].lower() for resource in RESOURCES.values()}
    assert kinds == RESOURCES.keys()


def test_what_selects_the_pods_selects_them() -> None:
    assert POD["metadata"]["labels"] == LABELS
    assert RESOURCES["deployment"]["spec"]["selector"] == {"matchLabels": LABELS}
    assert RESOURCES["service"]["spec"]["selector"] == LABELS
    assert RESOURCES["poddisruptionbudget"]["spec"]["selector"] == {"matchLabels": LABELS}
    assert RESOURCES["networkpolicy"]["spec"]["podSelector"] == {"matchLabels": LABELS}
    assert all(
        spread["labelSelector"] == {"matchLabels": LABELS} for spread in POD["spec"]["topologySpreadConstraints"]
    )
    scaled = RESOURCES["horizontalpodautoscaler"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", RESOURCES["deployment"]["metadata"]["name"])


def test_what_is_monitored_is_the_service_under_the_job_that_alerts_ask_for() -> None:
    service, monitor = RESOURCES["service"], RESOURCES["servicemonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "understudy"
    rules = (FOLDER.parents[1] / "dashboards" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    assert 'up{job="understudy"}' in rules


def test_ports_are_named_as_the_container_names_its_own() -> None:
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == int(_gateway_config().listen.rpartition(":")[2])
    probes = [CONTAINER[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {probe["port"] for probe in probes} == {port["name"]}
    assert [probe["path"] for probe in probes] == ["/readyz", "/readyz", "/healthz"]
    assert [entry["targetPort"] for entry in RESOURCES["service"]["spec"]["ports"]] == [port["name"]]
    [ingress] = RESOURCES["networkpolicy"]["spec"]["ingress"]
    assert [entry["port"] for entry in ingress["ports"]] == [port["name"]]


def test_config_is_mounted_where_it_is_read() -> None:
    assert KUSTOMIZATION["configMapGenerator"] == [{"name": "understudy", "files": ["gateway.yaml"]}]
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in CONTAINER["volumeMounts"]}
    assert volumes[mounts["/etc/understudy"]["name"]]["configMap"]["name"] == "understudy"
    assert CONTAINER["args"] == ["understudy", "serve", "-c", "/etc/understudy/gateway.yaml"]
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]  # workers share their metrics there


def test_config_is_valid_and_its_secrets_come_from_the_secret() -> None:
    settings = _gateway_config()
    assert not settings.open
    named = set(re.findall(r"\$\{(\w+)\}", (FOLDER / "gateway.yaml").read_text(encoding="utf-8")))
    assert named == SECRETS.keys()
    assert {reference["name"] for reference in SECRETS.values()} == {"understudy"}
    assert not any(resource["kind"] == "Secret" for resource in RESOURCES.values()), "no secret in the repository"


def test_a_pod_that_goes_finishes_its_streams() -> None:
    stop = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert stop >= 5
    assert POD["spec"]["terminationGracePeriodSeconds"] > stop + _gateway_config().drain_s
    assert RESOURCES["deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert RESOURCES["poddisruptionbudget"]["spec"]["maxUnavailable"] == 1
    assert RESOURCES["horizontalpodautoscaler"]["spec"]["minReplicas"] >= 2
    assert "replicas" not in RESOURCES["deployment"]["spec"]


def test_the_container_gives_up_what_it_does_not_need() -> None:
    """Pod Security Standards, "restricted", which the namespace enforces, and a read-only root."""
    pod = POD["spec"]["securityContext"]
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    assert f"\nUSER {pod['runAsUser']}:{pod['runAsGroup']}\n" in dockerfile
    assert pod["runAsNonRoot"]
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert CONTAINER["resources"]["limits"].keys() >= {"memory"}


def test_scaling_asks_for_a_metric_that_there_is(promtool: str, tmp_path: Path) -> None:
    [scaling] = RESOURCES["horizontalpodautoscaler"]["spec"]["metrics"]
    assert scaling["pods"]["metric"]["name"] == METRIC
    assert f"# TYPE {METRIC} gauge" in Metrics().exposition().decode()
    [rule] = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
    assert rule["name"] == {"as": METRIC}
    assert rule["seriesQuery"].startswith(METRIC + "{")
    query = rule["metricsQuery"].replace("<<.Series>>", METRIC)
    query = query.replace("<<.LabelMatchers>>", 'namespace="understudy",pod=~"a|b"').replace("<<.GroupBy>>", "pod")
    rules = {"groups": [{"name": "adapter", "rules": [{"record": "asked", "expr": query}]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_egress_reaches_all_that_the_config_names() -> None:
    ports = {port["port"] for rule in RESOURCES["networkpolicy"]["spec"]["egress"] for port in rule["ports"]}
    model_servers = {urlsplit(upstream.base_url or "").port for upstream in _gateway_config().upstreams.values()}
    assert {53, 6379, *model_servers} <= ports
