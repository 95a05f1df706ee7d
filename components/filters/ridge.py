"""Ridge: the best linear map from noisy to clean images, the mark for anything non-linear."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

REGULARISATIONS = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""Tried; relative to the mean variance of a pixel."""
MAX_PIXELS = 4096
"""Limit for the pixels of an image: the covariance has as many rows and columns."""


class Moments:
    """Sums over pairs of images, from which the map is solved.

    Args:
      pixels: H * W * C.
    """

    def __init__(self, pixels: int):
        self._number = 0
        self._sums = np.zeros((2, pixels))
        self._products = np.zeros((2, pixels, pixels))

    def add(self, noisy: np.ndarray, clean: np.ndarray) -> None:
        """Adds images, both float32 (N, H, W, C)."""
        x = noisy.reshape(len(noisy), -1)
        y = clean.reshape(len(clean), -1)
        self._number += len(x)
        self._sums += (x.sum(axis=0, dtype=np.float64), y.sum(axis=0, dtype=np.float64))
        # float32 products of one batch, float64 sums over the batches.
        self._products += (x.T @ x, x.T @ y)

    def solve(self, regularisations: Sequence[float]) -> list[LinearMap]:
        """The maps with the least squared error plus regularisation times squared weights.

        (Hoerl, Kennard, Technometrics 12(1), 1970; the offset is not penalised.)

        Args:
          regularisations: Relative to the mean variance of a noisy pixel.
        """
        mean_x, mean_y = self._sums / self._number
        covariance = self._products[0] / self._number - np.outer(mean_x, mean_x)
        cross = self._products[1] / self._number - np.outer(mean_x, mean_y)
        values, vectors = np.linalg.eigh(covariance)
        scale = max(float(np.mean(np.diag(covariance))), sys.float_info.min)
        projected = vectors.T @ cross
        maps = []
        for regularisation in regularisations:
            shrunk = np.maximum(values, 0) + regularisation * scale
            weights = vectors @ (projected / shrunk[:, None])
            maps.append(LinearMap(weights, mean_y - mean_x @ weights))
        return maps


class LinearMap:
    """Noisy float32 (N, H, W, C) in [0, 1] to denoised, clipped to [0, 1].

    Args:
      weights: (H*W*C, H*W*C), noisy by clean.
      offset: (H*W*C,).
    """

    def __init__(self, weights: np.ndarray, offset: np.ndarray):
        self.weights = weights.astype(np.float32)
        self.offset = offset.astype(np.float32)

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        mapped = noisy.reshape(len(noisy), -1) @ self.weights + self.offset
        return np.clip(mapped, 0, 1).reshape(noisy.shape)
