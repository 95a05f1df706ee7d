"""Compiles the DAG to the PipelineSpec that open-source Kubeflow Pipelines runs.

What that backend does with it is described in docs/kubeflow.md, with the files of its source;
`dry_run` does the same on one machine.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
from typing import Any

from components.base.errors import UsageError
from components.base.places import Places
from components.base.settings import AUTO, CSV, Settings
from pipeline import dag
from pipeline.dag import LATE, check_names
from pipeline.runners.kubeflow.check import check
from pipeline.runners.kubeflow.names import (
    AS_COMPILED,
    COMMAND,
    DATA,
    EPOCHS,
    PRESET,
    VERSION_TASK,
)


def compile(settings: Settings, image: str, places: Places) -> dict[str, Any]:
    """Compiles the DAG to a PipelineSpec of schema 2.1.0.

    Args:
      settings: Everything that decides the result, and what each step's pod asks for.
      image: Container image of every step that `kubeflow.steps` gives no other.
      places: Where to read and write (`Places.under`).

    Returns:
      The PipelineSpec as plain values, checked.

    Raises:
      UsageError: the settings name what is not known, or the DAG holds what open-source KFP does
        not implement.
    """
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    check_names(settings)
    given = dataclasses.replace(
        places,
        data=RuntimeParameter(name=DATA, ptype=str, default=places.data),  # type: ignore[arg-type]
        schema=schema_uri(settings),
    )
    # Beam's workers, should they run elsewhere, run in the image too; a path of this machine would
    # be in none, and as an argument be part of KFP's cache key.
    tfx_pipeline = dag.build(settings, given, workers=[f"--sdk_container_image={image}"])
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
    spec["defaultPipelineRoot"] = places.pipeline_root
    for name in [name for name in LATE if name in spec["root"]["dag"]["tasks"]]:
        _add_version_task(name, spec)
    for name, task in spec["root"]["dag"]["tasks"].items():
        _finish_step(name, task, spec, settings)
    defaults = {DATA: places.data, **AS_COMPILED}
    if not _takes_presets(settings):
        del defaults[PRESET]
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


def _takes_presets(settings: Settings) -> bool:
    """Whether a preset may replace the settings when a run starts: not where they say what the data
    are, which no preset of the image knows."""
    return settings.data.format in (AUTO, CSV) and bool(settings.data.classes)


_DESCRIPTIONS = {
    DATA: "Folder with train/*.csv[.gz] and test/*.csv[.gz], or with images below train and test "
    "if compiled so, or span-N folders of those.",
    PRESET: "A preset of the image in place of the settings compiled in; empty: those.",
    EPOCHS: "Epochs to train; 0: as the settings say.",
}


def schema_uri(settings: Settings) -> str:
    """The schema itself as a `data:` URI (RFC 2397): the pipeline needs no file beside it."""
    from google.protobuf import text_format

    from components.data_validation.schema import expected_schema

    text = text_format.MessageToString(expected_schema(settings)).encode()
    return f"data:text/plain;base64,{base64.b64encode(text).decode()}"


def _add_version_task(name: str, spec: dict[str, Any]) -> None:
    """Puts a task before a step that finds what it depends on (`dag.LATE`)."""
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    executors = spec["deploymentSpec"]["executors"]
    task, component = tasks[name], components[name]
    looking, parameter = f"{name}{VERSION_TASK}", LATE[name].parameter
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
    container = executor["container"]
    step = name.removesuffix(VERSION_TASK)
    outputs = component.get("outputDefinitions", {}).get("artifacts", {})
    named = [part for output in sorted(outputs) for part in ("--output", output)]
    container["command"] = [*COMMAND, "--step", step, *named]

    declared = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    given = task.setdefault("inputs", {}).setdefault("parameters", {})
    settable = [PRESET] if declared and _takes_presets(settings) else []
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
