"""The files of serving/tf_serving and serving/k8s are what their readers take."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess

import jsonschema
import kubernetes.client
import pytest
import yaml
from google.protobuf import text_format

import serving
from serving.calls.batching import BatchingParameters
from serving.protocol import messages
from serving.protocol.codes import Code
from serving.protocol.metrics import DEFAULT_PATH, Metrics
from serving.server.options import parse_flags

SERVING = pathlib.Path(serving.__file__).parent
TF_SERVING = SERVING / "tf_serving"
K8S = SERVING / "k8s"

# Of https://github.com/compose-spec/compose-spec/blob/main/05-services.md, the part in use.
STRINGS = {"type": "array", "items": {"type": "string"}}
COMPOSE_SCHEMA = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "volumes": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "build": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "context": {"type": "string"},
                            "dockerfile": {"type": "string"},
                        },
                    },
                    "image": {"type": "string"},
                    "command": STRINGS,
                    "profiles": STRINGS,
                    "network_mode": {"type": "string"},
                    "ports": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"},
                    },
                    "volumes": STRINGS,
                    "tmpfs": STRINGS,
                    "cap_drop": STRINGS,
                    "security_opt": STRINGS,
                    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                    "read_only": {"type": "boolean"},
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
                    "depends_on": {
                        "oneOf": [
                            STRINGS,
                            {
                                "type": "object",
                                "additionalProperties": {
                                    "type": "object",
                                    "required": ["condition"],
                                    "properties": {
                                        "condition": {
                                            "enum": [
                                                "service_started",
                                                "service_healthy",
                                                "service_completed_successfully",
                                            ]
                                        }
                                    },
                                },
                            },
                        ]
                    },
                },
            },
        },
    },
}

# Of serving.kserve.io/v1beta1, the part in use.
INFERENCE_SERVICE_SCHEMA = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "serving.kserve.io/v1beta1"},
        "kind": {"const": "InferenceService"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["predictor"],
            "additionalProperties": False,
            "properties": {
                "predictor": {
                    "type": "object",
                    "required": ["model"],
                    "additionalProperties": False,
                    "properties": {
                        "minReplicas": {"type": "integer", "minimum": 0},
                        "maxReplicas": {"type": "integer", "minimum": 1},
                        "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
                        "scaleTarget": {"type": "integer"},
                        "model": {
                            "type": "object",
                            "required": ["modelFormat", "storageUri"],
                            "additionalProperties": False,
                            "properties": {
                                "modelFormat": {
                                    "type": "object",
                                    "required": ["name"],
                                    "properties": {"name": {"const": "tensorflow"}},
                                },
                                "runtimeVersion": {"type": "string"},
                                "storageUri": {
                                    "type": "string",
                                    "pattern": "^(pvc|s3|gs|https?)://",
                                },
                                "resources": {"type": "object"},
                            },
                        },
                    },
                }
            },
        },
    },
}

KINDS = {
    "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "NetworkPolicy": "V1NetworkPolicy",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "Service": "V1Service",
}


def load(path: pathlib.Path):
    return yaml.safe_load(path.read_text())


def check(value, kind: str, where: str) -> None:
    """That a manifest has the fields, types and required values of the Kubernetes API."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), f"{where}: expected a list"
        for position, item in enumerate(value):
            check(item, match.group(1), f"{where}[{position}]")
        return
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        assert isinstance(value, dict), f"{where}: expected a mapping"
        for key, item in value.items():
            check(item, match.group(1), f"{where}.{key}")
        return
    simple = {"str": str, "int": int, "bool": bool, "float": float}
    if kind in simple:
        assert type(value) is simple[kind], f"{where}: expected {kind}, got {value!r}"
        return
    if not hasattr(kubernetes.client, kind):  # int or str, a quantity, any object
        return
    model = getattr(kubernetes.client, kind)
    assert isinstance(value, dict), f"{where}: expected an object"
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    arguments = {}
    for key, item in value.items():
        assert key in names, f"{where}: {kind} has no field {key}"
        check(item, model.openapi_types[names[key]], f"{where}.{key}")
        arguments[names[key]] = item
    model(**arguments)  # raises for a required field that is missing


@pytest.mark.parametrize("path", sorted(K8S.glob("*.yaml")), ids=lambda path: path.stem)
def test_kubernetes_manifests(path):
    manifest = load(path)
    if path.stem == "kustomization":
        listed = set(manifest["resources"])
        others = {file.name for file in K8S.glob("*.yaml")}
        assert listed == others - {"kustomization.yaml", "inference-service.yaml"}
    elif path.stem == "inference-service":
        jsonschema.validate(manifest, INFERENCE_SERVICE_SCHEMA)
    else:
        versions = {"v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1"}
        assert manifest["apiVersion"] in versions
        check(manifest, KINDS[manifest["kind"]], path.stem)


