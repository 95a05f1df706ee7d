"""Speckle: noise in proportion to the brightness."""

from __future__ import annotations

from typing import Any

from keras import ops

from components.noise.base import Noise, Parameter, Severity, register
from components.noise.draws import Draws


@register("speckle")
class Speckle(Noise):
    """Multiplies every value by a normal number of mean 1, independent in each channel.

    Args:
      sd: Standard deviation of the factor.
    """

    parameters = (Parameter("sd", 0.2, "standard deviation relative to the value", high=10.0),)
    formula = "x + x N(0, sd^2)"
    source = "scikit-image, skimage.util.random_noise(mode='speckle'), with var=sd^2"

    def __init__(self, sd: Severity = 0.2, **arguments: Any):
        super().__init__(**arguments)
        self.sd = self.parameters[0].check(sd, self.kind)

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        return images + images * (severity * draws.normal(ops.shape(images)[1:]))
