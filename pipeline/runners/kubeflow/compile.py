"""Compiles the DAG for open-source Kubeflow Pipelines 2, checks what was compiled, submits it.

What that backend does with a compiled pipeline is described in docs/kubeflow.md, with the
files of its source; `pipeline.dry_run` does the same on one machine.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import datetime
import json
import os
import pathlib
import re
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from components.base.errors import RunError, UsageError
from components.base.settings import Settings
from pipeline import dag
from pipeline.runners.kubeflow.container import AS_COMPILED, COMMAND, DATA_VERSION, EPOCHS, PRESET

SCHEMA_VERSION = "2.1.0"
"""The only one KFP's API server takes (backend/src/apiserver/template/v2_template.go)."""
DATA = "data"
_PLACES = ("input_base", "push_destination", "serving", "data_folder")
"""Parameters of steps that say where, and so do not depend on the settings."""
VERSIONED = {"CsvIngestion": DATA_VERSION, "PushedModel": "version", "WarmStart": "version"}
"""Steps whose result depends on more than their inputs, with the parameter that says on what.
KFP ignores TFX's drivers, and would answer these steps from its cache when data or pushed models
changed; so each gets a task before it that looks, and is never answered from the cache."""
VERSION_TASK = "-version"
_ADDED_BY_KFP = "-driver"
"""KFP's compiler puts a task of this ending before each (argocompiler/dag.go)."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TASK_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_EXECUTORS = ("container", "importer")


@dataclasses.dataclass(frozen=True)
class Locations:
    """Where a pipeline on Kubeflow reads and writes."""

    pipeline_root: str
    """URI under which KFP keeps artifacts."""
    data: str
    """The data folder, a URI or a path mounted into the pods."""
    serving: str
    """The serving folder, the same."""

    @classmethod
    def under(
        cls, pipeline_root: str, data: str | None = None, serving: str | None = None
    ) -> Locations:
        """Takes folders under the pipeline root for what is not given.

        Raises:
          UsageError: KFP cannot keep artifacts there.
        """
        from components.base import object_store

        try:
            object_store.split(pipeline_root)
        except ValueError as error:
            raise UsageError(f"--pipeline-root: {error}.") from error
        root = pipeline_root.rstrip("/")
        return cls(root, data or f"{root}/data", serving or f"{root}/serving/denoiser")


def compile(settings: Settings, image: str, locations: Locations) -> dict[str, Any]:
    """Compiles the DAG to a PipelineSpec of schema 2.1.0.

    Args:
      settings: Everything that decides the result, and what each step's pod asks for.
      image: Container image of every step that `kubeflow.steps` gives no other.
      locations: Where to read and write.

    Returns:
      The PipelineSpec as plain values, checked.

    Raises:
      UsageError: the DAG holds what open-source KFP does not implement.
    """
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    places = dag.Places(
        data=RuntimeParameter(name=DATA, ptype=str, default=locations.data),  # type: ignore[arg-type]
        spans=False,
        schema=schema_uri(settings),
        serving=locations.serving,
        pipeline_root=locations.pipeline_root,
    )
    tfx_pipeline = dag.build(settings, places)
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    try:
        job = runner.run(tfx_pipeline, write_out=False)
    except NotImplementedError as error:
        raise UsageError(f"The DAG cannot be compiled for Kubeflow: {error}") from error
    spec = job["pipelineSpec"]
    check(spec)
    spec["defaultPipelineRoot"] = locations.pipeline_root
    for name in [name for name in VERSIONED if name in spec["root"]["dag"]["tasks"]]:
        _add_version_task(name, spec)
    for name, task in spec["root"]["dag"]["tasks"].items():
        _finish_step(name, task, spec, settings)
    defaults = {DATA: locations.data, **AS_COMPILED}
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    for name, default in defaults.items():
        parameters[name] = {
            "parameterType": "STRING" if isinstance(default, str) else "NUMBER_INTEGER",
            "defaultValue": default,
            "isOptional": True,
            "description": _DESCRIPTIONS[name],
        }
    check(spec)
    return spec


_DESCRIPTIONS = {
    DATA: "Folder with train/*.csv[.gz] and test/*.csv[.gz], or span-N folders of those.",
    PRESET: "A preset of the image in place of the settings compiled in; empty: those.",
    EPOCHS: "Epochs to train; 0: as the settings say.",
}


def schema_uri(settings: Settings) -> str:
    """The schema itself as a `data:` URI (RFC 2397): the pipeline needs no file beside it."""
    from google.protobuf import text_format

    from components.data_validation.schema import make_schema, read_schema

    if settings.data.schema_file is not None:
        schema = read_schema(settings.data.schema_file)
    else:
        schema = make_schema(settings.image, settings.data)
    text = text_format.MessageToString(schema).encode()
    return f"data:text/plain;base64,{base64.b64encode(text).decode()}"


def _add_version_task(name: str, spec: dict[str, Any]) -> None:
    """Puts a task before a step that finds what it depends on (`container.version`)."""
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    executors = spec["deploymentSpec"]["executors"]
    task, component = tasks[name], components[name]
    looking, parameter = f"{name}{VERSION_TASK}", VERSIONED[name]
    components[looking] = {
        "executorLabel": f"{looking}_executor",
        "inputDefinitions": copy.deepcopy(component["inputDefinitions"]),
        "outputDefinitions": {"parameters": {parameter: {"parameterType": "STRING"}}},
    }
    executors[f"{looking}_executor"] = {
        "container": {
            "image": executors[component["executorLabel"]]["container"]["image"],
            "args": [
                "--version-as",
                parameter,
                "--json_serialized_invocation_args",
                "{{$}}",
                "--json_serialized_inputs_spec_args",
                "",
            ],
        }
    }
    tasks[looking] = {
        "taskInfo": {"name": looking},
        "componentRef": {"name": looking},
        "inputs": copy.deepcopy(task["inputs"]),
        "dependentTasks": list(task.get("dependentTasks", [])),
        "cachingOptions": {},
    }
    component["inputDefinitions"]["parameters"][parameter] = {"parameterType": "STRING"}
    task["inputs"]["parameters"][parameter] = {
        "taskOutputParameter": {"producerTask": looking, "outputParameterKey": parameter}
    }
    task["dependentTasks"] = [*task.get("dependentTasks", []), looking]


def _finish_step(name: str, task: dict[str, Any], spec: dict[str, Any], settings: Settings) -> None:
    """Adds to a step what TFX's compiler knows nothing of."""
    component = spec["components"][task["componentRef"]["name"]]
    executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
    if "container" not in executor:
        return
    container = executor["container"]
    step = name.removesuffix(VERSION_TASK)
    container["command"] = [*COMMAND, "--step", step]

    declared = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    given = task.setdefault("inputs", {}).setdefault("parameters", {})
    settable = [PRESET] if declared else []
    if "custom_config" in declared and name == "Trainer":
        settable.append(EPOCHS)
    for parameter in settable:
        kind = "STRING" if parameter == PRESET else "NUMBER_INTEGER"
        declared[parameter] = {"parameterType": kind}
        given[parameter] = {"componentInputParameter": parameter}
    arguments = container["args"]
    at = arguments.index("--json_serialized_inputs_spec_args") + 1
    arguments[at] = json.dumps(component["inputDefinitions"], sort_keys=True)

    wanted = settings.kubeflow.resources(step)
    resources: dict[str, Any] = {}
    if wanted.cpu is not None:
        resources |= {"cpuRequest": wanted.cpu, "cpuLimit": wanted.cpu}
    if wanted.memory_gb is not None:
        resources |= {"memoryRequest": wanted.memory_gb, "memoryLimit": wanted.memory_gb}
    if wanted.gpus:
        resources["accelerator"] = {"type": settings.kubeflow.gpu, "count": str(wanted.gpus)}
    if resources:
        container["resources"] = resources
    if wanted.image:
        container["image"] = wanted.image


