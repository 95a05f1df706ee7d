"""The gate: lets good data through, and names what is wrong with the rest."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.base import records
from components.base.errors import AnomalyError, RunError
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion.examples import fingerprints, record_batch
from components.csv_ingestion.result import IngestionSummary
from components.data_validation.anomaly_gate import AnomalyGate
from components.data_validation.schema import make_schema, write_schema
from tests import clothing

IMAGE, DATA = ImageSettings(), DataSettings()
SCHEMA = make_schema(IMAGE, DATA)


def _rows(count, seed, labels=None, brightness=1.0):
    images, drawn = clothing.images(count, seed=seed)
    labels = drawn if labels is None else np.full(count, labels)
    pixels = (images.reshape(count, -1) * brightness).astype(np.uint8)
    return record_batch(labels, pixels, fingerprints(labels, pixels))


class _World:
    """Statistics and anomalies as StatisticsGen and ExampleValidator leave them."""

    def __init__(self, folder):
        self.folder = folder

    def _artifact(self, kind, name, splits=None):
        artifact = kind()
        artifact.uri = str(self.folder / name)
        if splits:
            artifact.split_names = artifact_utils.encode_split_names(splits)
        return artifact

    def statistics(self, name, **batches):
        for split, batch in batches.items():
            statistics = (
                tfdv.generate_statistics_in_memory(batch, tfdv.StatsOptions(schema=SCHEMA))
                if hasattr(tfdv, "generate_statistics_in_memory")
                else _statistics(batch)
            )
            target = self.folder / name / f"Split-{split}"
            target.mkdir(parents=True)
            (target / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
        return str(self.folder / name)

    def gate(self, statistics, previous="", found=None, overlap=0, written=None):
        write_schema(SCHEMA, self.folder / "schema")
        splits = ["test", "train"]
        for split in splits:
            anomalies = (found or {}).get(split, anomalies_pb2.Anomalies())
            io_utils.write_bytes_file(
                str(self.folder / "anomalies" / f"Split-{split}" / "SchemaDiff.pb"),
                anomalies.SerializeToString(),
            )
        examples = self._artifact(standard_artifacts.Examples, "examples", splits)
        summary = IngestionSummary(
            rows=300,
            examples={"train": 200, "test": 100},
            quarantined={},
            span=0,
            files=[],
            ignored={},
            overlap=overlap,
        )
        io_utils.write_string_file(
            str(self.folder / "examples" / "ingestion" / "summary.json"), summary.model_dump_json()
        )
        records.write_counts(examples.uri, written or summary.examples)
        artifact = self._artifact(standard_artifacts.ExampleStatistics, "", splits)
        artifact.uri = statistics
        drift = self._artifact(standard_artifacts.ExampleAnomalies, "drift")
        executor = AnomalyGate.EXECUTOR_SPEC.executor_class()
        executor.Do(
            {
                "examples": [examples],
                "statistics": [artifact],
                "schema": [self._artifact(standard_artifacts.Schema, "schema")],
                "anomalies": [
                    self._artifact(standard_artifacts.ExampleAnomalies, "anomalies", splits)
                ],
            },
            {"drift": [drift]},
            {"previous_statistics": previous, "max_overlap": 0.05, "code": ""},
        )
        return self.folder / "drift"


def _statistics(batch):
    from tensorflow_data_validation.statistics import stats_impl

    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions(schema=SCHEMA))


@pytest.fixture
def world(tmp_path):
    return _World(tmp_path)


@pytest.fixture(scope="module")
def good():
    return _rows(200, seed=1)


def test_good_data_passes_and_leaves_a_verdict(world, good):
    now = world.statistics("now", train=good, test=_rows(100, seed=2))
    before = world.statistics("before", train=_rows(200, seed=3))
    drift = world.gate(now, previous=before)
    assert len(list(drift.rglob("drift.pbtxt"))) == 2


def test_labels_that_differ_between_train_and_test(world, good):
    now = world.statistics("now", train=good, test=_rows(100, seed=2, labels=3))
    with pytest.raises(AnomalyError, match="split test against train, feature label"):
        world.gate(now)


def test_pixels_that_differ_from_the_last_run(world, good):
    now = world.statistics("now", train=good, test=_rows(100, seed=2))
    before = world.statistics("before", train=_rows(200, seed=3, brightness=0.2))
    with pytest.raises(AnomalyError, match="split train against the last run's, feature image"):
        world.gate(now, previous=before)


def test_what_example_validator_found_stops_the_run(world, good):
    now = world.statistics("now", train=good, test=_rows(100, seed=2))
    narrow = make_schema(ImageSettings(height=5, width=5), DATA)
    statistics = tfdv.load_stats_binary(f"{now}/Split-train/FeatureStats.pb")
    found = {"train": tfdv.validate_statistics(statistics, narrow)}
    with pytest.raises(AnomalyError) as caught:
        world.gate(now, found=found)
    assert "split train, feature image" in str(caught.value)
    assert "nothing was trained" in str(caught.value)
    assert "data.schema_file" in str(caught.value)


def test_arrow_rows_are_what_ingestion_writes(good):
    assert isinstance(good, pa.RecordBatch)
    assert good.schema.names == ["image", "label", "key"]


def test_rows_in_both_splits_stop_the_run_above_a_share(world, good):
    now = world.statistics("now", train=good, test=_rows(100, seed=2))
    world.gate(now, overlap=5)
    with pytest.raises(AnomalyError, match="6 of the 100 rows of test are rows of train too"):
        world.gate(now, overlap=6)


def test_statistics_of_other_examples_than_were_written_stop_the_run(world, good):
    now = world.statistics("now", train=good, test=_rows(100, seed=2))
    with pytest.raises(RunError, match="Split-test: 100 Examples were read, but 60 were written"):
        world.gate(now, written={"train": 200, "test": 60})
