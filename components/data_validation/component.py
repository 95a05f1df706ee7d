"""The steps that validate: the schema, statistics, what is anomalous, and the gate."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.base import code as sources
from components.base.places import Places
from components.base.settings import Settings
from components.data_validation import anomaly_gate
from components.data_validation import statistics as executor


class StatisticsGenSpec(ComponentSpec):
    """Inputs, outputs and parameters of StatisticsGen."""

    PARAMETERS = {"code": ExecutionParameter(type=str)}  # noqa: RUF012
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics)}  # noqa: RUF012


class StatisticsGen(base_beam_component.BaseBeamComponent):
    """TFDV's statistics of every split: the same as TFX's own StatisticsGen gives.

    Args:
      examples: Ingested Examples.
      schema: Of the Examples. Without it labels would not be counted, and their drift not be seen.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
    """

    SPEC_CLASS = StatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, schema: types.BaseChannel, code: str):
        super().__init__(
            StatisticsGenSpec(
                examples=examples,
                schema=schema,
                code=code,
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            )
        )


def steps(settings: Settings, places: Places, ingestion: Any) -> tuple[Any, Any, Any, Any]:
    """ImportSchemaGen, StatisticsGen, ExampleValidator and AnomalyGate, as the DAG has them."""
    schema = ImportSchemaGen(schema_file=places.schema)
    statistics = StatisticsGen(
        examples=ingestion.outputs["examples"],
        schema=schema.outputs["schema"],
        code=sources.fingerprint(executor.__name__),
    )
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    gate = anomaly_gate.AnomalyGate(
        examples=ingestion.outputs["examples"],
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
        max_overlap=settings.data.max_overlap,
        code=sources.fingerprint(anomaly_gate.__name__),
    )
    return schema, statistics, validator, gate
