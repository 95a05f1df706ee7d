"""Options that several commands take, each with one name, one help text and one default."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from components.base.errors import UsageError

Workspace = Annotated[
    pathlib.Path,
    typer.Option("--workspace", metavar="DIR", help="Holds everything a run writes."),
]
Preset = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="Settings to start from, or a .yaml file.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting; may be repeated."),
]
Data = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder with `train/*.csv[.gz]` and `test/*.csv[.gz]`, or with images below `train` "
        "and `test`, or `span-N` folders of those.",
    ),
]
Model = Annotated[
    pathlib.Path | None,
    typer.Option("--model", metavar="DIR", help="A SavedModel; default: the pushed one."),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="NAME",
        help="A model that comes with this package (`denoise pretrained`), or a kept .keras file.",
    ),
]
Parameter = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="Parameter of a run; may be repeated."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that this command did not make."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show what TFX, Beam and TensorFlow print.")
]

DEFAULT_WORKSPACE = pathlib.Path("workspace")
DEFAULT_PRESET = "default"
"""As in components.base.settings, which `--help` has no time to import."""


def parameters(given: list[str] | None) -> dict[str, str]:
    """The values of `--parameter` by name.

    Raises:
      UsageError: one has no `=`.
    """
    pairs = [item.partition("=") for item in given or []]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError(f"--parameter {name}: expected NAME=VALUE, for example epochs=3.")
    return {name: value for name, _, value in pairs}
