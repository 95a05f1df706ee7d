"""`denoise keep`: the pushed model as a file with its card."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from components.base import files
from components.base.errors import UsageError
from pipeline.commands import options
from pipeline.commands.session import answer, session
from pipeline.commands.version import require
from pipeline.workspace import Workspace


def keep(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the files.")],
    output: Annotated[
        pathlib.Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write.")
    ] = pathlib.Path("."),
    data_name: Annotated[
        str | None,
        typer.Option("--data-name", metavar="TEXT", help="The data, if not Fashion-MNIST."),
    ] = None,
    data_licence: Annotated[
        str | None, typer.Option("--data-licence", metavar="TEXT", help="Licence of the data.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="Licence of the model.")
    ] = "Apache-2.0",
    overwrite: options.Overwrite = False,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Keep the model that the last run pushed: NAME.keras, its card NAME.yaml, some images.

    The card has the figures that the run measured, its settings and the commands that make it
    again; `--pretrained` of other commands takes the file.

    Example: `denoise keep clothes -o models/`, then `denoise predict shirt.png -o clean/
    --pretrained models/clothes.keras`.
    """
    require("tfx")
    if not name.isidentifier():
        raise UsageError(f"keep {name}: expected letters, digits and _, such as my_photos.")
    if (data_name is None) != (data_licence is None):
        raise UsageError("--data-name, --data-licence: give both.")
    data = (data_name, data_licence) if data_name and data_licence else None
    written = [output / f"{name}{suffix}" for suffix in (".keras", ".png", ".yaml")]
    files.refuse_others(written, lambda _: files.is_signed(written[-1]), overwrite)
    place = Workspace(workspace)
    with session(place.logs, "keep", verbose) as (out, _, steps):
        with steps.step("keep"):
            from pipeline.history import kept

            made = kept.keep(place, name, output, data, licence)
        values = {
            "file": made.file,
            "bytes": made.card.bytes,
            "sha256": made.card.sha256,
            "card": written[-1],
        }
        answer(values, as_json, out)
