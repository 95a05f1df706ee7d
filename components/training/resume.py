"""A training that was killed goes on from its last finished epoch.

Its state is kept beside the Trainer's outputs under the job's fingerprint, so another run with
the same data and settings finds it and any other does not. The state after each epoch is a folder
that appears whole: the weights and the optimiser, the best weights and the history so far. A
state that cannot be read is thrown away, with a line in the log, and the training begins anew.
The last one stays until the Trainer's outputs are published (components/base/unfinished.py).
"""

from __future__ import annotations

import csv
import logging
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import keras

from components.base import unfinished
from components.training.job import Job
from components.training.result import HISTORY_FILE
from components.training.workers import Use, Worker

_LOG = logging.getLogger(__name__)
_STATE = re.compile(r"epoch-(\d+)")
_CACHE = "cache"
_LATEST, _BEST = "latest.weights.h5", "best.weights.h5"


class Resume:
    """The state of one job's training.

    Args:
      job: What is trained.
      worker: Only the one that leads writes and removes.

    Attributes:
      first_epoch: Epochs that are finished; after `restore`, 0 if they could not be read.
      losses: Their validation losses.
    """

    def __init__(self, job: Job, worker: Worker):
        self._folder = unfinished.place(job.step_folder, job.fingerprint)
        self._worker = worker
        self.first_epoch = max(self._states(), default=0)
        self.losses: list[float] = []
        if worker.leads:
            unfinished.forget(job.step_folder, but=job.fingerprint)
            self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def history(self) -> pathlib.Path:
        """Losses and metrics by epoch, as CSV."""
        return self._folder / HISTORY_FILE

    @property
    def cache(self) -> str | None:
        """Where the images were kept until the training was killed; None: it begins."""
        try:
            return (self._folder / _CACHE).read_text(encoding="utf-8") if self.first_epoch else None
        except FileNotFoundError:
            return None

    def note(self, cache: str) -> None:
        """Notes where the images are kept."""
        if self._worker.leads:
            (self._folder / _CACHE).write_text(cache, encoding="utf-8")

    def _states(self) -> dict[int, pathlib.Path]:
        """The folders of states, by the number of epochs that are finished."""
        matches = ((_STATE.fullmatch(path.name), path) for path in self._folder.glob("epoch-*"))
        return {int(match[1]): path for match, path in matches if match}

    def restore(self, model: keras.Model) -> None:
        """Gives a model, whose optimiser is built, the weights and optimiser of the last finished
        epoch.

        A model whose state cannot be read stays as it is.
        """
        if self.first_epoch:
            variables = [*model.variables, *model.optimizer.variables]
            before = [keras.ops.convert_to_numpy(variable) for variable in variables]
            try:
                self.losses = self._load(model, self._states()[self.first_epoch])
            except Exception as error:
                _LOG.warning(
                    "The state of an interrupted training in %s cannot be read (%s: %s). It is "
                    "thrown away, and the training begins anew.",
                    self._folder,
                    type(error).__name__,
                    error,
                )
                self.first_epoch = 0
                for variable, value in zip(variables, before, strict=True):
                    variable.assign(value)
        self._worker.meet(Use.RESTORED)
        if self._worker.leads:
            self._clear()

    def _load(self, model: keras.Model, state: pathlib.Path) -> list[float]:
        """Loads a state; returns the validation losses so far."""
        with open(state / HISTORY_FILE, encoding="utf-8", newline="") as file:
            losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
        if len(losses) != self.first_epoch:
            raise ValueError(f"{HISTORY_FILE} has {len(losses)} epochs, not {self.first_epoch}")
        model.load_weights(state / _BEST)
        model.load_weights(state / _LATEST)
        return losses

    def _clear(self) -> None:
        """Leaves the state to go on from, and the files that are written while training as they
        were then."""
        states = self._states()
        state = states.pop(self.first_epoch, None)
        if state is None:
            unfinished.begin_anew(self._folder)
        for other in states.values():
            shutil.rmtree(other)
        for name in (HISTORY_FILE, _BEST):
            (self._folder / name).unlink(missing_ok=True)
            if state is not None:
                shutil.copy(state / name, self._folder / name)

    def callbacks(self, logs: pathlib.Path) -> list[keras.callbacks.Callback]:
        """What notes and keeps each epoch, the state last; for the worker that leads.

        Args:
          logs: Folder for TensorBoard.
        """
        if not self._worker.leads:
            return []
        return [
            keras.callbacks.ModelCheckpoint(
                # Keras takes the path for a format.
                str(self._folder / _BEST).replace("{", "{{").replace("}", "}}"),
                monitor="val_loss",
                mode="min",
                save_best_only=True,
                save_weights_only=True,
                initial_value_threshold=min(self.losses, default=None),
            ),
            keras.callbacks.CSVLogger(self.history, append=True),
            keras.callbacks.TensorBoard(logs, write_graph=False),
            _Keep(self),
        ]

    def keep(self, model: keras.Model, epochs: int) -> None:
        """Keeps the state after so many epochs in place of the one before.

        The state appears by a rename: one that is there is whole, whenever a run is killed.
        """
        new = self._folder / ".new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        model.save_weights(new / _LATEST)
        for name in (HISTORY_FILE, _BEST):
            shutil.copy(self._folder / name, new / name)
        before = self._states()
        new.rename(self._folder / f"epoch-{epochs}")
        for state in before.values():
            shutil.rmtree(state)

    def load_best(self, model: keras.Model) -> None:
        """Gives a model the weights of the epoch with the least validation loss."""
        model.load_weights(self._folder / _BEST)

    def done(self, measured: Mapping[str, float]) -> None:
        """The training is over, and its outputs are written.

        Args:
          measured: How long it took.
        """
        unfinished.done(self._folder, dict(measured))

    @property
    def measured(self) -> dict[str, float] | None:
        """What `done` was told, of a training that was killed after it; None: it goes on."""
        found: dict[str, float] | None = unfinished.noted(self._folder)
        return found if self.first_epoch else None


class _Keep(keras.callbacks.Callback):
    def __init__(self, resume: Resume):
        super().__init__()
        self._resume = resume

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._resume.keep(self.model, epoch + 1)
