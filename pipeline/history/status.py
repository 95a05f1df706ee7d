"""`denoise status`: runs, models, blessings and pushes, from ML Metadata."""

from __future__ import annotations

import datetime
import json
import pathlib
from typing import Any

import pydantic
import rich.box
import rich.console
import rich.table

from components.csv_ingestion.result import STEPS as INGESTIONS
from pipeline.history.lineage import ALL_STATES, Lineage, Step, Steps, settings_of
from pipeline.workspace import Workspace


class RunStatus(pydantic.BaseModel):
    """One run of the pipeline."""

    run: str
    started: str
    state: str
    """running; interrupted; failed; done."""
    steps: dict[str, str]
    """State of each step, by name."""


class ModelStatus(pydantic.BaseModel):
    """One trained model and what made it."""

    id: int
    run: str
    trained: str
    uri: str
    model_run: str
    """Folder that the Trainer wrote beside the model: history, times."""
    preset: str | None
    """The preset, as the run's report names it; None: no run with this model got as far."""
    settings: dict[str, Any]
    code: str
    """Fingerprint of the sources that made it."""
    data: str
    """The data folder."""
    data_fingerprint: str
    """Fingerprint of its files, as TFX computes it: names, sizes, times, checksums."""
    blessed: bool | None
    servable: bool | None
    pushed_version: str | None
    served: bool
    """Whether that version is still in the serving folder."""


class History(pydantic.BaseModel):
    """Everything ML Metadata knows, oldest first."""

    runs: list[RunStatus]
    models: list[ModelStatus]


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).isoformat(" ", "seconds")


def _run(run: str, steps: Steps, in_use: bool, latest: bool) -> RunStatus:
    states = {step.component: step.state for step in steps}
    open_ = any(state in ("new", "running") for state in states.values())
    if open_:
        state = "running" if in_use and latest else "interrupted"
    elif "failed" in states.values():
        state = "failed"
    elif "Report" in states:
        state = "done"
    else:
        state = "running" if in_use and latest else "interrupted"
    return RunStatus(run=run, started=_time(steps[0].started), state=state, steps=states)


def _trained_with(sections: dict[str, Any], model_run: str | None) -> dict[str, Any]:
    """The settings a Trainer was given, with what the Tuner found laid over them."""
    from components.training.hyperparameters import lay_over
    from components.training.result import Training

    given = {name: value for name, value in sections.items() if name != "code"}
    try:
        tuned = Training.read(model_run).tuned if model_run else {}
    except FileNotFoundError:
        tuned = {}
    return lay_over(given, tuned)


def history(workspace: Workspace) -> History:
    """Reads the history of a workspace.

    Raises:
      WorkspaceError: nothing has run there.
    """
    steps = Lineage.of_runs(workspace).steps()
    in_use = workspace.in_use
    runs = steps.by_run()
    return History(
        runs=[_run(run, runs[run], in_use, latest=run == list(runs)[-1]) for run in runs],
        models=[
            _model(step, steps, workspace)
            for step in steps
            if step.component == "Trainer" and step.state == "done" and step.output("model")
        ],
    )


def _model(trainer: Step, steps: Steps, workspace: Workspace) -> ModelStatus:
    model, model_run = trainer.output("model"), trainer.output("model_run")
    assert model is not None
    ingestion = steps.maker(trainer, INGESTIONS)
    examples = ingestion.output("examples") if ingestion else None
    blessing = steps.verdict(model.id, "QualityEvaluator", "blessing")
    servable = steps.verdict(model.id, "ServingCheck", "blessing")
    pushed = steps.verdict(model.id, "AtomicPusher", "pushed_model")
    version = pushed.properties.get("pushed_version") if pushed else None
    report = steps.reader(model.id, "Report", ALL_STATES)
    sections = settings_of(trainer)
    folder = model_run.uri if model_run else ""
    return ModelStatus(
        id=model.id,
        run=trainer.run,
        trained=_time(trainer.ended),
        uri=model.uri,
        model_run=folder,
        preset=json.loads(report.parameters["sections"])["settings"]["preset"] if report else None,
        settings=_trained_with(sections, folder or None),
        code=sections.get("code", ""),
        data=str(ingestion.parameters.get("input_base", "")) if ingestion else "",
        data_fingerprint=str(examples.properties.get("input_fingerprint", "")) if examples else "",
        blessed=bool(blessing.properties.get("blessed")) if blessing else None,
        servable=bool(servable.properties.get("blessed")) if servable else None,
        pushed_version=version,
        served=bool(version) and (workspace.serving / str(version)).is_dir(),
    )


def show(history: History, console: rich.console.Console) -> None:
    """Prints the history as two tables."""
    runs = rich.table.Table(title="Runs", box=rich.box.SIMPLE_HEAD, title_justify="left")
    for column in ("run", "started", "state", "steps"):
        runs.add_column(column)
    for run in history.runs:
        states = list(run.steps.values())
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        runs.add_row(run.run, run.started, run.state, counts)
    console.print(runs)

    models = rich.table.Table(title="Models", box=rich.box.SIMPLE_HEAD, title_justify="left")
    for column in ("id", "trained", "model", "data", "code", "blessed", "servable", "pushed"):
        models.add_column(column, overflow="fold")
    marks = {True: "yes", False: "no", None: "-"}
    for model in history.models:
        epochs = model.settings.get("training", {}).get("epochs")
        pushed = model.pushed_version or "-"
        models.add_row(
            str(model.id),
            model.trained,
            f"{model.settings.get('model', {}).get('name')}, {epochs} epochs",
            pathlib.Path(model.data).name,
            model.code[:8],
            marks[model.blessed],
            marks[model.servable],
            pushed if model.served or pushed == "-" else f"{pushed} (removed)",
        )
    console.print(models)
