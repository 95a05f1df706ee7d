"""The model in the serving folder: PushedModel is the Evaluator's baseline, WarmStart what the
Trainer starts from.

Ordinary components, because open-source Kubeflow Pipelines implements no
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
from components.csv_ingestion.summary import read_summary
from components.training import start as training_start

NONE = training_start.NONE
RESOLVE = ""
_COMPLETE = "saved_model.pb"
_EXTRA = "assets.extra"


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
        if file.is_file() and file.relative_to(one).parts[0] != _EXTRA
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


def start_version(serving: str, data: str) -> str:
    """The pushed version to start a training from, or NONE.

    The newest; but if that was trained from a warm start on the very same rows, then what it
    started from itself: running again on the same data is the same training, and no further one.

    Args:
      serving: The serving folder, a local path or a URI.
      data: Fingerprint of the rows to train on.
    """
    pushed = versions(serving)
    if not pushed:
        return NONE
    newest = str(pushed[-1])
    with object_store.local_copy(f"{serving}/{newest}/{_EXTRA}") as folder:
        start = training_start.read(folder)
    return start.version if start is not None and start.data == data else newest


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
    pushed = versions(serving)
    if version != NONE and int(version) not in pushed:
        # It was removed (serving.keep_versions), and its copy is in no cache any more.
        logging.warning("Version %s is not in %s any more: taking the newest.", version, serving)
        version = str(pushed[-1])
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
