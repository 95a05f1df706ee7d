"""What our own architectures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from components.base.errors import UsageError


def residual_block(x: Any, activation: str) -> Any:
    """x + convolution(activation(convolution(x))), both 3x3, without normalisation (EDSR)."""
    width = x.shape[-1]
    change = layers.Conv2D(width, 3, padding="same", activation=activation)(x)
    change = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(change)
    return layers.Add()([x, change])


def check_arguments(
    model: str, widths: Sequence[int], activation: str, **counts: tuple[int, int]
) -> None:
    """Raises a UsageError for a wrong argument; `counts` are (value, least value) by name."""
    if (
        isinstance(widths, str)
        or not isinstance(widths, Sequence)
        or not widths
        or not all(isinstance(width, int) and width > 0 for width in widths)
    ):
        raise UsageError(
            f"model.arguments: {model}'s widths are channels per level, such as [16, 32, 64]; "
            f"was {widths!r}."
        )
    for name, (value, least) in counts.items():
        if not isinstance(value, int) or value < least:
            raise UsageError(
                f"model.arguments: {model}'s {name} is {least} or more, was {value!r}."
            )
    try:
        keras.activations.get(activation)
    except ValueError:
        raise UsageError(
            f"model.arguments: {model}'s activation is one that Keras names, such as relu or "
            f"gelu; was {activation!r}."
        ) from None
