"""Non-local means: a mean over pixels whose surroundings look alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, each_image, register


@register("nl_means")
class NonLocalMeans(Filter):
    """Patches of `patch_size` are compared up to `patch_distance` away; `h` is how far the
    weights reach, `sigma` the standard deviation of the noise that is allowed for, both for
    values in [0, 1]."""

    title = "non-local means"
    source = "Buades, Coll, Morel, CVPR 2005; skimage.restoration.denoise_nl_means, fast_mode"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [
            {"patch_size": 5, "patch_distance": 6, "h": h, "sigma": sigma}
            for h in (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
            for sigma in (0.0, 0.15, 0.3)
        ]

    def __call__(
        self, noisy: np.ndarray, *, patch_size: int, patch_distance: int, h: float, sigma: float
    ) -> np.ndarray:
        from skimage.restoration import denoise_nl_means

        return each_image(
            noisy,
            lambda image, channel_axis: denoise_nl_means(
                image,
                patch_size=patch_size,
                patch_distance=patch_distance,
                h=h,
                sigma=sigma,
                fast_mode=True,
                channel_axis=channel_axis,
            ),
        )
