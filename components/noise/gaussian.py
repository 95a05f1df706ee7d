"""Additive white Gaussian noise."""

from __future__ import annotations

from typing import Any

from keras import ops

from components.noise.base import Noise, Parameter, Severity, register
from components.noise.draws import Draws


@register("gaussian")
class Gaussian(Noise):
    """Adds a normal number to every value, independent in each channel.

    Args:
      sd: Standard deviation, in pixel values from 0 to 1.
    """

    parameters = (Parameter("sd", 0.5, "standard deviation; black is 0, white is 1", high=10.0),)
    formula = "x + N(0, sd^2)"
    source = "textbook; sd=0.5 as in the Keras blog, Building Autoencoders in Keras (2016)"

    def __init__(self, sd: Severity = 0.5, **arguments: Any):
        super().__init__(**arguments)
        self.sd = self.parameters[0].check(sd, self.kind)

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        return images + severity * draws.normal(ops.shape(images)[1:])
