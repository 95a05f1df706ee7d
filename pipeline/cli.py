"""The `denoise` command. Heavy imports happen inside the commands: `--help` is instant."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import sys
import warnings
from typing import Annotated, Any, Literal, NoReturn

import rich.console
import typer

from components.base.errors import DenoiseError, ModelError, NotBlessedError, RunError, UsageError
from components.base.settings import DEFAULT_PRESET
from pipeline import config
from pipeline.workspace import Workspace

app = typer.Typer(
    name="denoise",
    help="From image CSVs to a served denoiser: validate, transform, train, evaluate, push.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

WorkspaceOption = Annotated[
    pathlib.Path,
    typer.Option("--workspace", metavar="DIR", help="Holds everything a run writes."),
]
PresetOption = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="Settings to start from, or a .yaml file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting; may be repeated."),
]
DataOption = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder with `train/*.csv[.gz]` and `test/*.csv[.gz]`, or `span-N` folders of those.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="Parameter of a run; may be repeated."),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", help="Show what TFX, Beam and TensorFlow print.")
]

DEFAULT_WORKSPACE = pathlib.Path("workspace")


def _calm_libraries() -> None:
    """Turns off, at the source, warnings that no user of this command can act on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Else this process takes all of a GPU's memory, and one that trains for it has none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # TFX's proto and beam modules warn of their own internals.
    warnings.filterwarnings("ignore")
    logging.getLogger("absl").setLevel(logging.ERROR)


def _print_json(value: Any, stream: Any = None) -> None:
    print(json.dumps(value, indent=2), file=stream or sys.stdout)


@app.command()
def data(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    data: DataOption = None,
    preset: PresetOption = DEFAULT_PRESET,
    set_: SetOption = None,
    infer_schema: Annotated[
        pathlib.Path | None,
        typer.Option("--infer-schema", metavar="FILE", help="Write a TFDV schema made from DIR."),
    ] = None,
) -> None:
    """Bring Fashion-MNIST as CSVs, or look at a folder of your own.

    Example: `denoise data`, or
    `denoise data --data my_images --infer-schema my_schema.pbtxt`.
    """
    from components.csv_ingestion import data_folder
    from pipeline import display
    from pipeline import fashion_mnist as data_source

    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with (
        display.quiet(place.logs / "data.log", verbose=False) as (out, err),
        display.Steps(err, total=1) as steps,
    ):
        with steps.step("data"):
            folder = data or data_source.fashion_mnist(workspace)
            data_folder.check_folder(folder)
            if infer_schema:
                from google.protobuf import text_format

                from components.data_validation.schema import infer_schema as infer

                schema = infer(folder, settings.image)
                infer_schema.write_text(text_format.MessageToString(schema))
        print(infer_schema or folder, file=out)


