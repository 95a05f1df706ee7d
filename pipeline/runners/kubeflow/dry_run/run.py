"""Executes a compiled pipeline on this machine as open-source Kubeflow Pipelines 2 does.

What is imitated, by file of kubeflow/pipelines (August 2026):

- backend/src/v2/driver/resolve.go, driver.go: parameters are resolved and checked against their
  declared types; input artifacts come with an empty type; outputs get fresh URIs.
- backend/src/v2/cacheutils/cache.go: the cache's key is made of parameters, the identity of input
  artifacts, the types of outputs, image, command and arguments.
- backend/src/v2/component/launcher_v2.go: inputs are copied from the object store to local
  paths, `{{$}}` becomes the ExecutorInput as JSON, the command runs, its output file is parsed
  strictly, outputs found at their local paths are copied to the store. One that is missing is
  a warning.
- backend/src/v2/component/importer_launcher.go: importers only register a URI.
- backend/src/v2/metadata/converter.go: what of an artifact's metadata survives.
- `lifecycle.preCacheCheck` is ignored; so are images and resources, since nothing here starts
  containers.

Each task is a process of its own in an empty folder, with a bare environment: what is passed
other than through the ExecutorInput and the object store is missing here as on a cluster.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from components.base import object_store
from components.base.errors import RunError, UsageError
from components.base.files import write_json
from pipeline.runners.kubeflow import compile as kubeflow
from pipeline.runners.kubeflow.container import FOLDERS, ROOT

STORE_FOLDER = "store"
_PASSED_ON = (
    "AWS_",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
)
"""Environment a pod would be given too: access to the stores, the network and the GPUs."""
_LOG_LINES = 30
"""How much of a failed task's log an error shows."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact as KFP's metadata store has it."""

    id: int
    type: str
    """Its schema's title, such as `tfx.Model`."""
    uri: str
    metadata: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """What became of a task."""

    name: str
    state: str
    """done or cached."""
    seconds: float
    outputs: dict[str, Artifact]
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: str | None = None
    """Path of the file with what it printed; None where it did not run."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished dry run."""

    run: str
    tasks: list[Task]

    def artifact(self, type_: str) -> Artifact | None:
        """The newest artifact of a type."""
        found = [a for task in self.tasks for a in task.outputs.values() if a.type == type_]
        return found[-1] if found else None

    @property
    def blessed(self) -> bool:
        """Whether every blessing is one."""
        kinds = ("tfx.ModelBlessing", "tfx.InfraBlessing")
        found = [a for task in self.tasks for a in task.outputs.values() if a.type in kinds]
        return bool(found) and all(a.metadata.get("blessed") == 1 for a in found)

    @property
    def pushed(self) -> str | None:
        """Where the model was pushed to, if it was."""
        artifact = self.artifact("tfx.PushedModel")
        if artifact is None or artifact.metadata.get("pushed") != 1:
            return None
        return artifact.metadata.get("pushed_destination")


_Outputs = tuple[dict[str, Artifact], dict[str, Any]]
"""Artifacts and parameters by name."""


class _State:
    """KFP's metadata store and cache: one JSON file, written after each task."""

    def __init__(self, file: pathlib.Path):
        self._file = file
        try:
            self._values = json.loads(file.read_text())
        except FileNotFoundError:
            self._values = {"artifacts": [], "cache": {}}

    def add(self, type_: str, uri: str, metadata: dict[str, Any]) -> Artifact:
        artifact = Artifact(len(self._values["artifacts"]) + 1, type_, uri, metadata)
        self._values["artifacts"].append(dataclasses.asdict(artifact))
        return artifact

    def same(self, type_: str, uri: str) -> Artifact | None:
        """An artifact that was imported before."""
        for values in reversed(self._values["artifacts"]):
            if (values["type"], values["uri"]) == (type_, uri):
                return Artifact(**values)
        return None

    def cached(self, key: str) -> _Outputs | None:
        entry = self._values["cache"].get(key)
        if entry is None:
            return None
        artifacts = {
            name: Artifact(**self._values["artifacts"][number - 1])
            for name, number in entry["artifacts"].items()
        }
        return artifacts, entry["parameters"]

    def cache(
        self, key: str, outputs: Mapping[str, Artifact], parameters: Mapping[str, Any]
    ) -> None:
        self._values["cache"][key] = {
            "artifacts": {name: artifact.id for name, artifact in outputs.items()},
            "parameters": dict(parameters),
        }

    def save(self) -> None:
        write_json(self._file, self._values)


