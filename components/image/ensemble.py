"""The mean of what a denoiser makes of an image in each of its eight orientations.

The geometric self-ensemble of Lim et al. (EDSR), CVPRW 2017, section 3.4, there for enlarging: a
network errs differently on an image that is turned or mirrored, and the errors of eight results
partly cancel out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ORIENTATIONS = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))
"""Quarter turns, and whether columns are reversed before."""


def oriented(images: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """(N, H, W, C), columns reversed if `mirrored`, then turned by quarters, in new memory."""
    if mirrored:
        images = images[:, :, ::-1]
    return np.ascontiguousarray(np.rot90(images, turns, axes=(1, 2)))


def upright(images: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Undoes `oriented`."""
    images = np.rot90(images, -turns, axes=(1, 2))
    return images[:, :, ::-1] if mirrored else images


def ensembled(
    images: np.ndarray,
    denoise: Callable[[np.ndarray], np.ndarray],
    told: Callable[[float], None] = lambda done: None,
) -> np.ndarray:
    """Denoises eight times, each time in another orientation.

    Args:
      images: float32 (N, H, W, C) in [0, 1].
      denoise: Such images, of H x W and of W x H, to the same.
      told: Called with how much is done, 0 to 1, after each orientation.

    Returns:
      float32 (N, H, W, C): the mean of the results.
    """
    total = np.zeros(images.shape, np.float32)
    for number, (turns, mirrored) in enumerate(ORIENTATIONS, start=1):
        total += upright(denoise(oriented(images, turns, mirrored)), turns, mirrored)
        told(number / len(ORIENTATIONS))
    total /= len(ORIENTATIONS)
    return total
