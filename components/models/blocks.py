"""What our own architectures are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from components.base.errors import UsageError


def residual_block(x: Any, activation: str) -> Any:
    """x + convolution(activation(convolution(x))), both 3x3, without normalisation (EDSR)."""
    width = x.shape[-1]
    change = layers.Conv2D(width, 3, padding="same", activation=activation)(x)
    change = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(change)
    return layers.Add()([x, change])


def check_arguments(
    model: str,
    widths: Sequence[int],
    activation: str,
    switches: Mapping[str, bool] | None = None,
    **counts: tuple[int, int],
) -> None:
    """Raises a UsageError for a wrong argument.

    Args:
      model: Its name.
      widths, activation: The arguments of these names.
      switches: What is true or false, by name.
      **counts: (value, least value) by name.
    """
    if (
        isinstance(widths, str)
        or not isinstance(widths, Sequence)
        or not widths
        or not all(type(width) is int and width > 0 for width in widths)
    ):
        raise UsageError(
            f"model.arguments: {model}'s widths are channels per level, such as [16, 32, 64]; "
            f"was {widths!r}."
        )
    for name, switch in (switches or {}).items():
        if not isinstance(switch, bool):
            raise UsageError(f"model.arguments: {model}'s {name} is true or false, was {switch!r}.")
    for name, (value, least) in counts.items():
        if type(value) is not int or value < least:
            raise UsageError(
                f"model.arguments: {model}'s {name} is {least} or more, was {value!r}."
            )
    try:
        # Of some, such as glu, fewer channels come out.
        kept = keras.activations.get(activation)(np.zeros((1, 4), np.float32)).shape == (1, 4)
    except (TypeError, ValueError):
        kept = False
    if not kept:
        raise UsageError(
            f"model.arguments: {model}'s activation is one that Keras names, such as relu or "
            f"gelu; was {activation!r}."
        )
