"""The default model: a small residual U-Net with token mixing over its smallest level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from components.base.errors import UsageError
from components.models.base import register
from components.models.blocks import check_arguments, residual_block
from components.models.padding import pad

_MOST_TOKENS = 4096
"""Beyond 64x64 tokens the mixing weights would outgrow everything else."""


@register(
    "unet",
    preset="default",
    source="this project; U-Net: Ronneberger et al., MICCAI 2015; blocks: Lim et al. (EDSR), "
    "CVPRW 2017; token mixing: Tolstikhin et al. (MLP-Mixer), NeurIPS 2021",
)
def unet(
    image_shape: tuple[int, int, int],
    *,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    mixer_blocks: int = 3,
    mixer_tokens: int = 192,
    mixer_channels: int = 256,
    position: bool = True,
    limits: bool = True,
    activation: str = "relu",
) -> keras.Model:
    """A residual U-Net: it predicts what to add to the noisy image.

    1. Beside the image, maps of where it is black and where it is white: salt, pepper and what
       was cut off are there.
    2. A 3x3 convolution and, on each level, a learned position map and residual blocks; a
       strided 3x3 convolution leads to the next level, of half the size.
    3. Token mixing on the smallest level, so that every place sees the whole image.
    4. On the way back, a 1x1 convolution and depth-to-space double the size, the level's own
       features are added, and residual blocks follow.
    5. A last convolution; it and the addition to the input are float32.

    The last layer of every block, and of all, is zero at first: training starts from the
    identity and bears a high learning rate without normalisation (Zhang, Dauphin, Ma: Fixup
    Initialization, ICLR 2019). After 800 steps of the default preset: 23.2 dB, without 22.6.

    Sides that are no multiple of 2 ** (levels - 1) are padded with zeros and cut back.

    Args:
      image_shape: (H, W, C).
      widths: Channels of each level, from the full size down.
      blocks: Residual blocks per level and side.
      mixer_blocks: Token-mixing blocks on the smallest level; 0: none.
      mixer_tokens: Hidden width of the mixing across places.
      mixer_channels: Hidden width of the mixing across channels.
      position: Whether each level has a position map.
      limits: Whether it is told where the image is black and white. After 848 steps of the
        default preset: .7 dB on salt and pepper, nothing on the others.
      activation: Inside all blocks, by Keras name. On a CPU gelu costs a quarter of a step more.

    Raises:
      UsageError: an argument is not as above, or the smallest level has more than 4096 places.
    """
    check_arguments(
        "unet",
        widths,
        activation,
        {"position": position, "limits": limits},
        blocks=(blocks, 0),
        mixer_blocks=(mixer_blocks, 0),
        mixer_tokens=(mixer_tokens, 1),
        mixer_channels=(mixer_channels, 1),
    )
    inputs = keras.Input(image_shape)
    x, cut = pad(inputs, multiple=2 ** (len(widths) - 1))
    if limits:
        x = MarkLimits(dtype="float32")(x)

    skips = []
    for level, width in enumerate(widths):
        x = layers.Conv2D(width, 3, strides=1 if level == 0 else 2, padding="same")(x)
        if position:
            x = PositionMap()(x)
        for _ in range(blocks):
            x = residual_block(x, activation)
        skips.append(x)

    if mixer_blocks:
        x = _mix(x, mixer_blocks, mixer_tokens, mixer_channels, activation)
    for _ in range(blocks):
        x = residual_block(x, activation)
    for width, skip in zip(widths[-2::-1], skips[-2::-1], strict=True):
        x = DepthToSpace(2)(layers.Conv2D(4 * width, 1)(x))
        x = layers.Add()([x, skip])
        for _ in range(blocks):
            x = residual_block(x, activation)

    correction = layers.Conv2D(
        image_shape[-1], 3, padding="same", kernel_initializer="zeros", dtype="float32"
    )(x)
    return keras.Model(inputs, layers.Add(dtype="float32")([inputs, cut(correction)]), name="unet")


def _mix(x: Any, blocks: int, token_units: int, channel_units: int, activation: str) -> Any:
    """MLP-Mixer blocks: dense layers across the places, then across the channels."""
    height, width, channels = x.shape[1:]
    places = height * width
    if places > _MOST_TOKENS:
        raise UsageError(
            f"model.arguments: unet would mix {height}x{width} places, more than {_MOST_TOKENS}; "
            f"give it more levels (widths) or mixer_blocks=0."
        )
    x = layers.Reshape((places, channels))(x)
    for _ in range(blocks):
        change = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        change = FlatDense(token_units, activation=activation)(change)
        change = layers.Permute((2, 1))(FlatDense(places, kernel_initializer="zeros")(change))
        x = layers.Add()([x, change])
        change = layers.LayerNormalization()(x)
        change = FlatDense(channel_units, activation=activation)(change)
        x = layers.Add()([x, FlatDense(channels, kernel_initializer="zeros")(change)])
    return layers.Reshape((height, width, channels))(x)


@keras.saving.register_keras_serializable(package="denoise")
class FlatDense(layers.Dense):
    """A dense layer that multiplies one matrix, whatever the shape of its input.

    Of an input of three dimensions Keras's own multiplies one matrix per image, and its gradient
    is the sum of as many: on a CPU a training step of `unet` then takes 5 % longer.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        *places, channels = ops.shape(inputs)
        flat = super().call(ops.reshape(inputs, (-1, channels)), training)
        return ops.reshape(flat, (*places, self.units))


@keras.saving.register_keras_serializable(package="denoise")
class MarkLimits(layers.Layer):
    """Adds maps of where an image is 0 or less, and of where it is 1 or more.

    (N, H, W, C) to (N, H, W, 3 * C): the image, the first maps, the second ones, 0 or 1 each. To be
    computed in float32, for bfloat16 takes .999 for 1.
    """

    def call(self, images: Any) -> Any:
        black = ops.cast(images <= 0.0, images.dtype)
        white = ops.cast(images >= 1.0, images.dtype)
        return ops.concatenate([images, black, white], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], 3 * input_shape[-1])


@keras.saving.register_keras_serializable(package="denoise")
class PositionMap(layers.Layer):
    """Adds a learned map, one value for each place and channel, zero at first.

    (N, H, W, C) to the same.
    """

    def build(self, input_shape: Any) -> None:
        self.map = self.add_weight(name="map", shape=input_shape[1:], initializer="zeros")
        self.built = True

    def call(self, features: Any) -> Any:
        return features + self.map

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="denoise")
class DepthToSpace(layers.Layer):
    """Turns channels into places: (N, H, W, size**2 * C) to (N, size * H, size * W, C).

    Args:
      size: Factor by which each side grows.
    """

    def __init__(self, size: int = 2, **arguments: Any):
        super().__init__(**arguments)
        self.size = size

    def call(self, features: Any) -> Any:
        _, height, width, channels = features.shape
        size, depth = self.size, channels // self.size**2
        x = ops.reshape(features, (-1, height, width, size, size, depth))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * size, width * size, depth))

    def compute_output_shape(self, input_shape: Any) -> Any:
        count, height, width, channels = input_shape
        return count, height * self.size, width * self.size, channels // self.size**2

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
