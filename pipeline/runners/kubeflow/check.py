"""Looks whether open-source Kubeflow Pipelines runs a PipelineSpec."""

from __future__ import annotations

import re
from typing import Any

from components.base.errors import UsageError

SCHEMA_VERSION = "2.1.0"
"""The only one KFP's API server takes (backend/src/apiserver/template/v2_template.go)."""
_ADDED_BY_KFP = "-driver"
"""KFP's compiler puts a task of this ending before each (argocompiler/dag.go)."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TASK_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_TYPES = ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE")
"""Types of parameters; TFX's compiler has no others."""


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
        problems += [f"{name}: {problem}" for problem in _step_problems(task, component, spec)]
        problems += [
            f"{name}: it waits for {other}, which is not in the pipeline"
            for other in sorted(waits_for(task))
            if other not in tasks
        ]
    if problems:
        raise UsageError(
            "Open-source Kubeflow Pipelines cannot run this:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    return message


def waits_for(task: dict[str, Any]) -> set[str]:
    """Names of the tasks that a task runs after."""
    inputs = task.get("inputs", {})
    sources = [
        value[kind]["producerTask"]
        for values, kind in (
            (inputs.get("artifacts", {}), "taskOutputArtifact"),
            (inputs.get("parameters", {}), "taskOutputParameter"),
        )
        for value in values.values()
        if kind in value
    ]
    return {*task.get("dependentTasks", []), *sources}


def _step_problems(
    task: dict[str, Any], component: dict[str, Any], spec: dict[str, Any]
) -> list[str]:
    if "executorLabel" not in component:
        return ["it is a pipeline of its own, which TFX components are not"]
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    executor = executors.get(component["executorLabel"])
    if executor is None:
        return [f"executor {component['executorLabel']} is missing"]
    (kind,) = executor or ("no",)
    if kind == "resolver":
        return [
            "resolver executors are not implemented; use an ordinary component that looks up what "
            "it needs, as PushedModel does"
        ]
    if kind == "importer":
        return ["importer executors are not tried here; let an ordinary component take the URI"]
    if kind != "container":
        return [f"{kind} executors are not implemented, only container ones"]
    problems = []
    if not executor["container"].get("image"):
        problems.append("it has no image")
    if not executor["container"].get("command"):
        problems.append("it has no command, which KFP's launcher needs")
    if "artifactIterator" in task:
        problems.append("artifact iterators are not implemented")
    given = task.get("inputs", {}).get("parameters", {})
    for name, value in given.items():
        constant = value.get("runtimeValue", {}).get("constant", "")
        if "runtimeParameter" in value.get("runtimeValue", {}) or constant is None:
            problems.append(f"parameter {name} has no constant value")
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    problems += [f"parameter {name} has no value" for name in declared if name not in given]
    problems += [
        f"parameter {name} is a {declaration['parameterType']}, not one of {', '.join(_TYPES)}"
        for name, declaration in declared.items()
        if declaration["parameterType"] not in _TYPES
    ]
    return problems
