"""Pixels as a CSV row holds them, to and from images as a model sees them.

The one place where pixels are normalised: Transform, the served signatures and
the tests all call it, so training and serving cannot drift apart. `normalise` and `quantise`
are for graphs and devices; `normalise_array` and `quantise_array` do the same to NumPy arrays,
bit for bit, without importing Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_PIXEL = 255


def normalise(pixels: Any, shape: tuple[int, int, int]) -> Any:
    """Pixels of rows to images in [0, 1].

    Args:
      pixels: Any integer dtype, (N, H*W*C), values 0 to 255, in row, column, channel order.
      shape: (H, W, C).

    Returns:
      float32, (N, H, W, C).
    """
    from keras import ops

    # Multiplied, not divided: TensorFlow's graph optimiser turns a division by a constant
    # into this multiplication, and eager and graph would differ in the last bit.
    images = ops.cast(pixels, "float32") * (1 / MAX_PIXEL)
    return ops.reshape(images, (-1, *shape))


def quantise(images: Any) -> Any:
    """Images to pixels, the inverse of `normalise` but for the rows' flat shape.

    Args:
      images: float32, (N, H, W, C); values outside [0, 1] are clipped.

    Returns:
      int32, (N, H, W, C), values 0 to 255, rounded to the nearest.
    """
    from keras import ops

    return ops.cast(ops.round(ops.clip(images, 0.0, 1.0) * MAX_PIXEL), "int32")


def normalise_array(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`normalise` of a NumPy array.

    Args:
      pixels: Any integer dtype, (N, H*W*C) or (N, H, W, C), values 0 to 255.
      shape: (H, W, C).

    Returns:
      float32, (N, H, W, C), in [0, 1].
    """
    return pixels.reshape(-1, *shape).astype(np.float32) * np.float32(1 / MAX_PIXEL)


def quantise_array(images: np.ndarray) -> np.ndarray:
    """`quantise` of a NumPy array.

    Args:
      images: float32, any shape; values outside [0, 1] are clipped.

    Returns:
      uint8, the same shape, rounded to the nearest.
    """
    return np.rint(np.clip(images, 0.0, 1.0) * np.float32(MAX_PIXEL)).astype(np.uint8)


def nearest(images: Any) -> Any:
    """The nearest values that pixels can have: float32 in [0, 1], any shape, to the same."""
    from keras import ops

    return ops.round(images * MAX_PIXEL) * (1 / MAX_PIXEL)
