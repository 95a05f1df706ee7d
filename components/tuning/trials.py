"""The results of a search: every trial, and which was best."""

from __future__ import annotations

import pathlib
from typing import Any

import pydantic

TRIALS_FILE = "trials.json"
"""File of the tuner's results: a `Tuning`."""


class Trial(pydantic.BaseModel):
    """One training with some settings."""

    number: int
    """Trials are numbered from 1, in the order they were begun."""
    settings: dict[str, Any]
    """Values by field."""
    epochs: int
    psnr: float | None = None
    """Mean PSNR of the validation split in dB, of the epoch with the least validation loss.
    None: the trial failed."""
    seconds: float | None = None
    error: str | None = None


class Tuning(pydantic.BaseModel):
    """A search: how it was made, and every trial."""

    algorithm: str
    images: int
    """Training images of a trial."""
    trials: list[Trial]
    best: int
    """The number of the best trial."""

    @property
    def best_trial(self) -> Trial:
        """The trial whose settings go to the Trainer."""
        return next(trial for trial in self.trials if trial.number == self.best)


def read(folder: str) -> Tuning:
    """The search whose results are in a folder."""
    return Tuning.model_validate_json(
        (pathlib.Path(folder) / TRIALS_FILE).read_text(encoding="utf-8")
    )
