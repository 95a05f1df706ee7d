"""`denoise compile`: the pipeline for Kubeflow Pipelines or Vertex AI, and a dry run of it."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.base import files
from components.base.errors import DenoiseError, NotBlessedError, UsageError
from components.base.places import Places
from pipeline.commands import options
from pipeline.commands.session import answer, read_by, session

if TYPE_CHECKING:
    from components.base.settings import Settings
    from pipeline.display import Step, Steps
    from pipeline.runners.kubeflow.dry_run.run import Result


def compile(
    image: Annotated[str, typer.Option("--image", help="Container image of the steps.")],
    pipeline_root: Annotated[
        str,
        typer.Option("--pipeline-root", metavar="URI", help="s3://, minio:// or gs://BUCKET/…"),
    ],
    runner: Annotated[
        Literal["kubeflow", "vertex"], typer.Option("--runner", help="For which orchestrator.")
    ] = "kubeflow",
    output: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            dir_okay=False,
            help="Default: pipeline.yaml, for vertex job.json.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="URI", help="Data folder; default: PIPELINE_ROOT/data."),
    ] = None,
    serving: Annotated[
        str | None,
        typer.Option(
            "--serving",
            metavar="URI",
            help="Where models are pushed; default: PIPELINE_ROOT/serving/denoiser.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Execute it here, as Kubeflow Pipelines would."),
    ] = False,
    dry_run_folder: Annotated[
        pathlib.Path,
        typer.Option("--dry-run-folder", metavar="DIR", help="Logs, cache and stand-in store."),
    ] = options.DEFAULT_WORKSPACE / "dry-run",
    real_store: Annotated[
        bool,
        typer.Option(
            "--real-store",
            help="In a dry run, use the object store itself, with the environment's credentials.",
        ),
    ] = False,
    parameter: options.Parameter = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2, and try it here without a cluster.

    Or, with `--runner vertex`, for Vertex AI Pipelines.

    Example: `denoise compile --image registry.example.org/denoise:1
    --pipeline-root s3://ml/denoise --output pipeline.yaml --dry-run --data my_images`.
    """
    from pipeline import config, display

    if runner == "vertex" and dry_run:
        raise UsageError("--dry-run: executes as Kubeflow would, so not with --runner vertex.")
    output = output or pathlib.Path("job.json" if runner == "vertex" else "pipeline.yaml")
    settings = config.load(preset, set_ or [])
    if settings.training.strategy == "multi_worker":
        raise UsageError(
            "training.strategy=multi_worker: the Trainer of a compiled pipeline is one container. "
            "Take auto."
        )
    local_data = pathlib.Path(data) if data and "://" not in data else None
    files.refuse_inputs([output], read_by(preset, settings, local_data))
    places = Places.under(pipeline_root, _absolute(data), _absolute(serving))
    parameters = options.parameters(parameter)
    with session(dry_run_folder, "compile", verbose) as (out, err, _):
        from components.ingestion import formats

        if local_data is not None and local_data.is_dir():
            settings = formats.resolved(settings, local_data)
        spec = _write(runner, formats.unseen(settings), image, places, output, overwrite)
        stream = err if as_json else out
        console = display.console(stream)
        number = len(spec["root"]["dag"]["tasks"])
        console.print(f"{output}: {number} tasks, PipelineSpec {spec['schemaVersion']}")
        if not dry_run:
            return
        with display.Steps(stream, total=number) as steps:
            result = _rehearse(output, dry_run_folder, parameters, real_store, steps)
        if as_json:
            answer(result, as_json, out)
        console.print(f"as on       Kubeflow Pipelines {result.follows}")
        console.print(f"blessed     {'yes' if result.blessed else 'no'}")
        console.print(f"pushed      {result.pushed or 'no'}", soft_wrap=True)
    if not result.pushed:
        raise NotBlessedError("The pipeline ran, but the model was not blessed, so not pushed.")


def _write(
    runner: str,
    settings: Settings,
    image: str,
    places: Places,
    output: pathlib.Path,
    overwrite: bool,
) -> dict[str, Any]:
    """Compiles for the orchestrator and writes its file; returns the PipelineSpec in it."""
    from pipeline.runners import vertex
    from pipeline.runners.kubeflow import compile as kubeflow
    from pipeline.runners.kubeflow import file

    ours = vertex.is_ours if runner == "vertex" else files.is_signed
    files.refuse_others([output], ours, overwrite)
    if runner == "vertex":
        job = vertex.compile(settings, image, places)
        vertex.write(job, output)
        return job["pipelineSpec"]
    spec = kubeflow.compile(settings, image, places)
    file.write(spec, output)
    return spec


def _rehearse(
    output: pathlib.Path,
    folder: pathlib.Path,
    parameters: dict[str, str],
    real_store: bool,
    steps: Steps,
) -> Result:
    """Executes the file here, and shows each task as a step."""
    from pipeline.runners.kubeflow.dry_run import run as rehearsal

    running: list[Step] = []
    try:
        return rehearsal.run(
            output,
            folder,
            parameters,
            real_store=real_store,
            started=lambda name: running.append(steps.start(name)),
            finished=lambda task: running.pop().finish(task.state),
        )
    except DenoiseError:
        for step in running:
            step.finish("failed")
        raise


def _absolute(location: str | None) -> str | None:
    """A data or serving folder as the steps, which run in folders of their own, can read it."""
    if location is None or "://" in location:
        return location
    return str(pathlib.Path(location).resolve())
