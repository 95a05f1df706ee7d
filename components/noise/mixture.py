"""A random noise for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from components.base.errors import UsageError
from components.noise.base import Noise, number, register
from components.noise.draws import Draws


@register("mixture")
class Mixture(Noise):
    """Gives each image one of several noises, at random; with ranges, at random severity too.

    Its severity is that of the noise the image got, in that noise's unit.

    Args:
      *noises: Two or more.
      weights: How often each is taken, relative to the others; None: equally often.
    """

    formula = "for each image one of the noises, with probability in proportion to its weight"
    source = "textbook blind denoising: DnCNN-B, Zhang et al., IEEE TIP 2017, III-D"
    combines = "mixture(NOISE, NOISE, ..., weights=(1, 1, ...))"

    def __init__(self, *noises: Noise, weights: Sequence[float] | None = None, **arguments: Any):
        super().__init__(**arguments)
        if len(noises) < 2 or not all(isinstance(noise, Noise) for noise in noises):
            raise UsageError(f"{self.combines} takes two or more noises.")
        if weights is None:
            weights = [1] * len(noises)
        if (
            not isinstance(weights, Sequence)
            or len(weights) != len(noises)
            or not all(type(weight) in (int, float) and 0 < weight < 1e9 for weight in weights)
        ):
            raise UsageError(
                f"{self.combines} takes {len(noises)} positive weights for {len(noises)} noises, "
                f"was {weights!r}."
            )
        self.noises = list(noises)
        self.proportions = [float(weight) for weight in weights]

    def corrupt(self, images: Any, draws: Draws) -> tuple[Any, Any]:
        picked = draws.uniform(())
        thresholds = np.cumsum(self.proportions)[:-1] / np.sum(self.proportions)
        noisy, levels = self.noises[0].corrupt(images, draws)
        for threshold, noise in zip(thresholds, self.noises[1:], strict=True):
            other, other_levels = noise.corrupt(images, draws)
            here = picked >= float(np.float32(threshold))
            noisy = ops.where(ops.reshape(here, (-1, 1, 1, 1)), other, noisy)
            levels = ops.where(here, other_levels, levels)
        return noisy, levels

    def get_config(self) -> dict[str, Any]:
        noises = [keras.saving.serialize_keras_object(noise) for noise in self.noises]
        return {**super().get_config(), "noises": noises, "weights": self.proportions}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Mixture:
        noises = [keras.saving.deserialize_keras_object(noise) for noise in config["noises"]]
        return cls(*noises, **{key: config[key] for key in config if key != "noises"})

    def __str__(self) -> str:
        written = [str(noise) for noise in self.noises]
        if len(set(self.proportions)) > 1:
            written.append(f"weights={number(tuple(self.proportions))}")
        return f"mixture({', '.join(written)})"
