"""What is compiled for Kubeflow Pipelines."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from components.base.errors import UsageError
from components.base.places import Places
from pipeline import config, dag
from pipeline.runners.kubeflow import compile, file
from tests.pipeline.runners.kubeflow.conftest import OVERRIDES


def _container(spec, step):
    return spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]


def test_it_holds_the_steps_of_the_local_run(spec, settings):
    places = Places(data="d", schema="s.pbtxt", serving="m", pipeline_root="s3://models")
    local = {component.id for component in dag.components(settings, places)}
    late = local & set(dag.LATE)
    assert set(spec["root"]["dag"]["tasks"]) == local | {f"{name}-version" for name in late}
    assert set(dag.LATE) - late == {"ImageIngestion"}


def test_images_have_an_ingestion_of_their_own(places):
    settings = config.load(overrides=["data.format=images", "data.classes=[cat, dog]"])
    root = compile.compile(settings, "denoise:1", places)["root"]
    # No preset says what the data are.
    assert set(root["inputDefinitions"]["parameters"]) == {"data", "epochs"}
    tasks = root["dag"]["tasks"]
    assert {"ImageIngestion", "ImageIngestion-version"} <= set(tasks)
    assert not {name for name in tasks if name.startswith("CsvIngestion")}
    given = tasks["ImageIngestion"]["inputs"]["parameters"]
    assert given["input_base"] == {"componentInputParameter": "data"}
    assert "taskOutputParameter" in given["data_version"]


def test_images_and_resources_are_those_of_the_settings(spec):
    trainer, statistics = _container(spec, "Trainer"), _container(spec, "StatisticsGen")
    assert trainer["image"] == "denoise:gpu"
    assert trainer["resources"]["accelerator"] == {"type": "nvidia.com/gpu", "count": "1"}
    assert trainer["resources"]["memoryLimit"] == 16
    assert statistics["image"] == "denoise:1"
    assert "accelerator" not in statistics["resources"]


def test_an_image_given_for_beams_workers_goes_before_the_steps_own(places):
    from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions

    for given in ("", "--sdk_container_image=WORKER, "):
        settings = config.load(overrides=[f"beam.args=[{given}--sdk_worker_parallelism=2]"])
        spec = compile.compile(settings, "denoise:1", places)
        arguments = _container(spec, "Transform")["args"]
        options = PipelineOptions(arguments).view_as(WorkerOptions)
        assert options.sdk_container_image == ("WORKER" if given else "denoise:1")


def test_steps_that_look_outside_are_cached_by_what_they_saw(spec):
    tasks = spec["root"]["dag"]["tasks"]
    for step, (parameter, _) in dag.LATE.items():
        if step not in tasks:
            continue
        looking = f"{step}-version"
        assert not tasks[looking]["cachingOptions"].get("enableCache")
        assert tasks[step]["cachingOptions"]["enableCache"]
        assert looking in tasks[step]["dependentTasks"]
        assert tasks[step]["inputs"]["parameters"][parameter] == {
            "taskOutputParameter": {"producerTask": looking, "outputParameterKey": parameter}
        }


def test_without_a_warm_start_or_a_search_there_is_no_step_for_it(places):
    tasks = compile.compile(config.load(), "denoise:1", places)["root"]["dag"]["tasks"]
    assert not {name for name in tasks if name.startswith(("WarmStart", "Tuner"))}
    assert not {"base_model", "hyperparameters"} & set(tasks["Trainer"]["inputs"]["artifacts"])


def test_a_resolver_in_the_dag_is_refused_by_name(settings, places, monkeypatch):
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
    from tfx.types import Channel
    from tfx.types.standard_artifacts import Model

    resolver = Resolver(strategy_class=LatestArtifactStrategy, model=Channel(type=Model))
    components = dag.components
    monkeypatch.setattr(
        dag, "components", lambda *given: [*components(*given), resolver.with_id("LatestModel")]
    )
    with pytest.raises(UsageError, match="LatestModel: resolver executors are not implemented"):
        compile.compile(settings, "denoise:1", places)


@pytest.mark.parametrize("root", ["/tmp/root", "http://a/b", "s3://"])
def test_a_pipeline_root_kfp_cannot_use_is_refused(root):
    with pytest.raises(UsageError, match="--pipeline-root"):
        Places.under(root)


def test_what_the_settings_only_name_is_tried_before_a_file_is_written(places):
    settings = config.load(overrides=["noise.training=hiss(sd=1)"])
    with pytest.raises(UsageError, match="hiss"):
        compile.compile(settings, "denoise:1", places)


COMPILE = """
import sys
from components.base.places import Places
from pipeline import config
from pipeline.runners.kubeflow import compile, file
places = Places.under("s3://models/pipelines")
spec = compile.compile(config.load(overrides=sys.argv[1:]), "denoise:1", places)
open("pipeline.yaml", "w").write(file.to_yaml(spec))
"""


@pytest.mark.ci
def test_nothing_of_the_machine_that_compiles_is_in_the_file(compiled, tmp_path):
    """Arguments are part of KFP's cache key: a path among them would miss the whole cache."""
    project = pathlib.Path(__file__).resolve().parents[4]
    for package in ("pipeline", "components", "serving", "setup.py"):
        copy = shutil.copytree if (project / package).is_dir() else shutil.copyfile
        copy(project / package, tmp_path / package)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", COMPILE, *OVERRIDES]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)

    text = file.to_yaml(compiled)
    assert (tmp_path / "pipeline.yaml").read_text() == text
    assert str(project) not in text
