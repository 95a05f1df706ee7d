"""What a step's container does around TFX's entry point."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from components.base import object_store
from components.base.errors import DataError, RunError, UsageError
from components.base.places import Places
from pipeline import config, dag
from pipeline.runners.kubeflow import compile, container, names
from tests import clothing, textures
from tests.pipeline.runners.kubeflow.recordings import RECORDINGS, RELEASES, Recording


@pytest.mark.parametrize(
    ("uri", "path"),
    [("s3://b/k/m", "s3/b/k/m"), ("minio://b/k", "minio/b/k"), ("gs://b/k", "gcs/b/k")],
)
def test_uris_become_the_launchers_paths_and_uris_again(uri, path, monkeypatch, tmp_path):
    assert names.local_path(uri) == f"/{path}"
    monkeypatch.setenv(names.ROOT, str(tmp_path))
    assert names.local_path(uri) == f"{tmp_path}/{path}"
    assert container.to_uris({"a": [names.local_path(uri), 1]}) == {"a": [uri, 1]}


def test_output_keeps_what_is_no_artifact_and_drops_nulls():
    value = {"a": "/tmp/x", "b": None, "c": {"d": 1.5, "e": None}, "f": "s3://b/k"}
    assert container.to_uris(value) == {"a": "/tmp/x", "c": {"d": 1.5}, "f": "s3://b/k"}


@pytest.fixture(scope="module")
def compiled():
    settings = config.load(overrides=["training.warm_start=true"])
    return compile.compile(settings, "denoise:1", Places.under("s3://models/pipelines"))


@pytest.fixture
def disk(monkeypatch, tmp_path):
    """The folder that stands for the container's `/`."""
    monkeypatch.setenv(names.ROOT, str(tmp_path / "disk"))
    return tmp_path / "disk"


def _arguments(compiled, task, executor_input):
    """What the compiled pipeline gives the entry point for this task."""
    container = compiled["deploymentSpec"]["executors"][f"{task}_executor"]["container"]
    text = json.dumps(executor_input)
    command = [*container["command"], *container["args"]][len(names.COMMAND) :]
    return [argument.replace("{{$}}", text) for argument in command]


def _tree(disk):
    """Each folder, and each file with its content and inode."""
    return {
        path.relative_to(disk).as_posix(): (path.read_bytes(), path.stat().st_ino)
        if path.is_file()
        else None
        for path in disk.rglob("*")
    }


def _outputs(executor_input):
    """The URI of each output artifact, by name."""
    outputs = executor_input["outputs"].get("artifacts", {})
    return {name: of_name["artifacts"][0]["uri"] for name, of_name in outputs.items()}


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_what_kfp_recorded_reaches_tfx_and_what_is_kfps_own_is_left_alone(
    recording, compiled, store, disk, monkeypatch, tmp_path
):
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    object_store.upload(clothing.write_csvs(tmp_path / "csvs", train=20, test=5), f"{store}/data")
    recording.lay_out(disk)
    given = recording.executor_input
    recorded = recording.executor_input
    # An output that some later release may add, as a file and as a folder.
    root = disk / "s3/models/later"
    for name, kind in (("a-file", "f"), ("a-folder", "d")):
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("KFP's") if kind == "f" else (root / name).mkdir()
        artifact = {"type": {"schemaTitle": "system.New"}, "uri": f"s3://models/later/{name}"}
        given["outputs"].setdefault("artifacts", {})[name] = {"artifacts": [artifact]}
    (root / "a-folder" / "file").write_text("KFP's")
    before = _tree(disk)
    seen = {}

    def run_executor(arguments):
        options, beam_args = arguments
        seen["input"] = json.loads(options.json_serialized_invocation_args)
        seen["inputs_spec"] = json.loads(options.json_serialized_inputs_spec_args)
        seen["beam_args"], seen["tree"] = beam_args, _tree(disk)
        outputs = seen["input"]["outputs"]
        for of_name in outputs["artifacts"].values():
            of_name["artifacts"][0]["metadata"] = {"pushed": 1, "nothing": None}
        text = json.dumps({"artifacts": outputs["artifacts"]})
        pathlib.Path(outputs["outputFile"]).write_text(text)

    monkeypatch.setattr(kubeflow_v2_run_executor, "main", run_executor)
    container.run(_arguments(compiled, recording.task, given))

    own = {name for name in _outputs(recorded) if name != names.LOGS}
    file = disk / given["outputs"]["outputFile"].lstrip("/")
    after = _tree(disk)
    assert {path: after[path] for path in before} == before
    made = {
        uri.replace("s3://", "s3/", 1) for name, uri in _outputs(recorded).items() if name in own
    }
    parents = {"tmp", "tmp/kfp_outputs"} if recording.release in ("2.4.1", "2.5.0") else set()
    output_file = file.relative_to(disk).as_posix()
    assert set(after) - set(before) == made | (parents - set(before)) | {output_file}

    put_out = json.loads(file.read_text())
    if recording.task.endswith(names.VERSION_TASK):
        assert set(put_out) == {"parameterValues"}
        assert len(put_out["parameterValues"]["data_version"]) == 64
        assert not seen
        return
    assert put_out == {
        "artifacts": {
            name: {"artifacts": [{**of_name["artifacts"][0], "metadata": {"pushed": 1}}]}
            for name, of_name in recorded["outputs"]["artifacts"].items()
            if name in own
        }
    }
    assert set(seen["tree"]) - set(before) == made | (parents - set(before))
    assert set(_outputs(seen["input"])) == own
    assert "--sdk_container_image=denoise:1" in seen["beam_args"]
    declared = seen["inputs_spec"].get("artifacts", {})
    for name, of_name in seen["input"]["inputs"].get("artifacts", {}).items():
        (artifact,) = of_name["artifacts"]
        (uri,) = (a["uri"] for a in recorded["inputs"]["artifacts"][name]["artifacts"])
        assert artifact["uri"] == str(disk / uri.replace("s3://", "s3/", 1))
        assert artifact["type"] == declared[name]["artifactType"]
        assert artifact["type"]["instanceSchema"].startswith("title: tfx.")


