"""StatisticsGen: what it says of shards it cannot use.

That what it computes is what TFX's own does is tested in tests/pipeline/test_beam.py.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from components.base import records
from components.base.errors import DataError, RunError
from components.csv_ingestion import examples
from components.data_validation import statistics
from components.data_validation.result import STATISTICS_FILE
from components.data_validation.schema import make_schema, write_schema
from pipeline.config import load
from tests import clothing

SPLITS = {"train": 30, "test": 10}
SETTINGS = load("default", ["image={height: 6, width: 5, channels: 1}"])


@pytest.fixture
def ingested(tmp_path):
    artifact = standard_artifacts.Examples()
    # A name that is a pattern, too.
    artifact.uri = str(tmp_path / "examples [1]")
    artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for seed, (split, count) in enumerate(SPLITS.items()):
        folder = pathlib.Path(artifact.uri, f"Split-{split}")
        folder.mkdir(parents=True)
        images, labels = clothing.images(count, seed=seed, shape=(6, 5, 1))
        pixels = images.reshape(count, -1)
        batch = examples.record_batch(labels, pixels, np.arange(count, dtype=np.int64))
        with tf.io.TFRecordWriter(str(folder / "0.gz"), "GZIP") as writer:
            for record in examples.serialise(batch):
                writer.write(record)
    records.write_counts(artifact.uri, SPLITS)
    return artifact


def computed(ingested, folder: pathlib.Path):
    schema = standard_artifacts.Schema()
    schema.uri = str(folder / "schema")
    write_schema(make_schema(SETTINGS.image, SETTINGS.data), folder / "schema")
    found = standard_artifacts.ExampleStatistics()
    found.uri = str(folder / "StatisticsGen" / "statistics" / "1")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"]
    )
    statistics.Executor(context).Do(
        {"examples": [ingested], "schema": [schema]}, {"statistics": [found]}, {}
    )
    return found


def test_each_split_has_statistics_of_its_own(ingested, tmp_path):
    found = computed(ingested, tmp_path)
    assert found.split_names == ingested.split_names
    for split, count in SPLITS.items():
        file = pathlib.Path(found.uri, f"Split-{split}", STATISTICS_FILE)
        (dataset,) = tfdv.load_stats_binary(str(file)).datasets
        assert dataset.num_examples == count
        features = {feature.path.step[0]: feature for feature in dataset.features}
        assert features["key"].num_stats.max == count - 1
        assert features["label"].string_stats.unique == min(count, clothing.CLASSES)


def test_a_shard_that_is_cut_short_is_named(ingested, tmp_path):
    shard = pathlib.Path(ingested.uri, "Split-test", "0.gz")
    shard.write_bytes(shard.read_bytes()[:-200])
    with pytest.raises(DataError) as raised:
        computed(ingested, tmp_path)
    assert str(raised.value).startswith(f"{shard} cannot be read to its end")


def test_a_split_without_shards_is_named(ingested, tmp_path):
    pathlib.Path(ingested.uri, "Split-train", "0.gz").unlink()
    with pytest.raises(DataError, match="Split-train: no Examples in it"):
        computed(ingested, tmp_path)


def test_a_shard_too_many_is_told(ingested, tmp_path):
    shard = pathlib.Path(ingested.uri, "Split-test", "0.gz")
    shard.with_name("1.gz").write_bytes(shard.read_bytes())
    with pytest.raises(RunError, match="20 Examples were read, but 10 were written"):
        computed(ingested, tmp_path)
