"""PushedModel: the newest pushed model, which the Evaluator compares with.

An ordinary component, because open-source Kubeflow Pipelines implements no Resolver. The last
pushed model was blessed, or it would not have been pushed.
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import logging
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.base import code as sources
from components.base.places import Places
from components.push.versions import NONE, RESOLVE, copy, latest


@component
def PushedModel(  # a component is named as a class
    candidate: InputArtifact[standard_artifacts.Model],
    model: OutputArtifact[standard_artifacts.Model],
    serving: Parameter[str],
    code: Parameter[str],
    version: Parameter[str] = RESOLVE,
) -> None:
    """Copies the newest pushed model that is not the candidate, if there is one.

    Args:
      candidate: The model to be evaluated.
      model: Its SavedModel, or nothing where no model was pushed yet.
      serving: The serving folder.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
      version: Which version to take, or NONE; RESOLVE: find out here. A runner that caches
        gives the version, so that the cache knows when another one was pushed.
    """
    if version == RESOLVE:
        version = latest(serving, path_utils.serving_model_path(candidate.uri))
    if version == NONE:
        logging.info("No model was pushed to %s yet: there is no baseline.", serving)
        return
    copy(serving, version, path_utils.serving_model_dir(model.uri))
    model.set_string_custom_property("pushed_version", version)


def step(places: Places, trainer: Any) -> Any:
    """The baseline, as the DAG has it: found only when it is known what it is compared with."""
    return PushedModel(
        candidate=trainer.outputs["model"],
        serving=places.serving,
        code=sources.fingerprint(__name__),
    )
