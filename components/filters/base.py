"""Base of every classical filter: parameters to try, registration, one call."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

FILTERS: dict[str, Filter] = {}
"""Every registered filter, by name."""


class Filter:
    """A filter: noisy float32 (N, H, W, C) in [0, 1] to denoised, the same shape.

    A subclass gives `title`, `source` and `candidates`, and implements `__call__`. Its result
    may leave [0, 1]: who calls clips.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    """The publication of the method."""
    package: ClassVar[str | None] = None
    """An optional package it needs, by the name it is imported by."""

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        """Parameters worth trying on images of shape (H, W, C); plain values."""
        raise NotImplementedError

    def __call__(self, noisy: np.ndarray, *_: Any, **parameters: Any) -> np.ndarray:
        """Denoises.

        Args:
          noisy: float32, (N, H, W, C), in [0, 1].
          **parameters: One of `candidates`.

        Returns:
          float32, (N, H, W, C).
        """
        raise NotImplementedError

    @classmethod
    def file(cls) -> pathlib.Path:
        """Its source."""
        return pathlib.Path(inspect.getfile(cls))


def register(name: str) -> Callable[[type[Filter]], type[Filter]]:
    """Class decorator: makes a filter known to the benchmark."""

    def decorate(filter_: type[Filter]) -> type[Filter]:
        if name in FILTERS:
            raise ValueError(f"two filters are called {name!r}: {FILTERS[name]} and {filter_}")
        filter_.name = name
        FILTERS[name] = filter_()
        return filter_

    return decorate


def each_image(noisy: np.ndarray, restore: Callable[..., np.ndarray]) -> np.ndarray:
    """Calls a function of scikit-image's kind for each image.

    Args:
      noisy: float32, (N, H, W, C).
      restore: Takes (H, W) and channel_axis=None of grey images, (H, W, C) and channel_axis=-1
        of others, and returns the same shape.

    Returns:
      float32, (N, H, W, C).
    """
    denoised = np.empty_like(noisy)
    for image, result in zip(noisy, denoised, strict=True):
        if image.shape[-1] == 1:
            result[..., 0] = restore(image[..., 0], channel_axis=None)
        else:
            result[...] = restore(image, channel_axis=-1)
    return denoised
