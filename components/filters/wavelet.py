"""Wavelet shrinkage: small coefficients are noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.filters.base import Filter, register


@register("wavelet")
class Wavelet(Filter):
    """Soft thresholds on the coefficients of `levels` levels, one for each image and band, for
    noise of standard deviation `sigma` in values in [0, 1] (BayesShrink); the mean over all
    shifts of less than `shifts` pixels (cycle spinning).

    One shift gives what skimage.restoration.denoise_wavelet gives, many images at a time.
    """

    title = "wavelet"
    source = (
        "BayesShrink: Chang, Yu, Vetterli, IEEE TIP 9(9), 2000; cycle spinning: Coifman, Donoho, "
        "Wavelets and Statistics, 1995; PyWavelets"
    )

    def candidates(self, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
        import pywt

        return [
            {"wavelet": wavelet, "levels": levels, "sigma": sigma, "shifts": 4}
            for wavelet in ("db1", "db2", "bior2.2")
            for levels in (1, 2, 3)
            if levels <= pywt.dwtn_max_level(shape[:2], wavelet)
            for sigma in (0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
        ]

    def __call__(
        self, noisy: np.ndarray, *, wavelet: str, levels: int, sigma: float, shifts: int
    ) -> np.ndarray:
        total = np.zeros_like(noisy)
        for down in range(shifts):
            for right in range(shifts):
                shifted = np.roll(noisy, (down, right), axis=(1, 2))
                shrunk = _shrunk(shifted, wavelet, levels, sigma)
                total += np.roll(shrunk, (-down, -right), axis=(1, 2))
        return total / shifts**2


def _shrunk(images: np.ndarray, wavelet: str, levels: int, sigma: float) -> np.ndarray:
    import pywt

    coarse, *details = pywt.wavedec2(images, wavelet, level=levels, axes=(1, 2))
    softened = [tuple(_soft(band, sigma) for band in level) for level in details]
    restored = pywt.waverec2([coarse, *softened], wavelet, axes=(1, 2))
    # An odd side comes back one longer.
    return restored[:, : images.shape[1], : images.shape[2]]


def _soft(band: np.ndarray, sigma: float) -> np.ndarray:
    variance = np.square(band).mean(axis=(1, 2), keepdims=True)
    signal = np.sqrt(np.maximum(variance - sigma**2, np.finfo(band.dtype).eps))
    return np.sign(band) * np.maximum(np.abs(band) - sigma**2 / signal, 0)
