"""What ingestion reports, and where it lies beside the Examples.

    <examples>/Split-{train,validation,test}/data_tfrecord-*.gz
    <examples>/ingestion/summary.json        IngestionSummary
    <examples>/ingestion/quarantine.jsonl    a QuarantinedRow a line

Both files are part of the Examples artifact, so they go where it goes, on every runner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import pydantic

DIRECTORY = "ingestion"
SUMMARY_FILE = "summary.json"
QUARANTINE_FILE = "quarantine.jsonl"


class QuarantinedRow(pydantic.BaseModel):
    """A row that was set aside."""

    file: str
    """Path of the CSV under the data folder."""
    line: int
    """1-based, physical: what an editor shows."""
    reason: str
    """A `reader.Reason`."""
    detail: str
    """What was found and what was expected."""
    row: str
    """The text, cut to 4096 characters."""

    def __str__(self) -> str:
        shown = self.row if len(self.row) <= 60 else self.row[:59] + "…"
        return f"{self.file}, line {self.line}: {self.detail}: {shown!r}"


class FileSummary(pydantic.BaseModel):
    """Rows of one CSV: `rows` = the sum of `examples` + the sum of `quarantined`."""

    file: str
    """Path under the data folder."""
    input_split: str
    """`train` or `test`: the folder."""
    rows: int = 0
    """Rows read: lines that are neither blank nor the header."""
    examples: dict[str, int] = {}
    """tf.Examples written, by the split they went to."""
    quarantined: dict[str, int] = {}
    """Rows set aside, by reason."""


def _with_reasons(ignored: Any) -> Any:
    """Older summaries have the names alone."""
    reason = "not named .csv or .csv.gz"
    return dict.fromkeys(ignored, reason) if isinstance(ignored, list) else ignored


class IngestionSummary(pydantic.BaseModel):
    """Rows of the whole data folder: `rows` = `examples` + `quarantined`, summed."""

    rows: int
    examples: dict[str, int]
    quarantined: dict[str, int]
    span: int
    """Number of the ingested span; 0 without spans."""
    files: list[FileSummary]
    ignored: Annotated[dict[str, str], pydantic.BeforeValidator(_with_reasons)]
    """Why other files in the split folders were not taken, by their path under the data folder."""
    overlap: int = 0
    """Rows of `test` that are rows of `train` too."""
    fingerprint: str = ""
    """Of the rows in `train`, 16 hexadecimal digits: the same wherever they lie and in whatever
    order or files."""


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