def step_parameters(step: str, settings: Settings, keep: Mapping[str, Any]) -> dict[str, Any]:
    """What the DAG gives a step as parameters under other settings.

    Args:
      step: Its name.
      settings: The other settings.
      keep: The parameters it has; only these are returned, and not those that say where.

    Returns:
      Nothing for a step that there is not under these settings.
    """
    from google.protobuf import json_format
    from tfx.orchestration.kubeflow.v2 import compiler_utils

    if step == "Tuner":
        # It is compiled in: it tunes for the other settings, whether or not they ask for it.
        tuner = settings.tuner.model_copy(update={"enabled": True})
        settings = settings.model_copy(update={"tuner": tuner})
    places = dag.Places(
        data="", spans=False, schema=schema_uri(settings), serving="", pipeline_root=""
    )
    steps = {component.id: component for component in dag.components(settings, places)}
    if step not in steps:
        return {}
    converted = {
        name: compiler_utils.value_converter(value)
        for name, value in steps[step].exec_properties.items()
    }
    values = {
        name: json_format.MessageToDict(value)["constant"]
        for name, value in converted.items()
        if value is not None
    }
    return {name: value for name, value in values.items() if name in keep and name not in _PLACES}


def check(spec: dict[str, Any]) -> Any:
    """Parses a PipelineSpec as strictly as KFP does, and looks for what it does not implement.

    Returns:
      The `PipelineSpec` message.

    Raises:
      UsageError: names each component with what is wrong with it.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(
            spec.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig()
        )
    except json_format.ParseError as error:
        raise UsageError(
            f"This is no PipelineSpec that Kubeflow Pipelines takes: {error}"
        ) from error

    problems = []
    if message.schema_version != SCHEMA_VERSION:
        problems.append(f"schema {message.schema_version}: only {SCHEMA_VERSION} is accepted")
    if not _NAME.fullmatch(message.pipeline_info.name):
        problems.append(
            f"the pipeline's name {message.pipeline_info.name!r}: only lower case letters, digits "
            "and -"
        )
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    tasks = spec["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        if not _TASK_NAME.fullmatch(name):
            problems.append(f"{name}: a task's name may hold letters, digits and - only")
        if name.endswith(_ADDED_BY_KFP) and name.removesuffix(_ADDED_BY_KFP) in tasks:
            problems.append(f"{name}: KFP adds a task of this name itself")
        component = spec["components"].get(task["componentRef"]["name"])
        if component is None:
            problems.append(f"{name}: its component is missing")
            continue
        problems += [f"{name}: {problem}" for problem in _step_problems(task, component, executors)]
        problems += [
            f"{name}: it waits for {other}, which is not in the pipeline"
            for other in task.get("dependentTasks", [])
            if other not in tasks
        ]
    if problems:
        raise UsageError(
            "Open-source Kubeflow Pipelines cannot run this:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    return message


def _step_problems(
    task: dict[str, Any], component: dict[str, Any], executors: dict[str, Any]
) -> list[str]:
    if "executorLabel" not in component:
        return ["it is a pipeline of its own, which TFX components are not"]
    executor = executors.get(component["executorLabel"])
    if executor is None:
        return [f"executor {component['executorLabel']} is missing"]
    (kind,) = executor or ("no",)
    if kind == "resolver":
        return [
            "resolver executors are not implemented; use an ordinary component that looks up what "
            "it needs, as PushedModel does"
        ]
    if kind not in _EXECUTORS:
        return [f"{kind} executors are not implemented, only {' and '.join(_EXECUTORS)} ones"]
    problems = []
    if kind == "container" and not executor["container"].get("image"):
        problems.append("it has no image")
    if kind == "container" and not executor["container"].get("command"):
        problems.append("it has no command, which KFP's launcher needs")
    if kind == "importer" and task.get("triggerPolicy", {}).get("condition"):
        problems.append("a condition on an importer is not supported")
    if "artifactIterator" in task:
        problems.append("artifact iterators are not implemented")
    for name, value in task.get("inputs", {}).get("parameters", {}).items():
        constant = value.get("runtimeValue", {}).get("constant", "")
        if "runtimeParameter" in value.get("runtimeValue", {}) or constant is None:
            problems.append(f"parameter {name} has no constant value")
    return problems


def to_yaml(spec: dict[str, Any]) -> str:
    """The PipelineSpec as KFP's pages and client take it."""
    lines = [f"# PIPELINE DEFINITION\n# Name: {spec['pipelineInfo']['name']}\n# Inputs:\n"]
    for name, parameter in sorted(spec["root"]["inputDefinitions"]["parameters"].items()):
        lines.append(f"#    {name}: {parameter['description']}\n")
    return "".join(lines) + yaml.safe_dump(spec, sort_keys=True, width=100)


