"""The compiled pipeline with every step there is, executed as Kubeflow Pipelines would, and the
local run.

The data lie on an S3 server, what the pipeline makes on a Google one. One local run, one dry run,
one more from the cache: they share everything but the runner. Then one more on newer data, as a
recurring run of the same file.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import uuid

import pytest

from tests import clothing, gcs
from tests.end_to_end.conftest import SETTINGS, TEST, TRAIN

EVERY_STEP = (
    "training.warm_start=true",
    # What it finds is what the local run has, so that the models are the same.
    "tuner={enabled: true, trials: 1, epochs: 1, algorithm: random, "
    "search_space: {training.batch_size: {choices: [32]}}}",
    "report.classifier_epochs=1",
)


@pytest.fixture(scope="module")
def stores():
    """URIs of two empty buckets, in S3 and Google's store, with access by the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    name = f"denoise-{uuid.uuid4().hex}"
    with pytest.MonkeyPatch.context() as environment, gcs.serving(name) as google:
        access = {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "STORAGE_EMULATOR_HOST": google,
        }
        for variable, value in access.items():
            environment.setenv(variable, value)
        boto3.client("s3").create_bucket(Bucket=name)
        yield f"s3://{name}", f"gs://{name}"
    server.stop()


@pytest.fixture(scope="module")
def compile_and_run(stores, data):
    """Calls `denoise compile --dry-run` on data in the bucket; gives the JSON and the stderr."""
    from components.base import object_store

    inputs, outputs = stores
    object_store.upload(data, f"{inputs}/data/span-1")

    def call(folder: pathlib.Path) -> tuple[dict, str]:
        overrides = [part for value in (*SETTINGS, *EVERY_STEP) for part in ("--set", value)]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pipeline.cli", "compile", "--image", "denoise:1"),
                *("--pipeline-root", f"{outputs}/pipelines", "--data", f"{inputs}/data"),
                *("--output", str(folder / "pipeline.yaml"), *overrides, "--json"),
                *("--dry-run", "--dry-run-folder", str(folder / "dry-run"), "--real-store"),
            ],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, done.stderr[-6000:]
        return json.loads(done.stdout), done.stderr

    return call


@pytest.mark.timeout(3600)
def test_a_dry_run_measures_and_pushes_what_the_local_run_does(
    stores, compile_and_run, finished, tmp_path
):
    from components.base import object_store
    from components.csv_ingestion.result import read_summary
    from components.evaluation import result as evaluation
    from components.push import versions
    from components.training.result import TRAINING_FILE
    from pipeline.runners.kubeflow.dry_run import run as dry_run

    inputs, outputs = stores
    first, shown = compile_and_run(tmp_path)
    tasks = {task["name"]: task for task in first["tasks"]}
    assert {task["state"] for task in tasks.values()} == {"done"}
    assert {"Tuner", "WarmStart", "ReferenceClassifier"} < set(tasks)
    assert f"as on       Kubeflow Pipelines {dry_run.FOLLOWS}" in shown
    assert "blessed     yes" in shown

    uri = tasks["QualityEvaluator"]["outputs"]["evaluation"]["uri"]
    object_store.download(uri, tmp_path / "evaluation")
    here = evaluation.metrics(str(tmp_path / "evaluation"))
    there = evaluation.metrics(finished.summary()["evaluation"])
    assert here == there

    serving = f"{outputs}/pipelines/serving/denoiser"
    (version,) = (found.number for found in versions.versions(serving))
    pushed = tasks["AtomicPusher"]["outputs"]["pushed_model"]["metadata"]
    assert (pushed["pushed"], pushed["pushed_destination"]) == (1, f"{serving}/{version}")
    object_store.download(f"{serving}/{version}", tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").is_file()

    # From the file alone, with nothing changed: only what looks outside runs, and no other
    # version appears.
    def run_again() -> dry_run.Result:
        return dry_run.run(tmp_path / "pipeline.yaml", tmp_path / "dry-run", real_store=True)

    second = run_again()
    ran = {task.name for task in second.tasks if task.state == "done"}
    assert ran == {"CsvIngestion-version", "PushedModel-version", "WarmStart-version"}
    assert second.pushed == f"{serving}/{version}"
    assert [found.number for found in versions.versions(serving)] == [version]

    # A newer span: trained on from the pushed model, compared with it, and pushed.
    clothing.write_csvs(tmp_path / "span-2", train=TRAIN, test=TEST, seed=8)
    object_store.upload(tmp_path / "span-2", f"{inputs}/data/span-2")
    third = {task.name: task for task in run_again().tasks}
    assert third["ImportSchemaGen"].state == "cached"
    object_store.download(third["CsvIngestion"].outputs["examples"].uri, tmp_path / "examples")
    assert read_summary(str(tmp_path / "examples")).span == 2
    assert third["WarmStart-version"].parameters == {"version": str(version)}
    object_store.download(third["Trainer"].outputs["model_run"].uri, tmp_path / "model_run")
    training = json.loads((tmp_path / "model_run" / TRAINING_FILE).read_text())
    assert training["started_from"] == str(version)
    object_store.download(third["QualityEvaluator"].outputs["evaluation"].uri, tmp_path / "third")
    assert evaluation.metrics(str(tmp_path / "third"), "baseline")
    assert third["PushedModel"].outputs["model"].metadata["pushed_version"] == str(version)
    newer = third["AtomicPusher"].outputs["pushed_model"].metadata["pushed_version"]
    assert [found.number for found in versions.versions(serving)] == [version, int(newer)]
