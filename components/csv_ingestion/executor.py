"""Runs ingestion: finds the files, has Beam ingest their ranges, and accounts for every row."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from google.protobuf import wrappers_pb2
from tfx import types
from tfx.components.example_gen import driver, utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.base.errors import DataError, RunError
from components.base.jobs import BeamExecutor
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion import data_folder, ingest, parts, reader
from components.csv_ingestion.result import (
    DIRECTORY,
    QUARANTINE_FILE,
    FileSummary,
    IngestionSummary,
    QuarantinedRow,
    fingerprint,
    read_quarantine,
)


class Executor(BeamExecutor):
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
            driver found (the input's fingerprint); else it is found here.

        Raises:
          DataError: a file is missing, empty, unreadable or cut short, or its columns are not
            what was expected; a split is left without a row; or more rows are bad than
            `data.max_bad_rows` allows.
          RunError: rows read and rows written differ, which is a fault of this component.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        image, data = _settings(exec_properties)
        _fingerprint(exec_properties, artifact)
        input_config = example_gen_pb2.Input()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.INPUT_CONFIG_KEY], input_config
        )
        input_base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        ranges, ignored = ingest.plan(
            input_base,
            [split.name for split in input_config.splits],
            reader.RowFormat(image.pixels, len(data.classes), image.width),
            parts.workers(self._beam_pipeline_args or ()),
        )

        fileio.makedirs(parts.parts_directory(artifact.uri))
        with self.running(artifact) as pipeline:
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

        reports = list(parts.read_reports(artifact.uri, len(ranges), ingest.RangeReport))
        _write_quarantine(artifact.uri, reports)
        span = data_folder.span_number(input_base) or 0
        summary = _summarise(reports, span, ignored)
        _check(summary, ranges, reports, artifact.uri, input_base, data)
        parts.finish(artifact, summary, [r.input_split for r in ranges], summary.rows)


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


def _fingerprint(exec_properties: dict[str, Any], artifact: types.Artifact) -> None:
    """Does the driver's work where it never ran: Kubeflow Pipelines ignores TFX drivers."""
    if not exec_properties.get(utils.FINGERPRINT_PROPERTY_NAME):
        driver.FileBasedDriver(None).resolve_exec_properties(exec_properties, None, None)
        driver.update_output_artifact(exec_properties, artifact.mlmd_artifact)


def _write_quarantine(examples_uri: str, reports: list[ingest.RangeReport]) -> None:
    """Joins the ranges' quarantined rows, with lines counted from the file's beginning."""
    folder = parts.parts_directory(examples_uri)
    if not any(report.quarantined for report in reports):
        return
    with fileio.open(os.path.join(examples_uri, DIRECTORY, QUARANTINE_FILE), "w") as joined:
        for _, of_file in itertools.groupby(enumerate(reports), key=lambda item: item[1].file):
            lines_before = 0
            for number, report in of_file:
                if report.quarantined:
                    with fileio.open(parts.quarantine_path(folder, number), "r") as part:
                        for line in part:
                            row = QuarantinedRow.model_validate_json(line)
                            row.line += lines_before
                            joined.write(row.model_dump_json() + "\n")
                lines_before += report.lines


def _summarise(
    reports: list[ingest.RangeReport], span: int, ignored: dict[str, str]
) -> IngestionSummary:
    files = []
    for name, of_file in itertools.groupby(reports, key=lambda report: report.file):
        of_ranges = list(of_file)
        files.append(
            FileSummary(
                file=name,
                input_split=of_ranges[0].input_split,
                rows=sum(report.rows for report in of_ranges),
                examples=parts.total(report.examples for report in of_ranges),
                quarantined=parts.total(report.quarantined for report in of_ranges),
            )
        )
    empty = dict.fromkeys(parts.OUTPUT_SPLITS, 0)
    return IngestionSummary(
        rows=sum(file.rows for file in files),
        examples={**empty, **parts.total(file.examples for file in files)},
        quarantined=parts.total(file.quarantined for file in files),
        span=span,
        files=files,
        ignored=ignored,
        fingerprint=fingerprint(report.keys for report in reports),
    )


