"""Runs a compiled pipeline on this machine as open-source Kubeflow Pipelines does.

What is imitated, by file of kubeflow/pipelines (of the release FOLLOWS names):

- backend/src/v2/driver/resolve.go, driver.go: parameters are resolved and checked against their
  declared types; input artifacts come with an empty type; outputs get fresh URIs, and every task
  the output `executor-logs`.
- backend/src/v2/cacheutils/cache.go: the cache's key is made of parameters, the identity of input
  artifacts, the types of outputs, image, command and arguments.
- backend/src/v2/component/launcher_v2.go: inputs are copied from the object store to local
  paths, `{{$}}` becomes the ExecutorInput as JSON, the command runs while its log is written, its
  output file is parsed strictly, outputs found at their local paths are copied to the store. One
  that is missing is a warning. Of a failed task the log alone is copied.
- backend/src/v2/metadata/converter.go: what of an artifact's metadata survives.
- `lifecycle.preCacheCheck` is ignored; so are images and resources, since nothing here starts
  containers. No task is tried again.

Each task is a process of its own in an empty folder, with a bare environment: what is passed
other than through the ExecutorInput and the object store is missing here as on a cluster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import graphlib
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.base import object_store
from components.base.errors import UsageError
from pipeline.runners.kubeflow.check import waits_for
from pipeline.runners.kubeflow.dry_run.driver import Driver
from pipeline.runners.kubeflow.dry_run.launcher import LOG, Launcher
from pipeline.runners.kubeflow.dry_run.state import Artifact, Outputs, State
from pipeline.runners.kubeflow.file import read
from pipeline.runners.kubeflow.parameters import runtime_parameters

FOLLOWS = "2.17.0"
"""The release of Kubeflow Pipelines that is imitated."""
STORE_FOLDER = "store"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task that has ended."""

    name: str
    state: str
    """done or cached."""
    seconds: float
    outputs: dict[str, Artifact]
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: str | None = None
    """Path of the file with what it printed; None where it did not run."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished dry run."""

    run: str
    tasks: list[Task]
    follows: str = FOLLOWS
    """The release of Kubeflow Pipelines that was imitated."""

    def artifact(self, type_: str) -> Artifact | None:
        """The newest artifact of a type."""
        found = [a for task in self.tasks for a in task.outputs.values() if a.type == type_]
        return found[-1] if found else None

    @property
    def blessed(self) -> bool:
        """True if there is a blessing and every one is given."""
        kinds = ("tfx.ModelBlessing", "tfx.InfraBlessing")
        found = [a for task in self.tasks for a in task.outputs.values() if a.type in kinds]
        return bool(found) and all(a.metadata.get("blessed") == 1 for a in found)

    @property
    def pushed(self) -> str | None:
        """The place the model was pushed to; None if it was not."""
        artifact = self.artifact("tfx.PushedModel")
        if artifact is None or artifact.metadata.get("pushed") != 1:
            return None
        return artifact.metadata.get("pushed_destination")


def run(
    compiled: pathlib.Path,
    folder: pathlib.Path,
    parameters: Mapping[str, str] | None = None,
    *,
    real_store: bool = False,
    started: Callable[[str], object] = lambda name: None,
    finished: Callable[[Task], object] = lambda task: None,
) -> Result:
    """Runs a compiled pipeline.

    Args:
      compiled: The YAML file, which is all that is known of the pipeline.
      folder: Keeps logs, the cache and, without `real_store`, the object store; a second run in
        it finds the first one's cache.
      parameters: Of the run.
      real_store: Take the object store of the URIs, with the environment's credentials, in
        place of a folder that stands in for it.
      started, finished: Called around each task.

    Raises:
      UsageError: the file is no pipeline that KFP runs, or a parameter is wrong.
      RunError: a task failed; it shows the end of the task's log.
    """
    spec = read(compiled)
    root = spec["root"]
    values = {
        name: declared["defaultValue"]
        for name, declared in root.get("inputDefinitions", {}).get("parameters", {}).items()
        if "defaultValue" in declared
    } | runtime_parameters(spec, parameters or {})
    run_id = str(uuid.uuid4())
    folder = folder.resolve()
    state = State(folder / "state.json")
    driver = Driver(spec, values, run_id)
    tasks: dict[str, Task] = {}
    known: dict[str, Outputs] = {}
    with contextlib.ExitStack() as stack:
        if not real_store:
            stack.enter_context(_stand_in(folder / STORE_FOLDER))
        for name in _in_order(root["dag"]["tasks"]):
            started(name)
            begun = time.monotonic()
            executor_input = driver.executor_input(name, known)
            key = driver.cache_key(name, executor_input)
            outputs, log = (state.cached(key) if key else None), None
            if outputs is None:
                of_task = folder / "runs" / run_id / name
                log = str(of_task / LOG)
                launcher = Launcher(name, executor_input, of_task, state)
                outputs = launcher.run(driver.container(name))
                if key:
                    state.cache(key, outputs)
            state.save()
            known[name] = outputs
            seconds = time.monotonic() - begun
            tasks[name] = Task(name, "done" if log else "cached", seconds, *outputs, log)
            finished(tasks[name])
    return Result(run_id, list(tasks.values()))


@contextlib.contextmanager
def _stand_in(folder: pathlib.Path) -> Iterator[None]:
    """Has a folder stand in for every object store."""
    before = os.environ.get(object_store.STAND_IN)
    os.environ[object_store.STAND_IN] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(object_store.STAND_IN)
        if before is not None:
            os.environ[object_store.STAND_IN] = before


def _in_order(tasks: Mapping[str, Any]) -> Iterator[str]:
    """Names of tasks, each after those it waits for."""
    graph = graphlib.TopologicalSorter({name: waits_for(task) for name, task in tasks.items()})
    try:
        yield from graph.static_order()
    except graphlib.CycleError as error:
        raise UsageError(f"The tasks {', '.join(error.args[1])} wait for each other.") from error
