"""The registry of architectures, and what they share."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import keras

from components.base import plugins
from components.base.errors import UsageError

BOTTLENECK = "bottleneck"
"""Name of the layer whose output is an autoencoder's code."""

MODELS: dict[str, Architecture] = {}
"""Every registered architecture, by name."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A model's recipe.

    Attributes:
      name: What `build` and `--set model.name=` call it.
      function: Takes the image shape, and arguments by keyword; returns the model.
      source: Where it was published.
      preset: Name of the preset with its published setting; empty for one of a plug-in.
      any_size: Whether H and W may be None: the same weights for images of every size.
    """

    name: str
    function: Callable[..., keras.Model]
    source: str
    preset: str
    any_size: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The defaults of what `build` takes beside the image shape."""
        parameters = inspect.signature(self.function).parameters.values()
        return {item.name: item.default for item in parameters if item.kind is item.KEYWORD_ONLY}


def register(
    name: str, *, source: str, preset: str | None = None, any_size: bool = False
) -> Callable[[Callable[..., keras.Model]], Callable[..., keras.Model]]:
    """Decorator of a function (image_shape, *, argument=default, ...) -> keras.Model."""

    def decorate(function: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
        if name in MODELS:
            raise ValueError(f"two models are called {name!r}")
        ours = plugins.origin(function) == "denoise"
        MODELS[name] = Architecture(
            name, function, source, preset or (name if ours else ""), any_size
        )
        return function

    return decorate


def build(
    name: str, image_shape: tuple[int | None, int | None, int], **arguments: Any
) -> keras.Model:
    """Builds a model, with new weights, in the current dtype policy.

    Args:
      name: One of `MODELS`.
      image_shape: (H, W, C); H and W None for images of any size, where `any_size` says so.
      **arguments: Of that architecture (`MODELS[name].arguments`).

    Returns:
      float32 (N, H, W, C) in [0, 1] to float32 of the same shape.

    Raises:
      UsageError: unknown name or argument, or an image size the architecture cannot take.
    """
    if name not in MODELS:
        raise UsageError(
            f"model.name: there is no model {name!r}. Known: {', '.join(MODELS)}. "
            "One of your own is known where `plugins` names its module."
        )
    architecture = MODELS[name]
    unknown = arguments.keys() - architecture.arguments.keys()
    if unknown:
        defaults = ", ".join(f"{key}={value!r}" for key, value in architecture.arguments.items())
        raise UsageError(
            f"model.arguments: {name} has no argument {', '.join(sorted(unknown))}; "
            f"it takes {defaults or 'none'}."
        )
    if None in image_shape and not architecture.any_size:
        known = ", ".join(sorted(key for key, each in MODELS.items() if each.any_size))
        raise UsageError(
            f"model.name: {name} is built for images of one size, not of any; {known} takes any."
        )
    return architecture.function(tuple(image_shape), **arguments)


def encoder(model: keras.Model) -> keras.Model | None:
    """The part of an autoencoder that makes the code, sharing its weights.

    Returns:
      Images (N, H, W, C) to codes (N, ...), or None for a model without a bottleneck: one
      whose decoder sees more than the code, as a U-Net's does through its skips.
    """
    if not any(layer.name == BOTTLENECK for layer in model.layers):
        return None
    return keras.Model(model.input, model.get_layer(BOTTLENECK).output, name="encoder")


def listing() -> list[dict[str, Any]]:
    """Every architecture, as plain values: name, parameters at 28x28x1, preset, source,
    whether any size, arguments, origin."""
    return [
        {
            "name": architecture.name,
            "parameters": build(architecture.name, (28, 28, 1)).count_params(),
            "preset": architecture.preset,
            "source": architecture.source,
            "any_size": architecture.any_size,
            "arguments": architecture.arguments,
            "origin": plugins.origin(architecture.function),
        }
        for architecture in sorted(MODELS.values(), key=lambda item: item.name)
    ]