def _check(
    summary: IngestionSummary,
    ranges: list[ingest.FileRange],
    reports: list[ingest.RangeReport],
    examples_uri: str,
    input_base: str,
    data: DataSettings,
) -> None:
    unreadable = [
        f"{os.path.join(input_base, report.file)} cannot be read to its end: {report.error}"
        for report in reports
        if report.error
    ]
    if unreadable:
        raise DataError(parts.lines(unreadable))
    empty = [
        f"{os.path.join(input_base, file.file)} holds no rows."
        for file in summary.files
        if not file.rows
    ]
    if empty:
        raise DataError(parts.lines(empty))

    for file in summary.files:
        accounted = sum(file.examples.values()) + sum(file.quarantined.values())
        if file.rows != accounted:
            raise RunError(
                f"{file.file}: {file.rows} rows read, but {accounted} written or quarantined. "
                "This is a fault of the ingestion, not of the data."
            )

    bad = sum(summary.quarantined.values())
    too_many = bad > data.max_bad_rows * summary.rows
    label_faults = _label_faults(ranges, reports, len(data.classes), too_many)
    if too_many:
        shown = map(str, itertools.islice(_quarantine(examples_uri, input_base), parts.SHOWN))
        raise DataError(
            f"{bad} of {summary.rows} rows are bad, more than data.max_bad_rows = "
            f"{data.max_bad_rows:g} allows. The first:\n"
            + parts.lines(shown)
            + "".join(f"\n{fault}" for fault in label_faults)
            + "\nCorrect them, set image.height, width and channels to what the files hold, or "
            "raise data.max_bad_rows to set bad rows aside."
        )
    if label_faults:
        raise DataError(parts.lines(label_faults))
    for split, count in summary.examples.items():
        if not count:
            raise DataError(
                f"{input_base}: no row for {split}. "
                + (
                    "data.validation_fraction takes too large a share of so few rows."
                    if split == parts.TRAIN
                    else "data.validation_fraction takes too small a share of so few rows."
                    if split == parts.VALIDATION
                    else "All of its rows are bad."
                )
            )


def _label_faults(
    ranges: list[ingest.FileRange],
    reports: list[ingest.RangeReport],
    classes: int,
    too_many: bool,
) -> list[str]:
    """Files whose column of labels does not hold labels, each with why it is thought so.

    Args:
      ranges: Of all files.
      reports: Of the ranges.
      classes: Labels are 0 to `classes - 1`.
      too_many: Whether more rows are bad than are allowed. Else some that have no such label are
        just that.
    """
    faults = []
    both = zip(ranges, reports, strict=True)
    for path, of_file in itertools.groupby(both, key=lambda pair: pair[0].path):
        pairs = list(of_file)
        row = pairs[0][0].row
        labels = set[int]().union(*(report.labels for _, report in pairs))
        unknown = set[str]().union(*(report.unknown_labels for _, report in pairs))
        last = set[int]().union(*(report.last_pixels for _, report in pairs))
        column = (
            "the column of the labels, by its name in the header,"
            if row.named
            else "column 1, taken for the label since there is no header,"
        )
        every = set(range(classes))
        known = f"data.classes has {classes}, 0 to {classes - 1}"
        if unknown and not labels:
            faults.append(f"{path}: {column} never holds a label ({min(unknown)}; {known}).")
        elif too_many and unknown and len(unknown) + len(labels) > classes:
            number = f"{len(unknown) + len(labels)} or more different values"
            faults.append(f"{path}: {column} holds {number} ({known}).")
        elif not row.named and classes > 2 and last == every and labels != every:
            some = ", ".join(map(str, sorted(labels)[:3]))
            faults.append(
                f"{path}: {column} holds {len(labels)} of the labels ({some}, ...; {known}), and "
                "the last one holds each of them and nothing else. Is that the label? Then give "
                "the file a header that names the columns."
            )
    return faults


def _quarantine(examples_uri: str, input_base: str) -> Iterator[QuarantinedRow]:
    for row in read_quarantine(examples_uri):
        yield row.model_copy(update={"file": os.path.join(input_base, row.file)})
