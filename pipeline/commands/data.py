"""`denoise data`: bring Fashion-MNIST as CSVs, or look at a folder of one's own."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from pipeline.commands import options
from pipeline.commands.session import data_folder, session
from pipeline.workspace import Workspace


def data(
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    data: options.Data = None,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    infer_schema: Annotated[
        pathlib.Path | None,
        typer.Option("--infer-schema", metavar="FILE", help="Write a TFDV schema made from DIR."),
    ] = None,
) -> None:
    """Bring Fashion-MNIST as CSVs, or look at a folder of your own.

    Example: `denoise data`, or
    `denoise data --data my_images --infer-schema my_schema.pbtxt`.
    """
    from pipeline import config

    settings = config.load(preset, set_ or [])
    with session(Workspace(workspace).logs, "data") as (out, _, steps):
        with steps.step("data"):
            folder = data_folder(data, workspace)
            if infer_schema:
                from google.protobuf import text_format

                from components.data_validation import schema

                inferred = schema.infer_schema(folder, settings.image)
                infer_schema.write_text(text_format.MessageToString(inferred))
        print(infer_schema or folder, file=out)
