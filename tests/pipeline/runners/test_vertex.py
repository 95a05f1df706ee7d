"""What is compiled for Vertex AI Pipelines, and what is refused."""

from __future__ import annotations

import copy

import pytest

from components.base.errors import UsageError
from components.base.places import Places
from pipeline import config
from pipeline.runners import vertex
from pipeline.runners.kubeflow import compile

PLACES = Places.under("gs://models/pipelines")
IMAGE = "europe-docker.pkg.dev/project/images/denoise:1"
GPU = ["kubeflow.steps.Trainer.gpus=1", "kubeflow.gpu=NVIDIA_L4"]


@pytest.fixture(scope="module")
def compiled():
    return vertex.compile(config.load(overrides=GPU), IMAGE, PLACES)


@pytest.fixture
def job(compiled):
    return copy.deepcopy(compiled)


def test_a_job_holds_the_steps_of_the_kubeflow_pipeline(job):
    spec = compile.compile(config.load(overrides=GPU), IMAGE, PLACES)
    assert job["pipelineSpec"]["root"]["dag"]["tasks"] == spec["root"]["dag"]["tasks"]
    assert job["pipelineSpec"]["schemaVersion"] == "2.1.0"
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://models/pipelines"


def test_a_job_is_loaded_by_vertex_sdk(job, tmp_path):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform import pipeline_jobs

    vertex.write(job, tmp_path / "job.json")
    assert vertex.is_ours(tmp_path / "job.json")
    loaded = pipeline_jobs.PipelineJob(
        display_name="nightly",
        template_path=str(tmp_path / "job.json"),
        parameter_values={"epochs": 3, "data": "gs://models/new"},
        project="any",
        location="us-central1",
        credentials=AnonymousCredentials(),
    )
    sent = loaded.to_dict()
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert set(sent["pipelineSpec"]["root"]["dag"]["tasks"]) == set(tasks)
    assert sent["runtimeConfig"]["gcsOutputDirectory"] == "gs://models/pipelines"
    assert sent["runtimeConfig"]["parameterValues"] == {"epochs": 3.0, "data": "gs://models/new"}


def test_steps_ask_for_vertex_accelerators_and_have_no_driver(job):
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    accelerator = executors["Trainer_executor"]["container"]["resources"]["accelerator"]
    assert accelerator == {"type": "NVIDIA_L4", "count": "1"}
    assert not [name for name, each in executors.items() if "lifecycle" in each["container"]]


@pytest.mark.parametrize(
    ("overrides", "places", "message"),
    [
        (GPU[:1], PLACES, r"Trainer: no accelerator nvidia\.com/gpu; give one .*NVIDIA_L4"),
        ([], Places.under("s3://models/pipelines"), "--pipeline-root s3://models"),
        (
            [],
            Places.under("gs://models", data="/mnt/data", serving="s3://m/denoiser"),
            r"--data /mnt/data: expected gs://(.|\n)*--serving s3://m/denoiser: expected gs://",
        ),
    ],
)
def test_what_vertex_cannot_run_is_named(overrides, places, message):
    with pytest.raises(UsageError, match=message):
        vertex.compile(config.load(overrides=overrides), IMAGE, places)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda job: job.update(display="x"), "no PipelineJob"),
        (lambda job: job["runtimeConfig"].update(root="gs://b"), "no PipelineJob"),
        (lambda job: job["pipelineSpec"].update(schemaVersion="2.0.0"), "only 2.1.0"),
        (lambda job: job["pipelineSpec"]["pipelineInfo"].update(name="d" * 113), "up to 112"),
    ],
)
def test_a_broken_job_is_refused(job, broken, message):
    broken(job)
    with pytest.raises(UsageError, match=message):
        vertex.check(job, PLACES)


def test_only_json_is_written_and_the_sdk_must_take_it(job, tmp_path):
    with pytest.raises(UsageError, match=r"written as \.json"):
        vertex.write(job, tmp_path / "pipeline.yaml")
    del job["pipelineSpec"]["pipelineInfo"]
    with pytest.raises(UsageError, match="SDK does not load it"):
        vertex.write(job, tmp_path / "job.json")
    assert not (tmp_path / "job.json").exists()