@app.command()
def run(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    preset: PresetOption = DEFAULT_PRESET,
    set_: SetOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the pipeline: from CSVs to a pushed model.

    Without `--data` it takes Fashion-MNIST. A run that was killed goes on with its last
    unfinished step; steps whose inputs did not change are not run again.

    Example: `denoise run --set training.epochs=3`.
    """
    from components.csv_ingestion import data_folder
    from pipeline import display
    from pipeline import fashion_mnist as data_source
    from pipeline.history import summary

    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with place.lock(), display.quiet(place.logs / "run.log", verbose) as (out, err):
        stream = err if as_json else out
        if data is None:
            with display.Steps(stream, total=1) as steps, steps.step("Fashion-MNIST"):
                folder = data_source.fashion_mnist(workspace)
        else:
            folder = data
            data_folder.check_folder(folder)
        from pipeline.runners import local

        try:
            result = local.run(settings, place, folder, stream)
        except RunError as error:
            if verbose:
                raise
            raise type(error)(f"{error}\nThe whole log: {place.logs / 'run.log'}") from error
        if as_json:
            _print_json(result.model_dump(mode="json"), out)
        summary.show(result, display.console(stream))
    if result.outcome == "not blessed":
        raise NotBlessedError(
            "The model was not blessed, so it was not pushed; what is served stays as it is.\n"
            + "\n".join(f"  {miss}" for miss in result.misses)
            + "\nTrain longer or otherwise (--set training.epochs=…), or lower "
            "evaluation.thresholds if the bound is wrong."
        )
    if result.outcome == "not servable":
        raise NotBlessedError(
            "The exported model did not answer as the trainer's did, so it was not pushed.\n"
            + "\n".join(f"  {failure}" for failure in result.serving_check["failures"])
        )


@app.command("train-worker")
def train_worker(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE, verbose: VerboseOption = False
) -> None:
    """Help another machine's `denoise run` to train, with a workspace that both reach.

    That one runs with `--set training.strategy=multi_worker`; TF_CONFIG in the environment of
    each names all of them. Waits until it trains, and ends when it has; where the training is
    answered from the cache it waits on.

    Example: `denoise train-worker --workspace /mnt/shared/workspace`.
    """
    from pipeline import display

    place = Workspace(workspace)
    with (
        display.quiet(place.logs / "train-worker.log", verbose) as (_, err),
        display.Steps(err, total=1) as steps,
        steps.step("Trainer"),
    ):
        from components.training import trainer, workers

        if workers.this_worker().leads:
            raise UsageError(
                "TF_CONFIG: says that this is the first worker, which is the one that `denoise "
                "run` is on. Give this one another index."
            )
        request = workers.asked(place.pipeline_root / "Trainer")
        workers.in_fresh_process(trainer.run_request, request)


@app.command()
def status(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show runs, models, blessings and pushes: which data, settings and code made which model.

    Example: `denoise status --json`.
    """
    from pipeline import display
    from pipeline.history import status as run_status

    history = run_status.history(Workspace(workspace))
    if as_json:
        _print_json(history.model_dump(mode="json"))
    else:
        run_status.show(history, display.console(sys.stdout))


@app.command()
def evaluate(
    model: Annotated[
        pathlib.Path | None,
        typer.Option("--model", metavar="DIR", help="A SavedModel; default: the pushed one."),
    ] = None,
    data: DataOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    preset: PresetOption = DEFAULT_PRESET,
    set_: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure any SavedModel on the test images of a data folder.

    Example: `denoise evaluate --model workspace/serving/denoiser/1700000000 --data my_images`.
    """
    from components.csv_ingestion import data_folder
    from pipeline import display
    from pipeline import fashion_mnist as data_source
    from pipeline.commands import evaluating
    from pipeline.history import summary

    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with (
        display.quiet(place.logs / "evaluate.log", verbose) as (out, err),
        display.Steps(err, total=1) as steps,
    ):
        with steps.step("evaluate"):
            folder = data or data_source.fashion_mnist(workspace)
            data_folder.check_folder(folder)
            saved_model = model or evaluating.pushed_model(place)
            rows = evaluating.evaluate(str(saved_model), folder, settings)
        if as_json:
            _print_json([row.model_dump(mode="json") for row in rows], out)
        else:
            shown = [row for row in rows if row.label == summary.ALL]
            display.console(out).print(summary.metrics_table(shown, f"{saved_model}"))


@app.command()
def benchmark(
    data: DataOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Test images, for a quick look."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    preset: PresetOption = DEFAULT_PRESET,
    set_: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure every model of the workspace against classical filters on the same noisy images.

    Writes WORKSPACE/benchmark/benchmark.html and .json. What is measured is kept: a benchmark
    that was killed goes on where it stopped.

    Example: `denoise benchmark`, or `denoise benchmark --limit 500` for a quick look.
    """
    from components.csv_ingestion import data_folder
    from pipeline import display
    from pipeline import fashion_mnist as data_source
    from pipeline.benchmark import run as benchmarking

    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with display.quiet(place.logs / "benchmark.log", verbose) as (out, err):
        with display.Steps(err, total=benchmarking.STEPS) as steps:
            folder = data or data_source.fashion_mnist(workspace)
            data_folder.check_folder(folder)
            found = benchmarking.run(settings, place, folder, limit, steps)
        if as_json:
            _print_json(found.plain(), out)
        else:
            page = place.benchmark / benchmarking.PAGE_FILE
            benchmarking.show(found, page, display.console(out))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(context: typer.Context, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Serve the pushed model: gRPC on 8500, REST and a page on 8501, loopback only.

    Takes tensorflow_model_server's flags, such as `--port`, `--rest_api_port`,
    `--model_base_path`, `--model_config_file`, `--enable_batching` and
    `--batching_parameters_file`; and `--host` for another address, `--page=false` for no page.
    New versions are picked up while it runs.

    Example: `denoise serve --rest_api_port=9000`.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    from serving.server import options

    defaults: dict[str, Any] = {}
    if not any(argument.startswith("--model") for argument in context.args):
        folder = Workspace(workspace).serving
        if not folder.is_dir():
            raise ModelError(f"{folder}: no model was pushed. Call `denoise run` first.")
        defaults = {"model_name": folder.name, "model_base_path": folder.resolve()}
    checked = options.parse_flags(context.args, **defaults)
    from serving.server.running import serve as serve_until_stopped

    serve_until_stopped(checked)


@app.command()
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
    model: Annotated[
        pathlib.Path | None,
        typer.Option("--model", metavar="DIR", help="A SavedModel; default: the pushed one."),
    ] = None,
    add_noise: Annotated[
        str | None,
        typer.Option("--add-noise", metavar="NOISE", help="Try it on clean images."),
    ] = None,
    beam: Annotated[
        bool, typer.Option("--beam", help="Denoise large CSVs with Beam, in shards.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    preset: PresetOption = DEFAULT_PRESET,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Denoise images: files, folders or CSVs, by a server or a SavedModel.

    Example: `denoise predict photos/ -o clean/ --server grpc://localhost:8500`, or
    `denoise predict shirt.png -o tried/ --add-noise salt_pepper:0.1`.
    """
    from pipeline import display
    from pipeline.commands import evaluating

    place = Workspace(workspace)
    settings = config.load(preset, set_ or [])
    if server is None and model is None:
        model = evaluating.pushed_model(place)
    with (
        display.quiet(place.logs / "predict.log", verbose=False) as (_, err),
        display.Steps(err, total=1) as steps,
        steps.step("predict"),
    ):
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
                done = predict_files(inputs, output, denoiser, add_noise)
            result = {
                name: str(value) if isinstance(value, pathlib.Path) else value
                for name, value in dataclasses.asdict(done).items()
            }
    if as_json:
        _print_json(result)
    else:
        for name, value in result.items():
            if value is not None:
                print(f"{name:<14} {value}")


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the architectures: name, parameters, preset, source.

    Example: `denoise models --json`.
    """
    with _without_chatter():
        from components import models as architectures

        rows = architectures.listing()
    _list(rows, ("name", "parameters", "preset", "source"), as_json)


@app.command()
def noises(as_json: JsonOption = False) -> None:
    """List the noises: how each is written, its formula and source.

    Example: `denoise noises --json`.
    """
    with _without_chatter():
        from components import noise

        rows = noise.listing()
    _list(rows, ("usage", "formula", "source"), as_json)


def _without_chatter() -> contextlib.AbstractContextManager[Any]:
    """For commands without a workspace, and so without a log: TensorFlow greets from C++."""
    from pipeline import display

    return display.quiet(pathlib.Path(os.devnull), verbose=False)


def _list(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        _print_json(rows)
        return
    import rich.box
    import rich.table

    from pipeline import display

    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in columns:
        number = isinstance(rows[0][column], int)
        table.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=column in ("name", "parameters", "preset"),
        )
    for row in rows:
        values = [row[column] for column in columns]
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in values))
    display.console(sys.stdout).print(table)


@app.command()
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
            "--output", metavar="FILE", help="Default: pipeline.yaml, for vertex job.json."
        ),
    ] = None,
    preset: PresetOption = DEFAULT_PRESET,
    set_: SetOption = None,
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
    ] = pathlib.Path("workspace/dry-run"),
    real_store: Annotated[
        bool,
        typer.Option(
            "--real-store",
            help="In a dry run, use the object store itself, with the environment's credentials.",
        ),
    ] = False,
    parameter: ParameterOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2, and try it here without a cluster.

    Or, with `--runner vertex`, for Vertex AI Pipelines.

    Example: `denoise compile --image registry.example.org/denoise:1
    --pipeline-root s3://ml/denoise --output pipeline.yaml --dry-run --data my_images`.
    """
    from pipeline import display
    from pipeline.runners import vertex
    from pipeline.runners.kubeflow import compile as kubeflow
    from pipeline.runners.kubeflow.dry_run import run as rehearsal

    if runner == "vertex" and dry_run:
        raise UsageError("--dry-run: executes as Kubeflow would, so not with --runner vertex.")
    output = output or pathlib.Path("job.json" if runner == "vertex" else "pipeline.yaml")
    settings = config.load(preset, set_ or [])
    if settings.training.strategy == "multi_worker":
        raise UsageError(
            "training.strategy=multi_worker: the Trainer of a compiled pipeline is one container. "
            "Take auto."
        )
    locations = kubeflow.Locations.under(pipeline_root, _absolute(data), _absolute(serving))
    parameters = _parameters(parameter)
    with display.quiet(dry_run_folder / "compile.log", verbose) as (out, err):
        stream = err if as_json else out
        if runner == "vertex":
            job = vertex.compile(settings, image, locations)
            vertex.write(job, output)
            spec = job["pipelineSpec"]
        else:
            spec = kubeflow.compile(settings, image, locations)
            kubeflow.write(spec, output)
        tasks = spec["root"]["dag"]["tasks"]
        console = display.console(stream)
        console.print(f"{output}: {len(tasks)} tasks, PipelineSpec {spec['schemaVersion']}")
        if not dry_run:
            return
        with display.Steps(stream, total=len(tasks)) as steps:
            try:
                result = rehearsal.run(
                    output,
                    dry_run_folder,
                    parameters,
                    real_store=real_store,
                    started=steps.start,
                    finished=lambda task: steps.finish(task.state),
                )
            except DenoiseError:
                steps.finish("failed")
                raise
        if as_json:
            _print_json(dataclasses.asdict(result), out)
        console.print(f"blessed     {'yes' if result.blessed else 'no'}")
        console.print(f"pushed      {result.pushed or 'no'}", soft_wrap=True)
    if not result.pushed:
        raise NotBlessedError("The pipeline ran, but the model was not blessed, so not pushed.")


def _absolute(location: str | None) -> str | None:
    """A data or serving folder as the steps, which run in folders of their own, can read it."""
    if location is None or "://" in location:
        return location
    return str(pathlib.Path(location).resolve())


def _parameters(given: list[str] | None) -> dict[str, str]:
    pairs = [item.partition("=") for item in given or []]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError(f"--parameter {name}: expected NAME=VALUE, for example epochs=3.")
    return {name: value for name, _, value in pairs}


@app.command()
def submit(
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="KFP's API.")],
    pipeline: Annotated[
        pathlib.Path, typer.Option("--pipeline", metavar="FILE", help="What was compiled.")
    ] = pathlib.Path("pipeline.yaml"),
    parameter: ParameterOption = None,
    experiment: Annotated[str, typer.Option("--experiment", metavar="NAME")] = "denoise",
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", help="Wait for the end, at most so long."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="FIELDS", help="Start it again and again, seconds first."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a compiled pipeline to Kubeflow Pipelines, start it, wait and report.

    Example: `denoise submit --endpoint http://localhost:8080 --parameter epochs=3 --wait 3600`.
    """
    from pipeline.runners.kubeflow import compile as kubeflow

    result = kubeflow.submit(pipeline, endpoint, _parameters(parameter), experiment, wait, cron)
    if as_json:
        _print_json(result)
    else:
        for name, value in result.items():
            print(f"{name:<16} {value}")


