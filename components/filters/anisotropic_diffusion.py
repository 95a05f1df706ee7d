"""Anisotropic diffusion: heat that does not flow over edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, register

_STEP = 0.2
"""Step of time; up to 1/4 the scheme is stable."""


@register("anisotropic_diffusion")
class AnisotropicDiffusion(Filter):
    """`iterations` steps of x + step * sum over four neighbours of g(d) d, d the difference to
    the neighbour and g(d) = exp(-(d / kappa)^2); kappa for values in [0, 1]."""

    title = "anisotropic diffusion"
    source = "Perona, Malik, IEEE PAMI 12(7), 1990, eq. 7 and 8, first conductance"

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        return [
            {"kappa": kappa, "iterations": iterations}
            for kappa in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
            for iterations in (2, 4, 8, 16)
        ]

    def __call__(self, noisy: np.ndarray, *, kappa: float, iterations: int) -> np.ndarray:
        images = noisy.copy()
        for _ in range(iterations):
            change = np.zeros_like(images)
            for axis in (1, 2):
                difference = np.diff(images, axis=axis)
                flow = difference * np.exp(-np.square(difference / kappa))
                # Nothing flows over the border.
                near = [(0, 0)] * 4
                near[axis] = (0, 1)
                change += np.pad(flow, near)
                near[axis] = (1, 0)
                change -= np.pad(flow, near)
            images += np.float32(_STEP) * change
        return images
