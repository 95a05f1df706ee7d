"""`denoise run` and, as if on another machine, `denoise train-worker`."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.end_to_end.conftest import Denoise, environment
from tests.ports import free_ports


@pytest.mark.slow
def test_a_run_trains_with_another_machine(tmp_path, data):
    denoise = Denoise(tmp_path / "workspace", data)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}

    def started(index: int, command: list[str]) -> subprocess.Popen:
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        return subprocess.Popen(
            command,
            env={**environment(), "TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    leads = started(0, denoise.run_command("training.strategy=multi_worker"))
    helps = started(1, denoise.command("train-worker"))
    try:
        for process in (leads, helps):
            output, _ = process.communicate(timeout=400)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in (leads, helps):
            process.kill()
    assert "Trainer" in output
    summary = denoise.summary()
    assert summary["outcome"] == "pushed"
    assert summary["training"]["workers"] == 2
    assert denoise.versions() == [summary["pushed_version"]]


def test_a_run_on_a_machine_that_helps_is_told_where_to_run(tmp_path, data, monkeypatch):
    denoise = Denoise(tmp_path / "workspace", data)
    for config, message in (
        (
            {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}},
            "denoise",
        ),
        ({}, "host1:2222"),
    ):
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        done = denoise.run("training.strategy=multi_worker")
        assert done.returncode == 2
        assert "TF_CONFIG" in done.stderr
        assert message in done.stderr


def test_a_worker_that_would_lead_is_told_how_not_to(tmp_path, data, monkeypatch):
    denoise = Denoise(tmp_path / "workspace", data)
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    done = denoise.call("train-worker")
    assert done.returncode == 2
    assert "Give this one another index" in done.stderr
