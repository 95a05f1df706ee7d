"""What a training leaves: names of its files, and what is noted of it."""

from __future__ import annotations

import pathlib
from typing import Any

import pydantic

from components.base.files import write_json

KERAS_FILE = "assets.extra/model.keras"
"""Inside the SavedModel: the Keras model, for warm starts."""
HISTORY_FILE = "history.csv"
"""In the model run: loss, PSNR and learning rate by epoch."""
SCHEDULE_FILE = "schedule.csv"
"""In the model run: epochs done and the learning rate then, over the whole training."""
TRAINING_FILE = "training.json"
"""In the model run: a `Training`."""
REFERENCE_FILE = "reference.npz"
"""In the model run: `pixels` uint8 (N, H*W*C) and the trainer's `denoised` float32 (N, H, W, C)."""
WORKERS_FILE = "workers.json"
"""In the Trainer's folder while it trains with other machines: what they are to train."""
LOGS_FOLDER = "logs"
"""In the model run: for TensorBoard."""


class Candidate(pydantic.BaseModel, frozen=True):
    """A way to compute that was tried on this machine before training."""

    precision: str
    """The dtype policy."""
    environment: dict[str, str] = {}
    """Variables set for it."""
    images_per_second: float | None = None
    """While some steps of the very model trained; None: it could not train."""
    error: str | None = None
    """Why it could not."""

    @property
    def name(self) -> str:
        """The precision, and what was set for it."""
        limits = "".join(f" with {name}={value}" for name, value in self.environment.items())
        return f"{self.precision}{limits}"

    def __str__(self) -> str:
        if self.images_per_second is None:
            return f"{self.name} ({self.error or 'not tried'})"
        return f"{self.name} {self.images_per_second:,.0f} images/s"


class Training(pydantic.BaseModel):
    """How long a training took, on what, how fast; what it trained on and from."""

    images: int
    epochs: int
    steps_per_epoch: int
    batch_size: int
    parameters: int
    precision: str
    candidates: list[Candidate] = []
    """What `training.precision: auto` tried on a CPU."""
    cache: str = ""
    gpus: int = 0
    cores: int | None = None
    workers: int = 1
    tuned: dict[str, Any] = {}
    """Settings by field that the Tuner found."""
    resumed_from_epoch: int = 0
    started_from: str = "none"
    """The pushed version whose weights it started from."""
    seconds: float
    cpu_seconds: float = 0
    images_per_second: float

    @classmethod
    def read(cls, model_run: pathlib.Path | str) -> Training:
        """What is noted in the folder of a model run.

        Raises:
          FileNotFoundError: nothing is.
        """
        return cls.model_validate_json(
            (pathlib.Path(model_run) / TRAINING_FILE).read_text(encoding="utf-8")
        )

    def write(self, model_run: pathlib.Path) -> None:
        """Notes it in the folder of a model run, whole or not at all."""
        write_json(model_run / TRAINING_FILE, self.model_dump(mode="json"))
