"""Additive uniform noise."""

from __future__ import annotations

from typing import Any

from keras import ops

from components.noise.base import Noise, Parameter, Severity, register
from components.noise.draws import Draws


@register("uniform")
class Uniform(Noise):
    """Adds a number evenly spread around 0 to every value, independent in each channel.

    Its standard deviation is amplitude / sqrt(3).

    Args:
      amplitude: Largest change, in pixel values from 0 to 1.
    """

    parameters = (Parameter("amplitude", 0.3, "largest change; black is 0, white is 1", high=10.0),)
    formula = "x + U(-amplitude, amplitude)"
    source = "textbook; deepinv, deepinv.physics.UniformNoise"

    def __init__(self, amplitude: Severity = 0.3, **arguments: Any):
        super().__init__(**arguments)
        self.amplitude = self.parameters[0].check(amplitude, self.kind)

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        return images + severity * (draws.uniform(ops.shape(images)[1:]) * 2.0 - 1.0)
