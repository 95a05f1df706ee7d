"""Medians of a neighbourhood: of every pixel, or of outliers alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, register

_BORDERS = ("nearest", "constant")
"""Beyond the border: its pixels again, or black."""


def _median(noisy: np.ndarray, size: int, border: str) -> np.ndarray:
    from scipy import ndimage

    return ndimage.median_filter(noisy, size=(1, size, size, 1), mode=border)


@register("median")
class Median(Filter):
    """The median of the size x size pixels around each pixel."""

    title = "median"
    source = "Tukey, Exploratory Data Analysis, 1977; scipy.ndimage.median_filter"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [{"size": size, "border": border} for size in (3, 5, 7) for border in _BORDERS]

    def __call__(self, noisy: np.ndarray, *, size: int, border: str) -> np.ndarray:
        return _median(noisy, size, border)


@register("switching_median")
class SwitchingMedian(Filter):
    """The median where a pixel is further than `threshold` from it, elsewhere the pixel itself."""

    title = "switching median"
    source = "Sun, Neuvo, Pattern Recognition Letters 15(4), 1994, scheme I"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [
            {"size": size, "border": border, "threshold": threshold}
            for size in (3, 5)
            for border in _BORDERS
            for threshold in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
        ]

    def __call__(
        self, noisy: np.ndarray, *, size: int, border: str, threshold: float
    ) -> np.ndarray:
        median = _median(noisy, size, border)
        return np.where(np.abs(noisy - median) > threshold, median, noisy)
