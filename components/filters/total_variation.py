"""Total variation: the nearest image with little of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, each_image, register

_WEIGHTS = (0.03, 0.04, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


@register("total_variation")
class TotalVariation(Filter):
    """Minimises the squared distance to the noisy image plus `weight` times total variation."""

    title = "total variation"
    source = "Chambolle, J. Math. Imaging and Vision 20, 2004; skimage's denoise_tv_chambolle"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [{"weight": weight} for weight in _WEIGHTS]

    def __call__(self, noisy: np.ndarray, *, weight: float) -> np.ndarray:
        from skimage.restoration import denoise_tv_chambolle

        return each_image(
            noisy,
            lambda image, channel_axis: denoise_tv_chambolle(
                image, weight=weight, channel_axis=channel_axis
            ),
        )
