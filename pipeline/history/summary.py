"""summary.json: what one run did, for machines; and the same as a table, for people."""

from __future__ import annotations

import datetime
import pathlib
import time
from typing import Any

import pydantic
import rich.box
import rich.console
import rich.table

from components.base.errors import DenoiseError, WorkspaceError
from components.base.files import write_json
from components.base.settings import Settings
from components.evaluation.result import ALL
from components.report.result import StepTime, outcome
from components.training.result import Candidate
from components.training.start import NONE
from pipeline.history.lineage import Steps
from pipeline.workspace import Workspace

_IGNORED_SHOWN = 5


class Metrics(pydantic.BaseModel):
    """Means over test images; `*` stands for all noises or all classes."""

    noise: str
    label: str
    images: int
    mse: float
    mae: float
    psnr: float
    ssim: float
    noisy_mse: float
    noisy_mae: float
    noisy_psnr: float
    noisy_ssim: float
    psnr_gain: float


class Summary(pydantic.BaseModel):
    """A run: settings, steps, data, metrics and what became of the model."""

    run: str
    outcome: str
    """pushed; unchanged (all as in the last run); not blessed; not servable; failed."""
    error: str | None = None
    started: str
    seconds: float
    settings: Settings
    steps: list[StepTime]
    data: dict[str, Any] = {}
    """The ingestion's counts: rows, Examples by split, rows set aside."""
    tuning: dict[str, Any] = {}
    """Every trial and which was best, if the Tuner ran: components.tuning.trials.Tuning."""
    training: dict[str, Any] = {}
    metrics: list[Metrics] = []
    baseline_metrics: list[Metrics] = []
    misses: list[str] = []
    """Thresholds the model did not keep, each with by how much."""
    serving_check: dict[str, Any] = {}
    pushed_version: str | None = None
    model: str | None = None
    """The SavedModel: the pushed one, or where it was trained if it was not pushed."""
    evaluation: str | None = None
    report: str | None = None
    tensorboard: str | None = None

    def row(self, noise: str = ALL, label: str = ALL) -> Metrics:
        """The metrics of one noise and label."""
        return next(row for row in self.metrics if (row.noise, row.label) == (noise, label))


def _rows(table: dict[tuple[str, str], dict[str, float]]) -> list[Metrics]:
    return [
        Metrics(noise=noise, label=label, **values)
        for (noise, label), values in sorted(table.items())
    ]


def step_times(steps: Steps, times: dict[str, tuple[float, float]]) -> list[StepTime]:
    """When the steps of a run began, and how long they took.

    Args:
      steps: The run's executions, in the order to tell them in.
      times: By component: when it began, Unix time, and its seconds; of others it counts as none.
    """
    spans = [times.get(step.component, (step.started, 0.0)) for step in steps]
    first = min((began for began, _ in spans), default=0.0)
    return [
        StepTime(name=step.component, state=step.state, began=began - first, seconds=seconds)
        for step, (began, seconds) in zip(steps, spans, strict=True)
    ]


def collect(
    settings: Settings,
    workspace: Workspace,
    steps: Steps,
    run: str,
    started: float,
    times: dict[str, tuple[float, float]],
    failure: DenoiseError | None,
) -> Summary:
    """Gathers what the steps of a run wrote.

    Args:
      settings: The run's.
      workspace: The run's.
      steps: The run's executions, in the order to tell them in.
      run: The run's id.
      started: Unix time.
      times: Of each finished step: when it began, Unix time, and its seconds.
      failure: What stopped the run, if anything did.
    """
    from tfx.utils import path_utils

    from components.csv_ingestion.result import STEPS, read_summary
    from components.evaluation import result as evaluation
    from components.serving_check.result import read_check
    from components.training.result import LOGS_FOLDER, Training
    from components.tuning import trials

    summary = Summary(
        run=run,
        outcome="failed",
        error=str(failure) if failure else None,
        started=datetime.datetime.fromtimestamp(started, datetime.timezone.utc).isoformat(),
        seconds=time.time() - started,
        settings=settings,
        steps=step_times(steps, times),
    )
    if examples := steps.output(STEPS, "examples"):
        summary.data = read_summary(examples.uri).model_dump(mode="json")
    if tuner_results := steps.output("Tuner", "tuner_results"):
        summary.tuning = trials.read(tuner_results.uri).model_dump(mode="json")
    if model_run := steps.output("Trainer", "model_run"):
        summary.training = Training.read(model_run.uri).model_dump(mode="json")
        summary.tensorboard = str(pathlib.Path(model_run.uri) / LOGS_FOLDER)
    if model := steps.output("Trainer", "model"):
        summary.model = path_utils.serving_model_path(model.uri)
    if evaluated := steps.output("QualityEvaluator", "evaluation"):
        summary.evaluation = evaluated.uri
        summary.metrics = _rows(evaluation.metrics(evaluated.uri))
        summary.baseline_metrics = _rows(evaluation.metrics(evaluated.uri, "baseline"))
        summary.misses = [str(miss) for miss in evaluation.misses(evaluated.uri)]
    if check := steps.output("ServingCheck", "blessing"):
        summary.serving_check = read_check(check.uri)
    if report := steps.output("Report", "report"):
        summary.report = report.uri
    pushed = steps.output("AtomicPusher", "pushed_model")
    if pushed and not failure:
        if pushed.properties.get("pushed"):
            summary.pushed_version = pushed.properties["pushed_version"]
            summary.model = pushed.properties["pushed_destination"]
        summary.outcome = outcome(summary.pushed_version, summary.misses)
        if summary.outcome == "pushed" and steps.latest("AtomicPusher").state == "cached":
            summary.outcome = "unchanged"
    return summary


