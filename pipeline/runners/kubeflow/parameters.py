"""The parameters of a step under other settings, and those an operator gives a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.base.errors import UsageError
from components.base.places import Places
from components.base.settings import Settings
from pipeline import dag
from pipeline.runners.kubeflow.compile import schema_uri

_PLACES = ("input_base", "push_destination", "serving", "data_folder")
"""Parameters of steps that say where, and so do not depend on the settings."""


def step_parameters(step: str, settings: Settings, keep: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that the DAG gives a step under other settings.

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
    places = Places(data="", schema=schema_uri(settings), serving="", pipeline_root="")
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