@app.command()
def report(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="ID", help="Which run (`denoise status`); default: the last."
        ),
    ] = None,
    remake: Annotated[
        bool, typer.Option("--remake", help="Make it anew from what the run's steps wrote.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Print the path of a run's report, one HTML file; make it if it is not there.

    Example: `denoise report --open`.
    """
    from components.report.result import CONTENTS_FILE, REPORT_FILE
    from pipeline import display
    from pipeline.history import reports as reporting

    place = Workspace(workspace)
    run, steps = reporting.find(place, run)
    page = place.reports / run / REPORT_FILE
    if remake or not page.exists():
        with (
            place.lock(),
            display.quiet(place.logs / "report.log", verbose) as (_, err),
            display.Steps(err, total=1) as shown,
        ):
            shown.start("report")
            try:
                reporting.remake(place, run, steps)
            except BaseException:
                shown.finish("failed")
                raise
            shown.finish("done")
    if as_json:
        print((page.parent / CONTENTS_FILE).read_text(), end="")
    else:
        print(page)
    if open_:
        typer.launch(str(page))


def main() -> NoReturn:
    """Runs the command; a DenoiseError ends it with its message and exit status."""
    _calm_libraries()
    try:
        app(standalone_mode=False)
    except DenoiseError as error:
        console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)
        console.print("[bold red]denoise:[/] ", end="")
        console.print(str(error), markup=False)
        sys.exit(error.exit_status)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("denoise: stopped; call the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Click's usage errors carry how they want to be shown.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(0)


if __name__ == "__main__":
    main()
