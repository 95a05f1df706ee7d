"""The dry run on small pipelines of its own: what KFP does, what it would refuse, and what KFP's
own driver and launcher were seen to do.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap

import pytest
import yaml

from components.base import object_store
from components.base.errors import RunError, UsageError
from pipeline.runners.kubeflow import names
from pipeline.runners.kubeflow.dry_run import run as dry_run
from pipeline.runners.kubeflow.dry_run.driver import Driver
from pipeline.runners.kubeflow.dry_run.launcher import LOG, Launcher
from pipeline.runners.kubeflow.dry_run.state import Artifact, Outputs, State
from tests.pipeline.runners.kubeflow.recordings import TASKS, Recording

MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
READ = "import json, os, pathlib, sys; given = json.loads(sys.argv[1]);"
LOCAL = (
    "disk = lambda path: pathlib.Path(os.environ['DENOISE_LAUNCHER_ROOT'] + path);"
    "local = lambda a: disk('/' + a['artifacts'][0]['uri'].replace('://', '/'));"
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
PUT_OUT = """
file = disk(given['outputs']['outputFile'])
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps(%s))
"""
METADATA = PUT_OUT % "{'artifacts': {'model': {'artifacts': [{'metadata': %s}]}}}"
PARAMETER = PUT_OUT % "{'parameterValues': {'tag': 'v1'}}"


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
        PARAMETER,
        puts_out=["tag"],
    )
    source = {"taskOutputParameter": {"producerTask": "a", "outputParameterKey": "tag"}}
    pipeline.task(
        "b",
        "assert given['inputs']['parameterValues'] == {'tag': 'v1', 'epochs': 3}",
        given={
            "tag": ("STRING", source),
            "epochs": ("NUMBER_INTEGER", {"componentInputParameter": "epochs"}),
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


def test_metadata_comes_back_as_the_metadata_store_keeps_it(pipeline):
    pipeline.task("a", WRITE + METADATA % "{'blessed': 1, 'yes': True}", writes=["model"])
    metadata = pipeline.run().artifact("tfx.Model").metadata
    assert (metadata["blessed"], metadata["yes"], metadata["display_name"]) == (1, 1, "model")
    session = json.loads(metadata["store_session_info"])
    assert session == {"Provider": "s3", "Params": {"fromEnv": "true"}}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('the reason'); sys.exit(3)", r"a failed: .*status 3.*log\.txt\n.*the reason"),
        ("import no_such_module", "No module named 'no_such_module'"),
        (METADATA % "{'x': None}", "refuses the output model: metadata without a value: x"),
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


def test_every_task_has_its_log_in_the_store_also_one_that_fails(pipeline, tmp_path):
    pipeline.task("a", "print('first')").task("b", "print('the reason'); sys.exit(3)", after=["a"])
    with pytest.raises(RunError, match="b failed"):
        pipeline.run()
    logs = (tmp_path / "dry-run/store/s3").rglob("executor-logs-0")
    assert sorted(log.read_text() for log in logs) == ["first\n", "the reason\n"]
    state = json.loads((tmp_path / "dry-run/state.json").read_text())
    assert [a["type"] for a in state["artifacts"]] == ["system.Artifact"]


def test_a_task_without_a_value_that_it_declares_is_refused(pipeline):
    pipeline.task("a", "")
    component = pipeline.spec["components"]["a"]
    component["inputDefinitions"]["parameters"]["p"] = {"parameterType": "STRING"}
    with pytest.raises(UsageError, match="a: parameter p has no value"):
        pipeline.run()


def test_a_parameter_that_a_task_does_not_put_out_is_named(pipeline):
    pipeline.task("a", "", puts_out=["tag"])
    with pytest.raises(RunError, match="a: the parameter tag was not put out"):
        pipeline.run()


def test_tasks_that_wait_for_each_other_are_refused(pipeline):
    pipeline.task("a", "", after=["b"]).task("b", "", after=["a"])
    with pytest.raises(UsageError, match="wait for each other"):
        pipeline.run()


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("NUMBER_INTEGER", "three", "is no NUMBER_INTEGER"),
        ("STRING", 5, "is no STRING"),
        ("BOOLEAN", 1, "a: parameter p is a BOOLEAN"),
        ("STRING", {"componentInputParameter": "x"}, "has no parameter x"),
        ("STRING", {"runtimeValue": {"runtimeParameter": "x"}}, "no constant value"),
    ],
)
def test_a_parameter_kfp_cannot_resolve_is_refused(pipeline, kind, value, message):
    pipeline.task("a", "", given={"p": (kind, value)})
    with pytest.raises((RunError, UsageError), match=message):
        pipeline.run()


PRINT_TREE = """
root = os.environ['DENOISE_LAUNCHER_ROOT']
found = [(kind, os.path.join(folder, name)[len(root):]) for folder, folders, files in os.walk(root)
         for kind, of_kind in (('d', folders), ('f', files)) for name in of_kind]
