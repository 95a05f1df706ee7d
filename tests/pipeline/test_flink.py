"""The Flink cluster of docs/flink: what Compose takes, and what docs/scaling.md says it needs."""

from __future__ import annotations

import pathlib
import re

import jsonschema
import pytest
import yaml
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)

from pipeline.config import load
from tests.serving.test_production import COMPOSE_SCHEMA

ROOT = pathlib.Path(__file__).parents[2]
SCALING = (ROOT / "docs" / "scaling.md").read_text()


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docs" / "flink" / "docker-compose.yaml").read_text())


def test_compose_takes_it(compose):
    jsonschema.validate(compose, COMPOSE_SCHEMA)
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services), name
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]


def test_versions_fit_each_other(compose):
    images = {name: service["image"] for name, service in compose["services"].items()}
    found = re.fullmatch(r"apache/beam_flink([\d.]+)_job_server:([\d.]+)", images["jobserver"])
    flink, beam = found.groups()
    lock = (ROOT / "requirements.lock").read_text()
    # The image has the newer set.
    assert f"apache-beam=={beam} ; python_full_version >= '3.11'" in lock
    assert images["jobserver"] in SCALING
    for name in ("jobmanager", "taskmanager-1", "taskmanager-2"):
        assert images[name].startswith(f"flink:{flink}.")


def test_flink_has_the_settings_that_the_page_names(compose):
    block = SCALING.split("### Settings of the cluster")[1].split("```yaml\n")[1].split("```")[0]
    named = yaml.safe_load(block)
    assert "taskmanager.network.sort-shuffle.min-buffers" in named
    for name in ("jobmanager", "taskmanager-1", "taskmanager-2"):
        has = yaml.safe_load(compose["services"][name]["environment"]["FLINK_PROPERTIES"])
        assert named.items() <= has.items()


def test_each_task_manager_has_a_pool_of_its_own_and_the_data(compose):
    pools = {
        service["network_mode"]: service
        for service in compose["services"].values()
        if "--worker_pool" in service.get("command", [])
    }
    managers = [name for name in compose["services"] if name.startswith("taskmanager")]
    assert set(pools) == {f"service:{name}" for name in managers}
    pipeline = compose["services"]["denoise"]
    for pool in pools.values():
        assert pool["image"] == pipeline["image"]
        assert pool["volumes"] == pipeline["volumes"]


def test_the_pipeline_is_given_flags_that_mean_the_cluster(compose):
    services = compose["services"]
    command = services["denoise"]["command"]
    assert command[0] == "run"
    settings = load("default", [flag.removeprefix("--set=") for flag in command[1:]])
    flags = PipelineOptions(settings.beam.pipeline_args).view_as(PortableOptions)
    host, port = flags.job_endpoint.split(":")
    assert f"--job-port={port}" in services[host]["command"]
    assert f"--job-host={host}" in services[host]["command"]
    flink = flags.view_as(FlinkRunnerOptions).flink_master
    assert f"--flink-master={flink}" in services[host]["command"]
    assert flags.environment_type == "EXTERNAL"
    assert flags.environment_config == "localhost:50000"
