"""Runs ingestion: finds the files, has Beam ingest their ranges, and accounts for every row."""

from __future__ import annotations

import collections
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from google.protobuf import wrappers_pb2
from tfx import types
from tfx.components.example_gen import driver, utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.base import records
from components.base.errors import DataError, RunError
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion import ingest, reader
from components.csv_ingestion.result import (
    DIRECTORY,
    QUARANTINE_FILE,
    SUMMARY_FILE,
    FileSummary,
    IngestionSummary,
    QuarantinedRow,
    read_quarantine,
)

_SHOWN = 5
"""Bad rows and bad files an error shows."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `CsvIngestion`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Ingests a data folder.

        Args:
          input_dict: Empty.
          output_dict: `examples`: one Examples artifact.
          exec_properties: What `CsvIngestion` set and, where the runner has drivers, what the
            driver resolved (span, version, input fingerprint); else it is resolved here.

        Raises:
          DataError: a file is missing, empty, unreadable or cut short; a split is left without
            a row; or more rows are bad than `data.max_bad_rows` allows.
          RunError: rows read and rows written differ, which is a fault of this component.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        image, data = _settings(exec_properties)
        _resolve_span(exec_properties, artifact)
        input_config = example_gen_pb2.Input()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.INPUT_CONFIG_KEY], input_config
        )
        input_base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        ranges, ignored = ingest.plan(
            input_base,
            {split.name: split.pattern for split in input_config.splits},
            reader.RowFormat(image.pixels, len(data.classes), image.width),
        )

        fileio.makedirs(ingest.parts_directory(artifact.uri))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Ranges" >> beam.Create(ranges)
                | "Spread" >> beam.Reshuffle()
                | "Ingest"
                >> beam.ParDo(
                    ingest.IngestRange(
                        validation_fraction=data.validation_fraction,
                        examples_uri=artifact.uri,
                        ranges=len(ranges),
                    )
                )
            )

        reports = list(ingest.read_reports(artifact.uri, ranges))
        _write_quarantine(artifact.uri, reports)
        summary = _summarise(reports, exec_properties[utils.SPAN_PROPERTY_NAME], ignored)
        _check(summary, reports, artifact.uri, input_base, data.max_bad_rows)
        with fileio.open(os.path.join(artifact.uri, DIRECTORY, SUMMARY_FILE), "w") as file:
            file.write(summary.model_dump_json(indent=2) + "\n")
        records.write_counts(artifact.uri, summary.examples)
        fileio.rmtree(ingest.parts_directory(artifact.uri))

        artifact.split_names = artifact_utils.encode_split_names(list(ingest.OUTPUT_SPLITS))
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")
        artifact.set_int_custom_property("rows", summary.rows)
        artifact.set_int_custom_property("quarantined", sum(summary.quarantined.values()))


def _settings(exec_properties: dict[str, Any]) -> tuple[ImageSettings, DataSettings]:
    custom_config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(
        exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], custom_config
    )
    text = wrappers_pb2.StringValue()
    custom_config.custom_config.Unpack(text)
    values = json.loads(text.value)
    return (
        ImageSettings.model_validate(values["image"]),
        DataSettings.model_validate(values["data"]),
    )


def _resolve_span(exec_properties: dict[str, Any], artifact: types.Artifact) -> None:
    """Does the driver's work where it never ran: Kubeflow Pipelines ignores TFX drivers."""
    if exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME):
        return
    try:
        driver.FileBasedDriver(None).resolve_exec_properties(exec_properties, None, None)
    except ValueError as error:
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        raise DataError(f"{base}: no span in it could be taken: {error}") from error
    driver.update_output_artifact(exec_properties, artifact.mlmd_artifact)


def _write_quarantine(examples_uri: str, reports: list[ingest.RangeReport]) -> None:
    """Joins the ranges' quarantined rows, with lines counted from the file's beginning."""
    parts = ingest.parts_directory(examples_uri)
    if not any(report.quarantined for report in reports):
        return
    with fileio.open(os.path.join(examples_uri, DIRECTORY, QUARANTINE_FILE), "w") as joined:
        for _, of_file in itertools.groupby(reports, key=lambda report: report.file):
            lines_before = 0
            for report in of_file:
                if report.quarantined:
                    with fileio.open(ingest.quarantine_path(parts, report.number), "r") as part:
                        for line in part:
                            row = QuarantinedRow.model_validate_json(line)
                            row.line += lines_before
                            joined.write(row.model_dump_json() + "\n")
                lines_before += report.lines


def _summarise(
    reports: list[ingest.RangeReport], span: int | None, ignored: list[str]
) -> IngestionSummary:
    files = []
    for name, of_file in itertools.groupby(reports, key=lambda report: report.file):
        parts = list(of_file)
        files.append(
            FileSummary(
                file=name,
                input_split=parts[0].input_split,
                rows=sum(part.rows for part in parts),
                examples=_sum(part.examples for part in parts),
                quarantined=_sum(part.quarantined for part in parts),
            )
        )
    empty = dict.fromkeys(ingest.OUTPUT_SPLITS, 0)
    return IngestionSummary(
        rows=sum(file.rows for file in files),
        examples={**empty, **_sum(file.examples for file in files)},
        quarantined=_sum(file.quarantined for file in files),
        span=int(span or 0),
        files=files,
        ignored=ignored,
        fingerprint=f"{sum(report.keys for report in reports) % 2**64:016x}",
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))


def _check(
    summary: IngestionSummary,
    reports: list[ingest.RangeReport],
    examples_uri: str,
    input_base: str,
    max_bad_rows: float,
) -> None:
    unreadable = [
        f"{os.path.join(input_base, report.file)} cannot be read to its end: {report.error}"
        for report in reports
        if report.error
    ]
    if unreadable:
        raise DataError(_lines(unreadable))
    empty = [
        f"{os.path.join(input_base, file.file)} holds no rows."
        for file in summary.files
        if not file.rows
    ]
    if empty:
        raise DataError(_lines(empty))

    for file in summary.files:
        accounted = sum(file.examples.values()) + sum(file.quarantined.values())
        if file.rows != accounted:
            raise RunError(
                f"{file.file}: {file.rows} rows read, but {accounted} written or quarantined. "
                "This is a fault of the ingestion, not of the data."
            )

    bad = sum(summary.quarantined.values())
    if bad > max_bad_rows * summary.rows:
        shown = map(str, itertools.islice(_quarantine(examples_uri, input_base), _SHOWN))
        raise DataError(
            f"{bad} of {summary.rows} rows are bad, more than data.max_bad_rows = "
            f"{max_bad_rows:g} allows. The first:\n"
            + _lines(shown)
            + "\nCorrect them, set image.height, width and channels to what the files hold, or "
            "raise data.max_bad_rows to set bad rows aside."
        )
    for split, count in summary.examples.items():
        if not count:
            raise DataError(
                f"{input_base}: no row for {split}. "
                + (
                    "data.validation_fraction takes too large a share of so few rows."
                    if split == ingest.TRAIN
                    else "data.validation_fraction takes too small a share of so few rows."
                    if split == ingest.VALIDATION
                    else "All of its rows are bad."
                )
            )


def _quarantine(examples_uri: str, input_base: str) -> Iterator[QuarantinedRow]:
    for row in read_quarantine(examples_uri):
        yield row.model_copy(update={"file": os.path.join(input_base, row.file)})


def _lines(texts: Iterable[str]) -> str:
    shown = list(texts)
    more = len(shown) - _SHOWN
    return "\n".join(shown[:_SHOWN] + [f"and {more} more"] * (more > 0))
