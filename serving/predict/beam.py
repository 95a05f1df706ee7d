"""`denoise predict --beam`: a large CSV through RunInference, on any Beam runner.

Files are cut into byte ranges; each becomes one output shard with its rows in order, so that
the shards one after the other are the input, denoised.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from components.base.errors import DataError, UsageError
from components.csv_ingestion.reader import RowFormat, read_head, read_rows
from serving.predict.run import ANY_LABEL, LoadedDenoiser, ServedDenoiser, format_rows

_RANGE_BYTES = 16 << 20
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Source:
    """What a worker denoises with: a server or a SavedModel it can read."""

    server: str | None
    model: str | None
    model_name: str = "denoiser"

    def open(self) -> ServedDenoiser | LoadedDenoiser:
        """Loads it, in the worker."""
        if self.server is not None:
            return ServedDenoiser(self.server, self.model_name)
        if self.model is None:
            raise UsageError("Give either --server URL or --model DIR.")
        return LoadedDenoiser(pathlib.Path(self.model))


@dataclasses.dataclass(frozen=True)
class _Range:
    path: str
    start: int
    end: int | None
    shard: int
    shards: int


class DenoiserHandler(ModelHandler[np.ndarray, np.ndarray, Any]):
    """Runs blocks of rows, uint8 (n, H*W*C) each, through a denoiser."""

    def __init__(self, source: Source, shape: tuple[int, int, int]) -> None:
        super().__init__(max_batch_size=4)
        self._source = source
        self._shape = shape

    def load_model(self) -> Any:
        return self._source.open()

    def run_inference(
        self, batch: Sequence[np.ndarray], model: Any, inference_args: Any = None
    ) -> Iterable[np.ndarray]:
        rows = np.concatenate(batch)
        denoised = model.denoise(rows.reshape(-1, *self._shape)).reshape(rows.shape)
        return np.split(denoised, np.cumsum([len(block) for block in batch])[:-1])

    def get_num_bytes(self, batch: Sequence[np.ndarray]) -> int:
        return sum(block.nbytes for block in batch)


def _ranges(pattern: str) -> list[_Range]:
    [match] = FileSystems.match([pattern])
    parts = []
    for file in sorted(match.metadata_list, key=lambda metadata: metadata.path):
        size = file.size_in_bytes
        if file.path.endswith(".gz") or size <= _RANGE_BYTES:
            parts.append((file.path, 0, None))
            continue
        for start in range(0, size, _RANGE_BYTES):
            parts.append((file.path, start, min(start + _RANGE_BYTES, size)))
    if not parts:
        raise UsageError(f"{pattern}: there is no such file.")
    return [_Range(*part, shard, len(parts)) for shard, part in enumerate(parts)]


class _ReadRange(beam.DoFn):
    """A range to ((shard, block), (labels, pixels))."""

    def __init__(self, pixels: int) -> None:
        self._row = RowFormat(pixels, ANY_LABEL)

    def process(self, element: _Range) -> Iterator[Any]:  # type: ignore[override]
        number = 0
        with FileSystems.open(element.path) as stream:
            row = read_head(stream, self._row, element.path, label="required")
        with FileSystems.open(element.path) as stream:
            for before, found in read_rows(stream, row, element.start, element.end):
                if found.bad:
                    bad = found.bad[0]
                    raise DataError(
                        f"{element.path}, line {before + bad.line} of the bytes from "
                        f"{element.start}: {bad.reason}: {bad.detail} in {bad.text[:80]!r}"
                    )
                for start in range(0, len(found.pixels), _ROWS):
                    labels = found.labels[start : start + _ROWS]
                    key = (element.shard, number, tuple(labels.tolist()))
                    number += 1
                    yield key, found.pixels[start : start + _ROWS]


class _WriteShard(beam.DoFn):
    """The blocks of a shard to a file."""

    def __init__(self, output: str, shards: int) -> None:
        self._output = output
        self._shards = shards

    def process(  # type: ignore[override]
        self, element: tuple[int, Iterable[tuple[int, bytes]]]
    ) -> Iterator[str]:
        shard, blocks = element
        path = FileSystems.join(self._output, f"denoised-{shard:05d}-of-{self._shards:05d}.csv")
        # Under another name first: a retried bundle must not leave half a shard.
        temporary = f"{path}.writing"
        with FileSystems.create(temporary, "text/csv") as stream:
            for _, text in sorted(blocks):
                stream.write(text)
        if FileSystems.exists(path):
            FileSystems.delete([path])
        FileSystems.rename([temporary], [path])
        yield path


def _as_text(element: tuple[tuple[int, int, tuple[int, ...]], np.ndarray]) -> Any:
    (shard, number, labels), pixels = element
    return shard, (number, format_rows(np.array(labels, np.int64), pixels))


def predict_with_beam(
    pattern: str, output: str, source: Source, pipeline_args: Sequence[str] = ()
) -> int:
    """Denoises CSVs of `label,p1,...,pN` rows.

    Args:
      pattern: A path or a glob, in any file system Beam knows.
      output: The folder for `denoised-NNNNN-of-NNNNN.csv`.
      source: The denoiser.
      pipeline_args: Beam's flags, such as `--runner=FlinkRunner`.

    Returns:
      The number of shards written.

    Raises:
      UsageError: there is no such file.
      DataError: a row is not one; a distributed runner wraps it in an error of its own.
      ModelError, ServerError: the denoiser cannot be used.
    """
    ranges = _ranges(pattern)
    denoiser = source.open()
    shape = denoiser.shape
    denoiser.close()
    height, width, channels = shape
    if not FileSystems.exists(output):
        FileSystems.mkdirs(output)
    options = PipelineOptions(["--runner=FnApiRunner", *pipeline_args])
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | "Ranges" >> beam.Create(ranges)
            | "Spread" >> beam.Reshuffle()
            | "ReadRows" >> beam.ParDo(_ReadRange(height * width * channels))
            | "Denoise" >> RunInference(KeyedModelHandler(DenoiserHandler(source, shape)))
            | "Format" >> beam.Map(_as_text)
            | "ByShard" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(_WriteShard(output, len(ranges)))
        )
    return len(ranges)
