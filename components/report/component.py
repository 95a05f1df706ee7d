"""The TFX step that writes the report of a run."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.experimental import simple_artifacts

from components.base.settings import Settings
from components.report import executor

_NOT_ABOUT_RESULTS = {"beam", "kubeflow"}
"""Where a run computes, not what."""


class ReportSpec(ComponentSpec):
    """Inputs, outputs and parameters of Report."""

    PARAMETERS = {  # noqa: RUF012
        "sections": ExecutionParameter(type=str),
        "data_folder": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "drift": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
        "transformed_statistics": ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
        "classifier": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "tuner_results": ChannelParameter(type=standard_artifacts.TunerResults, optional=True),
    }
    OUTPUTS = {"report": ChannelParameter(type=simple_artifacts.File)}  # noqa: RUF012


class Report(base_component.BaseComponent):
    """One self-contained HTML file on the run, blessed or not; figures and JSON beside it.

    Args:
      settings: The run's.
      data_folder: Where the CSVs were.
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
