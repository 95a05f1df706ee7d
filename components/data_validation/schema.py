"""What the Examples must look like: the TFDV schema that validation holds them against."""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING

from components.base.errors import DataError
from components.base.files import shown, whole
from components.base.settings import PAIRS, DataSettings, ImageSettings, Settings
from components.csv_ingestion.examples import IMAGE, KEY, LABEL, NO_LABEL, NOISY
from components.ingestion import formats

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2


def make_schema(image: ImageSettings, data: DataSettings) -> schema_pb2.Schema:
    """Makes the schema of the Examples that ingestion writes.

    `image` has exactly height * width * channels values in 0-255, and so has `noisy` of pairs;
    `label` is one of the classes, or -1 where there are none; `key` is a hash; all are in every
    Example, and nothing else is. `image` may drift
    by `data.max_drift` in Jensen-Shannon divergence and `label` in L-infinity distance, both
    from the last run's data (drift) and between train and test (skew).

    `label` is categorical, so statistics need this schema to count its values: without those
    counts TFDV skips its comparison.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    images = (IMAGE, NOISY) if data.format == PAIRS else (IMAGE,)
    for name, values in (*((name, image.pixels) for name in images), (KEY, 1), (LABEL, 1)):
        feature = schema.feature.add(name=name, type=schema_pb2.INT)
        feature.presence.min_fraction = 1.0
        feature.presence.min_count = 1
        feature.shape.dim.add(size=values)
        if name in images:
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=255))
            for comparator in (feature.drift_comparator, feature.skew_comparator):
                comparator.jensen_shannon_divergence.threshold = data.max_drift
        if name == LABEL:
            feature.int_domain.CopyFrom(
                schema_pb2.IntDomain(
                    min=0 if data.classes else NO_LABEL,
                    max=len(data.classes) - 1,
                    is_categorical=True,
                )
            )
            for comparator in (feature.drift_comparator, feature.skew_comparator):
                comparator.infinity_norm.threshold = data.max_drift
            # Other classes make another schema, so no drift is looked for between the two.
            feature.annotation.comment.append(", ".join(data.classes))
    return schema


def write_schema(schema: schema_pb2.Schema, folder: pathlib.Path | str) -> pathlib.Path:
    """Writes `folder`/schema-HASH.pbtxt and returns its path.

    The name holds a hash of the content because ImportSchemaGen takes a path for the same
    schema as long as it stays the same.
    """
    from google.protobuf import text_format

    text = text_format.MessageToString(schema)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"schema-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pbtxt"
    if not path.exists():
        with whole(path, "w") as file:
            file.write(text)
    return path


def read_schema(path: pathlib.Path | str) -> schema_pb2.Schema:
    """Reads a schema in protobuf text format.

    Raises:
      DataError: the file cannot be read, or is no schema.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(
            pathlib.Path(path).read_text(encoding="utf-8"), schema_pb2.Schema()
        )
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise DataError(f"{path} is not a TFDV schema (.pbtxt): {error}") from error


def expected_schema(settings: Settings) -> schema_pb2.Schema:
    """What a run holds its Examples against: `data.schema_file`, or what `make_schema` makes.

    Raises:
      DataError: the file is no schema, or not of such Examples; names the feature.
    """
    made = make_schema(settings.image, settings.data)
    file = settings.data.schema_file
    if file is None:
        return made
    given = read_schema(file)
    features = {feature.name: feature for feature in given.feature}
    for feature in made.feature:
        found = features.get(feature.name)
        if found is None or found.type != feature.type or found.shape != feature.shape:
            (size,) = (dim.size for dim in feature.shape.dim)
            raise DataError(
                f"{shown(file)}: expected a feature {feature.name!r} of type INT and shape "
                f"{{ dim {{ size: {size} }} }}, "
                + ("there is none" if found is None else "its type or shape is another")
                + ". `denoise data --infer-schema` makes a schema that fits."
            )
    return given


def infer_schema(folder: pathlib.Path | str, settings: Settings) -> schema_pb2.Schema:
    """Has TFDV infer a schema from `train` of a data folder.

    The result is `make_schema` with what the data shows: the labels between the least and
    the highest found. Look it over, then name it in `data.schema_file`.

    Args:
      folder: A data folder; of spans, the latest.
      settings: Of the folder; `image` and `data` count. Rows that hold something else, and files
        that cannot be cut, are passed over.

    Raises:
      DataError: the folder is no data folder, a file cannot be read to its end, or no row holds
        such an image.
    """
    import apache_beam as beam
    import tensorflow_data_validation as tfdv

    from components.base import jobs

    image, data = settings.image, settings.data
    source, read = formats.training_examples(str(folder), settings)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "statistics.pb")
        with jobs.running(["--runner=FnApiRunner"]) as pipeline:
            _ = (
                pipeline
                | "Ranges" >> beam.Create(source)
                | "Read" >> beam.ParDo(read)
                | "Statistics" >> tfdv.GenerateStatistics()
                | "Write" >> tfdv.WriteStatisticsToBinaryFile(path)
            )
        statistics = tfdv.load_stats_binary(path)
    dataset = statistics.datasets[0]
    if not dataset.num_examples:
        raise DataError(
            f"{folder}/train holds no {'row of a label and ' * bool(data.classes)}{image.pixels} "
            "pixels. Set image.height, width and channels to what it holds."
        )
    labels = next(item.num_stats for item in dataset.features if item.path.step[0] == LABEL)
    schema = tfdv.infer_schema(statistics, infer_feature_shape=True)
    curated = {feature.name: feature for feature in make_schema(image, data).feature}
    for feature in schema.feature:
        if feature.name != KEY:
            known = curated[feature.name]
            feature.int_domain.CopyFrom(known.int_domain)
            feature.drift_comparator.CopyFrom(known.drift_comparator)
            feature.skew_comparator.CopyFrom(known.skew_comparator)
        if feature.name == LABEL:
            feature.int_domain.min, feature.int_domain.max = int(labels.min), int(labels.max)
    return schema
