"""PushedModel: the model in the serving folder, as the Evaluator's baseline or a warm start.

An ordinary component, because open-source Kubeflow Pipelines implements no
Resolver. The last pushed model was blessed, or it would not have been pushed.
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import filecmp
import logging
import pathlib
import shutil

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components import object_store

NONE = "none"
RESOLVE = ""
_COMPLETE = "saved_model.pb"


def versions(serving: pathlib.Path | str) -> list:
    """The complete versions in a serving folder, a local path or a URI, oldest first."""
    if object_store.is_remote(str(serving)):
        files = object_store.files(str(serving))
    else:
        folder = pathlib.Path(serving)
        files = [file.relative_to(folder).as_posix() for file in folder.glob(f"*/{_COMPLETE}")]
    folders = [file.partition("/") for file in files]
    return sorted(int(name) for name, _, file in folders if name.isdigit() and file == _COMPLETE)


def same_model(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two SavedModel folders hold the same graph and weights."""
    files = sorted(
        str(file.relative_to(one))
        for file in one.rglob("*")
        if file.is_file() and file.relative_to(one).parts[0] != "assets.extra"
    )
    _, mismatch, errors = filecmp.cmpfiles(one, other, files, shallow=False)
    return not mismatch and not errors


def latest(serving: str, candidate: str | None) -> str:
    """The newest pushed version that is not the candidate itself, or NONE.

    Args:
      serving: The serving folder, `.../denoiser`, a local path or a URI.
      candidate: SavedModel folder of the model to compare with; None: nothing is left out.
    """
    for version in reversed(versions(serving)):
        if candidate is None:
            return str(version)
        with object_store.local_copy(f"{serving}/{version}") as folder:
            if not same_model(pathlib.Path(candidate), folder):
                return str(version)
    return NONE


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
    with object_store.local_copy(f"{serving}/{version}") as folder:
        shutil.copytree(folder, path_utils.serving_model_dir(model.uri), dirs_exist_ok=True)
    model.set_string_custom_property("pushed_version", version)
