"""Tone curve: a monotone map of values, for filters whose results are biased.

Noise that is clipped to [0, 1] brightens black and darkens white, and a filter that averages
keeps that. The curve gives each value of a result what clean pixels there are on average.
"""

from __future__ import annotations

import numpy as np

LEVELS = 256


def fit(denoised: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The monotone curve with the least squared error.

    The mean clean value of each of LEVELS bins of denoised values, made monotone by isotonic
    regression (Barlow, Bartholomew, Bremner, Brunk, 1972), interpolated over empty bins.

    Args:
      denoised: float32 of any shape; values outside [0, 1] are clipped.
      clean: float32 of the same shape, in [0, 1].

    Returns:
      float64 (LEVELS,): what 0, 1 / 255, ..., 1 become.
    """
    from scipy.optimize import isotonic_regression

    bins = _bins(denoised).ravel()
    counts = np.bincount(bins, minlength=LEVELS)
    sums = np.bincount(bins, weights=clean.ravel(), minlength=LEVELS)
    (filled,) = np.nonzero(counts)
    means = sums[filled] / counts[filled]
    rising = isotonic_regression(means, weights=counts[filled].astype(np.float64)).x
    return np.interp(np.arange(LEVELS), filled, rising)


def apply(curve: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Images through a curve that `fit` made, float32, linear between its points."""
    positions = np.clip(images, 0, 1) * (LEVELS - 1)
    return np.interp(positions, np.arange(LEVELS), curve).astype(np.float32)


def _bins(images: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(images, 0, 1) * (LEVELS - 1)).astype(np.int64)
