"""The steps that validate: the schema, statistics, what is anomalous, and the gate."""

from __future__ import annotations

from typing import Any

from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen

from components.base import code
from components.base.places import Places
from components.base.settings import Settings
from components.data_validation import anomaly_gate


def steps(settings: Settings, places: Places, ingestion: Any) -> tuple[Any, Any, Any, Any]:
    """ImportSchemaGen, StatisticsGen, ExampleValidator and AnomalyGate, as the DAG has them."""
    schema = ImportSchemaGen(schema_file=places.schema)
    # Without the schema the labels would not be counted, and their drift not be seen.
    statistics = StatisticsGen(
        examples=ingestion.outputs["examples"], schema=schema.outputs["schema"]
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
        code=code.fingerprint(anomaly_gate.__name__),
    )
    return schema, statistics, validator, gate
