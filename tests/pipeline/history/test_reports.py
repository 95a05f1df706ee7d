from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import types

import pytest

from components.base.errors import RunError, WorkspaceError
from components.report import executor, inputs
from components.report.result import (
    BEFORE_AFTER_FILE,
    CONTENTS_FILE,
    FIGURES_FOLDER,
    REPORT_FILE,
    StepTime,
)
from pipeline.history import reports as reporting
from pipeline.history.lineage import Lineage, Output, Step, Steps
from pipeline.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: pathlib.Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def written(tmp_path: pathlib.Path) -> pathlib.Path:
    """What a Report step leaves, in little."""
    folder = tmp_path / "artifact"
    (folder / FIGURES_FOLDER).mkdir(parents=True)
    (folder / REPORT_FILE).write_text("<main><!--run--><p>unknown</p><!--/run--></main>")
    (folder / CONTENTS_FILE).write_text("{}")
    (folder / FIGURES_FOLDER / BEFORE_AFTER_FILE).write_bytes(b"picture")
    return folder


def _trained(seconds: float) -> list[StepTime]:
    return [StepTime(name="Trainer", state="done", seconds=seconds)]


def test_a_published_report_knows_its_run_and_the_artifact_stays_as_it_was(workspace, written):
    page = reporting.publish(str(written), workspace, "run-1", _trained(7.0))
    assert page == workspace.reports / "run-1" / REPORT_FILE
    assert "run-1" in page.read_text()
    assert "7.0" in page.read_text()
    assert "unknown" in (written / REPORT_FILE).read_text()
    assert (page.parent / CONTENTS_FILE).exists()
    assert (workspace.reports / BEFORE_AFTER_FILE).read_bytes() == b"picture"


def test_publishing_again_replaces_and_leaves_nothing_behind(workspace, written):
    reporting.publish(str(written), workspace, "run-1", _trained(7.0))
    page = reporting.publish(str(written), workspace, "run-1", _trained(8.5))
    assert "8.5" in page.read_text()
    assert sorted(path.name for path in workspace.reports.iterdir()) == [BEFORE_AFTER_FILE, "run-1"]


def test_the_picture_is_that_of_the_newest_run_also_where_an_older_one_is_made_anew(
    workspace, written
):
    picture = written / FIGURES_FOLDER / BEFORE_AFTER_FILE
    for run, drawn, shown in (
        ("run-1", b"first", b"first"),
        ("run-2", b"second", b"second"),
        ("run-1", b"first, anew", b"second"),
        ("run-2", b"second, anew", b"second, anew"),
    ):
        picture.write_bytes(drawn)
        page = reporting.publish(str(written), workspace, run, _trained(7.0))
        assert (page.parent / FIGURES_FOLDER / BEFORE_AFTER_FILE).read_bytes() == drawn
        assert (workspace.reports / BEFORE_AFTER_FILE).read_bytes() == shown


def test_a_workspace_without_runs_has_no_report(workspace):
    with pytest.raises(WorkspaceError, match="nothing has run here yet"):
        reporting.find(workspace, None)


def _step(number: int, component: str, outputs: dict[str, str], **properties: object) -> Step:
    return Step(
        id=number,
        component=component,
        run="run-1",
        state="done",
        started=10.0 * number,
        ended=10.0 * number + 7.0,
        parameters={
            "sections": json.dumps({"settings": {}, "code": {}}),
            "data_folder": "/data",
        },
        inputs={},
        outputs={
            name: [Output(number, name, "", uri, dict(properties))] for name, uri in outputs.items()
        },
    )


def test_the_newest_run_with_a_report_or_the_one_asked_for_is_found(workspace, monkeypatch):
    began = [("run-1", "Trainer"), ("run-1", "Report"), ("run-2", "Report"), ("run-3", "Trainer")]
    steps = Steps(
        dataclasses.replace(_step(number, component, {}), run=run)
        for number, (run, component) in enumerate(began)
    )
    monkeypatch.setattr(Lineage, "of_runs", lambda _: types.SimpleNamespace(steps=lambda: steps))
    assert reporting.find(workspace, None) == ("run-2", steps[2:3])
    assert reporting.find(workspace, "run-1") == ("run-1", steps[:2])
    with pytest.raises(WorkspaceError, match=r"run-3: it ended before its report.*run-1, run-2"):
        reporting.find(workspace, "run-3")
    with pytest.raises(WorkspaceError, match=r"run-4: there is no such run.*run-1, run-2"):
        reporting.find(workspace, "run-4")
    steps = Steps(steps[3:])
    with pytest.raises(WorkspaceError, match="no run got as far as its report"):
        reporting.find(workspace, None)


def _run(folder: pathlib.Path, without: set[str]) -> Steps:
    """A run in which every step put out what the report reads, but those left out."""
    outputs: dict[str, dict[str, str]] = {}
    for name, (step, output) in inputs.INPUTS.items():
        (folder / name).mkdir(parents=True)
        maker = step if isinstance(step, str) else step[-1]
        outputs.setdefault(maker, {})[output] = str(folder / name)
    return Steps(
        _step(number, name, outputs.get(name, {}), pushed_version="7")
        for number, name in enumerate([*outputs, "Report"])
        if name not in without
    )


@pytest.mark.parametrize("without", [set(), {"Tuner"}, {"Tuner", "ReferenceClassifier"}])
def test_a_report_made_anew_reads_all_that_the_step_reads(
    workspace, written, tmp_path, monkeypatch, without
):
    seen = {}

    def make(artifacts, sections, data_folder, output):
        seen.update(artifacts=artifacts, data_folder=data_folder)
        shutil.copytree(written, output, dirs_exist_ok=True)

    monkeypatch.setattr(executor, "make", make)
    folder = tmp_path / "root"
    page = reporting.remake(workspace, "run-1", _run(folder, without))
    assert "Trainer" in page.read_text()
    # Whoever may read other files may read it.
    assert page.parent.stat().st_mode == tmp_path.joinpath("root").stat().st_mode
    expected = {
        name: None if step in without else str(folder / name)
        for name, (step, _) in inputs.INPUTS.items()
        if name != "pushed_model"
    }
    assert seen["artifacts"] == inputs.Artifacts(pushed_version="7", **expected)
    assert seen["data_folder"] == "/data"


def test_what_a_step_wrote_and_is_gone_is_named(workspace, tmp_path):
    steps = _run(tmp_path / "root", {"Tuner"})
    (tmp_path / "root" / "drift").rmdir()
    with pytest.raises(WorkspaceError, match="what AnomalyGate wrote as 'drift' is gone"):
        reporting.remake(workspace, "run-1", steps)


def test_a_store_that_is_none_is_named(workspace):
    workspace.root.mkdir()
    workspace.metadata.write_bytes(b"no database" * 500)
    with pytest.raises(WorkspaceError, match=r"metadata.sqlite: cannot be read as ML Metadata"):
        reporting.find(workspace, None)


def test_a_store_on_a_full_disk_is_not_called_broken(workspace, monkeypatch):
    from ml_metadata import metadata_store

    def full(config):
        raise RuntimeError("Error when executing query: database or disk is full query: COMMIT;")

    workspace.root.mkdir()
    workspace.metadata.touch()
    monkeypatch.setattr(metadata_store, "MetadataStore", full)
    with pytest.raises(RunError, match="the disk is full"):
        reporting.find(workspace, None)
