"""Image metrics: how near a denoised image is to the clean one, per image.

All take float32 (N, H, W, C) images in [0, 1] (data range 1) and return float32 (N,). Written in
keras.ops, so the evaluation signature, the trainer and the benchmark share them. A mean over a
data set is the mean of these per-image values: for PSNR that is up to 2 dB more than the PSNR of
the mean MSE.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

MAX_PSNR = 100.0
"""Greatest value of `psnr`, in dB: that of an MSE of 1e-10, and of equal images."""

_SIGMA = 1.5
_WINDOW = 11
_C1 = 0.01**2
_C2 = 0.03**2


def mse(clean: Any, denoised: Any) -> Any:
    """Mean squared error, 0 to 1."""
    return ops.mean(ops.square(clean - denoised), axis=(1, 2, 3))


def mae(clean: Any, denoised: Any) -> Any:
    """Mean absolute error, 0 to 1."""
    return ops.mean(ops.abs(clean - denoised), axis=(1, 2, 3))


def psnr(clean: Any, denoised: Any) -> Any:
    """Peak signal-to-noise ratio, -10 log10(MSE), in dB; at most `MAX_PSNR`."""
    floor = 10 ** (-MAX_PSNR / 10)
    return ops.log(ops.maximum(mse(clean, denoised), floor)) * (-10 / math.log(10))


def ssim(clean: Any, denoised: Any) -> Any:
    """Structural similarity, -1 to 1: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004.

    With the paper's 11x11 Gaussian window of sigma 1.5, K1 = 0.01 and K2 = 0.03, the mean over the
    places where the window lies inside the image, and over channels. Equal to scikit-image's
    `structural_similarity(data_range=1.0, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, channel_axis=-1)`. On an image less than 11 wide or high, for
    which scikit-image has no answer, the window is the largest odd one that fits. H and W must be
    known when a graph is traced.
    """
    maps = (clean, denoised, clean * clean, denoised * denoised, clean * denoised)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (_window_mean(values) for values in maps)
    product = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    luminance = (2.0 * product + _C1) / (squares + _C1)
    structure = (2.0 * (mean_xy - product) + _C2) / (mean_xx + mean_yy - squares + _C2)
    return ops.mean(luminance * structure, axis=(1, 2, 3))


METRICS = {"psnr": psnr, "ssim": ssim, "mse": mse, "mae": mae}
"""Metrics by the name that thresholds, signatures and reports use."""


def _window_mean(images: Any) -> Any:
    """Gaussian-weighted means over every window inside the image, one axis after the other."""
    for axis in (1, 2):
        size = images.shape[axis]
        weights = _gaussian(min(_WINDOW, size - (size + 1) % 2))
        places = size - len(weights) + 1
        # Shifted copies: as fast as a convolution of one channel on a CPU, and exact to float32
        # where a GPU would convolve in TF32, which the differences of means below cannot bear.
        images = sum(
            float(weight) * images[(slice(None),) * axis + (slice(shift, shift + places),)]
            for shift, weight in enumerate(weights)
        )
    return images


def _gaussian(length: int) -> np.ndarray:
    offsets = np.arange(length) - length // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()
