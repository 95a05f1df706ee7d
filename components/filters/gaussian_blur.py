"""Gaussian blur: the simplest linear filter."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, register


@register("gaussian_blur")
class GaussianBlur(Filter):
    """Convolution with a Gaussian of standard deviation `sigma`, in pixels."""

    title = "Gaussian blur"
    source = "textbook; scipy.ndimage.gaussian_filter"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [{"sigma": sigma} for sigma in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5)]

    def __call__(self, noisy: np.ndarray, *, sigma: float) -> np.ndarray:
        from scipy import ndimage

        return ndimage.gaussian_filter(noisy, (0, sigma, sigma, 0), mode="nearest")
