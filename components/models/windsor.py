"""The two networks of the University of Windsor report.

Tusinean, Walia, Diksha: "Building A Baseline Convolutional Autoencoder Network for Image
Denoising on Fashion MNIST Dataset", COMP 4740 final project report, 2022.
"""

from __future__ import annotations

import keras
from keras import layers

from components.base.errors import UsageError
from components.models.base import BOTTLENECK, register
from components.models.padding import pad

_REPORT = "Tusinean, Walia, Diksha, University of Windsor, COMP 4740 report, 2022"
_LEAST_SIDE = 26


@register("windsor_cae", source=f"{_REPORT}, section 5")
def windsor_cae(image_shape: tuple[int, int, int]) -> keras.Model:
    """The report's convolutional autoencoder: 49,761 parameters for 28x28x1.

    Its unpadded second-last convolution fits sides that are 4 more than a multiple of 8, as 28
    is; other sizes are padded with zeros to the next such size and cut back.
    """
    inputs = keras.Input(image_shape)
    x, cut = pad(inputs, multiple=8, remainder=4)
    for filters, name in ((64, None), (32, None), (16, BOTTLENECK)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, padding="same", name=name)(x)
    for filters, padding in ((16, "same"), (32, "same"), (64, "valid")):
        x = layers.Conv2D(filters, 3, padding=padding, activation="relu")(x)
        x = layers.UpSampling2D(2)(x)
    outputs = layers.Conv2D(image_shape[-1], 3, padding="same", dtype="float32")(x)
    return keras.Model(inputs, cut(outputs), name="windsor_cae")


@register("windsor_cnn", source=f"{_REPORT}, section 7, and the code in its repository")
def windsor_cnn(image_shape: tuple[int, int, int]) -> keras.Model:
    """The report's plain CNN: unpadded convolutions, then two linear dense layers.

    Takes sides of 26 and more.
    """
    height, width, channels = image_shape
    if min(height, width) < _LEAST_SIDE:
        raise UsageError(
            f"windsor_cnn takes images of at least {_LEAST_SIDE}x{_LEAST_SIDE}, since its "
            f"convolutions are not padded; image is {height}x{width}."
        )
    inputs = keras.Input(image_shape)
    x = inputs
    for filters, pooled, dropped in (
        (32, True, True),
        (64, True, True),
        (128, False, True),
        (128, False, False),
    ):
        x = layers.Conv2D(filters, 3, activation="tanh")(x)
        if pooled:
            x = layers.MaxPooling2D(2)(x)
        x = layers.BatchNormalization()(x)
        if dropped:
            x = layers.Dropout(0.2)(x)
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    x = layers.Dropout(0.2)(layers.Dense(328)(x))
    x = layers.Dense(height * width * channels, dtype="float32")(x)
    outputs = layers.Reshape(image_shape, dtype="float32")(x)
    return keras.Model(inputs, outputs, name="windsor_cnn")
