"""The component in a pipeline: compiled for Kubeflow, and run and cached by the local runner."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml
from tfx.components.example_gen import driver
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import local_dag_runner

from components.base.errors import DataError
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion import component
from components.csv_ingestion import result as summary
from tests import clothing

IMAGE = ImageSettings(height=4, width=3)
DATA = DataSettings(validation_fraction=0.25)
SETUP = pathlib.Path(__file__).parents[3] / "setup.py"


def test_keeps_the_stock_driver():
    made = component.CsvIngestion("data", IMAGE, DATA)
    assert made.driver_class is driver.FileBasedDriver
    assert list(made.outputs) == ["examples"]


def test_cache_key_holds_what_the_examples_depend_on_and_nothing_else():
    def key(image=IMAGE, data=DATA, **arguments):
        made = component.CsvIngestion("data", image, data, **arguments)
        return {name: str(value) for name, value in made.exec_properties.items()}

    assert key() == key()
    assert key() == key(data=DataSettings(validation_fraction=0.25, max_drift=0.9))
    assert key() != key(image=ImageSettings(height=3, width=4))
    assert key() != key(data=DataSettings(validation_fraction=0.3))
    assert key() != key(provenance={"code": "2"})


def test_compiles_for_kubeflow(tmp_path):
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    made = component.CsvIngestion("s3://bucket/data", IMAGE, DATA)
    config = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image="image", use_pipeline_spec_2_1=True
    )
    path = tmp_path / "pipeline.yaml"
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(config, str(tmp_path), path.name).run(
        pipeline.Pipeline("denoiser", "s3://bucket/root", components=[made])
    )
    spec = yaml.safe_load(path.read_text())
    (executor,) = spec["deploymentSpec"]["executors"].values()
    arguments = executor["container"]["args"]
    assert "components.csv_ingestion.executor.Executor" in arguments
    (task,) = spec["root"]["dag"]["tasks"].values()
    parameters = task["inputs"]["parameters"]
    text = parameters["custom_config"]["runtimeValue"]["constant"]
    assert json.loads(json.loads(text)["custom_config"]["value"])["image"]["height"] == 4


@pytest.fixture
def run(tmp_path):
    """Runs a pipeline of the one component and returns the URIs of all Examples so far."""
    database = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))

    def run(folder: pathlib.Path) -> list[str]:
        local_dag_runner.LocalDagRunner().run(
            pipeline.Pipeline(
                "denoiser",
                str(tmp_path / "root"),
                components=[component.CsvIngestion(str(folder), IMAGE, DATA)],
                metadata_connection_config=database,
                enable_cache=True,
                beam_pipeline_args=["--runner=FnApiRunner", f"--setup_file={SETUP}"],
            )
        )
        with metadata.Metadata(database) as handle:
            return [artifact.uri for artifact in handle.store.get_artifacts_by_type("Examples")]

    return run


def test_local_runner_caches_until_the_data_change(tmp_path, run):
    folder = clothing.write_csvs(tmp_path / "data", train=40, test=10, shape=(4, 3, 1))
    (first,) = run(folder)
    assert summary.read_summary(first).rows == 50
    assert run(folder) == [first]
    with open(folder / "test" / "more.csv", "w") as file:
        file.write(",".join(["1"] * 13))
    _, second = run(folder)
    assert summary.read_summary(second).rows == 51


def test_local_runner_passes_the_error_on(tmp_path, run):
    folder = clothing.write_csvs(
        tmp_path / "data", train=40, test=10, shape=(4, 4, 1), header=False
    )
    with pytest.raises(DataError, match="50 of 50 rows are bad"):
        run(folder)
