"""Bilateral filter: a mean over near pixels of near values."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, each_image, register


@register("bilateral")
class Bilateral(Filter):
    """Weights fall with the distance (`sigma_spatial`, pixels) and the difference of values
    (`sigma_color`, for values in [0, 1])."""

    title = "bilateral"
    source = "Tomasi, Manduchi, ICCV 1998; skimage.restoration.denoise_bilateral"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [
            {"win_size": 5, "sigma_color": color, "sigma_spatial": spatial}
            for color in (0.1, 0.2, 0.4, 0.8, 1.6)
            for spatial in (0.7, 1.0, 1.5)
        ]

    def __call__(
        self, noisy: np.ndarray, *, win_size: int, sigma_color: float, sigma_spatial: float
    ) -> np.ndarray:
        from skimage.restoration import denoise_bilateral

        return each_image(
            noisy,
            lambda image, channel_axis: denoise_bilateral(
                image, win_size, sigma_color, sigma_spatial, channel_axis=channel_axis
            ),
        )
