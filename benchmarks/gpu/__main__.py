"""Measures how fast the recipe trains on this accelerator, and what it reaches.

    python -m benchmarks.gpu --data DIR [--preset gpu] [--minutes 10] [--model FILE.keras]

The model, the noise, the loss and the optimiser are those of the Trainer
(components/training/recipe.py), with the images on the device. It needs keras and its backend,
numpy, scipy, pydantic, PyYAML and psutil, and neither TFX nor, with KERAS_BACKEND=jax, TensorFlow.

It prints images/s beside what the card could do, the seconds until the validation images reach
the quality of a CPU run (TARGETS), and at the end MSE, PSNR and SSIM on the test images.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import keras
import numpy as np

from benchmarks import quality, splits
from benchmarks.gpu import limits
from components.base.errors import DenoiseError
from components.noise import parse
from components.training import recipe
from pipeline import config

TARGETS = {
    "salt_pepper(rate=0.1)": 29.6,
    "gaussian(sd=0.5)": 19.9,
    "gaussian(sd=0.2) + salt_pepper(rate=0.05)": 23.6,
}
"""dB by noise: what the default preset reaches on two CPU cores."""
_WARM_EPOCHS = 2


class _Indices(keras.utils.PyDataset):
    """Batches of indices in a new order every epoch."""

    def __init__(self, number: int, batch_size: int, steps: int, seed: int):
        super().__init__()
        self._number, self._batch_size, self._steps = number, batch_size, steps
        self._random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        part = self._order[step * self._batch_size : (step + 1) * self._batch_size]
        return part, part

    def on_epoch_end(self) -> None:
        self._order = self._random.permutation(self._number).astype(np.int32)


class _Quality(keras.callbacks.Callback):
    """Validation PSNR by noise after each epoch, its own time left out."""

    def __init__(self, denoiser: keras.Model, noisy: dict[str, Any], clean: np.ndarray, every: int):
        super().__init__()
        self._denoiser, self._noisy, self._clean, self._every = denoiser, noisy, clean, every
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0
        """Compilation included, which the first epoch waits for."""
        self.first_epoch = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.seconds += time.perf_counter() - self._started
        self.first_epoch = self.first_epoch or self.seconds
        if (epoch + 1) % self._every:
            return
        means = {
            noise: quality.means(self._denoiser, noisy, self._clean, ["psnr"])["psnr"]
            for noise, noisy in self._noisy.items()
        }
        self.curve.append({"epoch": epoch + 1, "seconds": self.seconds, "psnr": means})
        shown = ", ".join(f"{value:.2f}" for value in means.values())
        print(f"epoch {epoch + 1}  {self.seconds:.1f} s  {shown} dB", file=sys.stderr, flush=True)


def measure(
    settings: config.Settings,
    folder: pathlib.Path,
    minutes: float | None,
    every: int,
    matrix: int,
    images: int | None = None,
    file: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Trains and measures.

    Args:
      settings: Those of a run.
      folder: A data folder.
      minutes: Of training, from which the epochs follow; None: `training.epochs`.
      every: Epochs between two validations.
      matrix: Side of the matrices the card is measured with.
      images: Training images to take; None: all.
      file: Where the denoiser goes, a .keras; None: nowhere.
    """
    training, shape = settings.training, settings.image.shape
    keras.utils.set_random_seed(settings.seed)
    train, validation, test = splits.read(folder, settings)
    train = splits.Split(train.images[:images], train.keys[:images])
    expressions, seed = settings.noise.evaluation, settings.noise.seed
    number = len(train.images)
    resident = recipe.Resident(train.images, paired_from=number, apart=0)
    if training.noise == "fixed":
        noisy = quality.noisy(parse(settings.noise.training), train, seed)
        resident = recipe.Resident(np.concatenate([noisy, train.images]), 0, number)
    steps, per_execution = recipe.steps_per_epoch(training, number)
    batch_size = min(training.batch_size, number)

    def build(epochs: int) -> tuple[keras.Model, keras.Model]:
        policy = recipe.precision(training, gpus=1) or "float32"
        denoiser = recipe.denoiser(settings.model.name, shape, settings.model.arguments, policy)
        model = recipe.training_model(
            denoiser,
            settings.noise.training,
            training,
            steps * epochs,
            settings.seed,
            per_execution,
            gpus=1,
            resident=resident,
        )
        return denoiser, model

    def fit(model: keras.Model, epochs: int, *callbacks: keras.callbacks.Callback) -> Any:
        batches = _Indices(number, batch_size, steps, settings.seed)
        return model.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks)).history

    flops, bandwidth = limits.ceilings(matrix)
    epochs = training.epochs
    if minutes is not None:
        _, model = build(_WARM_EPOCHS)
        fit(model, 1)
        started = time.perf_counter()
        fit(model, _WARM_EPOCHS)
        epoch_seconds = (time.perf_counter() - started) / _WARM_EPOCHS
        epochs = max(1, int(minutes * 60 / epoch_seconds))

    denoiser, model = build(epochs)
    needed, moved = limits.operations(denoiser), limits.least_bytes(denoiser)
    callback = _Quality(
        denoiser,
        {
            expression: quality.noisy(parse(expression), validation, seed)
            for expression in expressions
        },
        validation.images,
        every,
    )
    history = fit(model, epochs, callback)
    if file is not None:
        served = recipe.served(settings.model.name, shape, settings.model.arguments)
        served.set_weights(denoiser.get_weights())
        served.save(file)
    steady = callback.seconds - callback.first_epoch
    images_per_second = (epochs - 1) * steps * batch_size / steady if epochs > 1 else 0.0
    floor = max(needed / flops, moved / bandwidth)
    reached = [
        point["seconds"]
        for point in callback.curve
        if all(point["psnr"].get(noise, 0.0) >= target for noise, target in TARGETS.items())
    ]
    return {
        "preset": settings.preset,
        "backend": keras.backend.backend(),
        "model": settings.model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "parameters": denoiser.count_params(),
        "images": number,
        "epochs": epochs,
        "first_epoch_seconds": callback.first_epoch,
        "seconds": callback.seconds,
        "images_per_second": images_per_second,
        "operations_per_image": needed,
        "bytes_per_image": moved,
        "measured_operations_per_second": flops,
        "measured_bytes_per_second": bandwidth,
        "floor_images_per_second": 1 / floor,
        "share_of_floor": images_per_second * floor,
        "seconds_to_targets": reached[0] if reached else None,
        "train_loss": history["loss"][-1],
        "curve": callback.curve,
        "test": {
            expression: quality.means(
                denoiser, quality.noisy(parse(expression), test, seed), test.images
            )
            for expression in expressions
        },
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a data folder")
    parser.add_argument("--preset", default="gpu")
    parser.add_argument("--set", action="append", default=[], help="section.field=value")
    parser.add_argument("--minutes", type=float, help="of training; else training.epochs")
    parser.add_argument("--every", type=int, default=1, help="epochs between validations")
    parser.add_argument("--images", type=int, help="training images to take, for a quick look")
    parser.add_argument("--matrix", type=int, default=8192, help="side, for the card's ceilings")
    parser.add_argument("--model", type=pathlib.Path, help="where the denoiser goes, a .keras")
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file for the figures")
    given = parser.parse_args(arguments)
    try:
        settings = config.load(given.preset, given.set)
        figures = measure(
            settings,
            given.data,
            given.minutes,
            given.every,
            given.matrix,
            given.images,
            given.model,
        )
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    text = json.dumps(figures, indent=1)
    if given.output:
        given.output.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
