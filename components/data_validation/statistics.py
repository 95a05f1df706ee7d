"""Runs StatisticsGen: TFDV's statistics of every split, shard by shard.

TFX's own executor reads through TFXIO, which on Flink is one worker for all shards, one Example
at a time; and it computes each split, and the most frequent labels of each, in a pipeline of its
own. Here one pipeline reads blocks of a shard where the shard's statistics are computed; the
splits are TFDV's slices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.base import progress, records
from components.base.in_order import map_in_order
from components.base.jobs import BeamExecutor
from components.base.shards import batches, shards
from components.data_validation.result import STATISTICS_FILE

_BATCH = 1_000
"""Examples whose statistics are computed at a time: TFDV's own default."""
_MOST_LABELS = 16_384
"""Different ones that are all counted: the report has a row for each class."""


class Executor(BeamExecutor):
    """Executor of `component.StatisticsGen`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `Split-NAME/FeatureStats.pb` for each split.

        Args:
          input_dict: `examples`: ingested Examples; `schema`: of them.
          output_dict: `statistics`: one ExampleStatistics artifact.
          exec_properties: Only keyed by.

        Raises:
          DataError: a split has no Examples, or a shard cannot be read; names it.
          RunError: other Examples were read than ingestion wrote.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        folder = artifact_utils.get_single_uri(input_dict["schema"])
        schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(folder))
        splits = artifact_utils.decode_split_names(examples.split_names)
        planned = [(split, path) for split in splits for path in shards(examples, split)]
        options = tfdv.StatsOptions(
            schema=schema,
            # Exact up to _MOST_LABELS, and one transform in place of forty.
            experimental_use_sketch_based_topk_uniques=True,
            # Each label has its count: the report shows those of all classes.
            num_rank_histogram_buckets=_MOST_LABELS,
            # Batches are as large as they should be: none waits to be joined with others.
            desired_batch_size=1,
        )
        with self.running(statistics) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(planned)
                | "Spread" >> beam.Reshuffle()
                | "Read" >> beam.ParDo(ReadShard(len(planned)))
                | "Statistics"
                >> stats_impl.GenerateSlicedStatisticsImpl(options, is_slicing_enabled=True)
                | "Write" >> beam.Map(write, statistics.uri)
            )
        for split in splits:
            file = os.path.join(statistics.uri, f"Split-{split}", STATISTICS_FILE)
            number = tfdv.load_stats_binary(file).datasets[0].num_examples
            records.check_read(artifact_utils.get_split_uri([examples], split), int(number))
        statistics.split_names = examples.split_names
        statistics.span = examples.span


class ReadShard(beam.DoFn):
    """(split, shard) to (split, record batch), decoded in a thread of its own.

    Args:
      shards: How many there are.
    """

    def __init__(self, shards: int):
        self._shards = shards

    def setup(self) -> None:
        from tfx_bsl.coders import example_coder

        self._decoder = example_coder.ExamplesToRecordBatchDecoder()
        self._thread = futures.ThreadPoolExecutor(1)
        self._done = 0

    def teardown(self) -> None:
        self._thread.shutdown()

    def process(self, element: tuple[str, str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        split, shard = element
        read = batches(shard, _BATCH)
        for batch in map_in_order(self._thread, self._decode, read, ahead=2):
            yield split, batch
        self._done += 1
        progress.tell("StatisticsGen", self._done, self._shards)

    def _decode(self, serialised: Any) -> pa.RecordBatch:
        return self._decoder.DecodeBatch(serialised.numpy().tolist())


def write(found: statistics_pb2.DatasetFeatureStatisticsList, folder: str) -> None:
    """Writes each dataset to the folder of the split it is named after."""
    for dataset in found.datasets:
        split = statistics_pb2.DatasetFeatureStatisticsList()
        split.datasets.add().CopyFrom(dataset)
        split.datasets[0].ClearField("name")
        target = os.path.join(folder, f"Split-{dataset.name}")
        fileio.makedirs(target)
        io_utils.write_bytes_file(os.path.join(target, STATISTICS_FILE), split.SerializeToString())
