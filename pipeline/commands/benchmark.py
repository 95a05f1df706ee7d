"""`denoise benchmark`: the workspace's models against classical filters."""

from __future__ import annotations

from typing import Annotated

import typer

from components.base import files, plugins
from pipeline.commands import options
from pipeline.commands.session import answer, data_source, read_by, session
from pipeline.commands.version import require
from pipeline.workspace import Workspace


def benchmark(
    data: options.Data = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Test images, for a quick look."),
    ] = None,
    photographs: Annotated[
        bool,
        typer.Option(
            "--photographs/--no-photographs",
            help="Measure models of any size, those that come with this package too, on "
            "photographs of scikit-image and scikit-learn.",
        ),
    ] = True,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure every model of the workspace against classical filters on the same noisy images.

    Writes WORKSPACE/benchmark/benchmark.html and .json. What is measured is kept: a benchmark
    that was killed goes on where it stopped.

    Example: `denoise benchmark`, or `denoise benchmark --limit 500` for a quick look.
    """
    from pipeline import config

    require("tfx")
    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with session(place.logs, "benchmark", verbose) as (out, _, steps):
        plugins.load(settings.plugins)
        from pipeline.benchmark import run as benchmarking
        from pipeline.benchmark.contents import BENCHMARK_FILE, FIGURES_FOLDER, PAGE_FILE
        from pipeline.benchmark.tables import show

        steps.total = benchmarking.STEPS if photographs else benchmarking.STEPS - 1
        settings, folder = data_source(settings, data, workspace)
        contents = place.benchmark / BENCHMARK_FILE
        outputs = [
            contents,
            place.benchmark / PAGE_FILE,
            place.benchmark / FIGURES_FOLDER,
        ]
        files.refuse_inputs([place.benchmark, *outputs], read_by(preset, settings, folder))
        files.refuse_others(
            outputs, lambda _: files.is_json_with(contents, "methods", "results"), overwrite
        )
        found = benchmarking.run(settings, place, folder, limit, steps, photographs)
        page = place.benchmark / PAGE_FILE
        answer(
            found.plain(),
            as_json,
            out,
            show=lambda console: show(found, page, console),
        )
