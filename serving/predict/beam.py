"""`denoise predict --beam`: large CSVs on any Beam runner.

Files are cut into byte ranges; each becomes one output shard with its rows in order, so that
the shards one after the other are the input, denoised. Who reads a range writes its shard: only
the ranges themselves go from worker to worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import secrets
from collections.abc import Iterator, Sequence
from typing import IO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from components.base.errors import DataError, UsageError
from components.base.files import shown
from components.csv_ingestion.reader import RowFormat, read_head, read_rows
from serving.predict.denoisers import Denoiser, LoadedDenoiser, ServedDenoiser
from serving.predict.files import DOT_FILE, Passed, claimed, find_inputs, format_rows
from serving.predict.run import ANY_LABEL

_RANGE_BYTES = 16 << 20
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Source:
    """What a worker denoises with: a server or a SavedModel it can read."""

    server: str | None
    model: str | None
    model_name: str = "denoiser"

    def open(self) -> Denoiser:
        """Loads it, in the worker."""
        if self.server is not None:
            return ServedDenoiser(self.server, self.model_name)
        if self.model is None:
            raise UsageError("Give either --server URL or --model DIR.")
        return LoadedDenoiser(pathlib.Path(self.model))


def absolute(location: str) -> str:
    """A path as a worker in a folder of its own finds it; a URI as it is."""
    return location if "://" in location else os.path.abspath(location)


@dataclasses.dataclass(frozen=True)
class Shards:
    """What was done."""

    output: str
    shards: int
    """Files written."""
    ignored: tuple[Passed, ...] = ()
    """Files of a folder, or that fit a pattern, that are no CSVs."""


@dataclasses.dataclass(frozen=True)
class _Range:
    path: str
    start: int
    end: int | None
    shard: str
    """Name of the file that it becomes."""

    def open(self) -> IO[bytes]:
        packed = self.path.lower().endswith(".gz")
        kind = CompressionTypes.GZIP if packed else CompressionTypes.UNCOMPRESSED
        return FileSystems.open(self.path, compression_type=kind)


def _csvs(inputs: Sequence[str]) -> tuple[list[tuple[str, int]], list[Passed]]:
    """(path or URI, size in bytes) of each CSV, and what is passed over.

    Raises:
      UsageError: there is none, or an input is no CSV.
    """
    csvs: list[tuple[str, int]] = []
    ignored: list[Passed] = []
    for location in inputs:
        # What exists under this very name is no pattern, whatever characters are in it.
        if os.path.exists(location):
            found = find_inputs([pathlib.Path(location)])
            if found.images:
                raise UsageError(f"{shown(found.images[0])}: --beam takes CSVs, not images.")
            csvs += [(absolute(str(path)), path.stat().st_size) for path in found.csvs]
            ignored += found.ignored
            continue
        [match] = FileSystems.match([absolute(location)])
        files = {file.path: file.size_in_bytes for file in match.metadata_list}
        taken = [path for path in sorted(files) if not path.rpartition("/")[2].startswith(".")]
        if not taken:
            raise UsageError(f"{shown(location)}: there is no such file.")
        csvs += [(path, files[path]) for path in taken]
        ignored += [Passed(path, DOT_FILE) for path in sorted(files.keys() - set(taken))]
    return csvs, ignored


def _ranges(csvs: Sequence[tuple[str, int]]) -> list[_Range]:
    parts: list[tuple[str, int, int | None]] = []
    for path, size in csvs:
        if path.lower().endswith(".gz") or size <= _RANGE_BYTES:
            parts.append((path, 0, None))
            continue
        for start in range(0, size, _RANGE_BYTES):
            parts.append((path, start, min(start + _RANGE_BYTES, size)))
    return [
        _Range(*part, f"denoised-{number:05d}-of-{len(parts):05d}.csv")
        for number, part in enumerate(parts)
    ]


class _DenoiseRange(beam.DoFn):
    """A range of a CSV to a shard of the output; the model is loaded once in each process."""

    def __init__(self, source: Source, shape: tuple[int, int, int], output: str) -> None:
        height, width, channels = shape
        self._source = source
        self._shape = shape
        self._output = output
        self._row = RowFormat(height * width * channels, ANY_LABEL, width)
        self._shared = Shared()
        self._denoiser: Denoiser | None = None

    def setup(self) -> None:
        self._denoiser = self._shared.acquire(self._source.open)

    def process(self, element: _Range) -> Iterator[str]:  # type: ignore[override]
        path = FileSystems.join(self._output, element.shard)
        # Under another name first, and one of its own: a bundle may be tried again, even while
        # its first attempt is still under way.
        partial = FileSystems.join(self._output, f".{secrets.token_hex(8)}.partial")
        try:
            with FileSystems.create(partial, "text/csv") as stream:
                for rows in self._denoised(element):
                    stream.write(rows)
            if FileSystems.exists(path):
                FileSystems.delete([path])
            FileSystems.rename([partial], [path])
        except BaseException:
            if FileSystems.exists(partial):
                FileSystems.delete([partial])
            raise
        yield path

    def _denoised(self, element: _Range) -> Iterator[bytes]:
        assert self._denoiser is not None
        with element.open() as stream:
            row = read_head(stream, self._row, element.path, label="optional")
        with element.open() as stream:
            for before, found in read_rows(stream, row, element.start, element.end):
                if found.bad:
                    bad = found.bad[0]
                    raise DataError(
                        f"{element.path}, line {before + bad.line} of the bytes from "
                        f"{element.start}: {bad.reason}: {bad.detail} in {bad.text[:80]!r}"
                    )
                for start in range(0, len(found.pixels), _ROWS):
                    pixels = found.pixels[start : start + _ROWS]
                    labels = found.labels[start : start + _ROWS] if row.labelled else None
                    denoised = self._denoiser.denoise(pixels.reshape(-1, *self._shape))
                    yield format_rows(labels, denoised.reshape(pixels.shape))


def predict_with_beam(
    inputs: Sequence[str],
    output: str,
    source: Source,
    pipeline_args: Sequence[str] = (),
    overwrite: bool = False,
) -> Shards:
    """Denoises CSVs of `label,p1,...,pN` rows, or of `p1,...,pN`.

    Args:
      inputs: Paths, folders, or patterns with * and ?, in any file system Beam knows.
      output: The folder for `denoised-NNNNN-of-NNNNN.csv`.
      source: The denoiser.
      pipeline_args: Beam's flags, such as `--runner=FlinkRunner`.
      overwrite: Whether files that this command did not make may be replaced. In an object
        store nothing tells who made a file: there it is needed for any that exists.

    Raises:
      UsageError: there is no such file, or the output is an input or a file of somebody else.
      DataError: a row is not one; a distributed runner wraps it in an error of its own.
      ModelError, NotDenoisedError: the denoiser cannot be used.
    """
    csvs, ignored = _csvs(inputs)
    ranges = _ranges(csvs)
    output = absolute(output)
    if source.model is not None:
        source = dataclasses.replace(source, model=absolute(source.model))
    denoiser = source.open()
    shape = denoiser.row_shape
    denoiser.close()
    options = PipelineOptions(["--runner=FnApiRunner", *pipeline_args])
    with (
        _claimed(output, [part.shard for part in ranges], inputs, csvs, overwrite),
        beam.Pipeline(options=options) as pipeline,
    ):
        (
            pipeline
            | "Ranges" >> beam.Create(ranges)
            | "Spread" >> beam.Reshuffle()
            | "Denoise" >> beam.ParDo(_DenoiseRange(source, shape, output))
        )
    return Shards(output, len(ranges), tuple(ignored))


def _claimed(
    output: str,
    shards: Sequence[str],
    inputs: Sequence[str],
    csvs: Sequence[tuple[str, int]],
    overwrite: bool,
) -> contextlib.AbstractContextManager[None]:
    """As `files.claimed`, for a folder in any file system."""
    if "://" not in output:
        read = [*inputs, *(path for path, _ in csvs)]
        local = [pathlib.Path(path) for path in read if "://" not in path]
        return claimed(pathlib.Path(output), shards, local, overwrite)
    paths = [FileSystems.join(output, shard) for shard in shards]
    for path in paths:
        if path in dict(csvs) or (not overwrite and FileSystems.exists(path)):
            raise UsageError(f"{path} exists. Give another -o DIR, or --overwrite.")
    if not FileSystems.exists(output):
        FileSystems.mkdirs(output)
    return contextlib.nullcontext()
