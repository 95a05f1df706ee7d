"""Dropout: dead pixels."""

from __future__ import annotations

from typing import Any

from keras import ops

from components.noise.base import Noise, Parameter, Severity, register
from components.noise.draws import Draws


@register("dropout")
class Dropout(Noise):
    """Makes pixels black, in all their channels. The others keep their value.

    Args:
      rate: Probability that a pixel is lost, 0 to 1.
    """

    parameters = (Parameter("rate", 0.3, "share of pixels lost", high=1.0),)
    formula = "with probability rate: 0, else x"
    source = "imgaug 0.4, Dropout (imgaug/augmenters/arithmetic.py); the masking noise of Vincent "
    source += "et al., Stacked Denoising Autoencoders, JMLR 2010"

    def __init__(self, rate: Severity = 0.3, **arguments: Any):
        super().__init__(**arguments)
        self.rate = self.parameters[0].check(rate, self.kind)

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        _, height, width, _ = ops.shape(images)
        lost = draws.uniform((height, width, 1)) < severity
        return ops.where(lost, 0.0, images)
