"""The TFX step that writes the report of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.experimental import simple_artifacts

from components.base import code as sources
from components.base.places import Places
from components.base.settings import Settings
from components.csv_ingestion.result import CSV_STEP
from components.report import executor
from components.report.inputs import INPUTS, OPTIONAL

_NOT_ABOUT_RESULTS = {"beam", "kubeflow"}
"""Where a run computes, not what."""


_TYPES = {
    "examples": standard_artifacts.Examples,
    "statistics": standard_artifacts.ExampleStatistics,
    "schema": standard_artifacts.Schema,
    "anomalies": standard_artifacts.ExampleAnomalies,
    "drift": standard_artifacts.ExampleAnomalies,
    "transformed_examples": standard_artifacts.Examples,
    "transformed_statistics": standard_artifacts.ExampleStatistics,
    "model": standard_artifacts.Model,
    "model_run": standard_artifacts.ModelRun,
    "evaluation": standard_artifacts.ModelEvaluation,
    "infra_blessing": standard_artifacts.InfraBlessing,
    "pushed_model": standard_artifacts.PushedModel,
    "classifier": standard_artifacts.Model,
    "tuner_results": standard_artifacts.TunerResults,
}


class ReportSpec(ComponentSpec):
    """Inputs, outputs and parameters of Report."""

    PARAMETERS = {  # noqa: RUF012
        "sections": ExecutionParameter(type=str),
        "data_folder": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        name: ChannelParameter(type=_TYPES[name], optional=name in OPTIONAL) for name in INPUTS
    }
    OUTPUTS = {"report": ChannelParameter(type=simple_artifacts.File)}  # noqa: RUF012


class Report(base_component.BaseComponent):
    """One self-contained HTML file on the run, blessed or not; figures and JSON beside it.

    Args:
      settings: The run's.
      data_folder: Where the data were.
      code: Fingerprint of the sources by step; `report` is this one's, so that a change of it
        is not answered from the cache.
      **inputs: What the other steps wrote, by the names of `ReportSpec.INPUTS`.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        settings: Settings,
        data_folder: Any,
        code: dict[str, str],
        **inputs: types.BaseChannel | None,
    ):
        sections = {
            "settings": settings.model_dump(mode="json", exclude=_NOT_ABOUT_RESULTS),
            "code": code,
        }
        given = {name: channel for name, channel in inputs.items() if channel is not None}
        super().__init__(
            ReportSpec(
                sections=json.dumps(sections, sort_keys=True),
                data_folder=data_folder,
                report=types.Channel(type=simple_artifacts.File),
                **given,
            )
        )


def _names(makers: str | tuple[str, ...]) -> tuple[str, ...]:
    return (makers,) if isinstance(makers, str) else makers


def step(settings: Settings, places: Places, made: Mapping[str, Any]) -> Any:
    """The report, as the DAG has it.

    Args:
      settings: The run's.
      places: The run's.
      made: Every other step of the DAG, by its id.
    """
    inputs = {}
    for name, (makers, output) in INPUTS.items():
        there = [maker for maker in _names(makers) if maker in made]
        if there or name not in OPTIONAL:
            inputs[name] = made[there[0]].outputs.get(output)
    plugins = settings.plugins
    return Report(
        settings=settings,
        data_folder=places.data,
        code={
            "ingestion": sources.fingerprint(
                "components.csv_ingestion.component"
                if CSV_STEP in made
                else "components.image_ingestion.component"
            ),
            "Transform": sources.fingerprint("components.transform.component", plugins=plugins),
            "training": sources.fingerprint("components.training.component", plugins=plugins),
            "report": sources.fingerprint(__name__, plugins=plugins),
        },
        **inputs,
    )
