"""The denoising autoencoder of the Keras blog."""

from __future__ import annotations

import keras
from keras import layers

from components.models.base import BOTTLENECK, register
from components.models.padding import pad


@register(
    "keras_blog_cae",
    source="F. Chollet, Building Autoencoders in Keras, The Keras Blog, 2016: image denoising",
)
def keras_blog_cae(image_shape: tuple[int, int, int]) -> keras.Model:
    """Two convolutions with pooling, two with upsampling: 28,353 parameters for one channel.

    Sides that are no multiple of 4 are padded with zeros and cut back.
    """
    inputs = keras.Input(image_shape)
    x, cut = pad(inputs, multiple=4)
    for name in (None, BOTTLENECK):
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, padding="same", name=name)(x)
    for _ in range(2):
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        x = layers.UpSampling2D(2)(x)
    outputs = layers.Conv2D(
        image_shape[-1], 3, padding="same", activation="sigmoid", dtype="float32"
    )(x)
    return keras.Model(inputs, cut(outputs), name="keras_blog_cae")
