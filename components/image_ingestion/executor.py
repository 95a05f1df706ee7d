"""Runs ingestion of images: lists the files, has Beam cut them, and accounts for every one."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.example_gen import utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.base.errors import DataError, RunError
from components.base.jobs import BeamExecutor
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion import parts
from components.csv_ingestion.data_folder import span_number
from components.csv_ingestion.result import (
    DIRECTORY,
    QUARANTINE_FILE,
    FileSummary,
    IngestionSummary,
    fingerprint,
    read_quarantine,
)
from components.image_ingestion import cut, folder


class Executor(BeamExecutor):
    """Executor of `ImageIngestion`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `component.ImageIngestion` for the outputs and parameters.

        Raises:
          DataError: a split has no image, or none that can be cut; `train` has too few for a
            validation split; or more files are bad than `data.max_bad_files` allows.
          RunError: files read and files accounted for differ, which is a fault of this component.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["examples"])
        sections = json.loads(exec_properties["sections"])
        image = ImageSettings.model_validate(sections["image"])
        data = DataSettings.model_validate(sections["data"])
        input_base = exec_properties["input_base"]
        found = folder.files(input_base, data.format)
        groups = cut.plan(input_base, found.images, parts.workers(self._beam_pipeline_args or ()))
        below = int(data.validation_fraction * 2.0**64)
        reports = self._cut(artifact, groups, image, data, below)
        other = _other_bound(groups, reports, below)
        if other is not None:
            fileio.rmtree(artifact.uri)
            fileio.makedirs(artifact.uri)
            reports = self._cut(artifact, groups, image, data, other)

        _write_quarantine(artifact.uri, len(groups))
        span = span_number(input_base) or 0
        summary = _summarise(reports, span, found, data.format)
        _check(summary, len(found.images), artifact.uri, input_base, data)
        patches = sum(summary.examples.values())
        parts.finish(artifact, summary, [group.input_split for group in groups], patches)
        version = exec_properties.get("data_version") or folder.version(exec_properties, {})
        artifact.set_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME, version)

    def _cut(
        self,
        artifact: types.Artifact,
        groups: list[cut.Group],
        image: ImageSettings,
        data: DataSettings,
        below: int,
    ) -> list[cut.GroupReport]:
        fileio.makedirs(parts.parts_directory(artifact.uri))
        how = cut.Cutting(image.shape, data.patches, data.classes, below)
        with self.running(artifact) as pipeline:
            _ = (
                pipeline
                | "Groups" >> beam.Create(groups)
                | "Spread" >> beam.Reshuffle()
                | "Cut" >> beam.ParDo(cut.CutGroup(how, artifact.uri, len(groups)))
            )
        return list(parts.read_reports(artifact.uri, len(groups), cut.GroupReport))


def _other_bound(groups: list[cut.Group], reports: list[cut.GroupReport], below: int) -> int | None:
    """Of so few files that all are on one side: the bound that puts one on the other side."""
    both = zip(groups, reports, strict=True)
    trained = [report for group, report in both if group.input_split == parts.TRAIN]
    least = min((r.least for r in trained if r.least is not None), default=0)
    most = max((r.most for r in trained if r.most is not None), default=0)
    if least == most:
        return None
    if least >= below:
        return least + 1
    return most if most < below else None


def _write_quarantine(examples_uri: str, groups: int) -> None:
    folder_ = parts.parts_directory(examples_uri)
    paths = [parts.quarantine_path(folder_, number) for number in range(groups)]
    paths = [path for path in paths if fileio.exists(path)]
    if not paths:
        return
    with fileio.open(os.path.join(examples_uri, DIRECTORY, QUARANTINE_FILE), "w") as joined:
        for path in paths:
            with fileio.open(path, "r") as part:
                joined.write(part.read())


def _summarise(
    reports: list[cut.GroupReport], span: int, found: folder.Files, kind: str
) -> IngestionSummary:
    by_folder: dict[str, list[FileSummary]] = {}
    for report in reports:
        for name, of_folder in report.folders.items():
            by_folder.setdefault(name, []).append(of_folder)
    folders = [
        FileSummary(
            file=of_groups[0].file,
            input_split=of_groups[0].input_split,
            rows=sum(item.rows for item in of_groups),
            cut=sum(item.cut for item in of_groups),
            examples=parts.total(item.examples for item in of_groups),
            quarantined=parts.total(item.quarantined for item in of_groups),
        )
        for _, of_groups in sorted(by_folder.items())
    ]
    empty = dict.fromkeys(parts.OUTPUT_SPLITS, 0)
    return IngestionSummary(
        format=kind,
        rows=sum(item.rows for item in folders),
        cut=sum(item.cut for item in folders),
        examples={**empty, **parts.total(item.examples for item in folders)},
        quarantined=parts.total(item.quarantined for item in folders),
        span=span,
        files=folders,
        ignored=dict(found.ignored),
        notes=parts.total(report.notes for report in reports),
        fingerprint=fingerprint(report.keys for report in reports),
    )


def _check(
    summary: IngestionSummary, listed: int, examples_uri: str, input_base: str, data: DataSettings
) -> None:
    bad = sum(summary.quarantined.values())
    if not summary.rows == summary.cut + bad == listed:
        raise RunError(
            f"{input_base}: {listed} files found, {summary.rows} read, but {summary.cut} cut and "
            f"{bad} set aside. This is a fault of the ingestion, not of the data."
        )
    first = (
        row.model_copy(update={"file": os.path.join(input_base, row.file)})
        for row in read_quarantine(examples_uri)
    )
    shown = "\n".join(map(str, itertools.islice(first, parts.SHOWN)))
    if bad > data.max_bad_files * summary.rows:
        raise DataError(
            f"{bad} of {summary.rows} files cannot be cut into patches, more than "
            f"data.max_bad_files = {data.max_bad_files:g} allows. The first:\n{shown}\n"
            "Mend them or take them out, set image.height and image.width to a smaller patch, or "
            "raise data.max_bad_files to set them aside."
        )
    for split, count in summary.examples.items():
        if not count:
            raise DataError(
                f"{input_base}: no image for {split}. "
                + (
                    "None of test can be cut into patches."
                    if split == parts.TEST
                    else "At least two different images of train must be fit to be cut into "
                    "patches: one to train on, one for validation."
                )
                + (f" Set aside were\n{shown}" if shown else "")
            )
