"""What the metadata says of a workspace that is not where it was."""

from __future__ import annotations

import pathlib
import resource
import shutil

import pytest
from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.history.lineage import Lineage, Output, Step, Steps
from pipeline.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    """One artifact in its folder, and one whose folder was removed."""
    made = Workspace(tmp_path / "original")
    config = metadata_store_pb2.ConnectionConfig()
    made.root.mkdir()
    config.sqlite.filename_uri = str(made.metadata)
    store = metadata_store.MetadataStore(config)
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples"))
    for number in (1, 2):
        folder = made.pipeline_root / "CsvIngestion" / "examples" / str(number)
        store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind, uri=str(folder))])
        if number == 1:
            folder.mkdir(parents=True)
    return made


def uris(workspace: Workspace) -> list[str]:
    return [artifact.uri for artifact in Lineage(workspace)._store.get_artifacts()]


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_a_workspace_takes_its_own_files_wherever_it_is(workspace, tmp_path, move):
    assert not Lineage(workspace).take_own()
    before = uris(workspace)
    other = Workspace(tmp_path / "other")
    move(workspace.root, other.root)
    assert Lineage(other).take_own()
    here = other.pipeline_root / "CsvIngestion" / "examples"
    assert uris(other) == [str(here / "1"), before[1]]
    assert not Lineage(other).take_own()
    if move is shutil.copytree:
        assert uris(workspace) == before
        assert pathlib.Path(before[0]).is_dir()


def test_what_a_full_disk_did_not_take_leaves_the_store_readable(workspace):
    lineage = Lineage(workspace)
    store = lineage._store
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    running = metadata_store_pb2.Execution(
        type_id=kind, last_known_state=metadata_store_pb2.Execution.RUNNING
    )
    node = store.put_context_type(metadata_store_pb2.ContextType(name="node"))
    context = metadata_store_pb2.Context(type_id=node, name="denoise.Trainer")
    store.put_execution(running, [], [context])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(errors.StatusError):
            lineage.close_interrupted()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [step.state for step in lineage.steps()] == ["running"]
    lineage.close_interrupted()
    assert [step.state for step in lineage.steps()] == ["failed"]


def test_data_are_compared_with_the_last_that_the_gate_let_pass(tmp_path, monkeypatch):
    """Data that were refused twice would else be like the last, and pass."""

    def step(number, component, state="done", inputs=None):
        folder = tmp_path / component / str(number)
        folder.mkdir(parents=True)
        output = Output(number, "statistics", "ExampleStatistics", str(folder), {})
        outputs = {"statistics": [output]} if component == "StatisticsGen" else {}
        return Step(number, component, "run", state, 0, 1, {}, inputs or {}, outputs)

    steps = [
        step(1, "StatisticsGen"),
        step(2, "AnomalyGate", inputs={"statistics": [1]}),
        step(3, "StatisticsGen"),
        step(4, "AnomalyGate", "failed", {"statistics": [3]}),
        step(5, "StatisticsGen"),
        step(6, "StatisticsGen", inputs={"schema": [9]}),
    ]
    lineage = object.__new__(Lineage)
    monkeypatch.setattr(lineage, "steps", lambda: Steps(steps))
    first = str(tmp_path / "StatisticsGen" / "1")
    assert lineage.previous_statistics(steps[4]) == first
    assert lineage.previous_statistics(steps[2]) == first
    assert lineage.previous_statistics(steps[0]) == ""
    assert lineage.previous_statistics(steps[5]) == "", "of another schema"