def write(summary: Summary, workspace: Workspace) -> None:
    """Writes `summary.json` of the workspace, whole or not at all."""
    write_json(workspace.summary, summary.model_dump(mode="json"))


def read(workspace: Workspace) -> Summary:
    """The last run of a workspace.

    Raises:
      WorkspaceError: there was none, or another version of this project wrote it.
    """
    try:
        return Summary.model_validate_json(workspace.summary.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkspaceError(
            f"--workspace {workspace.root}: holds no summary.json. Call `denoise run` first."
        ) from error
    except pydantic.ValidationError as error:
        raise WorkspaceError(
            f"{workspace.summary}: was written by another version of this project. Call `denoise "
            f"run` again. ({error.errors()[0]['loc']}: {error.errors()[0]['msg']})"
        ) from error


def metrics_table(rows: list[Metrics], title: str) -> rich.table.Table:
    """Denoised against noisy, a row per noise or class."""
    table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    for column in ("PSNR, dB", "noisy", "gain", "SSIM", "noisy", "MSE", "noisy"):
        style = "dim" if column == "noisy" else None
        table.add_column(column, justify="right", style=style, no_wrap=True)
    for row in rows:
        table.add_row(
            "all" if row.noise == ALL else row.noise,
            f"{row.images:,}",
            f"{row.psnr:.2f}",
            f"{row.noisy_psnr:.2f}",
            f"{row.psnr_gain:+.2f}",
            f"{row.ssim:.4f}",
            f"{row.noisy_ssim:.4f}",
            f"{row.mse:.5f}",
            f"{row.noisy_mse:.5f}",
        )
    return table


def show(summary: Summary, console: rich.console.Console) -> None:
    """Prints the table a run ends with."""
    if summary.metrics:
        rows = [row for row in summary.metrics if row.label == ALL]
        rows.sort(key=lambda row: row.noise == ALL)
        console.print()
        console.print(
            metrics_table(rows, "Test images, denoised against noisy (means of per-image values)")
        )
    if summary.data:
        from components.csv_ingestion.result import IngestionSummary

        data = IngestionSummary.model_validate(summary.data)
        console.print(f"{data.unit:<11} {data.account()}", soft_wrap=True)
        if data.overlap:
            console.print(f"            {data.overlap:,} of test are in train too")
        for note, number in data.notes.items():
            console.print(f"            {number:,} {data.unit}: {note}", soft_wrap=True)
        ignored = list(summary.data["ignored"].items())
        for name, reason in ignored[:_IGNORED_SHOWN]:
            console.print(f"ignored     {name}: {reason}", soft_wrap=True, markup=False)
        if len(ignored) > _IGNORED_SHOWN:
            console.print(f"            and {len(ignored) - _IGNORED_SHOWN:,} more (summary.json)")
    if summary.training:
        training = summary.training
        start = training.get("started_from", NONE)
        console.print(
            f"training    {training['parameters']:,} parameters, {training['epochs']} epochs, "
            f"{training['images_per_second']:,.0f} images/s, {training['precision']}"
            + (f", from version {start}" if start != NONE else "")
        )
        if training.get("candidates"):
            tried = map(Candidate.model_validate, training["candidates"])
            console.print(f"tried       {'; '.join(map(str, tried))}", soft_wrap=True)
    if summary.tuning:
        tuning = summary.tuning
        best = next(trial for trial in tuning["trials"] if trial["number"] == tuning["best"])
        found = ", ".join(f"{field}={value}" for field, value in best["settings"].items())
        console.print(
            f"tuning      {len(tuning['trials'])} trials, best {best['psnr']:.2f} dB: {found}",
            soft_wrap=True,
        )
    places = {
        "model": summary.model,
        "report": summary.report,
        "TensorBoard": summary.tensorboard and f"tensorboard --logdir {summary.tensorboard}",
    }
    for name, place in places.items():
        if place:
            console.print(f"{name:<11} {place}", soft_wrap=True)
    console.print(f"{'time':<11} {summary.seconds:.0f} s")
    outcome = {
        "pushed": f"[green]pushed[/] as version {summary.pushed_version}",
        "unchanged": f"[green]unchanged[/]: version {summary.pushed_version} is this model",
    }
    if summary.outcome in outcome:
        console.print(f"{'outcome':<11} {outcome[summary.outcome]}")
