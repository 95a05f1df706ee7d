"""Images of any size for a network that halves and doubles them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers


def pad(images: Any, multiple: int, remainder: int = 0) -> tuple[Any, Callable[[Any], Any]]:
    """Adds zeros around images until both sides are `remainder` more than a `multiple`.

    Args:
      images: A Keras tensor (N, H, W, C) with static H and W.
      multiple: What the network divides a side by.
      remainder: What it needs left over.

    Returns:
      The padded images, unchanged if they fit, and a function that cuts the network's output
      back to (H, W).
    """
    margins = []
    for side in images.shape[1:3]:
        missing = (remainder - side) % multiple
        margins.append((missing // 2, missing - missing // 2))
    if not any(sum(margin) for margin in margins):
        return images, lambda output: output
    padding = tuple(margins)
    return layers.ZeroPadding2D(padding)(images), layers.Cropping2D(padding, dtype="float32")