@pytest.mark.parametrize("release", RELEASES)
def test_a_recorded_ingestion_runs(release, compiled, store, disk, tmp_path):
    from components.csv_ingestion.result import read_summary

    object_store.upload(clothing.write_csvs(tmp_path / "csvs", train=20, test=5), f"{store}/data")
    recording = Recording(release, "CsvIngestion")
    recording.lay_out(disk)
    given = recording.executor_input
    before = _tree(disk)
    container.run(_arguments(compiled, "CsvIngestion", given))

    after = _tree(disk)
    assert {path: after[path] for path in before} == before
    uri = _outputs(given)["examples"]
    examples = names.local_path(uri)
    assert read_summary(examples).rows == 25
    assert {path.name for path in pathlib.Path(examples).glob("Split-*")} == {
        "Split-train",
        "Split-validation",
        "Split-test",
    }
    put_out = json.loads((disk / given["outputs"]["outputFile"].lstrip("/")).read_text())
    (artifact,) = put_out["artifacts"].pop("examples")["artifacts"]
    assert artifact["uri"] == uri
    assert json.loads(artifact["metadata"]["split_names"]) == ["train", "validation", "test"]
    assert not put_out["artifacts"]


def test_a_second_try_starts_from_empty_outputs(compiled, store, disk, monkeypatch):
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    recording = Recording("2.17.0", "Trainer")
    recording.lay_out(disk)
    given = recording.executor_input
    model = pathlib.Path(names.local_path(_outputs(given)["model"]))
    (model / "Format-Serving").mkdir(parents=True)
    (model / "Format-Serving" / "half").write_text("of the first try")
    file = pathlib.Path(names.local_path(given["outputs"]["outputFile"]))
    file.write_text(json.dumps({"parameterValues": {"run_fn": "of.the.first.try"}}))

    def run_executor(_):
        assert not any(model.iterdir())
        assert not file.exists()
        file.write_text("{}")

    monkeypatch.setattr(kubeflow_v2_run_executor, "main", run_executor)
    container.run(_arguments(compiled, "Trainer", given))
    assert file.read_text() == "{}"


@pytest.mark.parametrize("task", ["CsvIngestion-version", "CsvIngestion"])
def test_data_that_is_not_there_is_named_in_the_last_line(
    task, compiled, store, disk, monkeypatch, capsys
):
    recording = Recording("2.17.0", task)
    recording.lay_out(disk)
    arguments = _arguments(compiled, task, recording.executor_input)
    monkeypatch.setattr("sys.argv", ["container", *arguments])
    with pytest.raises(SystemExit) as end:
        container.main()
    assert end.value.code == DataError.exit_status
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"denoise: {task}: s3://models/data holds no files. A data folder holds train/*.csv[.gz] "
        "and test/*.csv[.gz], or images below train/ and test/, or span-N folders that do."
    )


def test_what_is_wrong_with_a_copied_file_is_said_of_its_uri(compiled, store, disk, tmp_path):
    csvs = clothing.write_csvs(tmp_path / "csvs", train=20, test=5)
    (csvs / "test" / "empty.csv").touch()
    object_store.upload(csvs, f"{store}/data")
    recording = Recording("2.17.0", "CsvIngestion")
    recording.lay_out(disk)
    with pytest.raises(
        DataError, match=r"^CsvIngestion: s3://models/data/test/empty\.csv is empty"
    ):
        container.run(_arguments(compiled, "CsvIngestion", recording.executor_input))


def test_an_error_that_is_not_ours_says_which_step_and_what_to_do(
    compiled, store, disk, monkeypatch, capsys
):
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    def run_executor(_):
        raise KeyError("weights")

    monkeypatch.setattr(kubeflow_v2_run_executor, "main", run_executor)
    recording = Recording("2.17.0", "Trainer")
    recording.lay_out(disk)
    arguments = _arguments(compiled, "Trainer", recording.executor_input)
    monkeypatch.setattr("sys.argv", ["container", *arguments])
    with pytest.raises(SystemExit) as end:
        container.main()
    assert end.value.code == RunError.exit_status
    *above, what, then = capsys.readouterr().err.splitlines()
    assert "KeyError: 'weights'" in above
    assert what == "denoise: Trainer failed: KeyError: 'weights'"
    assert "denoise compile --dry-run" in then


