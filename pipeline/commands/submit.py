"""`denoise submit`: a compiled pipeline to Kubeflow Pipelines."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from pipeline.commands import options
from pipeline.commands.session import answer


def submit(
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="KFP's API.")],
    pipeline: Annotated[
        pathlib.Path, typer.Option("--pipeline", metavar="FILE", help="What was compiled.")
    ] = pathlib.Path("pipeline.yaml"),
    parameter: options.Parameter = None,
    experiment: Annotated[str, typer.Option("--experiment", metavar="NAME")] = "denoise",
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", help="Wait for the end, at most so long."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="FIELDS", help="Start it again and again, seconds first."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Upload a compiled pipeline to Kubeflow Pipelines, start it, wait and report.

    Example: `denoise submit --endpoint http://localhost:8080 --parameter epochs=3 --wait 3600`.
    """
    from pipeline.runners.kubeflow.submit import submit as submit_file

    parameters = options.parameters(parameter)
    answer(submit_file(pipeline, endpoint, parameters, experiment, wait, cron), as_json)
