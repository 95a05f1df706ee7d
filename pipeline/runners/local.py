"""The local runner: the DAG's steps one after the other in this process.

Finished steps are found in the cache, so a run that was killed goes on with
the step that had not finished.
"""

from __future__ import annotations

import datetime
import pathlib
import shutil
import time
from typing import IO, Any

from components.base.errors import DenoiseError, RunError, UsageError
from components.base.settings import Settings
from components.csv_ingestion import data_folder
from components.report.page import RunStep
from components.training.result import WORKERS_FILE
from pipeline import dag, display
from pipeline.history import lineage, summary
from pipeline.history import reports as reporting
from pipeline.workspace import Workspace


def check_names(settings: Settings) -> None:
    """Tries what the settings only name, before hours of work depend on it.

    Raises:
      UsageError: a noise or model is not known, or the model does not take such images or an
        argument that the Tuner is to try; or TF_CONFIG does not name this as the first worker.
    """
    from components import models, noise

    for expression in (settings.noise.training, *settings.noise.evaluation):
        noise.parse(expression)
    if settings.training.strategy == "multi_worker":
        from components.training import workers

        if not workers.this_worker().leads:
            raise UsageError(
                "TF_CONFIG: names this machine as one that helps; on it call `denoise "
                "train-worker`. `denoise run` is for the first one."
            )
    name, arguments = settings.model.name, settings.model.arguments
    models.build(name, settings.image.shape, **arguments)
    if settings.tuner.enabled:
        for field, search in settings.tuner.search_space.items():
            section, _, argument = field.rpartition(".")
            if section == "model.arguments":
                for value in search.probes:
                    tried = {**arguments, argument: value}
                    try:
                        models.build(name, settings.image.shape, **tried)
                    except UsageError as error:
                        raise UsageError(
                            f"tuner.search_space: {field} cannot be {value!r}: {error}"
                        ) from error


def run(
    settings: Settings, workspace: Workspace, data: pathlib.Path, stream: IO[str]
) -> summary.Summary:
    """Runs the pipeline and writes `summary.json`. Call it while holding the workspace.

    Args:
      settings: Everything that decides the result.
      workspace: Where everything is written.
      data: A data folder.
      stream: Where progress goes.

    Raises:
      DenoiseError: a step failed; it names the step.
    """
    started = time.time()
    check_names(settings)
    (workspace.pipeline_root / "Trainer" / WORKERS_FILE).unlink(missing_ok=True)
    from components.data_validation.schema import make_schema, read_schema, write_schema

    if settings.data.schema_file is not None:
        expected = read_schema(settings.data.schema_file)
    else:
        expected = make_schema(settings.image, settings.data)
    schema_file = write_schema(expected, workspace.schema)
    places = dag.Places(
        data=str(data.resolve()),
        spans=data_folder.has_spans(data),
        schema=str(schema_file.resolve()),
        serving=str(workspace.serving.resolve()),
        pipeline_root=str(workspace.pipeline_root.resolve()),
    )
    from tfx.dsl.compiler import compiler, constants
    from tfx.orchestration import metadata
    from tfx.orchestration.local import runner_utils
    from tfx.orchestration.portable import launcher, runtime_parameter_utils

    pipeline = dag.build(settings, places, metadata=str(workspace.metadata))
    ir = compiler.Compiler().compile(pipeline)
    run_id = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    deployment = runner_utils.extract_local_deployment_config(ir)
    connection = pipeline.metadata_connection_config
    known = lineage.Lineage(workspace)
    known.close_interrupted()

    seconds: dict[str, float] = {}
    failure: DenoiseError | None = None
    with display.Steps(stream, total=len(ir.nodes)) as steps:
        for node in ir.nodes:
            name = node.pipeline_node.node_info.id
            steps.start(name)
            try:
                _resolve_at_run_time(node.pipeline_node, known, run_id, places)
                launcher.Launcher(
                    pipeline_node=node.pipeline_node,
                    mlmd_connection=metadata.Metadata(connection),
                    pipeline_info=ir.pipeline_info,
                    pipeline_runtime_spec=ir.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, name),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
                ).launch()
            except Exception as error:
                steps.finish("failed")
                failure = _explained(name, error)
                failure.__cause__ = error
                break
            state = _latest(known, run_id, name).state
            seconds[name] = steps.finish(state)
    result = summary.collect(
        settings, workspace, known.steps(run_id), run_id, started, seconds, failure
    )
    if result.report is not None:
        result.report = str(
            reporting.publish(
                result.report,
                workspace,
                run_id,
                [RunStep(step.name, step.state, step.seconds) for step in result.steps],
            )
        )
    summary.write(result, workspace)
    if failure is not None:
        raise failure
    return result


def _latest(known: lineage.Lineage, run_id: str, component: str) -> lineage.Step:
    return [step for step in known.steps(run_id) if step.component == component][-1]


def _resolve_at_run_time(
    node: Any, known: lineage.Lineage, run_id: str, places: dag.Places
) -> None:
    """Fills in what depends on earlier runs, so that the cache knows when it changed."""
    from components.push import versions

    name = node.node_info.id
    if name == "PushedModel":
        from tfx.utils import path_utils

        model = _latest(known, run_id, "Trainer").output("model")
        candidate = path_utils.serving_model_path(model.uri) if model else None
        version = versions.latest(places.serving, candidate)
        node.parameters.parameters["version"].field_value.string_value = version
    elif name == "WarmStart":
        from components.csv_ingestion.result import read_summary

        examples = _latest(known, run_id, "CsvIngestion").output("examples")
        assert examples is not None
        version = versions.start_version(places.serving, read_summary(examples.uri).fingerprint)
        node.parameters.parameters["version"].field_value.string_value = version
    elif name == "AnomalyGate":
        previous = known.previous_statistics(_latest(known, run_id, "StatisticsGen"))
        node.parameters.parameters["previous_statistics"].field_value.string_value = previous


def _explained(step: str, error: BaseException) -> DenoiseError:
    """The project's own error inside whatever TFX and Beam wrapped it in."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DenoiseError):
            return type(cause)(f"{step}: {cause}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError) and error.errno == 28:
        free = shutil.disk_usage("/").free
        return RunError(
            f"{step}: the disk is full ({free >> 20} MiB free). Make room and run again."
        )
    return RunError(f"{step} failed: {type(error).__name__}: {error}")
