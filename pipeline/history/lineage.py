"""The contents of ML Metadata: runs, steps, artifacts, and what made them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from components.base.errors import WorkspaceError, explained
from pipeline.workspace import Workspace

_STATES = {1: "new", 2: "running", 3: "done", 4: "failed", 5: "cached", 6: "cancelled"}
DONE = ("done", "cached")
ALL_STATES = tuple(_STATES.values())


@dataclasses.dataclass(frozen=True)
class Output:
    """One artifact a step put out."""

    id: int
    name: str
    """The output's name, such as `model`."""
    type: str
    uri: str
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """One execution of a component."""

    id: int
    component: str
    run: str
    state: str
    """new, running, done, failed, cached or cancelled."""
    started: float
    """Unix time, in seconds."""
    ended: float
    parameters: dict[str, Any]
    inputs: dict[str, list[int]]
    """Ids of the artifacts read, by the input's name."""
    outputs: dict[str, list[Output]]

    def output(self, name: str) -> Output | None:
        """The one artifact of an output, if the step put it out."""
        found = self.outputs.get(name, [])
        return found[0] if found else None


class Steps(tuple[Step, ...]):
    """Executions in the order they started, and what leads from one to another."""

    def by_run(self) -> dict[str, Steps]:
        """The steps of each run, in the order of the runs."""
        runs: dict[str, list[Step]] = {}
        for step in self:
            runs.setdefault(step.run, []).append(step)
        return {run: Steps(steps) for run, steps in runs.items()}

    def latest(self, component: str) -> Step:
        """The last step of a component."""
        return [step for step in self if step.component == component][-1]

    def output(self, component: str | tuple[str, ...], name: str) -> Output | None:
        """The output of the last finished step of a component, or of several; None if there is
        none."""
        for step in reversed(self):
            if step.component in _several(component) and step.state in DONE:
                return step.output(name)
        return None

    def maker(self, step: Step, component: str | tuple[str, ...]) -> Step | None:
        """The step of a component, or of several, that a step's inputs go back to."""
        for id_ in itertools.chain.from_iterable(step.inputs.values()):
            before = self._made_by.get(id_)
            if before is None or before.id == step.id:
                continue
            here = before.component in _several(component)
            found = before if here else self.maker(before, component)
            if found:
                return found
        return None

    def reader(self, model: int, component: str, states: Sequence[str] = DONE) -> Step | None:
        """The last step of a component that read the model with this id."""
        for step in reversed(self):
            read = model in step.inputs.get("model", [])
            if read and step.component == component and step.state in states:
                return step
        return None

    def verdict(self, model: int, component: str, name: str) -> Output | None:
        """The output of a component's last finished step that read the model with this id."""
        step = self.reader(model, component)
        return step.output(name) if step else None

    @functools.cached_property
    def _made_by(self) -> dict[int, Step]:
        return {
            output.id: step
            for step in self
            if step.state == "done"
            for outputs in step.outputs.values()
            for output in outputs
        }


def _several(components: str | tuple[str, ...]) -> tuple[str, ...]:
    return (components,) if isinstance(components, str) else components


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


