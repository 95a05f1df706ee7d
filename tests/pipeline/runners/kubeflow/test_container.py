"""What a step's container does around TFX's entry point."""

from __future__ import annotations

import json

import pytest

from components.base import object_store
from components.base.errors import UsageError
from pipeline import config
from pipeline.runners.kubeflow import compile as kubeflow
from pipeline.runners.kubeflow import container
from tests import clothing

SCHEMA = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


@pytest.mark.parametrize(
    ("uri", "path"),
    [("s3://b/k/m", "s3/b/k/m"), ("minio://b/k", "minio/b/k"), ("gs://b/k", "gcs/b/k")],
)
def test_uris_become_the_launchers_paths_and_uris_again(uri, path, monkeypatch, tmp_path):
    assert container.local_path(uri) == f"/{path}"
    monkeypatch.setenv(container.ROOT, str(tmp_path))
    assert container.local_path(uri) == f"{tmp_path}/{path}"
    assert container.to_uris({"a": [container.local_path(uri), 1]}) == {"a": [uri, 1]}


def test_output_keeps_what_is_no_artifact_and_drops_nulls():
    value = {"a": "/tmp/x", "b": None, "c": {"d": 1.5, "e": None}, "f": "s3://b/k"}
    assert container.to_uris(value) == {"a": "/tmp/x", "c": {"d": 1.5}, "f": "s3://b/k"}


def test_an_input_without_a_type_gets_the_declared_one(monkeypatch, tmp_path):
    monkeypatch.setenv(container.ROOT, str(tmp_path))
    given = {
        "inputs": {
            "artifacts": {
                "model": {"artifacts": [{"uri": "s3://b/m", "type": {"instanceSchema": ""}}]},
                "other": {"artifacts": [{"uri": "s3://b/o", "type": {"schemaTitle": "t"}}]},
            }
        },
        "outputs": {"artifacts": {"out": {"artifacts": [{"uri": "s3://b/out", "type": SCHEMA}]}}},
    }
    container._to_local(given, {"artifacts": {"model": {"artifactType": SCHEMA}}})

    assert given["inputs"]["artifacts"]["model"]["artifacts"] == [
        {"uri": f"{tmp_path}/s3/b/m", "type": SCHEMA}
    ]
    assert given["inputs"]["artifacts"]["other"]["artifacts"][0]["type"] == {"schemaTitle": "t"}
    assert (tmp_path / "s3/b/out").is_dir()


def test_an_output_file_in_a_store_is_written_where_it_is_mounted(monkeypatch, tmp_path):
    """On Vertex AI; KFP's launcher names a local file."""
    monkeypatch.setenv(container.ROOT, str(tmp_path))
    given = {"outputs": {"outputFile": "gs://b/run/executor_output.json"}}
    container._to_local(given, {})
    assert given["outputs"]["outputFile"] == f"{tmp_path}/gcs/b/run/executor_output.json"


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv(object_store.STAND_IN, str(tmp_path / "store"))
    return "s3://models"


INPUT_CONFIG = json.dumps(
    {"splits": [{"name": split, "pattern": f"{split}/*.csv*"} for split in ("train", "test")]}
)


def _patterns(parameters):
    return [split["pattern"] for split in json.loads(parameters["input_config"])["splits"]]


def test_data_in_a_store_is_copied_and_of_spans_the_newest(store, tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=20, test=5)
    object_store.upload(data, f"{store}/flat")
    for span in (2, 10):
        object_store.upload(data, f"{store}/spans/span-{span}")

    for folder, wanted in (("flat", ""), ("spans", "span-10")):
        parameters = {"input_base": f"{store}/{folder}", "input_config": INPUT_CONFIG}
        here = tmp_path / f"copy-{folder}"
        container._with_local_data(parameters, str(here))
        assert parameters["input_base"] == str(here)
        assert {path.name for path in here.iterdir()} == ({wanted} if wanted else {"train", "test"})
        assert (here / wanted / "train").is_dir()
        prefix = "span-{SPAN}/" if wanted else ""
        assert _patterns(parameters) == [f"{prefix}train/*.csv*", f"{prefix}test/*.csv*"]


def test_the_data_version_changes_with_the_data(store, tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=20, test=5)
    object_store.upload(data, f"{store}/data")
    for location in (str(data), f"{store}/data"):

        def version(location=location):
            return container.version("CsvIngestion", {"input_base": location}, {})

        before = version()
        assert version() == before
        if location == str(data):
            clothing.write_csvs(data, train=21, test=5)
        else:
            object_store.upload(data, location)
        assert version() != before


def test_a_warm_start_is_cached_by_the_pushed_version(store, tmp_path):
    from components.csv_ingestion.result import DIRECTORY, SUMMARY_FILE, IngestionSummary
    from components.training import start

    rows = IngestionSummary(
        rows=0, examples={}, quarantined={}, span=2, files=[], ignored=[], fingerprint="02"
    )
    (tmp_path / DIRECTORY).mkdir()
    (tmp_path / DIRECTORY / SUMMARY_FILE).write_text(rows.model_dump_json())
    artifacts = {"examples": {"artifacts": [{"uri": str(tmp_path)}]}}

    def version():
        return container.version("WarmStart", {"serving": f"{store}/denoiser"}, artifacts)

    def push(number, trained_on):
        model = tmp_path / "model"
        start.write(start.Start(version="4", data=trained_on), model / "assets.extra")
        (model / "saved_model.pb").touch()
        object_store.upload(model, f"{store}/denoiser/{number}")

    assert version() == start.NONE
    push(5, trained_on="01")
    assert version() == "5"
    push(6, trained_on="02")
    assert version() == "4"


def test_the_schema_within_the_pipeline_becomes_a_file(tmp_path):
    from components.data_validation.schema import make_schema, read_schema

    settings = config.load()
    parameters = {"schema_file": kubeflow.schema_uri(settings)}
    container._with_local_schema(parameters, str(tmp_path))
    assert read_schema(parameters["schema_file"]) == make_schema(settings.image, settings.data)


def test_an_operator_changes_epochs_and_preset():
    custom_config = json.dumps({"training": {"epochs": 8}, "model": {"name": "unet"}})
    parameters = {"custom_config": custom_config, "epochs": 3.0, "preset": ""}
    container._with_settings("Trainer", parameters)
    assert json.loads(parameters["custom_config"])["training"]["epochs"] == 3
    assert set(parameters) == {"custom_config"}

    as_compiled = {"custom_config": custom_config, **container.AS_COMPILED}
    container._with_settings("Trainer", as_compiled)
    assert as_compiled == {"custom_config": custom_config}

    other = {"custom_config": custom_config, "train_args": "{}", "preset": "windsor_cae"}
    container._with_settings("Trainer", other)
    assert json.loads(other["custom_config"])["model"]["name"] == "windsor_cae"
    with pytest.raises(UsageError, match="no such preset"):
        container._with_settings("Trainer", {"preset": "nosuch"})


def test_what_is_no_executor_input_is_refused():
    arguments = ["--step", "Trainer", "--json_serialized_inputs_spec_args", "{}"]
    with pytest.raises(UsageError, match="expected an ExecutorInput"):
        container.run([*arguments, "--json_serialized_invocation_args", "{{$}}"])
