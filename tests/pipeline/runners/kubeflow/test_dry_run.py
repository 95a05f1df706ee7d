"""The dry run on small pipelines of its own: what KFP does, and what it would refuse."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap

import pytest
import yaml

from components.base.errors import RunError, UsageError
from pipeline.runners.kubeflow.dry_run import run as dry_run

MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
READ = "import json, os, pathlib, sys; given = json.loads(sys.argv[1]);"
LOCAL = (
    "local = lambda a: pathlib.Path(os.environ['DENOISE_LAUNCHER_ROOT'], 's3', "
    "a['artifacts'][0]['uri'].removeprefix('s3://'));"
)


class Pipeline:
    """Puts a PipelineSpec of `python -c` tasks together."""

    def __init__(self, folder):
        self.folder = folder
        self.spec = {
            "pipelineInfo": {"name": "tiny"},
            "schemaVersion": "2.1.0",
            "defaultPipelineRoot": "s3://models/root",
            "root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": {}}},
            "components": {},
            "deploymentSpec": {"executors": {}},
        }

    def parameter(self, name, kind, default):
        parameters = self.spec["root"]["inputDefinitions"]["parameters"]
        parameters[name] = {"parameterType": kind, "defaultValue": default}

    def task(
        self, name, code, *, reads=(), writes=(), given=None, puts_out=(), cache=True, after=()
    ):
        """Adds a task; `reads` are (input, producer, output), `given` (kind, value) by name."""
        given = given or {}
        self.spec["components"][name] = {
            "executorLabel": f"{name}_executor",
            "inputDefinitions": {
                "artifacts": {key: {"artifactType": MODEL} for key, _, _ in reads},
                "parameters": {key: {"parameterType": kind} for key, (kind, _) in given.items()},
            },
            "outputDefinitions": {
                "artifacts": {key: {"artifactType": MODEL} for key in writes},
                "parameters": {key: {"parameterType": "STRING"} for key in puts_out},
            },
        }
        self.spec["deploymentSpec"]["executors"][f"{name}_executor"] = {
            "container": {
                "image": "image",
                "command": ["python", "-c", READ + LOCAL + textwrap.dedent(code)],
                "args": ["{{$}}"],
                "lifecycle": {"preCacheCheck": {"command": ["false"]}},
            }
        }
        self.spec["root"]["dag"]["tasks"][name] = {
            "taskInfo": {"name": name},
            "componentRef": {"name": name},
            "cachingOptions": {"enableCache": True} if cache else {},
            "dependentTasks": list(after),
            "inputs": {
                "artifacts": {
                    key: {"taskOutputArtifact": {"producerTask": p, "outputArtifactKey": o}}
                    for key, p, o in reads
                },
                "parameters": {
                    key: value if isinstance(value, dict) else {"runtimeValue": {"constant": value}}
                    for key, (_, value) in given.items()
                },
            },
        }
        return self

    def run(self, parameters=None, **options):
        file = self.folder / "pipeline.yaml"
        file.write_text(yaml.safe_dump(self.spec))
        return dry_run.run(file, self.folder / "dry-run", parameters, **options)

    def states(self, parameters=None):
        return {task.name: task.state for task in self.run(parameters).tasks}


WRITE = """
out = local(given['outputs']['artifacts']['model'])
out.mkdir()
(out / 'weights').write_text('7')
"""
METADATA = """
file = pathlib.Path(given['outputs']['outputFile'])
file.parent.mkdir(parents=True)
file.write_text(json.dumps({'artifacts': {'model': {'artifacts': [{'metadata': %s}]}}}))
"""


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(tmp_path)


def test_tasks_pass_artifacts_through_the_store_alone(pipeline, tmp_path):
    pipeline.task("b", "print(given)", reads=[("model", "a", "model")])
    pipeline.task("a", WRITE, writes=["model"])
    result = pipeline.run()

    assert [task.name for task in result.tasks] == ["a", "b"]
    artifact = result.artifact("tfx.Model")
    stored = tmp_path / "dry-run/store/s3" / artifact.uri.removeprefix("s3://")
    assert (stored / "weights").read_text() == "7"
    place = pathlib.Path(result.tasks[1].log).parent
    given = json.loads((place / "executor_input.json").read_text())
    (received,) = given["inputs"]["artifacts"]["model"]["artifacts"]
    assert received["uri"] == artifact.uri
    assert not received["type"]["instanceSchema"], "KFP's driver does not know an input's type"


def test_a_task_finds_its_inputs_on_disk_and_else_nothing(pipeline, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    pipeline.task("a", WRITE, writes=["model"])
    pipeline.task(
        "b",
        """
        assert (local(given['inputs']['artifacts']['model']) / 'weights').read_text() == '7'
        assert not os.listdir('.')
        assert not os.listdir(os.environ['HOME'])
        assert 'PYTHONPATH' not in os.environ
        assert os.environ['AWS_ACCESS_KEY_ID'] == 'key'
        """,
        reads=[("model", "a", "model")],
    )
    assert [task.state for task in pipeline.run().tasks] == ["done", "done"]


def test_parameters_come_from_the_run_and_from_tasks(pipeline):
    pipeline.parameter("epochs", "NUMBER_INTEGER", 2)
    pipeline.task(
        "a",
        "pathlib.Path(given['outputs']['parameters']['tag']['outputFile']).write_text('v1')",
        puts_out=["tag"],
    )
    source = {"taskOutputParameter": {"producerTask": "a", "outputParameterKey": "tag"}}
    pipeline.task(
        "b",
        "assert given['inputs']['parameterValues'] == {'tag': 'v1', 'epochs': 3.0, 'text': '5'}",
        given={
            "tag": ("STRING", source),
            "epochs": ("NUMBER_INTEGER", {"componentInputParameter": "epochs"}),
            "text": ("STRING", 5),
        },
    )
    assert pipeline.states({"epochs": "3"}) == {"a": "done", "b": "done"}
    with pytest.raises(RunError, match="b failed"):
        pipeline.run()


def test_the_cache_obeys_its_keys(pipeline):
    pipeline.parameter("epochs", "NUMBER_INTEGER", 2)
    epochs = {"epochs": ("NUMBER_INTEGER", {"componentInputParameter": "epochs"})}
    pipeline.task("a", WRITE, writes=["model"], given=epochs)
    pipeline.task("b", "", reads=[("model", "a", "model")])
    pipeline.task("c", "", cache=False)

    assert set(pipeline.states().values()) == {"done"}
    json.dumps(dataclasses.asdict(pipeline.run()))
    assert pipeline.states() == {"a": "cached", "b": "cached", "c": "done"}
    # Another parameter makes another model, so what reads it runs again.
    assert pipeline.states({"epochs": "3"}) == {"a": "done", "b": "done", "c": "done"}
    assert pipeline.states() == {"a": "cached", "b": "cached", "c": "done"}
    executors = pipeline.spec["deploymentSpec"]["executors"]
    executors["b_executor"]["container"]["image"] = "image:2"
    assert pipeline.states() == {"a": "cached", "b": "done", "c": "done"}


def test_importers_register_a_uri_and_run_nothing(pipeline):
    pipeline.task("b", "print(given)", reads=[("model", "a", "model")])
    pipeline.task("a", "", writes=["model"])
    pipeline.spec["deploymentSpec"]["executors"]["a_executor"] = {
        "importer": {"artifactUri": {"constant": "s3://models/known"}, "typeSchema": MODEL}
    }
    first, second = pipeline.run(), pipeline.run()

    assert first.artifact("tfx.Model").uri == "s3://models/known"
    assert first.artifact("tfx.Model").id == second.artifact("tfx.Model").id
    assert second.tasks[1].state == "cached"


def test_metadata_comes_back_as_the_metadata_store_keeps_it(pipeline):
    pipeline.task("a", WRITE + METADATA % "{'blessed': 1, 'yes': True}", writes=["model"])
    metadata = pipeline.run().artifact("tfx.Model").metadata
    assert (metadata["blessed"], metadata["yes"], metadata["display_name"]) == (1, 1, "model")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('the reason'); sys.exit(3)", r"a failed: .*status 3.*log\.txt\n.*the reason"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (METADATA % "{'x': None}", r"refuses metadata without a value: model\.x"),
        (METADATA.replace("artifacts'", "artefacts'") % "{}", "KFP would refuse"),
    ],
)
def test_a_failure_shows_the_task_and_its_log(pipeline, code, message):
    pipeline.task("a", code, writes=["model"])
    pipeline.task("b", "", reads=[("model", "a", "model")])
    with pytest.raises(RunError, match=f"(?s){message}"):
        pipeline.run()
    assert not list((pipeline.folder / "dry-run/runs").glob("*/b"))


def test_an_output_that_is_missing_is_no_error_but_a_local_path_is_noted(pipeline):
    code = METADATA.replace("'metadata': %s", "'uri': '/tmp/model'")
    pipeline.task("a", code, writes=["model"])
    pipeline.task("b", "")
    (a, _) = pipeline.run().tasks
    assert "/tmp/model is no URI" in pathlib.Path(a.log).read_text()


def test_tasks_that_wait_for_each_other_are_refused(pipeline):
    pipeline.task("a", "", after=["b"]).task("b", "", after=["a"])
    with pytest.raises(UsageError, match="wait for each other"):
        pipeline.run()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("NUMBER_INTEGER", "three", "is no NUMBER_INTEGER"),
        ("BOOLEAN", 1, "is no BOOLEAN"),
        ("STRING", {"componentInputParameter": "x"}, "has no parameter x"),
        ("STRING", {"runtimeValue": {"runtimeParameter": "x"}}, "no constant value"),
    ],
)
def test_a_parameter_kfp_cannot_resolve_is_refused(pipeline, kind, value, message):
    pipeline.task("a", "", given={"p": (kind, value)})
    with pytest.raises((RunError, UsageError), match=message):
        pipeline.run()
