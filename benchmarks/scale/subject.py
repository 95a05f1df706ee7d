"""One step of the DAG alone, in a fresh process (benchmarks.measured)."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any

import numpy as np

STEPS = ("CsvIngestion", "StatisticsGen", "ExampleValidator", "Transform")


def generate(source: str, folder: str, rows: int, shard_rows: int) -> dict[str, Any]:
    """Writes a data folder of rows drawn from the test split of another."""
    import pyarrow.csv

    from benchmarks.scale import rows as generator

    (path,) = sorted(pathlib.Path(source, "test").glob("*.csv"))
    table = pyarrow.csv.read_csv(path)
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    drawn_from = values[:, 0], values[:, 1:].astype(np.uint8)
    return {"bytes": generator.write(drawn_from, pathlib.Path(folder), rows, shard_rows)}


def step(name: str, data: str, folder: str, beam_args: list[str]) -> dict[str, Any]:
    """Runs a step of the DAG on what the steps before it left.

    Args:
      name: The step's id.
      data: The data folder.
      folder: Where the artifacts of all steps are.
      beam_args: Beam's flags.
    """
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from components.data_validation.schema import make_schema, write_schema
    from pipeline import dag
    from pipeline.config import load

    settings = load()
    place = pathlib.Path(folder)
    schema = standard_artifacts.Schema()
    schema.uri = str(place / "ImportSchemaGen" / "schema")
    write_schema(make_schema(settings.image, settings.data), pathlib.Path(schema.uri))
    keep(place, "ImportSchemaGen", "schema", schema)

    places = dag.Places(data=data, schema="", serving="", pipeline_root="")
    (component,) = [made for made in dag.components(settings, places) if made.id == name]
    inputs = {
        key: [kept(place, channel.producer_component_id, channel.output_key)]
        for key, channel in component.inputs.items()
    }
    outputs = {}
    for key, channel in component.outputs.items():
        artifact = channel.type()
        artifact.uri = str(place / name / key)
        os.makedirs(artifact.uri)
        outputs[key] = [artifact]
    properties = {
        key: proto_utils.proto_to_json(value) if hasattr(value, "SerializeToString") else value
        for key, value in component.exec_properties.items()
    }
    executor_class = component.executor_spec.executor_class
    if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
        context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=beam_args)
    else:
        context = base_executor.BaseExecutor.Context()
    started = time.perf_counter()
    executor_class(context).Do(inputs, outputs, properties)
    seconds = time.perf_counter() - started
    for key, (artifact,) in outputs.items():
        keep(place, name, key, artifact)
    return {"seconds": seconds}


def keep(place: pathlib.Path, component: str, output: str, artifact: Any) -> None:
    """Keeps an artifact for the steps after the one that made it."""
    file = place / f"{component}.{output}.json"
    file.write_text(json.dumps(artifact.to_json_dict()))


def kept(place: pathlib.Path, component: str, output: str) -> Any:
    """An artifact that a step made."""
    from tfx.types import artifact

    return artifact.Artifact.from_json_dict(
        json.loads((place / f"{component}.{output}.json").read_text())
    )
