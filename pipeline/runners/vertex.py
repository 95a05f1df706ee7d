"""Compiles the DAG for Vertex AI Pipelines: Kubeflow's PipelineSpec in the job Vertex takes.

Vertex runs a PipelineSpec of schema 2.1.0 from a PipelineJob (google.cloud.aiplatform,
pipeline_jobs.py) and mounts Cloud Storage under /gcs, where KFP's launcher would keep copies;
so the steps' entry point, `pipeline.runners.kubeflow.container`, is the same.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import tempfile
from typing import Any

from components.base.errors import UsageError
from components.base.files import digest, write_json
from components.base.places import Places
from components.base.settings import Settings
from pipeline.runners.kubeflow.check import check as check_spec
from pipeline.runners.kubeflow.compile import compile as compile_spec

SCHEME = "gs://"
_MOUNTED = "/gcs/"
_UNSPECIFIED = "ACCELERATOR_TYPE_UNSPECIFIED"
_NAME = re.compile(r"[a-z][-a-z0-9]{0,111}")
"""128 characters for a job's name, less `-` and the time the SDK adds (aiplatform's
constants/pipeline.py)."""


def compile(settings: Settings, image: str, places: Places) -> dict[str, Any]:
    """Compiles the DAG to a PipelineJob.

    Args:
      settings: Everything that decides the result, and what each step asks for; `kubeflow.gpu`
        is an accelerator of Vertex, such as NVIDIA_L4.
      image: Container image, in Artifact Registry, of every step that has no other.
      places: Where to read and write, all of it in Cloud Storage.

    Returns:
      The PipelineJob as plain values, checked.

    Raises:
      UsageError: names each thing that Vertex would not take.
    """
    spec = compile_spec(settings, image, places)
    for executor in spec["deploymentSpec"]["executors"].values():
        # TFX's driver of ingestion, which Vertex would run: here a task does its work.
        executor.get("container", {}).pop("lifecycle", None)
    job = {
        "displayName": spec["pipelineInfo"]["name"],
        "pipelineSpec": spec,
        "runtimeConfig": {"gcsOutputDirectory": places.pipeline_root, "parameterValues": {}},
    }
    check(job, places)
    return job


def check(job: dict[str, Any], places: Places) -> None:
    """Parses a PipelineJob strictly, and looks for what Vertex does not take.

    Raises:
      UsageError: names each thing.
    """
    from google.cloud.aiplatform_v1.types import AcceleratorType
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    except json_format.ParseError as error:
        raise UsageError(f"This is no PipelineJob that Vertex AI takes: {error}") from error
    spec = job["pipelineSpec"]
    check_spec(spec)

    problems = []
    if not places.pipeline_root.startswith(SCHEME):
        problems.append(f"--pipeline-root {places.pipeline_root}: expected {SCHEME}BUCKET/…")
    for option, location in (("--data", places.data), ("--serving", places.serving)):
        if not location.startswith((SCHEME, _MOUNTED)):
            problems.append(f"{option} {location}: expected {SCHEME}BUCKET/… or {_MOUNTED}BUCKET/…")
    if not _NAME.fullmatch(spec["pipelineInfo"]["name"]):
        problems.append(
            f"the pipeline's name {spec['pipelineInfo']['name']!r}: expected up to 112 lower case "
            "letters, digits and -, a letter first"
        )
    known = sorted(set(AcceleratorType.__members__) - {_UNSPECIFIED})
    for name, executor in spec["deploymentSpec"]["executors"].items():
        resources = executor.get("container", {}).get("resources", {})
        kind = resources.get("accelerator", {}).get("type")
        if kind is not None and kind not in known:
            problems.append(
                f"{name.removesuffix('_executor')}: no accelerator {kind}; give one with "
                f"--set kubeflow.gpu=NAME: {', '.join(known)}"
            )
    if problems:
        raise UsageError(
            "Vertex AI Pipelines cannot run this:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def write(job: dict[str, Any], output: pathlib.Path) -> None:
    """Writes a PipelineJob, once Vertex's SDK has loaded it as a client would.

    Raises:
      UsageError: the file has no .json name, or the SDK does not take it.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform import pipeline_jobs

    if output.suffix != ".json":
        raise UsageError(f"--output {output}: a job for Vertex AI is written as .json.")
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder, "job.json")
        write_json(scratch, job)
        try:
            # Nothing is sent: a job reaches Vertex when it is submitted.
            pipeline_jobs.PipelineJob(
                display_name=job["displayName"],
                template_path=str(scratch),
                project="any",
                location="us-central1",
                credentials=AnonymousCredentials(),
            )
        except Exception as error:
            raise UsageError(f"{output}: Vertex's SDK does not load it: {error}") from error
    write_json(output, {**job, "labels": {_LABEL: digest(job)}})


def is_ours(path: str | os.PathLike[str]) -> bool:
    """True if a file holds what `write` wrote, unchanged."""
    try:
        job = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return bool(job.pop("labels") == {_LABEL: digest(job)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


_LABEL = "denoise-sha256"
"""JSON has no comments: a label of the job says what this command wrote."""
