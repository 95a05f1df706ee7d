"""`denoise serve`: the model server on the pushed model."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import typer

from components.base.errors import ModelError, UsageError
from pipeline.commands import options
from pipeline.workspace import Workspace


def serve(
    context: typer.Context,
    pretrained: options.Pretrained = None,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
) -> None:
    """Serve the pushed model or a pretrained one: gRPC on 8500, REST and a page on 8501.

    On the loopback interface only.

    Takes tensorflow_model_server's flags, such as `--port`, `--rest_api_port`,
    `--model_base_path`, `--model_config_file`, `--enable_batching` and
    `--batching_parameters_file`; and `--host` for another address, `--page=false` for no page.
    New versions are picked up while it runs.

    Example: `denoise serve --rest_api_port=9000`, or `denoise serve --pretrained clothes.keras`.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    from serving.server.options import parse_flags

    defaults: dict[str, Any] = {}
    named = any(argument.startswith("--model") for argument in context.args)
    with contextlib.ExitStack() as stack:
        if pretrained is not None:
            if named:
                raise UsageError("--pretrained: not with --model…: each says what to serve.")
            from components.pretrained import kept

            folder = stack.enter_context(kept.servable(kept.find(pretrained)))
        elif not named:
            folder = Workspace(workspace).serving
            if not folder.is_dir():
                raise ModelError(
                    f"{folder}: no model was pushed. Call `denoise run` first, or give "
                    "--pretrained NAME (`denoise pretrained` lists them)."
                )
        if not named:
            defaults = {"model_name": folder.name, "model_base_path": folder.resolve()}
        checked = parse_flags(context.args, **defaults)
        from serving.server.running import serve as serve_until_stopped

        raise typer.Exit(serve_until_stopped(checked))
