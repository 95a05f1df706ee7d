"""Byte ranges of CSV files to TFRecord shards: the Beam step, and the plan it works through.

Each range is read, parsed, serialised and written by one worker, a megabyte at a time: no
row crosses the runner, so memory stays flat and no runner has anything to spill. Parsing and
serialising run in threads (they leave the interpreter lock most of the time) while the
worker's own thread reads and compresses.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from components.base import progress
from components.base.errors import DataError
from components.base.in_order import THREADS, map_in_order
from components.csv_ingestion import data_folder, examples, parts, reader
from components.csv_ingestion.parts import TRAIN, VALIDATION
from components.csv_ingestion.result import FileSummary, QuarantinedRow

_RANGE_BYTES = 32 << 20
"""The most of a plain file that one worker takes at a time."""
_LEAST_RANGE_BYTES = 1 << 20
"""Less is not worth a shard of its own."""
NOT_WHOLE = (EOFError, gzip.BadGzipFile, zlib.error)
"""What Python raises of a gzip file that was cut off or damaged."""
_GZIP_MAGIC = b"\x1f\x8b"
_UNKNOWN_LABELS = 100
"""How many different ones are kept of a range."""


@dataclasses.dataclass(frozen=True)
class FileRange:
    """A part of a file: the lines that begin in the bytes [start, end)."""

    number: int
    """Of the range, over all files."""
    input_split: str
    path: str
    name: str
    """The path under the data folder."""
    start: int
    end: int | None
    """None: to the end."""
    compressed: bool
    row: reader.RowFormat
    """The file's: which column holds what."""


class RangeReport(FileSummary):
    """What became of a range."""

    lines: int = 0
    """Physical lines: the next range's line numbers follow on."""
    keys: int = 0
    """Sum of the keys of the Examples that are trained on, modulo 2^64."""
    labels: tuple[int, ...] = ()
    """Which labels there are."""
    unknown_labels: tuple[str, ...] = ()
    """What stands in place of a label, the first 100 different ones."""
    last_pixels: tuple[int, ...] = ()
    """Which values the last pixel has."""
    error: str | None = None
    """Why the rest of the file could not be read."""


