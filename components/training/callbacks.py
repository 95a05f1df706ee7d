"""What is told, noted and set while a model trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from components.base.errors import ModelError
from components.base.progress import tell


class Progress(keras.callbacks.Callback):
    """Tells how far the training is.

    Args:
      tell: Takes the steps that are done, and a message.
      epochs: Of the whole training.
      steps: Of an epoch.
    """

    def __init__(self, tell: Callable[[int, str], None], epochs: int, steps: int):
        super().__init__()
        self._tell, self._epochs, self._steps = tell, epochs, steps
        self._epoch = 0
        self._latest = ""

    @classmethod
    def of_step(cls, epochs: int, steps: int) -> Progress:
        """Of a training that is a step of its own."""
        return cls(
            lambda done, message: tell("train", done, epochs * steps, message), epochs, steps
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        psnr = "" if not logs else f"PSNR {logs['psnr']:.2f} dB"
        self._tell(
            self._epoch * self._steps + batch + 1,
            f"epoch {self._epoch + 1}/{self._epochs}, {psnr}{self._latest}",
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and "val_psnr" in logs:
            self._latest = f", validation {logs['val_psnr']:.2f} dB"


class Finite(keras.callbacks.Callback):
    """Ends a training whose loss is no number any more, before anything of it is kept.

    Raises:
      ModelError: names the epoch.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check("loss", logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._check("val_loss", logs)

    def _check(self, name: str, logs: dict[str, Any] | None) -> None:
        if logs and not np.isfinite(logs.get(name, 0.0)):
            raise ModelError(
                f"epoch {self._epoch + 1}: {name} is {logs[name]}, no number to go on from. Give a "
                "lower training.learning_rate, or look at the noise and the model, if they are "
                "your own."
            )


class EpochSeeds(keras.callbacks.Callback):
    """Makes each epoch's noise and dropout depend on the seed, the epoch and the worker alone."""

    def __init__(self, seed: int, worker: int = 0):
        super().__init__()
        self._seed, self._worker = seed, worker

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Hashed: each draw adds one to the state, so epochs must not begin side by side.
        for number, generator in enumerate(_seed_generators(self.model)):
            state = np.random.SeedSequence((self._seed, epoch, self._worker, number))
            generator.state.assign(state.generate_state(2))


def _seed_generators(model: keras.Model) -> Iterator[keras.random.SeedGenerator]:
    """Of the noise and of dropout, in the order of the layers."""
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            yield generator
        if isinstance(layer, keras.Model):
            yield from _seed_generators(layer)


class LearningRate(keras.callbacks.Callback):
    """Adds the learning rate to the epoch's logs, before CSVLogger and TensorBoard."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def stopped(losses: Sequence[float], patience: int | None) -> bool:
    """Whether `training.early_stopping_patience` epochs were no better than the best before.

    Args:
      losses: Validation losses of all epochs so far.
      patience: Epochs; None: never.
    """
    if patience is None or not losses:
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= patience


class EarlyStopping(keras.callbacks.Callback):
    """Keras's callback, but the epochs before an interruption count.

    Args:
      losses: Validation losses of the epochs that are finished.
      patience: See `stopped`.
    """

    def __init__(self, losses: Sequence[float], patience: int | None):
        super().__init__()
        self._losses, self._patience = list(losses), patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        self._losses.append(logs["val_loss"])
        if stopped(self._losses, self._patience):
            self.model.stop_training = True
