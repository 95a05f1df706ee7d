"""Noises applied one after the other."""

from __future__ import annotations

from typing import Any

import keras

from components.base.errors import UsageError
from components.noise.base import Noise, register
from components.noise.draws import Draws


@register("chain")
class Chain(Noise):
    """Applies each noise to what the one before made, clipped to [0, 1] in between.

    Its severity is that of the first.

    Args:
      *noises: Two or more.
    """

    formula = "the first noise, then the next one on its clipped result"
    source = "what `+` makes"
    combines = "NOISE + NOISE"

    def __init__(self, *noises: Noise, **arguments: Any):
        super().__init__(**arguments)
        if len(noises) < 2 or not all(isinstance(noise, Noise) for noise in noises):
            raise UsageError(f"{self.combines} takes two or more noises.")
        self.noises: list[Noise] = []
        for noise in noises:
            self.noises.extend(noise.noises if isinstance(noise, Chain) else [noise])

    def corrupt(self, images: Any, draws: Draws) -> tuple[Any, Any]:
        noisy, levels = self.noises[0].corrupt(images, draws)
        for noise in self.noises[1:]:
            noisy, _ = noise.corrupt(noisy, draws)
        return noisy, levels

    def get_config(self) -> dict[str, Any]:
        noises = [keras.saving.serialize_keras_object(noise) for noise in self.noises]
        return {**super().get_config(), "noises": noises}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Chain:
        noises = [keras.saving.deserialize_keras_object(noise) for noise in config["noises"]]
        return cls(*noises, **{key: config[key] for key in config if key != "noises"})

    def __str__(self) -> str:
        return " + ".join(str(noise) for noise in self.noises)
