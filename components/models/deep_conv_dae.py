"""A denoising stack of convolutions without any pooling."""

from __future__ import annotations

import keras
from keras import layers

from components.models.base import register


@register(
    "deep_conv_dae",
    source="Remove Noisy From Images Using Autoencoders, after J. Loy, Neural Network Projects "
    "with Python, Packt, 2019, chapter 5",
)
def deep_conv_dae(image_shape: tuple[int, int, int]) -> keras.Model:
    """Convolutions of 16, 8, 8 and 16 filters, then one: 3,217 parameters for one channel.

    Any image size. Nothing is narrower than the image, so there is no code.
    """
    inputs = keras.Input(image_shape)
    x = inputs
    for filters in (16, 8, 8, 16):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    outputs = layers.Conv2D(
        image_shape[-1], 3, padding="same", activation="sigmoid", dtype="float32"
    )(x)
    return keras.Model(inputs, outputs, name="deep_conv_dae")