def test_the_check_of_manifests_can_fail():
    good = load(K8S / "deployment.yaml")
    for damage in (
        lambda m: m["spec"].update(replica=1),
        lambda m: m["spec"].update(replicas="2"),
        lambda m: m["spec"].pop("selector"),
    ):
        bad = json.loads(json.dumps(good))
        damage(bad)
        with pytest.raises((AssertionError, ValueError)):
            check(bad, "V1Deployment", "deployment")


def test_the_deployment_hangs_together():
    deployment = load(K8S / "deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    ports = {port["name"] for port in container["ports"]}
    service = load(K8S / "service.yaml")
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (
        load(K8S / "autoscaler.yaml")["spec"]["scaleTargetRef"]["name"]
        == (deployment["metadata"]["name"])
    )
    assert pod["terminationGracePeriodSeconds"] > 30


def test_the_network_policy_is_for_the_deployments_pods_and_ports():
    pod = load(K8S / "deployment.yaml")["spec"]["template"]
    policy = load(K8S / "network-policy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    names = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == names
    assert all(rule["from"] for rule in policy["ingress"])
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []


def test_the_config_map_holds_the_files():
    data = load(K8S / "config.yaml")["data"]
    assert data == {
        name: (TF_SERVING / name).read_text() for name in ("batching.config", "monitoring.config")
    }


def test_text_files_are_tf_servings_messages():
    batching = text_format.Parse(
        (TF_SERVING / "batching.config").read_text(), messages.BatchingParameters()
    )
    assert BatchingParameters.from_message(batching).allowed_batch_sizes[-1] == 64
    monitoring = text_format.Parse(
        (TF_SERVING / "monitoring.config").read_text(), messages.MonitoringConfig()
    )
    assert monitoring.prometheus_config.path == DEFAULT_PATH


def test_flags_are_those_the_server_takes():
    dockerfile = (TF_SERVING / "Dockerfile").read_text()
    command = json.loads(
        re.search(r"^CMD (\[.*?\])", dockerfile, re.M | re.S).group(1).replace("\\\n", "")
    )
    arguments = load(K8S / "deployment.yaml")["spec"]["template"]["spec"]["containers"][0]["args"]
    for flags in (command, arguments):
        options = parse_flags(flags)
        assert (options.port, options.rest_api_port, options.enable_batching) == (8500, 8501, True)
    for line in re.findall(r"^COPY (?!--from)(.+) /config/$", dockerfile, re.M):
        assert all((TF_SERVING / name).is_file() for name in line.split())


def test_compose():
    path = TF_SERVING / "docker-compose.yaml"
    compose = load(path)
    jsonschema.validate(compose, COMPOSE_SCHEMA)
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", [])) <= set(compose["services"])
        tag = service["image"].rpartition(":")[2]
        assert "build" in service or re.search(r"\d", tag), f"{name} is not pinned"
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (TF_SERVING / source).exists()
            elif not source.startswith("${"):
                assert source in compose["volumes"]
    has_compose = (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    )
    if has_compose:
        command = ["docker", "compose", "-f", str(path), "config", "--quiet"]
        subprocess.run(command, check=True)


def test_prometheus_asks_where_the_metrics_are():
    [job] = load(TF_SERVING / "prometheus.yaml")["scrape_configs"]
    assert job["metrics_path"] == DEFAULT_PATH
    [target] = job["static_configs"][0]["targets"]
    assert target == "serving:8501"
    assert "serving" in load(TF_SERVING / "docker-compose.yaml")["services"]


def test_the_dashboard_shows_metrics_that_exist():
    metrics = Metrics()
    metrics.request("m", "Predict", "GRPC", Code.OK, 0.1)
    metrics.runtime("m", "Predict", 0.1)
    metrics.queuing("pool", 0.1)
    metrics.batch(1)
    metrics.load("/m/1", True, 0.1)
    names = set(re.findall(r"^([a-z_:]+)\{", metrics.page(), re.M))
    dashboard = json.loads((TF_SERVING / "grafana/dashboards/denoiser.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) >= 7
    for expression in expressions:
        used = re.findall(r":tensorflow:[a-z_:]+", expression)
        assert used
        assert set(used) <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    [source] = load(TF_SERVING / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
