"""Reports in the workspace: `reports/<run>/report.html`, and the picture of the newest one."""

from __future__ import annotations

import json
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

from components.base.errors import WorkspaceError
from components.base.files import whole
from components.report import inputs
from components.report.page import with_run
from components.report.result import BEFORE_AFTER_FILE, FIGURES_FOLDER, REPORT_FILE, StepTime
from pipeline.history.lineage import Lineage, Steps
from pipeline.history.summary import step_times
from pipeline.workspace import Workspace


def publish(report: str, workspace: Workspace, run: str, steps: Sequence[StepTime]) -> pathlib.Path:
    """Copies a report into the workspace, with the run's id and the times of its steps.

    Args:
      report: The folder the Report step wrote.
      workspace: Where to.
      run: The run's id.
      steps: In order.

    Returns:
      The HTML file.
    """
    folder = workspace.reports / run
    workspace.reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.reports, prefix=".") as scratch:
        complete = pathlib.Path(scratch) / run
        shutil.copytree(report, complete)
        page = complete / REPORT_FILE
        page.write_text(with_run(page.read_text(encoding="utf-8"), run, steps), encoding="utf-8")
        if folder.exists():
            folder.rename(pathlib.Path(scratch) / "before")
        complete.rename(folder)
    # Runs are named by when they began.
    newest = max(page.parent.name for page in workspace.reports.glob(f"*/{REPORT_FILE}"))
    if run == newest:
        with whole(workspace.reports / BEFORE_AFTER_FILE) as file:
            file.write((folder / FIGURES_FOLDER / BEFORE_AFTER_FILE).read_bytes())
    return folder / REPORT_FILE


def find(workspace: Workspace, run: str | None) -> tuple[str, Steps]:
    """A run and its steps.

    Args:
      workspace: Where it ran.
      run: Its id; None: the newest that reached its report.

    Raises:
      WorkspaceError: there is no such run, or it ended before its report.
    """
    runs = Lineage.of_runs(workspace).steps().by_run()
    with_report = [
        name for name, steps in runs.items() if any(step.component == "Report" for step in steps)
    ]
    if run is None:
        if not with_report:
            raise WorkspaceError(
                f"--workspace {workspace.root}: no run got as far as its report. "
                "Call `denoise run`; it goes on where the last one stopped."
            )
        run = with_report[-1]
    if run not in runs:
        raise WorkspaceError(
            f"--run {run}: there is no such run. Runs with a report: "
            f"{', '.join(with_report) or 'none'} (`denoise status` shows all)."
        )
    if run not in with_report:
        raise WorkspaceError(
            f"--run {run}: it ended before its report. Runs with a report: "
            f"{', '.join(with_report) or 'none'}."
        )
    return run, runs[run]


def remake(workspace: Workspace, run: str, steps: Steps) -> pathlib.Path:
    """Makes the report of a run anew from what its steps wrote.

    Args:
      workspace: Where it ran.
      run: Its id.
      steps: Its steps, the Report step among them.

    Returns:
      The HTML file.

    Raises:
      WorkspaceError: what a step wrote is gone.
    """
    from components.report import executor

    def folder(name: str) -> str | None:
        step, output = inputs.INPUTS[name]
        found = steps.output(step, output)
        if found is None and name in inputs.OPTIONAL:
            return None
        if found is None or not pathlib.Path(found.uri).exists():
            maker = step if isinstance(step, str) else " or ".join(step)
            raise WorkspaceError(f"--run {run}: what {maker} wrote as {output!r} is gone.")
        return found.uri

    pushed = steps.output(*inputs.INPUTS["pushed_model"])
    version = pushed.properties.get("pushed_version") if pushed else None
    parameters = steps.latest("Report").parameters
    with tempfile.TemporaryDirectory() as scratch:
        # Below it: only the user may read the folder itself, and copies would be so, too.
        report = str(pathlib.Path(scratch, "report"))
        executor.make(
            inputs.locate(folder, version),
            json.loads(parameters["sections"]),
            parameters["data_folder"],
            report,
        )
        times = {step.component: (step.started, step.ended - step.started) for step in steps}
        return publish(report, workspace, run, step_times(steps, times))
