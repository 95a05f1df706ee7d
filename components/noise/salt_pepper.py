"""Salt-and-pepper noise as imgaug makes it, and the classic kind."""

from __future__ import annotations

from typing import Any

from keras import ops

from components.image.pixels import nearest
from components.noise.base import Noise, Parameter, Severity, register
from components.noise.draws import Draws

# sin(pi/2 * t) / t as a polynomial in t**2, for t in [0, 1], within 2e-9: Abramowitz and Stegun,
# Handbook of Mathematical Functions, 4.3.97, with the powers of pi/2 multiplied in.
_HALF_PI = 1.5707963267948966
_SINE = tuple(
    coefficient * _HALF_PI ** (2 * power + 1)
    for power, coefficient in enumerate(
        (1.0, -0.1666666664, 0.0083333315, -0.0001984090, 0.0000027526, -0.0000000239)
    )
)


@register("salt_pepper")
class SaltPepper(Noise):
    """Replaces pixels, mostly by something near black or white.

    Each pixel, with probability `rate`, becomes round(255 B) / 255 with B from Beta(0.5, 0.5);
    sin(pi U / 2)**2 of a uniform U samples that distribution exactly. With `binary` it becomes 0
    or 1, evenly. A colour pixel is replaced in all its channels, by a grey value, as imgaug does.

    Args:
      rate: Probability that a pixel is replaced, 0 to 1.
      binary: Replace by 0 or 1 only.
    """

    parameters = (
        Parameter("rate", 0.1, "share of pixels replaced", high=1.0),
        Parameter("binary", False, "replace by 0 or 1 only"),
    )
    formula = "with probability rate: round(255 Beta(1/2, 1/2)) / 255 (binary: 0 or 1), else x"
    source = "imgaug 0.4, SaltAndPepper, on uint8 images (imgaug/augmenters/arithmetic.py)"

    def __init__(self, rate: Severity = 0.1, binary: bool = False, **arguments: Any):
        super().__init__(**arguments)
        self.rate = self.parameters[0].check(rate, self.kind)
        self.binary = self.parameters[1].check(binary, self.kind)

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        _, height, width, _ = ops.shape(images)
        replaced = draws.uniform((height, width, 1)) < severity
        position = draws.uniform((height, width, 1))
        if self.binary:
            value = ops.cast(position < 0.5, "float32")
        else:
            square = position * position
            sine = _SINE[-1]
            for coefficient in reversed(_SINE[:-1]):
                sine = sine * square + coefficient
            sine = sine * position
            value = nearest(sine * sine)
        return ops.where(replaced, value, images)
