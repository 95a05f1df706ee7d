"""Servers the serving tests share: each is started once."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator

import grpc
import pytest

from tests.ports import free_ports

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@dataclasses.dataclass(frozen=True)
class Target:
    """A server under test."""

    name: str
    grpc: str
    """host:port"""
    rest: str
    """http://host:port"""
    models: pathlib.Path | None
    """The folder it serves, if it is on this machine."""

    @property
    def embedded(self) -> bool:
        return self.name == "embedded"


def _targets() -> list[str]:
    targets = ["embedded"]
    if shutil.which("tensorflow_model_server"):
        targets.append("tensorflow_model_server")
    if os.environ.get("TF_SERVING_URL"):
        targets.append("TF_SERVING_URL")
    return targets


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with denoiser/1, denoiser/2, half_plus/1 and their models.config."""
    from tests.serving import saved_models

    folder = tmp_path_factory.mktemp("models")
    saved_models.write_all(folder)
    return folder


def _flags(models: pathlib.Path) -> list[str]:
    monitoring = models / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    return [
        f"--model_config_file={models}/models.config",
        f"--monitoring_config_file={monitoring}",
        "--allow_version_labels_for_unavailable_models",
        "--max_num_load_retries=0",
        "--rest_api_timeout_in_ms=20000",
    ]


@contextlib.contextmanager
def _real_server(models: pathlib.Path) -> Iterator[Target]:
    port, rest_port = free_ports(2)
    process = subprocess.Popen(
        [
            "tensorflow_model_server",
            f"--port={port}",
            f"--rest_api_port={rest_port}",
            *_flags(models),
        ]
    )
    try:
        deadline = time.monotonic() + 120
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(deadline - time.monotonic())
        address = f"localhost:{port}"
        yield Target("tensorflow_model_server", address, f"http://localhost:{rest_port}", models)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session", params=_targets())
def target(request: pytest.FixtureRequest, models: pathlib.Path) -> Iterator[Target]:
    """A server with the models of saved_models.write_all: ours, and the real one if any."""
    if request.param == "TF_SERVING_URL":
        urls = os.environ["TF_SERVING_URL"].split(",")
        address = next(url for url in urls if url.startswith("grpc://")).removeprefix("grpc://")
        yield Target(request.param, address, next(u for u in urls if u.startswith("http")), None)
    elif request.param == "tensorflow_model_server":
        with _real_server(models) as real:
            yield real
    else:
        from serving.server.running import parse_flags, running_server

        options = parse_flags(_flags(models), port=0, rest_api_port=0)
        with running_server(options) as addresses:
            address = addresses.grpc.removeprefix("grpc://")
            yield Target("embedded", address, addresses.rest, models)


@pytest.fixture(scope="session")
def channel(target: Target) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target.grpc, options=options) as channel:
        yield channel
