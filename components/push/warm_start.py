"""WarmStart: the pushed model that a training starts from (`training.warm_start`)."""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import logging
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.base import code as sources
from components.base.places import Places
from components.base.settings import Settings
from components.csv_ingestion.result import read_summary
from components.push.versions import NONE, RESOLVE, copy, start_version, versions
from components.training import start as training_start


@component
def WarmStart(  # a component is named as a class
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    serving: Parameter[str],
    code: Parameter[str],
    version: Parameter[str] = RESOLVE,
) -> None:
    """Copies the pushed model that a training on these Examples starts from, if there is one.

    Args:
      examples: As ingested: with the fingerprint of their rows.
      model: The SavedModel, or nothing where no model was pushed; beside it a
        `components.training.start.Start`.
      serving: The serving folder.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
      version: Which version to take, or NONE; RESOLVE: find out here (`start_version`).
    """
    data = read_summary(examples.uri).fingerprint
    if version == RESOLVE:
        version = start_version(serving, data)
    pushed = [found.name for found in versions(serving)]
    if version != NONE and version not in pushed:
        # It was removed (serving.keep_versions), and its copy is in no cache any more.
        logging.warning("Version %s is not in %s any more: taking the newest.", version, serving)
        version = pushed[-1]
    if version == NONE:
        logging.info("No model was pushed to %s yet: training starts from nothing.", serving)
    else:
        copy(serving, version, path_utils.serving_model_dir(model.uri))
    model.set_string_custom_property("pushed_version", version)
    training_start.write(training_start.Start(version=version, data=data), model.uri)


def step(settings: Settings, places: Places, ingestion: Any) -> Any | None:
    """The start of the training, as the DAG has it. None: `training.warm_start` is not set."""
    if not settings.training.warm_start:
        return None
    return WarmStart(
        examples=ingestion.outputs["examples"],
        serving=places.serving,
        code=sources.fingerprint(__name__),
    )