def run(
    compiled: pathlib.Path,
    folder: pathlib.Path,
    parameters: Mapping[str, str] | None = None,
    *,
    real_store: bool = False,
    started: Callable[[str], object] = lambda name: None,
    finished: Callable[[Task], object] = lambda task: None,
) -> Result:
    """Executes a compiled pipeline.

    Args:
      compiled: The YAML file, which is all that is known of the pipeline.
      folder: Keeps logs, the cache and, without `real_store`, the object store; a second run in
        it finds the first one's cache.
      parameters: Of the run.
      real_store: Take the object store of the URIs, with the environment's credentials, in
        place of a folder that stands in for it.
      started, finished: Called around each task.

    Raises:
      UsageError: the file is no pipeline that KFP runs, or a parameter is wrong.
      RunError: a task failed; it shows the end of the task's log.
    """
    spec = kubeflow.read(compiled)
    root = spec["root"]
    values = {
        name: declared["defaultValue"]
        for name, declared in root.get("inputDefinitions", {}).get("parameters", {}).items()
        if "defaultValue" in declared
    } | kubeflow.runtime_parameters(spec, parameters or {})

    folder = folder.resolve()
    run_id = uuid.uuid4().hex[:12]
    state = _State(folder / "state.json")
    before = os.environ.get(object_store.STAND_IN)
    if not real_store:
        os.environ[object_store.STAND_IN] = str(folder / STORE_FOLDER)
    tasks: dict[str, Task] = {}
    try:
        for name in _in_order(root["dag"]["tasks"]):
            started(name)
            begun = time.monotonic()
            given: dict[str, Any] = {}
            driver = _Driver(spec, name, values, tasks, run_id)
            state_of_task, log = "done", None
            if "importer" in driver.executor:
                outputs = _import(driver, state)
            else:
                inputs = driver.inputs()
                cache_key = driver.cache_key(inputs)
                cached = state.cached(cache_key) if cache_key else None
                if cached is not None:
                    (outputs, given), state_of_task = cached, "cached"
                else:
                    place = folder / "runs" / run_id / name
                    outputs, given = _launch(driver, inputs, place, state)
                    log = str(place / "log.txt")
                    if cache_key:
                        state.cache(cache_key, outputs, given)
            state.save()
            seconds = time.monotonic() - begun
            tasks[name] = Task(name, state_of_task, seconds, outputs, given, log)
            finished(tasks[name])
    finally:
        if not real_store:
            os.environ.pop(object_store.STAND_IN)
            if before is not None:
                os.environ[object_store.STAND_IN] = before
    return Result(run_id, list(tasks.values()))


def _in_order(tasks: Mapping[str, Any]) -> Iterator[str]:
    """Names of tasks, each after those it waits for."""
    waiting = {
        name: set(task.get("dependentTasks", [])) | set(_producers(task))
        for name, task in tasks.items()
    }
    while waiting:
        ready = sorted(name for name, others in waiting.items() if not others & set(waiting))
        if not ready:
            raise UsageError(f"The tasks {', '.join(sorted(waiting))} wait for each other.")
        yield ready[0]
        del waiting[ready[0]]


def _producers(task: Mapping[str, Any]) -> Iterator[str]:
    inputs = task.get("inputs", {})
    for value in inputs.get("artifacts", {}).values():
        if "taskOutputArtifact" in value:
            yield value["taskOutputArtifact"]["producerTask"]
    for value in inputs.get("parameters", {}).values():
        if "taskOutputParameter" in value:
            yield value["taskOutputParameter"]["producerTask"]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)


