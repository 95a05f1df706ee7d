"""No noise."""

from __future__ import annotations

from typing import Any

from components.noise.base import Noise, register
from components.noise.draws import Draws


@register("none")
class NoNoise(Noise):
    """Leaves images as they are: the model is asked to reproduce its input."""

    formula = "x"
    source = "the plain autoencoder"

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        return images
