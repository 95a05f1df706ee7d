"""`denoise data`: bring Fashion-MNIST as CSVs, or look at a folder of one's own."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from components.base import files
from components.base.errors import UsageError
from pipeline.commands import options
from pipeline.commands.session import data_source, read_by, session
from pipeline.workspace import Workspace


def data(
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    data: options.Data = None,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    infer_schema: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--infer-schema",
            metavar="FILE",
            dir_okay=False,
            help="Write a TFDV schema made from DIR.",
        ),
    ] = None,
    photographs: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--photographs",
            metavar="DIR",
            file_okay=False,
            help="Bring photographs to DIR: those of Debian packages to train on, those of "
            "scikit-image and scikit-learn to test with.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Bring Fashion-MNIST as CSVs, or photographs, or look at a folder of your own.

    Example: `denoise data`, `denoise data --photographs photographs`, or
    `denoise data --data my_images --infer-schema my_schema.pbtxt`.
    """
    if photographs is not None:
        _bring_photographs(photographs, Workspace(workspace), data or infer_schema)
        return
    from components.ingestion import formats
    from pipeline import config

    settings = config.load(preset, set_ or [])
    with session(Workspace(workspace).logs, "data") as (out, err, steps):
        with steps.step("data"):
            settings, folder = data_source(settings, data, workspace)
            ignored = formats.ignored(folder, settings)
            if infer_schema:
                inputs = read_by(preset, settings, folder)
                files.refuse_inputs([infer_schema], inputs)
                files.refuse_others([infer_schema], files.is_signed, overwrite)
                from google.protobuf import text_format

                from components.data_validation import schema

                inferred = schema.infer_schema(folder, settings)
                with files.whole(infer_schema, "w") as file:
                    file.write(files.signed(text_format.MessageToString(inferred)))
        for line in formats.remarks(settings):
            print(line, file=err)
        for name, reason in ignored.items():
            print(f"ignored: {files.shown(name)}: {reason}", file=err)
        print(infer_schema or folder, file=out)


def _bring_photographs(
    folder: pathlib.Path, workspace: Workspace, other: pathlib.Path | None
) -> None:
    from pipeline.photographs import photographs

    if other is not None:
        raise UsageError(
            "--photographs brings a data folder; give it in a call without --data and "
            "--infer-schema."
        )
    with session(workspace.logs, "data") as (out, _, steps):
        with steps.step("data"):
            brought = photographs(folder)
        print(brought, file=out)