def test_an_output_that_the_step_lacks_is_a_pipeline_of_another_image(compiled, store, disk):
    given = Recording("2.17.0", "Trainer").executor_input
    del given["outputs"]["artifacts"]["model"]
    with pytest.raises(UsageError, match=r"^Trainer: .*no output model.*same image"):
        container.run(_arguments(compiled, "Trainer", given))


def test_an_output_file_in_a_store_is_written_where_it_is_mounted(compiled, store, disk, tmp_path):
    """On Vertex AI; KFP's launcher names a local file."""
    csvs = clothing.write_csvs(tmp_path / "csvs", train=20, test=5)
    given = Recording("2.17.0", "CsvIngestion-version").executor_input
    given["inputs"]["parameterValues"]["input_base"] = str(csvs)
    given["outputs"]["outputFile"] = "gs://b/run/executor_output.json"
    container.run(_arguments(compiled, "CsvIngestion-version", given))
    assert "data_version" in (disk / "gcs/b/run/executor_output.json").read_text()


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv(object_store.STAND_IN, str(tmp_path / "store"))
    return "s3://models"


def test_data_in_a_store_is_copied_and_of_spans_the_newest(store, tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=20, test=5)
    object_store.upload(data, f"{store}/flat")
    for span in ("02", "10"):
        object_store.upload(data, f"{store}/spans/span-{span}")

    for folder, wanted in (("flat", ""), ("spans", "span-10")):
        parameters = {"input_base": f"{store}/{folder}", "input_config": "as compiled"}
        here = tmp_path / f"copy-{folder}"
        container._with_local_data(parameters, str(here))
        assert parameters["input_base"] == os.path.join(here, wanted)
        assert {path.name for path in here.iterdir()} == ({wanted} if wanted else {"train", "test"})
        assert (here / wanted / "train").is_dir()
        splits = json.loads(parameters["input_config"])["splits"]
        assert [split["name"] for split in splits] == ["train", "test"]
        assert splits[0]["pattern"] == "train/[!.]*.[cC][sS][vV]*"


def test_the_data_version_changes_with_the_data(store, tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=20, test=5)
    object_store.upload(data, f"{store}/data")
    for location in (str(data), f"{store}/data"):

        def version(location=location):
            return dag.LATE["CsvIngestion"].find({"input_base": location}, {})

        before = version()
        assert version() == before
        if location == str(data):
            clothing.write_csvs(data, train=21, test=5)
        else:
            object_store.upload(data, location)
        assert version() != before


def test_images_in_a_store_are_copied_and_their_version_follows_them(store, tmp_path):
    photos = textures.write_folder(tmp_path / "photos" / "span-3", train=2, test=1)
    sections = json.dumps({"data": {"format": "images"}})
    location = f"{store}/photos"
    object_store.upload(photos.parent, location)
    parameters = {"input_base": location, "sections": sections}

    def version():
        return dag.LATE["ImageIngestion"].find({"input_base": location, "sections": sections}, {})

    first = version()
    container._with_local_data(parameters, str(tmp_path / "here"))
    assert parameters == {"input_base": str(tmp_path / "here" / "span-3"), "sections": sections}
    assert len(list((tmp_path / "here").rglob("*.png"))) == 3
    (photos / "train" / "00.png").write_bytes((photos / "train" / "01.png").read_bytes())
    object_store.upload(photos.parent, location)
    assert version() != first


def test_a_warm_start_is_cached_by_the_pushed_version(store, tmp_path):
    from components.csv_ingestion.result import DIRECTORY, SUMMARY_FILE, IngestionSummary
    from components.training import start

    rows = IngestionSummary(
        rows=0, examples={}, quarantined={}, span=2, files=[], ignored={}, fingerprint="02"
    )
    (tmp_path / DIRECTORY).mkdir()
    (tmp_path / DIRECTORY / SUMMARY_FILE).write_text(rows.model_dump_json())

    def version():
        parameters = {"serving": f"{store}/denoiser"}
        return dag.LATE["WarmStart"].find(parameters, {"examples": str(tmp_path)})

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
    parameters = {"schema_file": compile.schema_uri(settings)}
    container._with_local_schema(parameters, str(tmp_path))
    assert read_schema(parameters["schema_file"]) == make_schema(settings.image, settings.data)


def test_an_operator_changes_epochs_and_preset():
    custom_config = json.dumps({"training": {"epochs": 8}, "model": {"name": "unet"}})
    parameters = {"custom_config": custom_config, "epochs": 3.0, "preset": ""}
    container._with_settings("Trainer", parameters)
    assert json.loads(parameters["custom_config"])["training"]["epochs"] == 3
    assert set(parameters) == {"custom_config"}

    as_compiled = {"custom_config": custom_config, **names.AS_COMPILED}
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