print(json.dumps({'argument': sys.argv[1], 'tree': found}))
file = disk(given['outputs']['outputFile'])
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps({'parameterValues': {'data_version': '1'}}))
"""


class Replay:
    """A recorded task as a pipeline of its own, with what was there before it."""

    def __init__(self, recording, folder):
        self.recorded = recording.executor_input
        self.recording = recording
        self.folder = folder
        outputs = self.recorded["outputs"]
        uri = next(iter(outputs["artifacts"].values()))["artifacts"][0]["uri"]
        *root, self.pipeline, self.run, self.task, self.salt, _ = uri.split("/")
        self.root = "/".join(root)
        self.finished = {
            f"Maker-of-{name}": Outputs({"out": self._artifact(of_name["artifacts"][0])}, {})
            for name, of_name in self.recorded["inputs"].get("artifacts", {}).items()
        }

    @staticmethod
    def _artifact(known):
        return Artifact(int(known["name"]), "tfx.Any", known["uri"], known["metadata"])

    @property
    def spec(self):
        values = self.recorded["inputs"]["parameterValues"]
        outputs = self.recorded["outputs"]
        pipeline = Pipeline(self.folder)
        pipeline.task(
            self.task,
            PRINT_TREE,
            reads=[(maker.removeprefix("Maker-of-"), maker, "out") for maker in self.finished],
            # A number comes out of the metadata store as a double.
            given={
                name: ("STRING", value)
                if isinstance(value, str)
                else ("NUMBER_INTEGER", float(value))
                for name, value in values.items()
            },
            puts_out=outputs.get("parameters", {}),
        )
        component = pipeline.spec["components"][self.task]
        component["outputDefinitions"]["artifacts"] = {
            name: {"artifactType": of_name["artifacts"][0]["type"]}
            for name, of_name in outputs["artifacts"].items()
            if name != names.LOGS
        }
        pipeline.spec["pipelineInfo"]["name"] = self.pipeline
        pipeline.spec["defaultPipelineRoot"] = self.root
        return pipeline.spec

    def fill_store(self, store):
        """Puts the files of the inputs where the launcher fetches them."""
        for kind, path in self.recording.before:
            if kind == "f" and names.LOGS not in path:
                file = store / path.lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(path)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_given_what_kfp_was_seen_to_give_it(task, tmp_path, monkeypatch):
    """Field by field, and file by file: the next release's difference is a failing test."""
    monkeypatch.setenv(object_store.STAND_IN, str(tmp_path / "store"))
    replay = Replay(Recording(dry_run.FOLLOWS, task), tmp_path)
    replay.fill_store(tmp_path / "store")
    driver = Driver(replay.spec, {}, replay.run)
    given = driver.executor_input(task, replay.finished, replay.salt)
    place = tmp_path / "place"
    launcher = Launcher(task, given, place, State(tmp_path / "state.json"))
    launcher.run(driver.container(task))

    seen = json.loads((place / LOG).read_text().splitlines()[0])
    # As text: whole numbers are integers.
    expected = json.dumps(replay.recorded, sort_keys=True)
    assert json.dumps(json.loads(seen["argument"]), sort_keys=True) == expected
    tree = {tuple(found) for found in seen["tree"]}
    assert tree - {("d", "/s3"), ("d", "/tmp")} == set(replay.recording.before)
