"""What ingestion reports, and where it lies beside the Examples.

    <examples>/Split-{train,validation,test}/data_tfrecord-*.gz
    <examples>/ingestion/summary.json        IngestionSummary
    <examples>/ingestion/quarantine.jsonl    a QuarantinedRow a line

Both files are part of the Examples artifact, so they go where it goes, on every runner.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import pydantic

CSV_STEP, IMAGE_STEP = "CsvIngestion", "ImageIngestion"
STEPS = (CSV_STEP, IMAGE_STEP)
"""Ids of the steps that ingest; a run has one of them."""
DIRECTORY = "ingestion"
SUMMARY_FILE = "summary.json"
QUARANTINE_FILE = "quarantine.jsonl"


class QuarantinedRow(pydantic.BaseModel):
    """A row, or a file of images, that was set aside."""

    file: str
    """Path under the data folder."""
    line: int
    """1-based, physical: what an editor shows; 0 of a file of images."""
    reason: str
    """A `reader.Reason`, or of a file a word."""
    detail: str
    """What was found and what was expected."""
    row: str
    """The text, cut to 4096 characters."""

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.detail}"
        shown = self.row if len(self.row) <= 60 else self.row[:59] + "…"
        return f"{self.file}, line {self.line}: {self.detail}: {shown!r}"


class FileSummary(pydantic.BaseModel):
    """Rows of one CSV: `rows` = the sum of `examples` + the sum of `quarantined`. Or files of
    images in one folder: `rows` = `cut` + the sum of `quarantined`."""

    file: str
    """Path under the data folder; of images that of their folder, with a slash at its end."""
    input_split: str
    """`train` or `test`: the folder."""
    rows: int = 0
    """Rows read: lines that are neither blank nor the header. Of images, files; of pairs, pairs
    and files without a twin."""
    cut: int = 0
    """Files that patches were cut from."""
    examples: dict[str, int] = {}
    """tf.Examples written, by the split they went to."""
    quarantined: dict[str, int] = {}
    """Rows, or files of images, set aside, by reason."""


def _with_reasons(ignored: Any) -> Any:
    """Older summaries have the names alone."""
    reason = "not named .csv or .csv.gz"
    return dict.fromkeys(ignored, reason) if isinstance(ignored, list) else ignored


def fingerprint(keys: Iterable[int]) -> str:
    """Of Examples in whatever order: their keys, or sums of these, added up modulo 2^64."""
    return f"{sum(keys) % 2**64:016x}"


class IngestionSummary(pydantic.BaseModel):
    """What became of the whole data folder, as for each file or folder (`FileSummary`)."""

    format: str = "csv"
    """`data.format`: csv, images or pairs."""
    rows: int
    cut: int = 0
    examples: dict[str, int]
    quarantined: dict[str, int]
    span: int
    """Number of the ingested span; 0 without spans."""
    files: list[FileSummary]
    ignored: Annotated[dict[str, str], pydantic.BeforeValidator(_with_reasons)]
    """Why other files in the split folders were not taken, by their path under the data folder."""
    overlap: int = 0
    """Rows of `test` that are rows of `train` too; of images, patches of files that are."""
    notes: dict[str, int] = {}
    """Number of image files by what was not taken from them as it is."""
    fingerprint: str = ""
    """Of the rows in `train`, 16 hexadecimal digits: the same wherever they lie and in whatever
    order or files; of images, of the patches."""

    @property
    def unit(self) -> str:
        """What `rows` counts."""
        return {"csv": "rows", "images": "files", "pairs": "pairs"}[self.format]

    @property
    def examples_unit(self) -> str:
        """What an Example is."""
        return "rows" if self.format == "csv" else "patches"

    def account(self) -> str:
        """Where everything that was read went, as a sum."""
        splits = [f"{count:,} {split}" for split, count in self.examples.items()]
        bad = f"{sum(self.quarantined.values()):,} set aside"
        if self.format == "csv":
            return f"{self.rows:,} = {', '.join(splits)} + {bad}"
        patches = f"{sum(self.examples.values()):,} patches ({', '.join(splits)})"
        return f"{self.rows:,} = {self.cut:,} cut into {patches} + {bad}"


def read_summary(examples_uri: str) -> IngestionSummary:
    """Reads the summary beside an Examples artifact."""
    from tfx.dsl.io import fileio

    with fileio.open(os.path.join(examples_uri, DIRECTORY, SUMMARY_FILE), "rb") as file:
        return IngestionSummary.model_validate_json(file.read())


def read_quarantine(examples_uri: str) -> Iterator[QuarantinedRow]:
    """Reads the quarantined rows beside an Examples artifact, in order of file and line."""
    from tfx.dsl.io import fileio

    path = os.path.join(examples_uri, DIRECTORY, QUARANTINE_FILE)
    if fileio.exists(path):
        with fileio.open(path, "r") as file:
            for line in file:
                yield QuarantinedRow.model_validate_json(line)
