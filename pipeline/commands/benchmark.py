"""`denoise benchmark`: the workspace's models against classical filters."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands import options
from pipeline.commands.session import answer, data_folder, session
from pipeline.commands.version import require
from pipeline.workspace import Workspace


def benchmark(
    data: options.Data = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Test images, for a quick look."),
    ] = None,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure every model of the workspace against classical filters on the same noisy images.

    Writes WORKSPACE/benchmark/benchmark.html and .json. What is measured is kept: a benchmark
    that was killed goes on where it stopped.

    Example: `denoise benchmark`, or `denoise benchmark --limit 500` for a quick look.
    """
    from pipeline import config
    from pipeline.benchmark import run as benchmarking

    require("tfx")
    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with session(place.logs, "benchmark", verbose, benchmarking.STEPS) as (out, _, steps):
        folder = data_folder(data, workspace)
        found = benchmarking.run(settings, place, folder, limit, steps)
        page = place.benchmark / benchmarking.PAGE_FILE
        answer(
            found.plain(),
            as_json,
            out,
            show=lambda console: benchmarking.show(found, page, console),
        )
