"""The outputs that the report reads: for the DAG, the step, and a report made anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from components.csv_ingestion.result import STEPS as INGESTIONS

INPUTS: dict[str, tuple[str | tuple[str, ...], str]] = {
    "examples": (INGESTIONS, "examples"),
    "statistics": ("StatisticsGen", "statistics"),
    "schema": ("ImportSchemaGen", "schema"),
    "anomalies": ("ExampleValidator", "anomalies"),
    "drift": ("AnomalyGate", "drift"),
    "transformed_examples": ("Transform", "transformed_examples"),
    "transformed_statistics": ("Transform", "post_transform_stats"),
    "model": ("Trainer", "model"),
    "model_run": ("Trainer", "model_run"),
    "evaluation": ("QualityEvaluator", "evaluation"),
    "infra_blessing": ("ServingCheck", "blessing"),
    "pushed_model": ("AtomicPusher", "pushed_model"),
    "classifier": ("ReferenceClassifier", "model"),
    "tuner_results": ("Tuner", "tuner_results"),
}
"""The step, or those of which a run has one, and its output, by the input's name."""
OPTIONAL = frozenset({"transformed_statistics", "classifier", "tuner_results"})
"""Inputs whose step may not have run, or may not have put them out."""


@dataclasses.dataclass(frozen=True)
class Artifacts:
    """Local folders of the steps' outputs. None: that step did not run."""

    examples: str
    transformed_examples: str
    statistics: str
    schema: str
    anomalies: str
    drift: str
    model: str
    model_run: str
    evaluation: str
    infra_blessing: str
    pushed_version: str | None
    """The version the model was pushed as; None: it was not pushed."""
    transformed_statistics: str | None = None
    classifier: str | None = None
    tuner_results: str | None = None


def locate(folder: Callable[[str], str | None], pushed_version: str | None) -> Artifacts:
    """Locates everything that the report reads.

    Args:
      folder: Of an input's name; None where its step put nothing out.
      pushed_version: The version the model was pushed as; None: it was not pushed.
    """
    folders = {name: folder(name) for name in INPUTS if name != "pushed_model"}
    return Artifacts(pushed_version=pushed_version or None, **folders)  # type: ignore[arg-type]