class Lineage:
    """Reads the MLMD store of a workspace, which is made if there is none.

    Raises:
      WorkspaceError: metadata.sqlite is no such store.
      RunError: it cannot be made, since the disk is full.
    """

    def __init__(self, workspace: Workspace):
        from ml_metadata import errors
        from ml_metadata.proto import metadata_store_pb2

        self._workspace = workspace
        self._proto: Any = metadata_store_pb2
        try:
            self._connect()
            self._store.get_context_types()
        # Of a file that is no database, a RuntimeError with the query after the reason.
        except (errors.StatusError, RuntimeError) as error:
            if known := explained(error):
                raise known from error
            reason = str(error).partition(" query:  ")[0]
            raise WorkspaceError(
                f"{workspace.metadata}: cannot be read as ML Metadata ({reason}). Bring it back "
                "from a backup, or move it away: the next run then makes a new one and computes "
                "everything anew. What is pushed stays as it is."
            ) from error

    def _connect(self) -> None:
        from ml_metadata import metadata_store

        config = self._proto.ConnectionConfig()
        config.sqlite.filename_uri = str(self._workspace.metadata)
        self._store = metadata_store.MetadataStore(config)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """After a write that failed, as on a full disk, the store can still be read."""
        try:
            yield
        except Exception:
            # ML Metadata leaves the transaction open, and this connection refuses any other.
            self._connect()
            raise

    @classmethod
    def of_runs(cls, workspace: Workspace) -> Lineage:
        """The store of a workspace in which something has run.

        Raises:
          WorkspaceError: nothing has, or metadata.sqlite is no such store.
        """
        if not workspace.metadata.exists():
            raise WorkspaceError(
                f"--workspace {workspace.root}: nothing has run here yet. Call `denoise run`."
            )
        return cls(workspace)

    def steps(self, run: str | None = None) -> Steps:
        """Executions in the order they started; of one run, or of all."""
        store = self._store
        if run is None:
            executions = store.get_executions()
        else:
            context = store.get_context_by_type_and_name("pipeline_run", run)
            executions = store.get_executions_by_context(context.id) if context else []
        if not executions:
            return Steps()
        types = {type_.id: type_.name for type_ in store.get_artifact_types()}
        events = store.get_events_by_execution_ids([execution.id for execution in executions])
        ids = sorted({event.artifact_id for event in events})
        artifacts = {artifact.id: artifact for artifact in store.get_artifacts_by_id(ids)}
        inputs: dict[int, dict[str, list[int]]] = {}
        outputs: dict[int, dict[str, list[Output]]] = {}
        for event in events:
            name = event.path.steps[0].key
            if event.type == self._proto.Event.INPUT:
                of_step = inputs.setdefault(event.execution_id, {})
                of_step.setdefault(name, []).append(event.artifact_id)
            elif event.type == self._proto.Event.OUTPUT:
                artifact = artifacts[event.artifact_id]
                properties = {
                    key: _value(value)
                    for source in (artifact.properties, artifact.custom_properties)
                    for key, value in source.items()
                }
                outputs.setdefault(event.execution_id, {}).setdefault(name, []).append(
                    Output(
                        artifact.id,
                        name,
                        types[artifact.type_id],
                        self._own(artifact.uri),
                        properties,
                    )
                )
        steps = []
        for execution in executions:
            contexts = {
                self._context_types[context.type_id]: context.name
                for context in store.get_contexts_by_execution(execution.id)
            }
            steps.append(
                Step(
                    id=execution.id,
                    component=contexts.get("node", "").partition(".")[2],
                    run=contexts.get("pipeline_run", ""),
                    state=_STATES.get(execution.last_known_state, "unknown"),
                    started=execution.create_time_since_epoch / 1000,
                    ended=execution.last_update_time_since_epoch / 1000,
                    parameters={
                        key: _value(value) for key, value in execution.custom_properties.items()
                    },
                    inputs=inputs.get(execution.id, {}),
                    outputs=outputs.get(execution.id, {}),
                )
            )
        return Steps(sorted(steps, key=lambda step: step.id))

    @property
    def _context_types(self) -> dict[int, str]:
        return {type_.id: type_.name for type_ in self._store.get_context_types()}

    def _own(self, uri: str) -> str:
        """Where an artifact lies in this workspace, if it does.

        A workspace that was copied or moved knows the folders it had before.
        """
        here = self._workspace.pipeline_root.resolve().joinpath(*pathlib.PurePath(uri).parts[-3:])
        return str(here) if here.exists() else uri

    def take_own(self) -> bool:
        """Makes the cache answer from this workspace where it was copied or moved.

        Call it only while holding the workspace.

        Returns:
          Whether there were artifacts that had been written in another folder.
        """
        others = []
        for artifact in self._store.get_artifacts():
            own = self._own(artifact.uri)
            if own != artifact.uri:
                artifact.uri = own
                others.append(artifact)
        if others:
            with self._writing():
                self._store.put_artifacts(others)
        return bool(others)

    def close_interrupted(self) -> list[Step]:
        """Marks steps a killed run left open as failed and removes their half-written outputs.

        Call it only while holding the workspace.
        """
        interrupted = [step for step in self.steps() if step.state in ("new", "running")]
        for step in interrupted:
            (execution,) = self._store.get_executions_by_id([step.id])
            execution.last_known_state = self._proto.Execution.FAILED
            with self._writing():
                self._store.put_executions([execution])
            for folder in (self._workspace.pipeline_root / step.component).glob(f"*/{step.id}"):
                shutil.rmtree(folder)
        return interrupted

    def previous_statistics(self, current: Step) -> str:
        """URI of the last data's statistics that AnomalyGate let pass, or empty.

        Args:
          current: A StatisticsGen step. An older one counts if it had the same schema: images
            of another shape or with other classes are not the same data that drifted.
        """
        statistics = current.output("statistics")
        if statistics is None:
            return ""
        steps = self.steps()
        passed = {
            artifact
            for step in steps
            if step.component == "AnomalyGate" and step.state in DONE
            for artifact in step.inputs.get("statistics", [])
        }
        for step in reversed(steps):
            older = step.output("statistics") if step.component == current.component else None
            if (
                older is not None
                and older.id < statistics.id
                and older.id in passed
                and step.inputs.get("schema") == current.inputs.get("schema")
                and pathlib.Path(older.uri).is_dir()
            ):
                return older.uri
        return ""


def settings_of(step: Step) -> dict[str, Any]:
    """The sections of the settings a Trainer step was given."""
    return json.loads(step.parameters.get("custom_config") or "{}")
