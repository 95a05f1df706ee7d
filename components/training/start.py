"""What a training starts from where `training.warm_start` is set."""

from __future__ import annotations

import pathlib

import pydantic

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
        return Start.model_validate_json(pathlib.Path(folder, FILE).read_text())
    except FileNotFoundError:
        return None


def write(start: Start, folder: pathlib.Path | str) -> None:
    """Keeps a Start in a folder, which is made where it is missing."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    pathlib.Path(folder, FILE).write_text(start.model_dump_json())