def plan(
    folder: str, splits: Iterable[str], row: reader.RowFormat, parallelism: int = 1
) -> tuple[list[FileRange], dict[str, str]]:
    """Finds the files of each split, reads their headers and cuts them into ranges.

    Plain files are cut so that each worker has a range of a split, and at least every 32 MiB; a
    gzipped one cannot be read from its middle. Rows, their order and keys do not depend on it.

    Args:
      folder: The data folder, or one of its spans.
      splits: Names of the folders in it.
      row: What a row holds, as asked for; with 0 classes, files have no column of labels.
      parallelism: How many workers there are.

    Returns:
      The ranges in order of split, file and start; and why other files are not taken, by their
      path under the folder.

    Raises:
      DataError: a split has no file, or a file is empty, cannot be opened or does not hold such
        rows; names it.
    """
    import tensorflow as tf
    from tfx.dsl.io import fileio

    ranges: list[FileRange] = []
    ignored: dict[str, str] = {}
    for split in splits:
        files = data_folder.files(folder, split)
        ignored |= files.ignored
        whole: list[FileRange] = []
        sizes: list[int] = []
        for path in files.csvs:
            try:
                with fileio.open(path, "rb") as file:
                    compressed = file.read(2) == _GZIP_MAGIC
                size = fileio.stat(path).length
                if not size:
                    raise DataError(f"{path} is empty.")
                if path.lower().endswith(".gz") and not compressed:
                    raise DataError(f"{path} is named .gz but is not gzipped.")
                with _open(path, compressed) as stream:
                    found = reader.read_head(
                        stream, row, path, label="required" if row.classes else "optional"
                    )
                if found.labelled and not row.classes:
                    raise DataError(
                        f"{path} has a column of labels, and data.classes names none. Name them, "
                        "such as data.classes=[cat, dog], or take the column out."
                    )
            except NOT_WHOLE as error:
                raise DataError(f"{path} cannot be read to its end: {error}") from error
            except (OSError, tf.errors.OpError) as error:
                raise DataError(f"{path} cannot be read: {error}") from error
            part = FileRange(
                number=0,
                input_split=split,
                path=path,
                name=os.path.relpath(path, folder),
                start=0,
                end=None,
                compressed=compressed,
                # Workers need no names.
                row=dataclasses.replace(found, header=b""),
            )
            whole.append(part)
            sizes.append(size)
        plain = sum(size for part, size in zip(whole, sizes, strict=True) if not part.compressed)
        step = min(_RANGE_BYTES, max(_LEAST_RANGE_BYTES, -(-plain // parallelism)))
        for part, size in zip(whole, sizes, strict=True):
            begins = part.row.begins
            if part.compressed:
                ranges.append(dataclasses.replace(part, number=len(ranges)))
                continue
            # At least one, for a file that ends with its header.
            for start in range(begins, size, step) or [begins]:
                end = min(start + step, size)
                number = len(ranges)
                ranges.append(dataclasses.replace(part, number=number, start=start, end=end))
    return ranges, ignored


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A block on its way out."""

    records: dict[str, list[bytes]]
    """Serialised tf.Examples by output split."""
    rows: reader.Rows
    keys: np.ndarray
    """int64 (n,)."""


class IngestRange(beam.DoFn):
    """Writes a range's shards, its quarantined rows and its report; yields its number.

    Safe to run twice: shards and reports are renamed to their names when they are complete,
    and are the same each time.
    """

    def __init__(self, validation_fraction: float, examples_uri: str, ranges: int):
        self._validation_fraction = validation_fraction
        self._examples_uri = examples_uri
        self._ranges = ranges

    def setup(self) -> None:
        self._done = 0
        self._threads = futures.ThreadPoolExecutor(THREADS)

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(self, element: FileRange) -> Iterator[int]:
        report = RangeReport(file=element.name, input_split=element.input_split)
        with parts.Shards(self._examples_uri, element.number) as shards:
            try:
                self._ingest(element, shards, report)
            except NOT_WHOLE as error:
                # Not raised: a runner would try again, and wrap it in its own words.
                report.error = str(error)
            else:
                shards.publish()
        parts.write_report(self._examples_uri, element.number, report)
        self._done += 1
        progress.tell("CsvIngestion", self._done, self._ranges)
        yield element.number

    def _ingest(self, element: FileRange, shards: parts.Shards, report: RangeReport) -> None:
        examples_of: collections.Counter[str] = collections.Counter()
        quarantined: collections.Counter[str] = collections.Counter()
        labels: set[int] = set()
        unknown_labels: dict[str, None] = {}
        last_pixels: set[int] = set()
        row, start = element.row, element.start
        report.lines = row.lines_before if start <= row.begins else 0
        with _open(element.path, element.compressed) as stream:
            blocks = reader.read_blocks(stream, row, start, element.end)
            encode = functools.partial(
                _encode, input_split=element.input_split, row=row,
                validation_fraction=self._validation_fraction,
            )  # fmt: skip
            for block in map_in_order(self._threads, encode, blocks, ahead=THREADS):
                for split, records in block.records.items():
                    shards.write(split, records)
                    examples_of[split] += len(records)
                rows = block.rows
                for bad in rows.bad:
                    shards.quarantine(
                        QuarantinedRow(
                            file=element.name,
                            line=report.lines + bad.line,
                            reason=bad.reason,
                            detail=bad.detail,
                            row=bad.text,
                        )
                    )
                    quarantined[bad.reason] += 1
                    if bad.reason == "unknown_label" and len(unknown_labels) < _UNKNOWN_LABELS:
                        unknown_labels[bad.detail] = None
                labels.update(np.unique(rows.labels).tolist())
                last_pixels.update(np.unique(rows.pixels[:, -1]).tolist())
                shards.add_keys(block.keys)
                report.rows += rows.read
                report.lines += rows.lines
                if element.input_split == TRAIN:
                    trained_on = int(block.keys.view(np.uint64).sum())
                    report.keys = (report.keys + trained_on) % 2**64
        report.examples = dict(examples_of)
        report.quarantined = dict(quarantined)
        report.labels, report.last_pixels = tuple(sorted(labels)), tuple(sorted(last_pixels))
        report.unknown_labels = tuple(unknown_labels)


class ReadRange(beam.DoFn):
    """Yields the good rows of a range as `examples.record_batch`es."""

    def process(self, element: FileRange) -> Iterator[pa.RecordBatch]:
        try:
            with _open(element.path, element.compressed) as stream:
                for _, rows in reader.read_rows(stream, element.row, element.start, element.end):
                    if len(rows.labels):
                        keys = examples.fingerprints(rows.labels, rows.pixels)
                        yield examples.record_batch(rows.labels, rows.pixels, keys)
        except NOT_WHOLE as error:
            raise DataError(f"{element.path} cannot be read to its end: {error}") from error


def _encode(
    block: bytes, *, input_split: str, row: reader.RowFormat, validation_fraction: float
) -> _Encoded:
    rows = reader.parse(block, row)
    keys = examples.fingerprints(rows.labels, rows.pixels)
    if input_split == TRAIN:
        validation = examples.is_validation(keys, validation_fraction)
        chosen = {TRAIN: ~validation, VALIDATION: validation}
        batches = {
            split: examples.record_batch(rows.labels[mask], rows.pixels[mask], keys[mask])
            for split, mask in chosen.items()
        }
    else:
        batches = {input_split: examples.record_batch(rows.labels, rows.pixels, keys)}
    records = {split: examples.serialise(batch) for split, batch in batches.items()}
    return _Encoded(records, rows, keys)


@contextlib.contextmanager
def _open(path: str, compressed: bool) -> Iterator[Any]:
    from tfx.dsl.io import fileio

    with fileio.open(path, "rb") as file:
        if compressed:
            with gzip.GzipFile(fileobj=file) as unpacked, io.BufferedReader(unpacked) as stream:
                yield stream
        else:
            yield file
