"""The local runner: the DAG's steps, each in a process of its own, as soon as those are done that
it comes after.

A step's process is forked from this one, which imports TFX and TensorFlow but lets them compute
nothing: it begins in a moment, its memory is free when it ends, and if native code or the kernel
ends it, this process is there to say so. Finished steps are found in the cache, so a run that was
killed goes on with the step that had not finished.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import pathlib
import time
from collections.abc import Iterator
from typing import IO, Any

from components.base import child, code, libraries, plugins, unfinished
from components.base.errors import DenoiseError, RunError, UsageError
from components.base.places import Places
from components.base.settings import Settings
from components.ingestion import formats
from components.training.result import WORKERS_FILE
from pipeline import dag, display
from pipeline.history import reports, summary
from pipeline.history.lineage import Lineage, Steps
from pipeline.runners import outputs
from pipeline.runners.failure import explained
from pipeline.workspace import Workspace


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
    # What the children need is imported here, once.
    import matplotlib.figure  # noqa: F401
    import scipy.special  # noqa: F401

    from components import models, noise  # noqa: F401

    plugins.load(settings.plugins)
    child.Beside(dag.check_names, settings).answer()
    _check_leads(settings)
    launcher = _Launcher(settings, _prepare(settings, workspace, data), workspace)
    for line in launcher.set_aside:
        print(line, file=stream, flush=True)
    if libraries.untouched():
        # What is here stays: no child searches it for garbage, nor copies its pages for that.
        gc.freeze()
    with display.Steps(stream, total=len(launcher.nodes)) as steps:
        times, failures = launcher.run(steps)
    failure = failures[0] if failures else None
    for other in failures[1:]:
        print(other, file=stream, flush=True)
    result = summary.collect(
        settings, workspace, launcher.steps, launcher.run_id, started, times, failure
    )
    if result.report is not None:
        page = reports.publish(result.report, workspace, launcher.run_id, result.steps)
        result.report = str(page)
    summary.write(result, workspace)
    if failure is not None:
        # After the summary and the report, which read what is moved.
        damaged = launcher.set_damaged_aside()
        if damaged:
            told = RunError("\n".join([str(failure), *damaged]))
            told.step, told.__cause__ = failure.step, failure.__cause__
            failure = told
        raise failure
    return result


def _check_leads(settings: Settings) -> None:
    """Refuses to start a run on a machine that TF_CONFIG names as a helper."""
    if settings.training.strategy == "multi_worker":
        from components.training import workers

        if not workers.this_worker().leads:
            raise UsageError(
                "TF_CONFIG: names this machine as one that helps; on it call `denoise "
                "train-worker`. `denoise run` is for the first one."
            )


def _prepare(settings: Settings, workspace: Workspace, data: pathlib.Path) -> Places:
    """Writes the schema, and says where everything is."""
    from components.data_validation.schema import expected_schema, write_schema

    (workspace.pipeline_root / "Trainer" / WORKERS_FILE).unlink(missing_ok=True)
    schema_file = write_schema(expected_schema(settings), workspace.schema)
    return Places(
        data=formats.to_take(str(data.resolve()), settings.data.format),
        schema=str(schema_file.resolve()),
        serving=str(workspace.serving.resolve()),
        pipeline_root=str(workspace.pipeline_root.resolve()),
    )


class _Launcher:
    """Launches the nodes of one run.

    Args:
      settings: The run's.
      places: The run's.
      workspace: What a killed run left half done in it is removed.
    """

    def __init__(self, settings: Settings, places: Places, workspace: Workspace):
        from tfx.dsl.compiler import compiler, constants
        from tfx.orchestration.local import runner_utils
        from tfx.orchestration.portable import runtime_parameter_utils

        pipeline = dag.build(
            settings,
            places,
            metadata=str(workspace.metadata),
            workers=_worker_package(settings.beam.runner),
        )
        self._ir = compiler.Compiler().compile(pipeline)
        self.run_id = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
        runtime_parameter_utils.substitute_runtime_parameter(
            self._ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self.run_id}
        )
        self._deployment = runner_utils.extract_local_deployment_config(self._ir)
        self._connection = pipeline.metadata_connection_config
        self._lineage = Lineage(workspace)
        self._root = workspace.root
        self._pipeline_root = workspace.pipeline_root
        # Before what it writes is removed.
        left = self._cancel_left()
        self._lineage.close_interrupted()
        self._aside = workspace.root / "set_aside" / self.run_id
        self.set_aside = [*left, *self._set_aside(self._aside)]
        """What was found in the way, for people."""
        self.nodes: dict[str, Any] = {
            node.pipeline_node.node_info.id: node.pipeline_node for node in self._ir.nodes
        }

    @property
    def steps(self) -> Steps:
        """The steps of this run so far, in the order of the DAG."""
        order = list(self.nodes)
        found = self._lineage.steps(self.run_id)
        return Steps(sorted(found, key=lambda step: order.index(step.component)))

    def _cancel_left(self) -> list[str]:
        """Cancels Beam jobs whose step was killed; says which."""
        from components.base import jobs

        records = sorted(self._pipeline_root.glob(f"*/{jobs.JOB_FILE}"))
        # In a child: gRPC's threads would not outlive the forks that follow.
        messages = [child.Beside(jobs.cancel_left, str(record)).answer() for record in records]
        return [message for message in messages if message]

    def _set_aside(self, target: pathlib.Path) -> list[str]:
        """Moves what the steps must not find, see `pipeline.runners.outputs`."""
        copied = self._lineage.take_own()
        known = self._lineage.steps()
        lines = outputs.set_broken_aside(self._pipeline_root, known, target)
        lines = [f"{line}. It was moved to {target}, and the step runs again." for line in lines]
        if copied:
            lines.append(
                f"{self._pipeline_root}: copied or moved from another place. Its own files are "
                "taken; the steps after the first one run again."
            )
        number = outputs.set_forgotten_aside(self._pipeline_root, known, target)
        if number:
            lines.append(
                f"{self._pipeline_root}: {number} folders in it are of runs that metadata.sqlite "
                f"does not know. They were moved to {target}."
            )
        removed = outputs.prune(target.parent)
        if removed:
            lines.append(
                f"{target.parent}: what {removed} earlier runs had moved there was removed; that "
                "of the newest ones is kept."
            )
        return lines

    def set_damaged_aside(self) -> list[str]:
        """After a failure: moves outputs of this run whose bytes are not those that were written,
        though neither size nor time of change tells it; says which."""
        mine = {
            output.id
            for step in self.steps
            for of_name in step.outputs.values()
            for output in of_name
        }
        found = outputs.set_broken_aside(
            self._pipeline_root, self._lineage.steps(), self._aside, suspected=mine
        )
        return [
            f"{line}. It was moved to {self._aside}: run again, and it is made again."
            for line in found
        ]

    def run(
        self, steps: display.Steps
    ) -> tuple[dict[str, tuple[float, float]], list[DenoiseError]]:
        """Runs the nodes, or finds them in the cache.

        After a failure no other begins, and those that run go on to their end: it is kept.

        Args:
          steps: Shows them.

        Returns:
          By node that is done, when it began, Unix time, and its seconds; and how those failed
          that did, the first one first.
        """
        times: dict[str, tuple[float, float]] = {}
        failures: list[DenoiseError] = []
        waiting = dict(self.nodes)
        running: dict[child.Beside[None], tuple[str, display.Step]] = {}

        @contextlib.contextmanager
        def noted(name: str, shown: display.Step) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                shown.finish("failed")
                failure = explained(name, error, str(self._root))
                failure.__cause__ = error
                failures.append(failure)
                if running:
                    others = ", ".join(other for other, _ in running.values())
                    shown.say(f"{failure}\n{others}: runs to its end, and is kept.")

        def ready() -> Iterator[str]:
            for name, node in list(waiting.items()):
                if failures or (running and not libraries.untouched()):
                    return
                if set(node.upstream_nodes) <= times.keys():
                    yield name

        try:
            while running or (waiting and not failures):
                for name in ready():
                    node, shown = waiting.pop(name), steps.start(name)
                    with noted(name, shown):
                        running[self._launch(node, shown)] = name, shown
                if running:
                    called = child.first(running)
                    name, shown = running.pop(called)
                    with noted(name, shown):
                        called.answer()
                        seconds = shown.finish(self._keep(name))
                        times[name] = time.time() - seconds, seconds
        except BaseException as stopped:
            for called in running:
                called.end()
            if isinstance(stopped, KeyboardInterrupt):
                # Who is killed cancels nothing himself.
                self._cancel_left()
            raise
        if any(isinstance(failure.__cause__, child.DiedError) for failure in failures):
            self._cancel_left()
            self._lineage.close_interrupted()
        return times, failures

    def _launch(self, node: Any, shown: display.Step) -> child.Beside[None]:
        """Launches one node beside this process."""
        from tfx.orchestration import metadata
        from tfx.orchestration.local import runner_utils
        from tfx.orchestration.portable import launcher

        name = node.node_info.id
        driver = runner_utils.extract_custom_driver_spec(self._deployment, name)
        self._resolve(node)
        step = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(self._connection),
            pipeline_info=self._ir.pipeline_info,
            pipeline_runtime_spec=self._ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, name),
            custom_driver_spec=driver,
        )
        return child.Beside(_launch, name, step, str(self._root), tell=shown.hear)

    def _keep(self, name: str) -> str:
        """Notes what a node wrote, now that it is published; returns the node's state."""
        step = self.steps.latest(name)
        outputs.note_sizes(self._pipeline_root, Steps([step]))
        unfinished.forget(self._pipeline_root / name)
        return step.state

    def _resolve(self, node: Any) -> None:
        """Fills in what depends on earlier runs, so that the cache knows when it changed."""
        name, parameters = node.node_info.id, node.parameters.parameters
        if name in dag.LATE:
            late, steps = dag.LATE[name], self.steps
            inputs = {
                key: steps.output(channel.producer_node_query.id, channel.output_key)
                for key, given in node.inputs.inputs.items()
                for channel in given.channels
            }
            parameters[late.parameter].field_value.string_value = late.find(
                {key: value.field_value.string_value for key, value in parameters.items()},
                {key: artifact.uri for key, artifact in inputs.items() if artifact},
            )
        elif name == "AnomalyGate":
            # Only here is there a history to compare with.
            previous = self._lineage.previous_statistics(self.steps.latest("StatisticsGen"))
            parameters["previous_statistics"].field_value.string_value = previous


def _launch(name: str, step: Any, folder: str) -> None:
    """Explains an error where it is raised: what caused it does not leave the process."""
    try:
        step.launch()
    except Exception as error:
        raise explained(name, error, folder) from error


def _worker_package(runner: str) -> list[str]:
    """Beam's flag for what Dataflow's workers install: this project, if its setup.py is at hand.

    Other runners' workers have the project. For them a package would be built and uploaded in vain,
    for every step.
    """
    setup = code.ROOT / "setup.py"
    return [f"--setup_file={setup}"] if runner == "DataflowRunner" and setup.exists() else []
