"""`denoise predict`: denoise images by a server or a SavedModel."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any

import typer

from components.base.errors import UsageError
from pipeline.commands import options
from pipeline.commands.session import answer, session
from pipeline.workspace import Workspace


def predict(
    inputs: Annotated[
        list[pathlib.Path],
        typer.Argument(metavar="INPUT...", help="PNG or JPEG files, folders of them, or CSVs."),
    ],
    output: Annotated[
        pathlib.Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write.")
    ],
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="grpc://HOST:8500 or http://….")
    ] = None,
    model: options.Model = None,
    add_noise: Annotated[
        str | None,
        typer.Option("--add-noise", metavar="NOISE", help="Try it on clean images."),
    ] = None,
    beam: Annotated[
        bool, typer.Option("--beam", help="Denoise large CSVs with Beam, in shards.")
    ] = False,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Denoise images: files, folders or CSVs, by a server or a SavedModel.

    Example: `denoise predict photos/ -o clean/ --server grpc://localhost:8500`, or
    `denoise predict shirt.png -o tried/ --add-noise salt_pepper:0.1`.
    """
    from pipeline import config

    place = Workspace(workspace)
    settings = config.load(preset, set_ or [])
    with session(place.logs, "predict") as (out, _, steps):
        with steps.step("predict"):
            if server is None and model is None:
                from components.push.versions import pushed_model

                model = pushed_model(place.serving)
            result: dict[str, Any] = {"output": str(output)}
            if beam:
                from serving.predict.beam import Source, predict_with_beam

                if add_noise:
                    raise UsageError("--add-noise: not with --beam.")
                source = Source(server, str(model) if model else None)
                result["shards"] = sum(
                    predict_with_beam(str(path), str(output), source, settings.beam.pipeline_args)
                    for path in inputs
                )
            else:
                from serving.predict.run import open_denoiser
                from serving.predict.run import predict as predict_files

                with open_denoiser(server, model) as denoiser:
                    result = dataclasses.asdict(predict_files(inputs, output, denoiser, add_noise))
        answer(result, as_json, out)