_TYPES: dict[str, tuple[type, ...]] = {
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


class _Driver:
    """One task with its inputs resolved: what KFP's driver does."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        name: str,
        run_parameters: Mapping[str, Any],
        finished: Mapping[str, Task],
        run_id: str,
    ):
        self.name = name
        self._task = spec["root"]["dag"]["tasks"][name]
        self.component = spec["components"][self._task["componentRef"]["name"]]
        label = self.component["executorLabel"]
        self.executor = spec["deploymentSpec"]["executors"][label]
        self._run_parameters = run_parameters
        self._finished = finished
        pipeline_root = spec["defaultPipelineRoot"].rstrip("/")
        self._uri = f"{pipeline_root}/{spec['pipelineInfo']['name']}/{run_id}/{name}/{uuid.uuid4()}"

    def parameter(self, given: Mapping[str, Any]) -> Any:
        """A parameter's value."""
        if "componentInputParameter" in given:
            wanted = given["componentInputParameter"]
            if wanted not in self._run_parameters:
                raise RunError(f"{self.name}: the run has no parameter {wanted}.")
            return self._run_parameters[wanted]
        if "constant" in given.get("runtimeValue", {}):
            return given["runtimeValue"]["constant"]
        if "taskOutputParameter" in given:
            source = given["taskOutputParameter"]
            return self._finished[source["producerTask"]].parameters[source["outputParameterKey"]]
        raise RunError(f"{self.name}: KFP cannot resolve the parameter {dict(given)}.")

    def inputs(self) -> dict[str, Any]:
        """`inputs` of the ExecutorInput."""
        given = self._task.get("inputs", {})
        values = {name: self.parameter(v) for name, v in given.get("parameters", {}).items()}
        declared = self.component.get("inputDefinitions", {})
        for name, declaration in declared.get("parameters", {}).items():
            if name not in values:
                if "defaultValue" in declaration:
                    values[name] = declaration["defaultValue"]
                elif not declaration.get("isOptional"):
                    raise RunError(f"{self.name}: the parameter {name} has no value.")
                continue
            kind = declaration["parameterType"]
            if kind == "STRING":
                values[name] = _as_text(values[name])
            elif not isinstance(values[name], _TYPES[kind]):
                raise RunError(f"{self.name}: {name}={values[name]!r} is no {kind}.")
        artifacts = {}
        for name, value in given.get("artifacts", {}).items():
            source = value["taskOutputArtifact"]
            artifact = self._finished[source["producerTask"]].outputs[source["outputArtifactKey"]]
            artifacts[name] = {
                "artifacts": [
                    {
                        "name": str(artifact.id),
                        "uri": artifact.uri,
                        "metadata": artifact.metadata,
                        # The schema is not kept with the artifact.
                        "type": {"instanceSchema": ""},
                    }
                ]
            }
        return {"parameterValues": values, "artifacts": artifacts}

    def outputs(self, place: pathlib.Path) -> dict[str, Any]:
        """`outputs` of the ExecutorInput."""
        declared = self.component.get("outputDefinitions", {})
        files = place / "kfp" / "outputs"
        artifacts = {}
        for name, declaration in declared.get("artifacts", {}).items():
            artifact = {"uri": f"{self._uri}/{name}", "type": declaration["artifactType"]}
            if "metadata" in declaration:
                artifact["metadata"] = declaration["metadata"]
            artifacts[name] = {"artifacts": [artifact]}
        return {
            "artifacts": artifacts,
            "parameters": {
                name: {"outputFile": str(files / name)} for name in declared.get("parameters", {})
            },
            "outputFile": str(place / "kfp_outputs" / "output_metadata.json"),
        }

    def cache_key(self, inputs: Mapping[str, Any]) -> str | None:
        """Of the task's result; None where it is not to be cached."""
        if not self._task.get("cachingOptions", {}).get("enableCache"):
            return None
        container = self.executor["container"]
        outputs = self.component.get("outputDefinitions", {}).get("artifacts", {})
        decides = [
            inputs["parameterValues"],
            {name: [a["name"] for a in v["artifacts"]] for name, v in inputs["artifacts"].items()},
            {name: [v["artifactType"], v.get("metadata")] for name, v in outputs.items()},
            self.component.get("outputDefinitions", {}).get("parameters", {}),
            container["image"],
            [*container.get("command", []), *container.get("args", [])],
            container.get("env", []),
        ]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _title(artifact_type: Mapping[str, str]) -> str:
    import yaml

    if "schemaTitle" in artifact_type:
        return artifact_type["schemaTitle"]
    return yaml.safe_load(artifact_type["instanceSchema"])["title"]


def _import(driver: _Driver, state: _State) -> dict[str, Artifact]:
    importer = driver.executor["importer"]
    source = importer["artifactUri"]
    if "runtimeParameter" in source:
        inputs = driver.inputs()["parameterValues"]
        uri = inputs[source["runtimeParameter"]]
    else:
        uri = source["constant"]
    ((output, declaration),) = driver.component["outputDefinitions"]["artifacts"].items()
    title = _title(declaration["artifactType"])
    known = None if importer.get("reimport") else state.same(title, uri)
    return {output: known or state.add(title, uri, importer.get("metadata", {}))}


def _launch(
    driver: _Driver, inputs: dict[str, Any], place: pathlib.Path, state: _State
) -> _Outputs:
    """What KFP's launcher does in the container."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    disk = place / "disk"
    for name in ("work", "home", "tmp"):
        (place / name).mkdir(parents=True)
    outputs = driver.outputs(place)
    output_file = pathlib.Path(outputs["outputFile"])
    executor_input = {"inputs": inputs, "outputs": outputs}
    # Through the message: what it does not know would not reach the container either.
    message = json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput())
    text = json_format.MessageToJson(message, indent=None)
    write_json(place / "executor_input.json", json.loads(text))

    for of_input in inputs["artifacts"].values():
        uri = of_input["artifacts"][0]["uri"]
        object_store.download(uri, _on(disk, uri))
    for of_output in outputs["artifacts"].values():
        _on(disk, of_output["artifacts"][0]["uri"]).parent.mkdir(parents=True, exist_ok=True)

    for of_parameter in outputs["parameters"].values():
        pathlib.Path(of_parameter["outputFile"]).parent.mkdir(parents=True, exist_ok=True)
    container = driver.executor["container"]
    command = [
        argument.replace("{{$}}", text)
        for argument in [*container["command"], *container.get("args", [])]
    ]
    _execute(driver.name, command, place, disk)

    written: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    if output_file.exists():
        try:
            json_format.Parse(output_file.read_text(), pipeline_spec_pb2.ExecutorOutput())
        except json_format.ParseError as error:
            raise RunError(f"{driver.name}: KFP would refuse {output_file}: {error}") from error
        output = json.loads(output_file.read_text())
        written, parameters = output.get("artifacts", {}), output.get("parameterValues", {})
    for name, of_parameter in outputs["parameters"].items():
        if name not in parameters:
            try:
                text = pathlib.Path(of_parameter["outputFile"]).read_text()
            except OSError as error:
                raise RunError(f"{driver.name}: the parameter {name} was not put out.") from error
            kind = driver.component["outputDefinitions"]["parameters"][name]["parameterType"]
            parameters[name] = text if kind == "STRING" else json.loads(text)
    result = {}
    for name, of_output in outputs["artifacts"].items():
        artifact = of_output["artifacts"][0]
        for change in written.get(name, {}).get("artifacts", [])[:1]:
            artifact["uri"] = change.get("uri") or artifact["uri"]
            artifact["metadata"] = {**artifact.get("metadata", {}), **change.get("metadata", {})}
        if not object_store.is_remote(artifact["uri"]):
            with (place / "log.txt").open("a") as log:
                log.write(f"launcher: {name}: {artifact['uri']} is no URI KFP could upload to\n")
        elif _on(disk, artifact["uri"]).exists():
            object_store.upload(_on(disk, artifact["uri"]), artifact["uri"])
        metadata = {
            key: _kept(driver.name, name, key, value)
            for key, value in artifact.get("metadata", {}).items()
        }
        metadata = {"display_name": name, "store_session_info": "{}"} | metadata
        result[name] = state.add(_title(artifact["type"]), artifact["uri"], metadata)
    for folder in (disk, place / "work", place / "home", place / "tmp"):
        shutil.rmtree(folder, ignore_errors=True)
    return result, parameters


def _on(disk: pathlib.Path, uri: str) -> pathlib.Path:
    scheme, bucket, key = object_store.split(uri)
    return disk / FOLDERS[scheme] / bucket / key


def _kept(task: str, output: str, key: str, value: Any) -> Any:
    """A metadata value after it has been through the metadata store."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return {"list": value}
    if isinstance(value, dict):
        return {"struct": value}
    if value is None:
        raise RunError(f"{task}: KFP refuses metadata without a value: {output}.{key}.")
    return value


def _environment(place: pathlib.Path, disk: pathlib.Path) -> dict[str, str]:
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name == object_store.STAND_IN or name.startswith(_PASSED_ON)
    }
    own = pathlib.Path(sys.executable).parent
    return {
        **passed_on,
        "PATH": os.pathsep.join([str(own), os.defpath]),
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "LANG": "C.UTF-8",
        ROOT: str(disk),
    }


def _execute(name: str, command: Iterable[str], place: pathlib.Path, disk: pathlib.Path) -> None:
    log = place / "log.txt"
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=place / "work",
                env=_environment(place, disk),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RunError(f"{name}: its command cannot be started: {error}") from error
        try:
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if status:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        raise RunError(
            f"{name} failed: its command ended with status {status}. The whole log: {log}\n"
            + "\n".join(f"  {line}" for line in lines)
        )
