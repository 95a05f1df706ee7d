"""The compiled pipeline with every step there is, executed as Kubeflow Pipelines would, and the
local run.

The data lie on an S3 server, what the pipeline makes on a Google one. One dry run, one
more from the cache, and at full length one on newer data, as a recurring run of the same file.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import uuid

import pytest

from tests import clothing, gcs, textures, warm
from tests.end_to_end.conftest import (
    LEFT_ALONE,
    TEST,
    TRAIN,
    assert_same_but_for_rounding,
    environment,
    options,
)

EVERY_STEP = (
    "training.warm_start=true",
    # What it finds is what the local run has, so that the models are the same.
    "tuner={enabled: true, trials: 1, epochs: 1, algorithm: random, "
    "search_space: {training.batch_size: {choices: [16]}}}",
    "report.classifier_epochs=1",
)


@pytest.fixture
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


RUNS = [
    pytest.param("forked", False, id="forked"),
    pytest.param("forked", True, id="forked, newer data", marks=pytest.mark.ci),
    pytest.param("processes", True, id="processes", marks=pytest.mark.slow),
]
"""How tasks begin, and whether there is a run on newer data."""


@pytest.fixture
def dry_run(how, stores, data, tmp_path):
    """Calls `denoise compile --dry-run` on data in the bucket; gives its tasks and the stderr.

    As processes, each task is what it is for a user, and imports TFX for itself.
    """
    from components.base import object_store

    inputs, outputs = stores
    object_store.upload(data, f"{inputs}/data/span-1")
    arguments = [
        *("compile", "--image", "denoise:1", "--pipeline-root", f"{outputs}/pipelines"),
        *("--data", f"{inputs}/data", "--output", str(tmp_path / "pipeline.yaml")),
        *(*options(*EVERY_STEP), "--json"),
        *("--dry-run", "--dry-run-folder", str(tmp_path / "dry-run"), "--real-store"),
    ]

    def call() -> tuple[dict[str, dict], str]:
        if how == "forked":
            done = warm.call("pipeline.cli", arguments, environment(), forked_tasks=True)
        else:
            command = [sys.executable, "-m", "pipeline.cli", *arguments]
            done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-6000:]
        return {task["name"]: task for task in json.loads(done.stdout)["tasks"]}, done.stderr

    return call


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("how", "newer_data"), RUNS)
def test_a_dry_run_measures_and_pushes_what_the_local_run_does(
    newer_data, stores, dry_run, finished, tmp_path
):
    from components.base import object_store
    from components.csv_ingestion.result import read_summary
    from components.evaluation import result as evaluation
    from components.push import versions
    from components.training.result import TRAINING_FILE
    from pipeline.runners.kubeflow.dry_run.run import FOLLOWS

    inputs, outputs = stores
    tasks, shown = dry_run()
    assert {task["state"] for task in tasks.values()} == {"done"}
    assert {"Tuner", "WarmStart", "ReferenceClassifier"} < set(tasks)
    assert f"as on       Kubeflow Pipelines {FOLLOWS}" in shown
    assert "blessed     yes" in shown

    def downloaded(task: str, output: str, of: dict[str, dict]) -> pathlib.Path:
        folder = tmp_path / f"{task}-{uuid.uuid4().hex}"
        object_store.download(of[task]["outputs"][output]["uri"], folder)
        return folder

    here = evaluation.metrics(str(downloaded("QualityEvaluator", "evaluation", tasks)))
    left_alone = json.loads((finished.workspace / LEFT_ALONE).read_text())
    expected = evaluation.metrics(left_alone["evaluation"])
    assert here.keys() == expected.keys()
    assert_same_but_for_rounding(here.values(), (expected[each] for each in here))

    serving = f"{outputs}/pipelines/serving/denoiser"
    (version,) = (found.number for found in versions.versions(serving))
    pushed = tasks["AtomicPusher"]["outputs"]["pushed_model"]["metadata"]
    assert (pushed["pushed"], pushed["pushed_destination"]) == (1, f"{serving}/{version}")
    object_store.download(f"{serving}/{version}", tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").is_file()

    # With nothing changed: only what looks outside runs, and no other version appears.
    second, _ = dry_run()
    ran = {name for name, task in second.items() if task["state"] == "done"}
    assert ran == {"CsvIngestion-version", "PushedModel-version", "WarmStart-version"}
    pushed = second["AtomicPusher"]["outputs"]["pushed_model"]["metadata"]
    assert pushed["pushed_destination"] == f"{serving}/{version}"
    assert [found.number for found in versions.versions(serving)] == [version]

    if not newer_data:
        return
    # A newer span: trained on from the pushed model, compared with it, and pushed.
    clothing.write_csvs(tmp_path / "span-2", train=TRAIN, test=TEST, seed=8)
    object_store.upload(tmp_path / "span-2", f"{inputs}/data/span-2")
    third, _ = dry_run()
    assert third["ImportSchemaGen"]["state"] == "cached"
    assert read_summary(str(downloaded("CsvIngestion", "examples", third))).span == 2
    assert third["WarmStart-version"]["parameters"] == {"version": str(version)}
    training = json.loads((downloaded("Trainer", "model_run", third) / TRAINING_FILE).read_text())
    assert training["started_from"] == str(version)
    assert evaluation.metrics(str(downloaded("QualityEvaluator", "evaluation", third)), "baseline")
    compared = third["PushedModel"]["outputs"]["model"]["metadata"]
    assert compared["pushed_version"] == str(version)
    newer = third["AtomicPusher"]["outputs"]["pushed_model"]["metadata"]["pushed_version"]
    assert [found.number for found in versions.versions(serving)] == [version, int(newer)]


@pytest.mark.ci
@pytest.mark.timeout(1800)
def test_a_folder_of_images_is_cut_as_well(stores, tmp_path):
    """What lies in a store cannot be looked at when it is compiled, so the format is said."""
    from components.base import object_store
    from components.csv_ingestion.result import read_summary

    inputs, outputs = stores
    folder = textures.write_folder(tmp_path / "photographs", train=6, test=2)
    (folder / "train" / "text.png").write_text("no image")
    object_store.upload(folder, f"{inputs}/photographs")
    settings = (
        "image={height: 16, width: 16, channels: 3}",
        "data={format: images, classes: [], patches: 8, max_drift: 1}",
        "noise={training: gaussian(sd=0.2), evaluation: [gaussian(sd=0.2)]}",
        "evaluation={min_gain: -99, thresholds: {}}",
    )
    arguments = [
        *("compile", "--image", "denoise:1", "--pipeline-root", f"{outputs}/pipelines"),
        *("--data", f"{inputs}/photographs", "--output", str(tmp_path / "pipeline.yaml")),
        *(*options(*settings), "--json", "--real-store"),
        *("--dry-run", "--dry-run-folder", str(tmp_path / "dry-run")),
    ]
    done = warm.call("pipeline.cli", arguments, environment(), forked_tasks=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-6000:]
    tasks = {task["name"]: task for task in json.loads(done.stdout)["tasks"]}
    assert {task["state"] for task in tasks.values()} == {"done"}
    assert "ReferenceClassifier" not in tasks
    object_store.download(
        tasks["ImageIngestion"]["outputs"]["examples"]["uri"], tmp_path / "examples"
    )
    summary = read_summary(str(tmp_path / "examples"))
    assert (summary.format, summary.rows, summary.cut) == ("images", 9, 8)
    assert sum(summary.examples.values()) == 64
    assert tasks["AtomicPusher"]["outputs"]["pushed_model"]["metadata"]["pushed"] == 1
