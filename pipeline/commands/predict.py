"""`denoise predict`: denoise images by a server or a SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.base import plugins
from components.base.errors import DataError, UsageError
from components.base.files import shown
from pipeline.commands import options
from pipeline.commands.session import answer, session
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    import rich.console

    from serving.predict.beam import Shards
    from serving.predict.files import Passed
    from serving.predict.run import Prediction


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Images, CSVs, or folders of them."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where to write.")],
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="grpc://HOST:8500 or http://….")
    ] = None,
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    add_noise: Annotated[
        str | None,
        typer.Option("--add-noise", metavar="NOISE", help="Try it on clean images."),
    ] = None,
    beam: Annotated[
        bool,
        typer.Option("--beam", help="Denoise large CSVs (in shards) or many images with Beam."),
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Denoise each image turned and mirrored, too, and take the mean: eight times "
            "the time, on photographs some .15 dB.",
        ),
    ] = False,
    overwrite: options.Overwrite = False,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Denoise images: files, folders or CSVs, by a server or a SavedModel.

    Example: `denoise predict photos/ -o clean/ --server grpc://localhost:8500`, or
    `denoise predict shirt.png -o tried/ --add-noise salt_pepper:0.1 --pretrained clothes.keras`.
    """
    from pipeline import config

    place = Workspace(workspace)
    settings = config.load(preset, set_ or [])
    with session(place.logs, "predict", log_needed=False) as (out, _, steps):
        failed: Sequence[Passed] = ()
        with steps.step("predict"), contextlib.ExitStack() as stack:
            if add_noise:
                if beam:
                    raise UsageError("--add-noise: not with --beam.")
                from components import noise

                plugins.load(settings.plugins)
                noise.parse(add_noise)  # before a model is exported, which takes longer
            if pretrained is not None:
                if server is not None or model is not None:
                    raise UsageError("--pretrained: not with --server or --model.")
                from components.pretrained import kept

                model = stack.enter_context(kept.servable(kept.find(pretrained)))
            elif server is None and model is None:
                from components.push.versions import pushed_model

                model = pushed_model(place.serving)
            from serving.predict.denoisers import Source

            source = Source(server, model, ensemble)
            result: Shards | Prediction
            if beam:
                from serving.predict.beam import predict_with_beam

                result = predict_with_beam(
                    inputs, output, source, settings.beam.pipeline_args, overwrite, place.jobs
                )
            else:
                from serving.predict.run import predict as predict_files

                paths = [pathlib.Path(path) for path in inputs]
                with contextlib.closing(source.open()) as denoiser:
                    result = predict_files(
                        paths, pathlib.Path(output), denoiser, add_noise, overwrite
                    )
            failed = result.failed
        answer(result, as_json, out, lambda console: _show(dataclasses.asdict(result), console))
    if failed:
        raise DataError(
            f"{len(failed)} of the files could not be denoised; the others are done.\n"
            + "\n".join(f"  {shown(file.path)}: {file.reason}" for file in failed)
        )


def _show(entries: dict[str, Any], console: rich.console.Console) -> None:
    for name, entry in entries.items():
        if name == "notes":
            lines = list(entry)
        elif name == "ignored":
            lines = [f"{shown(file['path'])}: {file['reason']}" for file in entry]
        elif name == "failed" or entry is None:
            continue
        else:
            lines = [shown(entry) if isinstance(entry, pathlib.Path) else str(entry)]
        for line in lines:
            console.print(f"{name:<15}{line}", markup=False, soft_wrap=True)
