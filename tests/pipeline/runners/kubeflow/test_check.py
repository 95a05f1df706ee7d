"""What open-source Kubeflow Pipelines cannot run."""

from __future__ import annotations

import pytest

from components.base.errors import UsageError
from pipeline.runners.kubeflow import check


def _container(spec, step):
    return spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]


def _executor(spec, step, executor):
    spec["deploymentSpec"]["executors"][f"{step}_executor"] = executor


def _renamed(spec, task, name):
    tasks = spec["root"]["dag"]["tasks"]
    tasks[name] = tasks.pop(task)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda s: _executor(s, "PushedModel", {"resolver": {}}),
            "PushedModel: resolver executors are not implemented",
        ),
        (
            lambda s: _executor(
                s, "Trainer", {"importer": {"artifactUri": {"constant": "s3://m"}}}
            ),
            "Trainer: importer executors are not tried here",
        ),
        (
            lambda s: _executor(s, "Trainer", {"customJob": {}}),
            "Trainer: customJob executors are not implemented",
        ),
        (lambda s: _container(s, "Transform").pop("image"), "Transform: it has no image"),
        (lambda s: _container(s, "Transform").pop("command"), "Transform: it has no command"),
        (lambda s: s.update(schemaVersion="2.0.0"), "only 2.1.0 is accepted"),
        (lambda s: s["pipelineInfo"].update(name="Denoise It"), "name 'Denoise It'"),
        (lambda s: s.update(schema="2.1.0"), "no PipelineSpec"),
        (lambda s: _container(s, "Trainer").update(gpu=1), "no PipelineSpec"),
        (
            lambda s: _renamed(s, "ServingCheck", "Trainer-driver"),
            "Trainer-driver: KFP adds a task of this name itself",
        ),
        (lambda s: _renamed(s, "ServingCheck", "a.b"), r"a\.b: a task's name"),
        (lambda s: s["components"].pop("Trainer"), "Trainer: its component is missing"),
        (
            lambda s: s["root"]["dag"]["tasks"].pop("AnomalyGate"),
            "Transform: it waits for AnomalyGate",
        ),
    ],
)
def test_what_open_source_kfp_cannot_run_is_named(spec, broken, message):
    broken(spec)
    with pytest.raises(UsageError, match=message):
        check.check(spec)
