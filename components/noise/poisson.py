"""Photon noise."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from keras import ops

from components.noise.base import Noise, Parameter, Severity, register
from components.noise.draws import Draws

_TAYLOR_TERMS = 11
"""exp(-f) for f in [0, 1) to within 1/11! = 2.5e-8, less than a uniform number's step."""
_MOST_EVENTS = 11
"""A Poisson variable of mean below 1 exceeds it with probability below 1e-9."""


@register("poisson")
class Poisson(Noise):
    """Counts photons: every value becomes a Poisson number of the mean it stands for.

    Independent in each channel. The noise is largest where the image is bright, with standard
    deviation sqrt(x / peak); black stays black.

    Args:
      peak: Mean number of photons in a white pixel. The smaller, the noisier.
    """

    parameters = (Parameter("peak", 30.0, "mean photons in a white pixel", low=0.1, high=1000.0),)
    formula = "Poisson(peak x) / peak"
    source = "textbook; MATLAB imnoise(I, 'poisson') for a given peak"

    def __init__(self, peak: Severity = 30.0, **arguments: Any):
        super().__init__(**arguments)
        self.peak = self.parameters[0].check(peak, self.kind)

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        shape = ops.shape(images)[1:]
        mean = images * severity
        # The sum of two Poisson variables, of a whole mean and of the fraction left over.
        whole = ops.floor(mean)
        highest = self.peak[1] if isinstance(self.peak, tuple) else self.peak
        count = _whole_mean(ops.cast(whole, "int32"), math.ceil(highest), draws.uniform(shape))
        count = count + _fractional_mean(mean - whole, draws.uniform(shape))
        if isinstance(severity, float):
            return count * (1.0 / severity)
        return count / severity


def _whole_mean(mean: Any, highest: int, uniform: Any) -> Any:
    """Poisson variables of whole means, by the alias method (Walker, 1977).

    Args:
      mean: int32, 0 to `highest`, of any shape.
      highest: Bound of `mean`.
      uniform: float32 in [0, 1), the same shape.

    Returns:
      float32, whole numbers, the same shape.
    """
    keep, alias, first = alias_tables(highest)
    columns = keep.shape[1]
    position = uniform * float(columns)
    column = ops.floor(position)
    cell = mean * columns + ops.cast(column, "int32")
    kept = position - column < ops.take(keep.reshape(-1), cell)
    return ops.where(kept, column, ops.take(alias.reshape(-1), cell)) + ops.take(first, mean)


def _fractional_mean(mean: Any, uniform: Any) -> Any:
    """Poisson variables of means in [0, 1), by inversion of the distribution function."""
    probability = 1.0 / math.factorial(_TAYLOR_TERMS - 1)
    for power in reversed(range(_TAYLOR_TERMS - 1)):
        probability = 1.0 / math.factorial(power) - mean * probability
    # 1/k! - f (1/(k+1)! - ...) is the alternating series of exp(-f).
    cumulative = probability
    count = ops.zeros_like(mean)
    for events in range(1, _MOST_EVENTS + 1):
        count = count + ops.cast(uniform >= cumulative, "float32")
        probability = probability * (mean * (1.0 / events))
        cumulative = cumulative + probability
    return count


@functools.lru_cache(maxsize=8)
def alias_tables(highest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alias tables of the Poisson distributions of mean 0, 1, ..., `highest`.

    Returns:
      `keep`, float32 (highest + 1, columns): the probability with which a column stands for
      itself; `alias`, float32, the same shape: the column it stands for otherwise; `first`,
      float32 (highest + 1,): the count that column 0 stands for. `columns` is a power of two;
      what is cut off has a probability below 1e-9.
    """
    import scipy.stats

    means = np.arange(highest + 1)
    first = np.maximum(0, np.floor(means - 6.5 * np.sqrt(means))).astype(int)
    last = int(np.ceil(highest + 7 * math.sqrt(highest) + 12))
    columns = 1 << (last - int(first[-1])).bit_length()
    keep = np.ones((highest + 1, columns))
    alias = np.tile(np.arange(columns), (highest + 1, 1))
    for mean in means:
        scaled = scipy.stats.poisson.pmf(first[mean] + np.arange(columns), mean)
        scaled *= columns / scaled.sum()
        small = [column for column in range(columns) if scaled[column] < 1]
        large = [column for column in range(columns) if scaled[column] >= 1]
        while small and large:
            lesser, greater = small.pop(), large[-1]
            keep[mean, lesser], alias[mean, lesser] = scaled[lesser], greater
            scaled[greater] -= 1 - scaled[lesser]
            if scaled[greater] < 1:
                small.append(large.pop())
    return keep.astype(np.float32), alias.astype(np.float32), first.astype(np.float32)
