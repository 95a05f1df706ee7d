"""A random noise for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from components.base.errors import UsageError
from components.noise.base import Noise, number, register
from components.noise.draws import Draws, FreshDraws


@register("mixture")
class Mixture(Noise):
    """Gives each image one of several noises, at random; with ranges, at random severity too.

    Its severity is that of the noise the image got, in that noise's unit.

    A fixed noise is each image's own, whatever the batch, so all noises are computed of all images
    and one is kept. Fresh noise is drawn only for those images that keep it: each noise has its
    share of the batch, rounded at random, in a random rotation of it. So every image gets each
    noise with its probability, but not independently of the others of its batch.

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
        shares = np.cumsum(self.proportions)[:-1] / np.sum(self.proportions)
        if isinstance(draws, FreshDraws):
            return self._in_shares(images, draws, shares)
        picked = draws.uniform(())
        noisy, levels = self.noises[0].corrupt(images, draws)
        for share, noise in zip(shares, self.noises[1:], strict=True):
            other, other_levels = noise.corrupt(images, draws)
            here = picked >= float(np.float32(share))
            noisy = ops.where(ops.reshape(here, (-1, 1, 1, 1)), other, noisy)
            levels = ops.where(here, other_levels, levels)
        return noisy, levels

    def _in_shares(self, images: Any, draws: FreshDraws, shares: np.ndarray) -> tuple[Any, Any]:
        """Gives the image at position p the noise in whose share of [0, N) p + `rounding` lies.

        The first position of each share follows from N alone, for XLA wants fixed shapes; the
        image on the border of two shares gets both noises and keeps one.
        """
        count = ops.shape(images)[0]
        rounding, turned = draws.number(), draws.number()
        turned = ops.cast(turned * ops.cast(count, "float32"), "int32")
        images = ops.roll(images, turned, axis=0)

        borders = (
            [count * float(share) for share in shares]
            if isinstance(count, int)
            else [ops.cast(count, "float32") * float(share) for share in shares]
        )
        # A share may be rounded to all of [0, N), and the last one has a part all the same.
        firsts = [_least(_floor(border), count - 1) for border in borders]
        parts = []
        for noise, first, last in zip(self.noises, [0, *firsts], [*firsts, count - 1], strict=True):
            part = images[first : last + 1]
            parts.append(noise.corrupt(part, draws.of(ops.shape(part)[0])))
        noisy, levels = parts[0]
        for border, first, (other, other_levels) in zip(borders, firsts, parts[1:], strict=True):
            here = ops.cast(first, "float32") + rounding >= border
            noisy = _joined(noisy, other, here)
            levels = _joined(levels, other_levels, here)
        return ops.roll(noisy, -turned, axis=0), ops.roll(levels, -turned, axis=0)

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


def _floor(number: Any) -> Any:
    """The whole part, a Python int of a Python number."""
    return int(number) if isinstance(number, float) else ops.cast(ops.floor(number), "int32")


def _least(one: Any, other: Any) -> Any:
    return min(one, other) if isinstance(one, int) else ops.minimum(one, other)


def _joined(one: Any, other: Any, here: Any) -> Any:
    """The two one after the other, where the last of the one is in the place of the other's first;
    `here`: the other's is kept."""
    return ops.concatenate([one[:-1], ops.where(here, other[:1], one[-1:]), other[1:]])
