"""The model for photographs: a residual U-Net of convolutions alone, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from components.models.base import register
from components.models.blocks import check_arguments, residual_block


@register(
    "photo_unet",
    preset="photo",
    any_size=True,
    source="this project; U-Net: Ronneberger et al., MICCAI 2015; half the size at the entrance: "
    "Zhang et al. (FFDNet), IEEE TIP 2018; blocks: Lim et al. (EDSR), CVPRW 2017",
)
def photo_unet(
    image_shape: tuple[int | None, int | None, int],
    *,
    widths: Sequence[int] = (32, 64, 64),
    blocks: int = 2,
    activation: str = "relu",
) -> keras.Model:
    """A residual U-Net without anything that knows a place: it predicts what to add.

    1. A strided 4x4 convolution halves the size: noise that is independent in each pixel needs
       no features at full size, which would cost four times as much.
    2. Residual blocks on each level, a strided 2x2 convolution to the next one, of half the
       size; on the way back a transposed one, the level's own features added, blocks again.
    3. A transposed 4x4 convolution back to the full size; it and the addition to the input are
       float32.

    The last layer of every block, and of all, is zero at first, as the `unet`'s.

    Sides that are no multiple of 2 ** levels are continued with the last row and column, and
    what comes of these is cut off again: the shape of the weights does not depend on the image.

    Args:
      image_shape: (H, W, C); H and W None: any.
      widths: Channels of each level, from half the size down.
      blocks: Residual blocks per level and side.
      activation: Inside all blocks, by Keras name.

    Raises:
      UsageError: an argument is not as above.
    """
    check_arguments("photo_unet", widths, activation, blocks=(blocks, 0))
    inputs = keras.Input(image_shape)
    x = Continue(2 ** len(widths))(inputs)

    skips = []
    for level, width in enumerate(widths):
        x = layers.Conv2D(width, 4 if level == 0 else 2, strides=2, padding="same")(x)
        for _ in range(blocks):
            x = residual_block(x, activation)
        skips.append(x)

    for width, skip in zip(widths[-2::-1], skips[-2::-1], strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = layers.Add()([x, skip])
        for _ in range(blocks):
            x = residual_block(x, activation)

    correction = layers.Conv2DTranspose(
        image_shape[-1],
        4,
        strides=2,
        padding="same",
        kernel_initializer="zeros",
        dtype="float32",
    )(x)
    return keras.Model(inputs, AddWithin(dtype="float32")([inputs, correction]), name="photo_unet")


@keras.saving.register_keras_serializable(package="denoise")
class Continue(layers.Layer):
    """Repeats the last row and column until both sides are a multiple.

    (N, H, W, C) to (N, H', W', C), with H' the next multiple from H on.

    Args:
      multiple: What the network divides a side by.
    """

    def __init__(self, multiple: int, **arguments: Any):
        super().__init__(**arguments)
        self.multiple = multiple

    def call(self, images: Any) -> Any:
        for axis in (1, 2):
            side = ops.shape(images)[axis]
            if isinstance(side, int) and side % self.multiple == 0:
                continue
            whole = side + (-side) % self.multiple
            images = ops.take(images, ops.minimum(ops.arange(whole), side - 1), axis=axis)
        return images

    def compute_output_shape(self, input_shape: Any) -> Any:
        count, *sides, channels = input_shape
        sides = [side and side + (-side) % self.multiple for side in sides]
        return count, *sides, channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="denoise")
class AddWithin(layers.Layer):
    """Adds to images (N, H, W, C) what lies within them of larger ones, (N, H', W', C)."""

    def call(self, pair: Any) -> Any:
        images, larger = pair
        _, height, width, _ = ops.shape(images)
        return images + larger[:, :height, :width]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]
