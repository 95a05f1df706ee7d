"""One training by a recipe, for a process of its own."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks import quality, splits
from components.noise import assigned_noise, parse
from components.training import callbacks, images, recipe
from pipeline import config


class _Curve(keras.callbacks.Callback):
    """What the model reaches after each epoch, and the seconds of training until then.

    Args:
      measure: What it reaches; its own seconds do not count.
      cpu_seconds: Training ends with the epoch that reaches them; None: never.
    """

    def __init__(self, measure: Callable[[], dict[str, float]], cpu_seconds: float | None):
        super().__init__()
        self._measure, self._limit = measure, cpu_seconds
        self.seconds = self.cpu_seconds = 0.0
        self.points: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds += time.perf_counter() - self._started[0]
        self.cpu_seconds += time.process_time() - self._started[1]
        spent = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        self.points.append({"epoch": epoch + 1, **spent, **self._measure()})
        if self._limit is not None and self.cpu_seconds >= self._limit:
            self.model.stop_training = True


def train(
    preset: str,
    overrides: Sequence[str],
    folder: str,
    limit: int | None = None,
    cpu_seconds: float | None = None,
) -> dict[str, Any]:
    """Trains as the Trainer does, and measures on the test images.

    Args:
      preset: Its name.
      overrides: As of `--set`; `training.precision` is not `auto`.
      folder: A data folder.
      limit: Images to take of each split; None: all.
      cpu_seconds: Training ends with the epoch that reaches them; None: never.

    Returns:
      `curve`: metrics on the validation images, each with one of the noises, after each epoch;
      `test`: metrics on the test images by noise; `training_seconds` and `training_cpu_seconds`,
      tracing included, validation not.
    """
    settings = config.load(preset, overrides)
    training, seed, noise_seed = settings.training, settings.seed, settings.noise.seed
    keras.utils.set_random_seed(seed)
    train, validation, test = (
        splits.Split(each.images[:limit], each.keys[:limit])
        for each in splits.read(pathlib.Path(folder), settings)
    )
    noises = [parse(text) for text in settings.noise.evaluation]
    steps, per_execution = recipe.steps_per_epoch(training, len(train.images))
    steps_per_pass = recipe.steps_per_pass(training, len(train.images))
    denoiser = recipe.denoiser(
        settings.model.name, settings.image.shape, settings.model.arguments, training.precision
    )
    model = recipe.training_model(
        denoiser, settings.noise.training, training, steps * training.epochs, seed, per_execution
    )
    inputs = train.images
    if training.noise == "fixed":
        inputs = quality.noisy(parse(settings.noise.training), train, noise_seed)
    batch_size = min(training.batch_size, len(inputs))
    noisy = np.asarray(assigned_noise(noises, validation.images, validation.keys, noise_seed)[0])
    curve = _Curve(lambda: quality.means(denoiser, noisy, validation.images), cpu_seconds)
    model.fit(
        images.shuffled((inputs, train.images), batch_size, steps_per_pass, seed, 0),
        epochs=training.epochs,
        steps_per_epoch=steps,
        callbacks=[callbacks.EpochSeeds(seed), curve],
        verbose=0,
    )
    return {
        "curve": curve.points,
        "test": {
            str(noise): quality.means(denoiser, quality.noisy(noise, test, noise_seed), test.images)
            for noise in noises
        },
        "parameters": denoiser.count_params(),
        "training_seconds": curve.seconds,
        "training_cpu_seconds": curve.cpu_seconds,
    }
