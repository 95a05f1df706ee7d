"""The DAG, for every runner: what runs, in which order.

CSVs or image files are ingested, their statistics are computed and validated
against the schema, a gate stops on anomalies; Transform normalises, reshapes and adds the
evaluation noise; Tuner, if it is enabled, looks for better settings; Trainer
trains, from the weights of the pushed model if `training.warm_start` is set; the
Evaluator measures the model against thresholds and the pushed model, the serving
check loads it as a server would; what passes both is pushed. The report tells of
all of it, pushed or not.

It uses only what open-source Kubeflow Pipelines implements: no Resolver, no
InfraValidator (docs/kubeflow.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from components.base import plugins
from components.base.errors import UsageError
from components.base.places import Places
from components.base.settings import GIVEN, Settings
from components.csv_ingestion import data_folder
from components.csv_ingestion.result import CSV_STEP, IMAGE_STEP
from components.image_ingestion import folder as image_folder
from components.ingestion import formats
from components.push import versions

PIPELINE_NAME = "denoise"


def components(settings: Settings, places: Places) -> list[Any]:
    """The steps, in order, as TFX components.

    Args:
      settings: Everything that decides the result.
      places: Where to read and write.
    """
    from components.classifier import component as classifying
    from components.data_validation import component as data_validation
    from components.evaluation import component as evaluation
    from components.push import pushed_model, pusher, warm_start
    from components.report import component as report
    from components.serving_check import component as serving_check
    from components.training import component as training
    from components.transform import component as transforming
    from components.tuning import component as tuning

    ingestion = formats.step(settings, places)
    schema, statistics, validator, gate = data_validation.steps(settings, places, ingestion)
    transform = transforming.step(settings, ingestion, schema, after=gate)
    start = warm_start.step(settings, places, ingestion)
    tuner = tuning.step(settings, transform)
    trainer = training.step(settings, transform, start, tuner)
    baseline = pushed_model.step(places, trainer)
    evaluator = evaluation.step(settings, transform, trainer, baseline)
    check = serving_check.step(settings, trainer)
    push = pusher.step(settings, places, trainer, evaluator, check)
    classifier = classifying.step(settings, ingestion, after=push)
    steps = (
        *(ingestion, schema, statistics, validator, gate, transform, start, tuner, trainer),
        *(baseline, evaluator, check, push, classifier),
    )
    made = {step.id: step for step in steps if step is not None}
    return [*made.values(), report.step(settings, places, made)]


class Late(NamedTuple):
    """A dependency besides the inputs: looked up when the step's turn comes, for the cache."""

    parameter: str
    """The step's parameter it becomes."""
    find: Callable[[Mapping[str, Any], Mapping[str, str]], str]
    """Function of the step's parameters, and of its input artifacts' folders by input."""


LATE = {
    CSV_STEP: Late("data_version", data_folder.version),
    IMAGE_STEP: Late("data_version", image_folder.version),
    "WarmStart": Late("version", versions.start),
    "PushedModel": Late("version", versions.baseline),
}
"""Dependencies by the step's id. TFX's own driver of CSVs counts files and adds up whole seconds:
of a file that was renamed, and so is taken no more, it knows nothing."""


def check_names(settings: Settings) -> None:
    """Tries what the settings only name, before hours of work depend on it.

    Raises:
      UsageError: a plug-in cannot be imported, a noise or model is not known, or the model does
        not take such images or an argument that the Tuner is to try.
    """
    plugins.load(settings.plugins)
    from components import models, noise

    for expression in (settings.noise.training, *settings.noise.evaluation):
        if expression != GIVEN:
            noise.parse(expression)
    name, arguments = settings.model.name, settings.model.arguments
    models.build(name, settings.image.shape, **arguments)
    if not settings.tuner.enabled:
        return
    for field, search in settings.tuner.search_space.items():
        section, _, argument = field.rpartition(".")
        for value in search.probes if section == "model.arguments" else ():
            try:
                models.build(name, settings.image.shape, **{**arguments, argument: value})
            except UsageError as error:
                raise UsageError(
                    f"tuner.search_space: {field} cannot be {value!r}: {error}"
                ) from error


def build(
    settings: Settings, places: Places, metadata: str | None = None, workers: Sequence[str] = ()
) -> Any:
    """The TFX pipeline.

    Args:
      settings: Everything that decides the result.
      places: Where to read and write.
      metadata: Path of the MLMD SQLite file, for a local run.
      workers: Beam's flag for what its workers run, if they have to be told.
    """
    from tfx.orchestration import metadata as tfx_metadata
    from tfx.orchestration.pipeline import Pipeline

    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=places.pipeline_root,
        components=components(settings, places),
        enable_cache=True,
        metadata_connection_config=(
            tfx_metadata.sqlite_metadata_connection_config(metadata) if metadata else None
        ),
        # The last of two counts: what the user says.
        beam_pipeline_args=[*workers, *settings.beam.pipeline_args],
    )