def write(spec: dict[str, Any], output: pathlib.Path) -> None:
    """Writes a PipelineSpec and loads it with the KFP SDK, as a client would.

    Raises:
      UsageError: the file has no .yaml name, or the SDK does not take it.
    """
    from kfp import components

    if output.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--output {output}: Kubeflow Pipelines takes names in .yaml only.")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(to_yaml(spec))
    try:
        components.load_component_from_file(str(output))
    except Exception as error:
        raise UsageError(f"{output}: the KFP SDK does not load it: {error}") from error


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads a compiled pipeline.

    Raises:
      UsageError: there is no such file, or it is no PipelineSpec KFP runs.
    """
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as a compiled pipeline: {error}") from error
    found = [document for document in documents if "pipelineInfo" in document]
    if len(found) != 1:
        raise UsageError(f"{path}: holds {len(found)} pipelines, expected 1.")
    check(found[0])
    return found[0]


def runtime_parameters(spec: dict[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of a run: what is given, by the types the pipeline declares.

    Raises:
      UsageError: an unknown parameter, or a value of the wrong type.
    """
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in declared:
            raise UsageError(
                f"--parameter {name}: the pipeline has no such parameter; it has "
                f"{', '.join(sorted(declared))}."
            )
        kind = declared[name]["parameterType"]
        try:
            values[name] = int(text) if kind == "NUMBER_INTEGER" else text
        except ValueError as error:
            raise UsageError(f"--parameter {name}={text}: expected an integer.") from error
    return values


