from __future__ import annotations

import pathlib

import pytest

from components.base.errors import WorkspaceError
from components.report.page import RunStep
from components.report.result import BEFORE_AFTER_FILE, CONTENTS_FILE, FIGURES_FOLDER, REPORT_FILE
from pipeline.history import reports as reporting
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


def test_a_published_report_knows_its_run_and_the_artifact_stays_as_it_was(workspace, written):
    page = reporting.publish(str(written), workspace, "run-1", [RunStep("Trainer", "done", 7.0)])
    assert page == workspace.reports / "run-1" / REPORT_FILE
    assert "run-1" in page.read_text()
    assert "7.0" in page.read_text()
    assert "unknown" in (written / REPORT_FILE).read_text()
    assert (page.parent / CONTENTS_FILE).exists()
    assert (workspace.reports / BEFORE_AFTER_FILE).read_bytes() == b"picture"


def test_publishing_again_replaces_and_leaves_nothing_behind(workspace, written):
    reporting.publish(str(written), workspace, "run-1", [RunStep("Trainer", "done", 7.0)])
    page = reporting.publish(str(written), workspace, "run-1", [RunStep("Trainer", "done", 8.5)])
    assert "8.5" in page.read_text()
    assert sorted(path.name for path in workspace.reports.iterdir()) == [BEFORE_AFTER_FILE, "run-1"]


def test_a_workspace_without_runs_has_no_report(workspace):
    with pytest.raises(WorkspaceError, match="nothing has run here yet"):
        reporting.find(workspace, None)
