"""What a training starts from where `training.warm_start` is set."""

from __future__ import annotations

import pathlib
import zipfile
from typing import TYPE_CHECKING

import pydantic

from components.base.errors import ModelError
from components.training.result import KERAS_FILE

if TYPE_CHECKING:
    import keras

FILE = "warm_start.json"
"""Beside the model to start from, and in `assets.extra` of the SavedModel that came of it."""
NONE = "none"


class Start(pydantic.BaseModel):
    """What a training started from and what it was then trained on."""

    version: str
    """The pushed version, or NONE: from nothing."""
    data: str
    """Fingerprint of the rows (`IngestionSummary.fingerprint`)."""


def read(folder: pathlib.Path | str) -> Start | None:
    """The Start kept in a folder; None where there is none."""
    try:
        return Start.model_validate_json(pathlib.Path(folder, FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(start: Start, folder: pathlib.Path | str) -> None:
    """Keeps a Start in a folder, which is made where it is missing."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    pathlib.Path(folder, FILE).write_text(start.model_dump_json(), encoding="utf-8")


def load(folder: str | None, denoiser: keras.Model, name: str) -> Start | None:
    """Gives a denoiser the weights to start from.

    Args:
      folder: Of a SavedModel exported here, beside a Start; None: start from nothing.
      denoiser: Left as it is where nothing was pushed yet.
      name: Of its architecture, for messages.

    Returns:
      The Start beside the folder, if there is one.

    Raises:
      ModelError: the model was not exported here, or is of another architecture.
    """
    if folder is None:
        return None
    found = read(pathlib.Path(folder).parent)
    if found is None or found.version != NONE:
        _set_weights(denoiser, pathlib.Path(folder) / KERAS_FILE, name)
    return found


def _set_weights(denoiser: keras.Model, keras_file: pathlib.Path, name: str) -> None:
    from components.training import weights

    if not keras_file.is_file():
        raise ModelError(
            f"training.warm_start: the pushed model has no {KERAS_FILE}, so it was not exported by "
            "this pipeline. Train once with training.warm_start=false."
        )
    try:
        weights.load(denoiser, keras_file)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"training.warm_start: the pushed model does not fit model {name} with its arguments "
            f"and image shape: {error}. Train once with training.warm_start=false, or give the "
            "settings the pushed model was trained with."
        ) from error
