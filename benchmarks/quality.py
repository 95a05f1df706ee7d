"""What a denoiser reaches on a split, measured as the Evaluator does, without TFX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks.splits import Split
from components.image import metrics
from components.noise import fixed_noise
from components.noise.base import Noise

_BATCH = 250


def noisy(noise: Noise, split: Split, seed: int) -> np.ndarray:
    """The images of a split with their fixed noise: float32 (N, H, W, C) in [0, 1]."""
    parts = _batches(split.images, split.keys)
    return np.concatenate([np.asarray(fixed_noise(noise, *part, seed)[0]) for part in parts])


def means(
    denoiser: keras.Model,
    noisy: np.ndarray,
    clean: np.ndarray,
    names: Sequence[str] = tuple(metrics.METRICS),
) -> dict[str, float]:
    """Means of the per-image metrics of the clipped output.

    Args:
      denoiser: Of images of this shape.
      noisy, clean: float32 (N, H, W, C) in [0, 1].
      names: Of components.image.metrics.METRICS.
    """
    sums = dict.fromkeys(names, 0.0)
    for part, target in _batches(noisy, clean):
        denoised = np.clip(np.asarray(denoiser.predict_on_batch(part), np.float32), 0.0, 1.0)
        for name in names:
            sums[name] += float(np.sum(metrics.METRICS[name](target, denoised)))
    return {name: total / len(noisy) for name, total in sums.items()}


def _batches(*arrays: Any) -> Iterator[Any]:
    for start in range(0, len(arrays[0]), _BATCH):
        yield tuple(array[start : start + _BATCH] for array in arrays)