def submit(
    path: pathlib.Path,
    endpoint: str,
    parameters: Mapping[str, str],
    experiment: str,
    wait_seconds: float | None,
    cron: str | None = None,
) -> dict[str, Any]:
    """Uploads a compiled pipeline and starts it.

    A pipeline of that name gets a new version. A token, where the endpoint asks for one, comes
    from the environment variable KFP_TOKEN.

    Args:
      path: The compiled pipeline.
      endpoint: URL of KFP's API.
      parameters: Of the run.
      experiment: Made if it is missing.
      wait_seconds: How long to wait for the end; None: not at all.
      cron: Start it again and again: six fields, seconds first, as KFP has them.

    Returns:
      `pipeline_id`, `version_id`, `run_id` or `recurring_run_id`, `url`, and `state` as far as
      it was waited for.

    Raises:
      RunError: the endpoint does not answer or refuses, or the run did not succeed.
    """
    import kfp
    import kfp_server_api
    import urllib3

    spec = read(path)
    name = spec["pipelineInfo"]["name"]
    values = runtime_parameters(spec, parameters)
    job = f"{name} {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S}"
    # The client prints links to standard output, which belongs to the caller.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            client = kfp.Client(host=endpoint, existing_token=os.environ.get("KFP_TOKEN"))
            pipeline_id = client.get_pipeline_id(name)
            if pipeline_id is None:
                pipeline_id = client.upload_pipeline(str(path), pipeline_name=name).pipeline_id
                versions = client.list_pipeline_versions(pipeline_id, page_size=1)
                version_id = versions.pipeline_versions[0].pipeline_version_id
            else:
                version_id = client.upload_pipeline_version(
                    str(path), pipeline_version_name=job, pipeline_id=pipeline_id
                ).pipeline_version_id
            experiment_id = client.create_experiment(experiment).experiment_id
            common = {
                "pipeline_id": pipeline_id,
                "version_id": version_id,
                "params": values,
                "pipeline_root": spec.get("defaultPipelineRoot"),
            }
            result: dict[str, Any] = {"pipeline_id": pipeline_id, "version_id": version_id}
            if cron:
                recurring = client.create_recurring_run(
                    experiment_id, job, cron_expression=cron, no_catchup=True, **common
                )
                return result | {"recurring_run_id": recurring.recurring_run_id}
            run = client.run_pipeline(experiment_id, job, **common)
            result |= {
                "run_id": run.run_id,
                "url": f"{endpoint.rstrip('/')}/#/runs/details/{run.run_id}",
            }
            if wait_seconds is not None:
                run = client.wait_for_run_completion(run.run_id, wait_seconds, sleep_duration=1)
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            reason = getattr(error, "body", None) or error or "no end in time"
            raise RunError(f"--endpoint {endpoint}: {reason}") from error
    result["state"] = run.state
    if wait_seconds is not None and str(run.state).upper() != "SUCCEEDED":
        raise RunError(f"The run ended as {run.state}: {result['url']}")
    return result
