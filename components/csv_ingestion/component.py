"""The component: TFX's file-based ExampleGen with an executor of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2, wrappers_pb2
from tfx.components.example_gen import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.base import code
from components.base.files import escape_pattern
from components.base.places import Places
from components.base.settings import DataSettings, ImageSettings, Settings
from components.csv_ingestion import executor, parts


def input_config(input_base: str) -> example_gen_pb2.Input:
    """What TFX's driver takes the fingerprint of: all that may be a CSV, in a data folder.

    Args:
      input_base: The data folder. TFX joins it with the pattern, which is why the pattern begins
        with it, escaped, where it would itself be one.
    """
    escaped = escape_pattern(input_base) if isinstance(input_base, str) else input_base
    above = f"{escaped}/" if escaped != input_base else ""
    return example_gen_pb2.Input(
        splits=[
            example_gen_pb2.Input.Split(name=split, pattern=f"{above}{split}/[!.]*.[cC][sS][vV]*")
            for split in parts.INPUT_SPLITS
        ]
    )


class CsvIngestion(component.FileBasedExampleGen):
    """Ingests a folder of `train/*.csv[.gz]` and `test/*.csv[.gz]`.

    `train` becomes the splits `train` and `validation`, by a hash of each row; `test` stays
    `test`. A tf.Example holds `image` (int64, height * width * channels values in 0-255),
    `label` (int64) and `key` (int64, a hash of the row). Bad rows are set aside beside the
    Examples, see `components.csv_ingestion.summary`.

    The driver is the stock file-based one. Spans are not TFX's: a folder is ingested as it is, be
    it a data folder or a span of one.

    Outputs: `examples`, a `standard_artifacts.Examples`.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        input_base: str,
        image: ImageSettings,
        data: DataSettings,
        *,
        provenance: Mapping[str, str] | None = None,
    ):
        """Makes the component.

        Args:
          input_base: The data folder, or one of its spans.
          image: Shape of an image: how many pixels a row holds.
          data: Classes, share of validation, share of bad rows allowed.
          provenance: What else the Examples depend on, such as a fingerprint of the code: part
            of the cache's key and recorded with the execution.
        """
        values = {
            "image": image.model_dump(mode="json"),
            "data": data.model_dump(
                mode="json", include={"classes", "validation_fraction", "max_bad_rows"}
            ),
            "provenance": dict(provenance or {}),
        }
        settings = any_pb2.Any()
        settings.Pack(wrappers_pb2.StringValue(value=json.dumps(values, sort_keys=True)))
        super().__init__(
            input_base=input_base,
            input_config=input_config(input_base),
            output_config=example_gen_pb2.Output(),
            custom_config=example_gen_pb2.CustomConfig(custom_config=settings),
            # Not the same default in every version.
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
        )


def step(settings: Settings, places: Places) -> Any:
    """Ingestion, as the DAG has it."""
    return CsvIngestion(
        input_base=places.data,
        image=settings.image,
        data=settings.data,
        provenance={"code": code.fingerprint(__name__)},
    )
