"""A small model that takes images of any size."""

from __future__ import annotations

import pathlib

import keras
import numpy as np


def any_size_model(channels: int = 1, dilation: int = 1) -> keras.Model:
    """Two 3x3 convolutions that blur: float32 (N, any, any, C) in [0, 1] to the same.

    Its receptive field is 5x5 without dilation, else 4 * dilation + 1.
    """
    model = keras.Sequential(
        [
            keras.Input((None, None, channels)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", dilation_rate=dilation),
            keras.layers.Conv2D(channels, 3, padding="same", dilation_rate=dilation),
        ]
    )
    random = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(
            random.random(weight.shape) / (9 * weight.shape[-2] if weight.ndim > 1 else 50)
        )
    return model


def export(path: pathlib.Path, shape: tuple[int, int, int], dilation: int = 1) -> keras.Model:
    """Writes it as a SavedModel whose rows are images of `shape`; returns it."""
    from components.export.signatures import export_servable

    model = any_size_model(shape[-1], dilation)
    pixels = np.random.default_rng(6).integers(0, 256, (2, int(np.prod(shape))), np.uint8)
    export_servable(model, path, shape, pixels)
    return model
