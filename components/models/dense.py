"""Autoencoders with one hidden layer, plain and denoising."""

from __future__ import annotations

import functools
import math

import keras
from keras import layers

from components.models.base import BOTTLENECK, register

_SOURCE = "Remove Noisy From Images Using Autoencoders, after J. Loy, Neural Network Projects "
_SOURCE += "with Python, Packt, 2019, chapter 5"


def dense_autoencoder(name: str, units: int, image_shape: tuple[int, int, int]) -> keras.Model:
    """Dense(units), relu, then Dense(H * W * C), sigmoid; any image size."""
    inputs = keras.Input(image_shape)
    code = layers.Dense(units, activation="relu", name=BOTTLENECK)(layers.Flatten()(inputs))
    x = layers.Dense(math.prod(image_shape), activation="sigmoid", dtype="float32")(code)
    return keras.Model(inputs, layers.Reshape(image_shape, dtype="float32")(x), name=name)


for _name, _units in (
    ("dense_ae_1", 1),
    ("dense_ae_2", 2),
    ("dense_ae_8", 8),
    ("dense_ae_32", 32),
    ("dense_dae_16", 16),
):
    register(_name, source=_SOURCE)(functools.partial(dense_autoencoder, _name, _units))
