"""Finds the parameters a filter does best with, on training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from components.filters import tone_curve
from components.filters.base import Filter

_FLOOR = 1e-10
"""Least MSE of an image: 100 dB, as components.image.metrics has it."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One candidate, tried."""

    parameters: dict[str, Any]
    plain: float
    """Mean per-image PSNR of the second half of the images, in dB."""
    curved: float
    """The same after the tone curve of the first half."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The parameters a filter is run with."""

    parameters: dict[str, Any]
    curve: np.ndarray | None
    """A tone curve, where it helps."""
    psnr: float
    """Mean per-image PSNR on the images it was chosen by, in dB."""
    plain_psnr: float
    """The best without a tone curve."""
    trials: int


def psnr(clean: np.ndarray, images: np.ndarray) -> np.ndarray:
    """PSNR of each image, (N,), in dB; both float32 (N, H, W, C), images clipped to [0, 1]."""
    error = np.square(np.clip(images, 0, 1) - clean).mean(axis=(1, 2, 3), dtype=np.float64)
    return -10 * np.log10(np.maximum(error, _FLOOR))


def attempt(
    filter_: Filter, parameters: dict[str, Any], noisy: np.ndarray, clean: np.ndarray
) -> Trial:
    """Runs one candidate; curves are made from one half of the images, both scored on the other.

    Args:
      filter_: The filter.
      parameters: One of its candidates.
      noisy: float32, (N, H, W, C), in [0, 1], N of 2 or more.
      clean: The same of the clean images.
    """
    denoised = filter_(noisy, **parameters)
    half = len(clean) // 2
    curve = tone_curve.fit(denoised[:half], clean[:half])
    after = tone_curve.apply(curve, denoised[half:])
    return Trial(
        parameters,
        float(psnr(clean[half:], denoised[half:]).mean()),
        float(psnr(clean[half:], after).mean()),
    )


def choose(filter_: Filter, trials: Iterable[Trial], noisy: np.ndarray, clean: np.ndarray) -> Tuned:
    """The best trial; where it is one with a curve, the curve is made anew from all images."""
    tried = list(trials)
    best = max(tried, key=lambda trial: max(trial.plain, trial.curved))
    curve = None
    if best.curved > best.plain:
        curve = tone_curve.fit(filter_(noisy, **best.parameters), clean)
    return Tuned(
        best.parameters,
        curve,
        max(best.plain, best.curved),
        max(trial.plain for trial in tried),
        len(tried),
    )
