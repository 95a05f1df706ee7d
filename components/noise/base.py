"""The base of every noise: parameters, registration, its place in a Keras model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from components.base import plugins
from components.base.errors import UsageError
from components.noise.draws import Draws, FreshDraws

Severity = float | tuple[float, float]
"""One value for every image, or a range from which each image draws its own."""

NOISES: dict[str, type[Noise]] = {}
"""Every registered noise, by the name an expression calls it."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number that says how strong a noise is, or a switch.

    Attributes:
      name: As written in an expression.
      default: A number, or False for a switch.
      unit: What the number counts, for people.
      low: Least value allowed.
      high: Largest value allowed.
    """

    name: str
    default: float | bool
    unit: str
    low: float = 0.0
    high: float = math.inf

    @property
    def is_switch(self) -> bool:
        """Whether the parameter is on or off, not a number."""
        return isinstance(self.default, bool)

    def check(self, value: Any, noise: str) -> Any:
        """Returns the value as a float, a (low, high) tuple of floats or a bool.

        Raises:
          UsageError: not a number, or outside the range.
        """
        if self.is_switch:
            if not isinstance(value, bool):
                raise UsageError(f"{noise}: {self.name} is True or False, was {value!r}.")
            return value
        is_range = isinstance(value, Sequence) and len(value) == 2
        ends = list(value) if is_range else [value]
        for end in ends:
            if (
                isinstance(end, bool)
                or not isinstance(end, (int, float))
                or not self.low <= end <= self.high
            ):
                raise UsageError(
                    f"{noise}: {self.name} is a number from {number(self.low)} to "
                    f"{number(self.high)} ({self.unit}), or a range (low, high) of such numbers; "
                    f"was {value!r}."
                )
        if is_range and not ends[0] < ends[1]:
            raise UsageError(f"{noise}: {self.name} runs from low to high, was {value!r}.")
        return tuple(float(end) for end in ends) if is_range else float(value)


class Noise(keras.layers.Layer):
    """A noise: in training, adds itself to float32 (N, H, W, C) images in [0, 1].

    Called with `training=True` it draws from its own seed generator, new numbers on every
    call; otherwise it returns the images as they are. It computes in float32 whatever the
    dtype policy.

    A subclass names its `parameters`, the severity first, gives `formula` and `source`, and
    implements `apply`.

    Args:
      seed: Of the fresh draws; None: a random one.
    """

    kind: ClassVar[str]
    """The name in an expression."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    formula: ClassVar[str]
    """Formula of the clean value x and the parameters; the result is clipped to [0, 1]."""
    source: ClassVar[str]
    """Source of the definition."""
    combines: ClassVar[str] = ""
    """Notation of a noise made of other noises, in place of `parameters`."""

    def __init__(self, *, seed: int | None = None, dtype: Any = "float32", **arguments: Any):
        super().__init__(dtype=dtype, **arguments)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        # Here, not in the constructor: a noise that is only parsed makes no variable.
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        if not training:
            return images
        draws = FreshDraws(ops.shape(images)[0], self.seed_generator)
        return self.corrupt(images, draws)[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def corrupt(self, images: Any, draws: Draws) -> tuple[Any, Any]:
        """Adds the noise.

        Args:
          images: float32, (N, H, W, C), in [0, 1].
          draws: Where the random numbers come from, for these N images.

        Returns:
          The noisy images, same shape and dtype, clipped to [0, 1], and the severity of each
          image, float32 (N,), in the unit of the first parameter; 0 for a noise without any.
        """
        severity, levels = self._severity(images, draws)
        return ops.clip(self.apply(images, severity, draws), 0.0, 1.0), levels

    def apply(self, images: Any, severity: Any, draws: Draws) -> Any:
        """The formula, without the clipping.

        Only operations that IEEE 754 rounds exactly (+, -, *, comparisons, table look-ups) keep
        an image's fixed noise the same bit for bit, whatever the batch it is computed in: a
        vectorised sin or exp may differ from its scalar tail in the last bit.

        Args:
          images: float32, (N, H, W, C), in [0, 1].
          severity: The first parameter: a float, or float32 (N, 1, 1, 1).
          draws: Where the random numbers come from.

        Returns:
          float32, (N, H, W, C).
        """
        raise NotImplementedError

    def _severity(self, images: Any, draws: Draws) -> tuple[Any, Any]:
        value = getattr(self, self.parameters[0].name) if self.parameters else 0.0
        if isinstance(value, tuple):
            low, high = value
            levels = low + (high - low) * draws.uniform(())
            return ops.reshape(levels, (-1, 1, 1, 1)), levels
        return value, ops.full((ops.shape(images)[0],), value, dtype="float32")

    @classmethod
    def usage(cls) -> str:
        """The notation, with the defaults and ranges of the parameters."""
        if cls.combines:
            return cls.combines
        parameters = [
            f"{parameter.name}={number(parameter.default)}"
            + (
                ""
                if parameter.is_switch
                else f" [{number(parameter.low)}-{number(parameter.high)}]"
            )
            for parameter in cls.parameters
        ]
        return f"{cls.kind}({', '.join(parameters)})" if parameters else cls.kind

    def get_config(self) -> dict[str, Any]:
        own = {parameter.name: getattr(self, parameter.name) for parameter in self.parameters}
        return {**super().get_config(), **own, "seed": self.seed}

    def __str__(self) -> str:
        """The canonical expression, which `parse` reads back: the first parameter and every
        other one that is not at its default."""
        written = [
            f"{parameter.name}={number(getattr(self, parameter.name))}"
            for position, parameter in enumerate(self.parameters)
            if position == 0 or getattr(self, parameter.name) != parameter.default
        ]
        return f"{self.kind}({', '.join(written)})" if self.parameters else self.kind


def register(kind: str) -> Callable[[type[Noise]], type[Noise]]:
    """Class decorator: makes a noise known to `parse`, the command line and Keras."""

    def decorate(noise: type[Noise]) -> type[Noise]:
        if kind in NOISES:
            raise ValueError(f"two noises are called {kind!r}: {NOISES[kind]} and {noise}")
        noise.kind = kind
        NOISES[kind] = noise
        # A plug-in's class may be called as one of ours is.
        package = plugins.origin(noise).partition(".")[0]
        return keras.saving.register_keras_serializable(package=package)(noise)

    return decorate


def listing() -> list[dict[str, Any]]:
    """Every noise, as plain values: name, usage, parameters, formula, source, origin."""
    return [
        {
            "name": kind,
            "usage": noise.usage(),
            "parameters": [dataclasses.asdict(parameter) for parameter in noise.parameters],
            "formula": noise.formula,
            "source": noise.source,
            "origin": plugins.origin(noise),
        }
        for kind, noise in sorted(NOISES.items())
    ]


def number(value: Any) -> str:
    """A parameter's value as Python reads it back, whole numbers without a point."""
    if isinstance(value, tuple):
        return f"({', '.join(number(item) for item in value)})"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
