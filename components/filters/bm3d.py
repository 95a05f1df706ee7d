"""BM3D: collaborative filtering of stacks of alike patches. Optional, for its licence."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, each_image, register


@register("bm3d")
class Bm3d(Filter):
    """`sigma` is the standard deviation of the noise, for values in [0, 1]."""

    title = "BM3D"
    source = "Dabov, Foi, Katkovnik, Egiazarian, IEEE TIP 16(8), 2007; the authors' package bm3d"
    package = "bm3d"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [{"sigma": sigma} for sigma in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)]

    def __call__(self, noisy: np.ndarray, *, sigma: float) -> np.ndarray:
        import bm3d

        def restore(image: np.ndarray, channel_axis: int | None) -> np.ndarray:
            function = bm3d.bm3d if channel_axis is None else bm3d.bm3d_rgb
            return np.asarray(function(image, sigma_psd=sigma)).reshape(image.shape)

        return each_image(noisy, restore)
