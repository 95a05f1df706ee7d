"""The model in the serving folder: PushedModel is the Evaluator's baseline, WarmStart what the
Trainer starts from.

Ordinary components, because open-source Kubeflow Pipelines implements no
Resolver. The last pushed model was blessed, or it would not have been pushed.
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import logging
import shutil

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.base import object_store
from components.csv_ingestion.result import read_summary
from components.push.versions import NONE, RESOLVE, latest, start_version, versions
from components.training import start as training_start


def _copy(serving: str, version: str, model: standard_artifacts.Model) -> None:
    """Copies a pushed version to where a Model artifact holds its SavedModel."""
    with object_store.local_copy(f"{serving}/{version}") as folder:
        shutil.copytree(folder, path_utils.serving_model_dir(model.uri), dirs_exist_ok=True)


@component
def WarmStart(  # a component is named as a class
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    serving: Parameter[str],
    version: Parameter[str] = RESOLVE,
) -> None:
    """Copies the pushed model that a training on these Examples starts from, if there is one.

    Args:
      examples: As ingested: with the fingerprint of their rows.
      model: The SavedModel, or nothing where no model was pushed; beside it a
        `components.training.start.Start`.
      serving: The serving folder.
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
        _copy(serving, version, model)
    model.set_string_custom_property("pushed_version", version)
    training_start.write(training_start.Start(version=version, data=data), model.uri)


@component
def PushedModel(  # a component is named as a class
    candidate: InputArtifact[standard_artifacts.Model],
    model: OutputArtifact[standard_artifacts.Model],
    serving: Parameter[str],
    version: Parameter[str] = RESOLVE,
) -> None:
    """Copies the newest pushed model that is not the candidate, if there is one.

    Args:
      candidate: The model to be evaluated.
      model: Its SavedModel, or nothing where no model was pushed yet.
      serving: The serving folder.
      version: Which version to take, or NONE; RESOLVE: find out here. A runner that caches
        gives the version, so that the cache knows when another one was pushed.
    """
    if version == RESOLVE:
        version = latest(serving, path_utils.serving_model_path(candidate.uri))
    if version == NONE:
        logging.info("No model was pushed to %s yet: there is no baseline.", serving)
        return
    _copy(serving, version, model)
    model.set_string_custom_property("pushed_version", version)
