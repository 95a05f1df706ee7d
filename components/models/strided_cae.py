"""The strided denoising autoencoder of the TensorFlow tutorial."""

from __future__ import annotations

import keras
from keras import layers

from components.models.base import BOTTLENECK, register
from components.models.padding import pad


@register(
    "strided_cae",
    source="fashion_image_denoising, after the TensorFlow tutorial Intro to Autoencoders: "
    "image denoising",
)
def strided_cae(image_shape: tuple[int, int, int]) -> keras.Model:
    """Two strided convolutions, two transposed ones: 3,217 parameters for one channel.

    Sides that are no multiple of 4 are padded with zeros and cut back.
    """
    inputs = keras.Input(image_shape)
    x, cut = pad(inputs, multiple=4)
    for filters, name in ((16, None), (8, BOTTLENECK)):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=name)(x)
    for filters in (8, 16):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x)
    outputs = layers.Conv2D(
        image_shape[-1], 3, padding="same", activation="sigmoid", dtype="float32"
    )(x)
    return keras.Model(inputs, cut(outputs), name="strided_cae")
